/* SPDX-License-Identifier: MIT */
/*
 * The owner's side of handing a command over (lendis/mailbox.h): it puts the command into the
 * mailbox of a wait slot, queues up, sleeps, and takes what comes: the reply, a connection, or the
 * rest of somebody's batch.
 *
 * Between QUEUED and the end the mailbox may be the combiner's; it is taken and given up only by
 * moving the mail word that was seen (I4). A word with another sequence than the command's is somebody
 * else's: this process lost its place. Needs neither the broker nor a thread.
 */
#include "libclient/submit.h"

#include <errno.h>
#include <string.h>
#include "libclient/lease.h"
#include "lendis/mailbox.h"
#include "lendis/waiter.h"
#include "libclient/lending_policy.h"
#include "libclient/reach.h"

struct errand {
    struct attachment *attachment;
    const struct segment *segment;
    struct wait_slot *shared;
    const struct call *call;
    uint32_t slot;
    uint64_t mail; /* the word that the mailbox was taken with: its sequence is the command's */
    bool released; /* the slot is not ours any more */
    int64_t begun_ns;
    struct waiter waiter;
};

/* ---- the mailbox ---- */

/* Takes the mailbox. False: it is not free. */
static bool open_mail(struct errand *errand)
{
    uint64_t mail = shm_load(&errand->shared->mail);

    errand->mail = mail_next(mail);
    return mail_state(mail) == MAIL_FREE && shm_cas(&errand->shared->mail, mail, errand->mail);
}

/* The mailbox is OWNED: it is free again. */
static void leave_mail(struct errand *errand)
{
    uint64_t mail = mail_with(shm_load(&errand->shared->mail), MAIL_OWNED);

    /* Somebody else's if this process lost its place meanwhile. */
    if (mail_sequence(mail) == mail_sequence(errand->mail))
        shm_cas(&errand->shared->mail, mail, mail_with(mail, MAIL_FREE));
}

/* Puts the command into the mailbox, or a chunk. False: it is too large, or there is no chunk. */
static bool write_request(struct errand *errand)
{
    struct wait_slot *shared = errand->shared;
    const struct call *call = errand->call;
    char *to = mail_room(errand->segment, errand->slot, call->size);
    int chunk = -1;

    if (!to) {
        if (call->size > CHUNK_SIZE)
            return false;
        chunk = chunk_claim(errand->segment, errand->slot);
        if (chunk < 0)
            return false;
        to = errand->segment->chunks[chunk].bytes;
    }
    memcpy(to, call->request, call->size);
    shm_store32(&shared->request_chunk, (uint32_t)(1 + chunk));
    shm_store32(&shared->request_size, (uint32_t)call->size);
    shm_store32(&shared->replies, call->replies);
    shm_store32(&shared->read_only, (call->command.flags & COMMAND_READ_ONLY) ? 1 : 0);
    shm_store32(&shared->descriptors,
                atomic_load_explicit(&errand->attachment->descriptors, memory_order_relaxed));
    shm_store32(&shared->reply_chunk, 0);
    shm_store32(&shared->reply_size, 0);
    return true;
}

/* Posts the command. False: it cannot be handed over. */
static bool post(struct errand *errand)
{
    if (!open_mail(errand))
        return false;
    if (!write_request(errand)) {
        leave_mail(errand);
        return false;
    }
    return shm_cas(&errand->shared->mail, errand->mail, mail_with(errand->mail, MAIL_QUEUED));
}

/* True if `mail` is of this command, not of another process that has the place by now. */
static bool is_ours(const struct errand *errand, uint64_t mail)
{
    return mail_sequence(mail) == mail_sequence(errand->mail);
}

/*
 * Moves the mail word from `mail`, which was seen and lets go of the mailbox, to FREE, and frees the
 * chunks that it used. False: the word had changed; what was seen in the mailbox does not count.
 */
static bool close_mail(struct errand *errand, uint64_t mail)
{
    uint32_t request_chunk = shm_load32(&errand->shared->request_chunk);
    uint32_t reply_chunk = shm_load32(&errand->shared->reply_chunk);

    if (request_chunk == 0 && reply_chunk == 0)
        return shm_cas(&errand->shared->mail, mail, mail_with(mail, MAIL_FREE));
    if (!shm_cas(&errand->shared->mail, mail, mail_with(mail, MAIL_OWNED)))
        return false;
    chunk_free(errand->segment, request_chunk - 1, errand->slot);
    chunk_free(errand->segment, reply_chunk - 1, errand->slot);
    leave_mail(errand);
    return true;
}

/* Likewise, of a mailbox that is OWNED, after a combiner that may have died: nobody can say what it
 * had begun to use. */
static void clear_owned(struct errand *errand)
{
    chunks_free_all(errand->segment, errand->slot);
    leave_mail(errand);
}

static bool clear_mail(struct errand *errand, uint64_t mail)
{
    if (!shm_cas(&errand->shared->mail, mail, mail_with(mail, MAIL_OWNED)))
        return false;
    clear_owned(errand);
    return true;
}

/* It was sent or not, and no reply comes. */
static int unanswered(struct errand *errand, bool sent, bool lost)
{
    return exec_failure(errand->attachment, errand->call, sent, lost ? LOSS_MEANWHILE : LOSS_NONE);
}

/* The mailbox is not ours: the broker took this process for gone and gave its place away, or the
 * segment is corrupted. */
static int disowned(struct errand *errand)
{
    uint32_t index;
    uint64_t word;

    /* No combiner takes us out of the queue any more. */
    if (waiter_leave(&errand->waiter, &index, &word))
        queue_pass_on(errand->segment, index, word);
    return unanswered(errand, true, true);
}

/* Takes the reply that was delivered. */
static int take_reply(struct errand *errand, uint64_t mail)
{
    const struct segment *segment = errand->segment;
    uint32_t size = shm_load32(&errand->shared->reply_size);
    uint32_t chunk = shm_load32(&errand->shared->reply_chunk);
    const struct reply_sink *sink = errand->call->sink;
    const char *room = mail_room(segment, errand->slot, size);
    int result = -EPROTO;

    if (chunk == 0 && room)
        result = sink->take(sink->context, room, size);
    else if (chunk >= 1 && chunk <= CHUNKS && size <= CHUNK_SIZE)
        result = sink->take(sink->context, segment->chunks[chunk - 1].bytes, size);
    if (result == -ENOMEM)
        result = exec_no_memory(errand->attachment, &errand->call->command);
    /* Only now: until the word is moved, nobody else may have used the mailbox. */
    return close_mail(errand, mail) ? result : disowned(errand);
}

/* Has the broker look at the combiner that has the command. */
static void report_combiner(struct errand *errand, uint64_t mail)
{
    uint32_t index = mail_connection(mail);
    struct connection *connection = &errand->segment->connections[index];
    uint64_t word;

    if (index >= errand->segment->connection_max)
        return;
    word = shm_load(&connection->word);
    if (!mail_fits(mail, word) || shm_load(&connection->stalled) == 1 + word_generation(word))
        return;
    shm_store(&connection->stalled, 1 + word_generation(word));
    attachment_ring(errand->attachment);
}

/* Leaves the command to its combiner. False: it moved on meanwhile, look again. */
static bool abandon(struct errand *errand, uint64_t mail, bool lost, int *result)
{
    if (!shm_cas(&errand->shared->mail, mail, mail_with(mail, MAIL_ABANDONED)))
        return false;
    /* It may have stopped, and we are not there any more to see it. */
    if (!lost)
        report_combiner(errand, mail);
    /* Read after abandoning: pairs with send_batch() in combiner.c. */
    *result = unanswered(errand, mail_was_sent(errand->segment, mail), lost);
    return true;
}

/* ---- what can happen while it waits ---- */

/*
 * The attachment, in use by the caller, by which this process has the descriptor of a connection that
 * is carried to it; NULL: not now, there is no broker to ask. One that comes back may know us still.
 */
static struct attachment *carried_by(struct errand *errand, uint32_t index, uint64_t generation)
{
    struct attachment *before = errand->attachment, *now;
    int fd;

    if (attachment_descriptor(before, index, generation, &fd) != LENDIS_E_DOWN) {
        atomic_fetch_add_explicit(&before->users, 1, memory_order_seq_cst);
        return before;
    }
    if (pool_enter(before->pool, &now) != 0)
        return NULL;
    if (now != before && now->worker == before->worker &&
        now->segment.instance == before->segment.instance &&
        attachment_descriptor(now, index, generation, &fd) != LENDIS_E_DOWN)
        return now;
    pool_leave(now);
    return NULL;
}

/* Goes on with the batch on connection `index`, which was carried to us and is ours as `word`; the
 * mailbox is OWNED. `attachment`: carried_by(). Results: as combine(). */
static int go_on(struct errand *errand, struct attachment *attachment, uint32_t index,
                 uint64_t word)
{
    int result = LENDIS_E_DOWN;
    struct lendis_lease *lease;

    if (attachment)
        result = lease_make(attachment, index, word, false, &lease);
    if (result == 0)
        return combine_take_over(lease, errand->call, errand->slot);
    if (attachment)
        pool_leave(attachment);
    else if (word_return(&errand->segment->connections[index].word, word))
        attachment_ring(errand->attachment);
    combine_lose(errand->segment, errand->slot);
    return unanswered(errand, true, true);
}

/* A combiner left us the rest of its batch. Results: as combine(); -EAGAIN, the connection is not
 * here yet, or its descriptor. */
static int take_over(struct errand *errand, uint64_t mail, bool late)
{
    uint32_t index = mail_connection(mail);
    struct attachment *attachment;
    shm_u64 *at;
    uint64_t word;
    int result;

    if (index >= errand->segment->connection_max)
        return -EAGAIN;
    at = &errand->segment->connections[index].word;
    word = shm_load(at);
    if (word_state(word) != WORD_CARRIED || word_owner(word) != errand->slot)
        return -EAGAIN;
    attachment = carried_by(errand, index, word_generation(word));
    if (!attachment && !late)
        return -EAGAIN;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): an errand always has one */
    if (!word_carry_on(at, errand->slot, errand->attachment->worker, &word)) {
        if (attachment)
            pool_leave(attachment);
        return -EAGAIN;
    }
    if (mail_state(mail) == MAIL_TAKEOVER &&
        !shm_cas(&errand->shared->mail, mail, mail_with(mail, MAIL_OWNED))) {
        /* Another process has the place, and it is its batch. */
        if (word_return(at, word))
            attachment_ring(errand->attachment);
        if (attachment)
            pool_leave(attachment);
        return disowned(errand);
    }
    result = go_on(errand, attachment, index, word);
    clear_owned(errand);
    return result;
}

/* A connection was handed to us. */
static int serve_ourselves(struct errand *errand, uint64_t mail, uint32_t index, uint64_t word)
{
    struct lendis_lease *lease;
    int result;

    if (!close_mail(errand, mail)) {
        /* Somebody took the command all the same: we had queued up twice. */
        queue_pass_on(errand->segment, index, word);
        return -EAGAIN;
    }
    waiter_finish(&errand->waiter);
    slot_release(errand->attachment, errand->slot);
    errand->released = true;
    atomic_fetch_add_explicit(&errand->attachment->users, 1, memory_order_seq_cst);
    result = lease_make(errand->attachment, index, word, true, &lease);
    if (result != 0) {
        pool_leave(errand->attachment);
        return result;
    }
    return combine(lease, errand->call);
}

/*
 * After a while a combiner is reported. That says no more than that it keeps us waiting: the broker watches it then, by its
 * beat, and finds out whether it goes on, and if not, why. It is said once for all who wait, see stalled.c.
 */
static void report_stall(struct errand *errand, uint64_t mail)
{
    if (clock_coarse_ns() - errand->begun_ns >= WAITER_SERVED_PATIENCE_NS)
        report_combiner(errand, mail);
}

/* The connection that it was taken for is no longer its combiner's. */
static bool combiner_lost(const struct errand *errand, uint64_t mail)
{
    uint32_t index = mail_connection(mail);

    return index >= errand->segment->connection_max ||
           !mail_fits(mail, shm_load(&errand->segment->connections[index].word));
}

/*
 * One look at the mailbox. Results: -EAGAIN, sleep; else the call's result, with the mailbox closed
 * or abandoned.
 */
static int look(struct errand *errand, bool thorough, bool late)
{
    uint64_t mail = shm_load(&errand->shared->mail), word;
    uint32_t index;
    int result;

    if (!is_ours(errand, mail))
        return disowned(errand);
    switch (mail_state(mail)) {
    case MAIL_DONE:
        return take_reply(errand, mail);
    case MAIL_RETRY:
        result = shm_load32(&errand->shared->reply_size) == REPLY_TOO_LARGE ? HAND_OVER_NOT
                                                                            : LEASE_TRY_AGAIN;
        return clear_mail(errand, mail) ? result : disowned(errand);
    case MAIL_FAILED:
        result = shm_load32(&errand->shared->reply_size) == REPLY_LOST
                     ? exec_failure(errand->attachment, errand->call, true, LOSS_ANSWERING)
                     : unanswered(errand, true, true);
        return clear_mail(errand, mail) ? result : disowned(errand);
    case MAIL_TAKEOVER:
        if (thorough)
            report_stall(errand, mail);
        result = take_over(errand, mail, late);
        if (result != -EAGAIN)
            return result;
        if (!late && !combiner_lost(errand, mail))
            return -EAGAIN;
        /* Pairs with hand_on() in combiner.c, which carries the connection and then looks whether we have given up: it
         * sees that, or we see the connection. */
        if (!shm_cas(&errand->shared->mail, mail, mail_with(mail, MAIL_OWNED)))
            return disowned(errand);
        result = take_over(errand, mail_with(mail, MAIL_OWNED), true);
        if (result != -EAGAIN)
            return result;
        clear_owned(errand);
        return unanswered(errand, true, !late);
    case MAIL_TAKEN:
        if (thorough)
            report_stall(errand, mail);
        if ((late || (thorough && combiner_lost(errand, mail))) &&
            abandon(errand, mail, !late, &result))
            return result;
        return -EAGAIN;
    case MAIL_QUEUED:
        result = waiter_take(&errand->waiter, thorough, &index, &word);
        if (result == 1)
            return serve_ourselves(errand, mail, index, word);
        return result == 0 ? -EAGAIN : result;
    default:
        return disowned(errand);
    }
}

/* Time is up while it is queued. Results as look(). */
static int give_up(struct errand *errand, int otherwise)
{
    uint64_t mail = shm_load(&errand->shared->mail), word;
    uint32_t index;

    if (mail_state(mail) != MAIL_QUEUED || !is_ours(errand, mail) || !close_mail(errand, mail))
        return -EAGAIN;
    if (waiter_leave(&errand->waiter, &index, &word))
        queue_pass_on(errand->segment, index, word);
    return otherwise;
}

/* Waits for the command's end. */
static int wait_for_reply(struct errand *errand, int64_t wait_deadline_ns)
{
    int64_t deadline_ns = errand->call->deadline_ns;
    struct attachment *attachment = errand->attachment;
    bool thorough = false;

    for (;;) {
        bool late = false;
        int result;

        if (policy_fails_fast(attachment))
            thorough = true;
        if (thorough) {
            int64_t now_ns = clock_now_ns();

            late = now_ns >= deadline_ns;
            if (now_ns >= wait_deadline_ns || late || lease_is_disabled(attachment) ||
                policy_fails_fast(attachment)) {
                result = give_up(errand, lease_why_none(attachment, LENDIS_E_TIMEOUT));
                if (result != -EAGAIN)
                    return result;
            }
            if (pool_must_restart(attachment)) {
                result = give_up(errand, LEASE_TRY_AGAIN);
                if (result != -EAGAIN)
                    return result;
            }
        }
        result = look(errand, thorough, late);
        if (result != -EAGAIN)
            return result;
        errand->waiter.served = mail_state(shm_load(&errand->shared->mail)) != MAIL_QUEUED;
        if (thorough && !errand->waiter.served)
            policy_go_on_waiting(attachment, &errand->waiter);
        /* Told since we looked, or that the connection was revoked from the combiner. */
        if (waiter_told(&errand->waiter)) {
            thorough = true;
            continue;
        }
        thorough =
            waiter_sleep(&errand->waiter, !errand->waiter.served && wait_deadline_ns < deadline_ns
                                              ? wait_deadline_ns
                                              : deadline_ns);
    }
}

int hand_over(struct attachment *attachment, const struct call *call, int64_t wait_deadline_ns)
{
    const struct reply_sink *sink = call->sink;
    int64_t start_ns = clock_now_ns();
    struct errand errand = {.attachment = attachment,
                            .segment = &attachment->segment,
                            .call = call,
                            .begun_ns = start_ns};
    int result;

    if (!slot_claim(attachment, &errand.slot))
        return LENDIS_E_BUSY;
    errand.shared = &attachment->segment.slots[errand.slot];
    slot_since(attachment, errand.slot, start_ns);
    if (!post(&errand)) {
        slot_release(attachment, errand.slot);
        return HAND_OVER_NOT;
    }
    result =
        waiter_join(&errand.waiter, errand.segment, attachment->worker, errand.slot, CELL_COMMAND);
    if (result == 0) {
        lease_ask_for_more(attachment); /* now that the broker can see that somebody waits */
        if (!policy_queue_is_full(attachment, errand.waiter.ticket) ||
            (result = give_up(&errand, LENDIS_E_BUSY)) == -EAGAIN)
            result = wait_for_reply(&errand, wait_deadline_ns);
    } else {
        give_up(&errand, 0);
    }
    /* What other processes wrote, before its owner gets it: exactly what it asked for (I4). */
    if (result == 0 && sink->whole && !sink->whole(sink->context, call->replies))
        result = unanswered(&errand, true, true);
    if (!errand.released) {
        waiter_finish(&errand.waiter);
        slot_release(attachment, errand.slot);
    }
    lease_count_wait(attachment, HISTOGRAM_command, start_ns, result);
    return result;
}
