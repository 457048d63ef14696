/* SPDX-License-Identifier: MIT */
/* The parts of the hand-over protocol that workers and the broker share: see lendis/mailbox.h. */
#include "lendis/mailbox.h"

bool mail_was_sent(const struct segment *segment, uint64_t mail)
{
    uint64_t begun;

    if (mail_connection(mail) >= segment->connection_max)
        return true; /* corrupted: assume the worse */
    begun = shm_load(&segment->connections[mail_connection(mail)].batch);
    /* Numbers of 12 bits, compared around the corner: a batch is at most one ahead of `begun`. */
    return ((begun - mail_batch(mail)) & 4095) < 2048;
}

void mail_acknowledge(const struct segment *segment, uint32_t slot, uint64_t taken)
{
    struct wait_slot *shared = &segment->slots[slot];

    if (shm_load(&shared->mail) != mail_with(taken, MAIL_ABANDONED))
        return;
    chunks_free_all(segment, slot);
    shm_cas(&shared->mail, mail_with(taken, MAIL_ABANDONED), mail_with(taken, MAIL_FREE));
}

int chunk_claim(const struct segment *segment, uint32_t slot)
{
    /* From a place of the slot's own, so that claims seldom meet. */
    for (uint32_t i = 0; i < CHUNKS; i++) {
        uint32_t chunk = (slot + i) % CHUNKS;

        if (shm_load32(&segment->chunk_owners[chunk].slot) == 0 && segment_chunk(segment, chunk) &&
            shm_cas32(&segment->chunk_owners[chunk].slot, 0, 1 + slot))
            return (int)chunk;
    }
    return -1;
}

void chunk_free(const struct segment *segment, uint32_t chunk, uint32_t slot)
{
    if (chunk < CHUNKS)
        shm_cas32(&segment->chunk_owners[chunk].slot, 1 + slot, 0);
}

void chunks_free_all(const struct segment *segment, uint32_t slot)
{
    /* Relaxed: whoever claimed one for the slot did so before the mail word came to be as it is. */
    for (uint32_t chunk = 0; chunk < CHUNKS; chunk++)
        if (shm_load32_relaxed(&segment->chunk_owners[chunk].slot) == 1 + slot)
            chunk_free(segment, chunk, slot);
}

/* The word by which the connection that `mail` was taken for was lost; 0: it was not. */
static uint64_t lost_as(const struct segment *segment, uint64_t mail, const uint64_t *lost)
{
    uint32_t index = mail_connection(mail);

    return index < segment->connection_max && lost[index] != 0 &&
                   mail_is_for(mail, index, word_generation(lost[index]))
               ? lost[index]
               : 0;
}

/* The connection that it was taken for is somebody's: the batch was handed on to a successor, who
 * puts itself down as the taker in its own time. */
static bool goes_on(const struct segment *segment, uint64_t mail)
{
    uint32_t index = mail_connection(mail);

    return index < segment->connection_max &&
           mail_fits(mail, shm_load(&segment->connections[index].word));
}

/* Ends the command of `slot`, whose combiner is no more; its owner is to be told, see `set`. */
static void end_for_taker(const struct segment *segment, uint32_t slot, uint64_t mail,
                          struct wake_set *set)
{
    if (mail_state(mail) == MAIL_ABANDONED) {
        mail_acknowledge(segment, slot, mail_with(mail, MAIL_TAKEN));
    } else if (mail_state(mail) == MAIL_TAKEN) {
        bool sent = mail_was_sent(segment, mail);

        if (shm_cas(&segment->slots[slot].mail, mail,
                    mail_with(mail, sent ? MAIL_FAILED : MAIL_RETRY)))
            wake_hint(segment, set, slot, WAKE_MAIL);
        else
            mail_acknowledge(segment, slot, mail); /* abandoned at this moment */
    } else {
        wake_hint(segment, set, slot, WAKE_MAIL);
    }
}

static bool is_taken(uint64_t mail)
{
    return mail_state(mail) == MAIL_TAKEN || mail_state(mail) == MAIL_TAKEOVER ||
           mail_state(mail) == MAIL_ABANDONED;
}

void mail_taker_died(const struct segment *segment, uint32_t worker, const uint64_t *lost)
{
    struct wake_set set = {0};

    for (uint32_t slot = 0; slot < segment->slot_max; slot++) {
        struct wait_slot *shared = &segment->slots[slot];
        uint64_t mail = shm_load(&shared->mail);

        if (is_taken(mail) &&
            (lost_as(segment, mail, lost) != 0 ||
             (shm_load32(&shared->taker) == 1 + worker && !goes_on(segment, mail))))
            end_for_taker(segment, slot, mail, &set);
    }
    wake_flush(segment, &set);
}

void mail_owner_died(const struct segment *segment, uint32_t slot)
{
    shm_u64 *word = &segment->slots[slot].mail;

    /* The owner no longer moves it; a combiner may, once or twice. */
    for (int tries = 0; tries < 6; tries++) {
        uint64_t mail = shm_load(word);

        switch (mail_state(mail)) {
        case MAIL_FREE:
        case MAIL_ABANDONED:
            return;
        case MAIL_TAKEN:
            if (shm_cas(word, mail, mail_with(mail, MAIL_ABANDONED)))
                return;
            break;
        case MAIL_OWNED:
            chunks_free_all(segment, slot);
            shm_cas(word, mail, mail_with(mail, MAIL_FREE));
            return;
        default:
            /* From here on no combiner reads it. */
            shm_cas(word, mail, mail_with(mail, MAIL_OWNED));
            break;
        }
    }
}

void mail_revoked(const struct segment *segment, const uint64_t *lost, bool wake)
{
    struct wake_set set = {0};

    for (uint32_t slot = 0; slot < segment->slot_max; slot++) {
        struct wait_slot *shared = &segment->slots[slot];
        uint64_t mail = shm_load(&shared->mail), word;

        word = is_taken(mail) ? lost_as(segment, mail, lost) : 0;
        if (word_state(word) == WORD_TRANSFERRED)
            end_for_taker(segment, slot, mail, &set);
        if (word_state(word) != WORD_LEASED)
            continue;
        /* Its last holder has it for good, perhaps as a successor that has not put itself down
         * yet. */
        shm_store32(&shared->taker, 1 + word_owner(word));
        if (wake && mail_state(mail) != MAIL_ABANDONED)
            wake_hint(segment, &set, slot, WAKE_MAIL);
    }
    wake_flush(segment, &set);
}
