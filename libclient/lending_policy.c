/* SPDX-License-Identifier: MIT */
/* The worker's part of a pool's policy: see lending_policy.h. */
#include "libclient/lending_policy.h"
#include "libclient/handover/doorbell.h"

#include <stdio.h>
#include "lendis/queue.h"
#include "libclient/clock.h"

/* ---- the order ---- */

/* The first idle connection from `start` on, round the table. */
static bool lease_from(struct attachment *attachment, uint32_t start, bool cached, uint32_t *index,
                       uint64_t *word)
{
    const struct segment *segment = &attachment->segment;
    uint32_t count = segment_places(segment);

    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = start + i < count ? start + i : start + i - count;
        uint64_t seen = shm_load(&segment->connections[at].word);

        if (word_state(seen) != WORD_IDLE)
            continue;
        if (cached && atomic_load_explicit(&attachment->cached[at].generation,
                                           memory_order_relaxed) != 1 + word_generation(seen))
            continue;
        if (word_lease(&segment->connections[at].word, attachment->worker, word)) {
            *index = at;
            return true;
        }
    }
    return false;
}

/* The one that is next after the one that anybody leased last. */
static bool lease_in_turn(struct attachment *attachment, bool may_fetch, uint32_t *index,
                          uint64_t *word)
{
    shm_u32 *turn = &attachment->segment.queue->turn;
    uint32_t start = shm_load32_relaxed(turn);

    if (start >= segment_places(&attachment->segment))
        start = 0;
    if (!lease_from(attachment, start, !may_fetch, index, word))
        return false;
    atomic_store_explicit(turn, *index + 1, memory_order_relaxed); /* a hint */
    return true;
}

/* The one that this worker used last: its buffers are warm. Else the first whose descriptor it has,
 * else the first. */
static bool lease_last_used(struct attachment *attachment, bool may_fetch, uint32_t *index,
                            uint64_t *word)
{
    struct local *local = attachment->pool->local;
    uint32_t last = atomic_load_explicit(&local->last_index, memory_order_relaxed);
    uint32_t leases = atomic_load_explicit(&local->leases, memory_order_relaxed);
    bool settle = policy_settles(leases);

    policy_count_lease(local, leases);
    if (last >= segment_places(&attachment->segment) || settle)
        last = 0;
    if (settle && may_fetch)
        return lease_from(attachment, 0, false, index, word);
    return lease_from(attachment, last, true, index, word) ||
           (may_fetch && lease_from(attachment, 0, false, index, word));
}

bool policy_lease_idle(struct attachment *attachment, uint32_t *index, uint64_t *word)
{
    bool may_fetch = !attachment_is_orphan(attachment);

    if (shm_load32_relaxed(&attachment_settings(attachment)->order) == ORDER_ROUND_ROBIN)
        return lease_in_turn(attachment, may_fetch, index, word);
    return lease_last_used(attachment, may_fetch, index, word);
}

/* ---- how many ---- */

bool policy_can_grow(const struct attachment *attachment)
{
    const struct segment *segment = &attachment->segment;
    uint32_t taken = 0, size = attachment_settings(attachment)->size;

    for (uint32_t i = 0; i < segment_places(segment) && taken < size; i++) {
        uint64_t word = shm_load(&segment->connections[i].word);

        taken += word_state(word) != WORD_EMPTY && !policy_marked(&segment->connections[i], word);
    }
    return taken < size;
}

bool policy_queue_is_full(const struct attachment *attachment, uint64_t ticket)
{
    const struct segment *segment = &attachment->segment;
    uint32_t limit = shm_load32_relaxed(&attachment_settings(attachment)->wait_queue), before = 0;
    uint64_t head;

    if (limit == 0)
        return false;
    head = shm_load_relaxed(&segment->queue->head);
    /* Those who gave up leave gaps, so more tickets than waiters are between the two. */
    if (ticket - head > segment->cell_count)
        head = ticket - segment->cell_count;
    for (; head != ticket && ticket - head + before >= limit && before < limit; head++) {
        uint64_t cell = shm_load_relaxed(queue_cell(segment, head));

        before += cell_state(cell) != CELL_FREE && cell_lap(cell) == queue_lap(segment, head);
    }
    return before >= limit;
}

void policy_go_on_waiting(const struct attachment *attachment, struct waiter *waiter)
{
    uint32_t after_ms = shm_load32_relaxed(&attachment_settings(attachment)->reserve_after_ms);
    int64_t now_ns;

    doorbell_ring_for_others(attachment, waiter);
    if (after_ms == 0)
        return;
    now_ns = clock_now_ns();
    /* The first scan comes milliseconds after the beginning of the wait. */
    if (waiter->report_ns == 0)
        waiter->report_ns = now_ns + after_ms * INT64_C(1000000);
    if (now_ns < waiter->report_ns)
        return;
    waiter->report_ns = now_ns + after_ms * INT64_C(1000000);
    shm_store(&waiter->segment->queue->overdue, 1 + waiter->ticket);
    attachment_ring(attachment);
}

bool policy_fails_fast(const struct attachment *attachment)
{
    return shm_load32_relaxed(&attachment_settings(attachment)->failing) != 0 &&
           !attachment_is_orphan(attachment);
}

static _Thread_local char outage[192];

void policy_note_outage(const struct attachment *attachment)
{
    struct catalog_pool entry;

    outage[0] = '\0';
    if (!attachment)
        return;
    if (catalog_read_pool(&attachment->catalog, attachment->pool_index, &entry) == 0 &&
        entry.last_error[0])
        snprintf(outage, sizeof outage, "Redis cannot be reached: %.*s",
                 (int)sizeof entry.last_error - 1, entry.last_error);
}

const char *policy_outage(void)
{
    return outage;
}
