/* SPDX-License-Identifier: MIT */
/* Ringing for others: see doorbell.h. */
#include "libclient/handover/doorbell.h"

#include "libclient/membership/attachment.h"

/* So many at the head of the queue ring again. More, for each of them may be stopped; not all, for
 * there may be thousands. */
#define RING_AGAIN 4u

/* Which lease of a connection it was that came back; never 0. */
static uint64_t mark_of(const struct connection *shared, uint64_t word)
{
    return 1 + (word_generation(word) << 20 | (shm_load_relaxed(&shared->uses) & 0xfffff));
}

/* Whether connection `shared` was given back, to the broker. *first: nobody has rung for it, but we
 * do now. */
static bool is_returned(struct connection *shared, bool *first)
{
    uint64_t word = shm_load(&shared->word), mark, seen;

    if (word_state(word) != WORD_RETURNED && word_state(word) != WORD_UNCLEAN)
        return false;
    mark = mark_of(shared, word);
    seen = shm_load_relaxed(&shared->rung);
    *first = *first || (seen != mark && shm_cas(&shared->rung, seen, mark));
    return true;
}

/* At the second look, the fourth, the eighth. */
static bool rings_again(struct waiter *waiter)
{
    uint32_t looks = ++waiter->unrung;

    return looks > 1 && (looks & (looks - 1)) == 0 &&
           waiter->ticket - shm_load_relaxed(&waiter->segment->queue->head) < RING_AGAIN;
}

void doorbell_ring_for_others(const struct attachment *attachment, struct waiter *waiter)
{
    const struct segment *segment = &attachment->segment;
    bool found = false, first = false;

    for (uint32_t i = 0; i < segment_places(segment); i++)
        found = is_returned(&segment->connections[i], &first) || found;
    if (first || (found && waiter && rings_again(waiter)))
        attachment_ring(attachment);
}
