/* SPDX-License-Identifier: MIT */
/*
 * Lending by one attachment: an idle connection at once, or a place in the queue. Nothing but loads
 * and a compare-and-swap where a connection is idle. Upholds I2 on the worker's side: a lease is a
 * word that we moved to LEASED.
 */
#include "libclient/lending.h"

#include <time.h>
#include "lendis/waiter.h"
#include "libclient/membership/attachment.h"
#include "libclient/clock.h"
#include "libclient/handover/doorbell.h"
#include "libclient/lease.h"
#include "libclient/lending_policy.h"
#include "libclient/membership/membership.h"
#include "libclient/quick_lease.h"
#include "libclient/result.h"
#include "libclient/membership/uid_limit.h"
#include "libclient/handover/wait_slot.h"

static bool has_idle(const struct segment *segment)
{
    for (uint32_t i = 0; i < segment_places(segment); i++)
        if (word_state(shm_load(&segment->connections[i].word)) == WORD_IDLE)
            return true;
    return false;
}

void lending_ask_for_more(const struct attachment *attachment)
{
    if (policy_can_grow(attachment))
        attachment_ring(attachment);
}

bool lending_is_disabled(const struct attachment *attachment)
{
    return segment_is_closed(&attachment->segment) &&
           shm_load32(&attachment_settings(attachment)->pause) == PAUSE_DRAINED;
}

/* No broker is left, and no connection: the process' own have to do, if it has any. */
static bool is_stranded(const struct attachment *attachment)
{
    const struct segment *segment = &attachment->segment;

    if (!attachment->pool->fallback_address || !attachment_is_orphan(attachment))
        return false;
    for (uint32_t i = 0; i < segment_places(segment); i++)
        switch (word_state(shm_load(&segment->connections[i].word))) {
        case WORD_IDLE:
        case WORD_LEASED:
        case WORD_PASSED:
        case WORD_TRANSFERRED:
            return false;
        default:
            break;
        }
    return true;
}

int lending_why_none(const struct attachment *attachment, int otherwise)
{
    if (lending_is_disabled(attachment))
        return LENDIS_E_DISABLED;
    if (shm_load32(&attachment_settings(attachment)->backend) != BACKEND_DOWN &&
        !policy_fails_fast(attachment))
        return otherwise;
    policy_note_outage(attachment);
    return policy_fails_fast(attachment) ? RESULT_FAILS_FAST : LENDIS_E_DOWN;
}

/* Waits in `slot`. Results: RESULT_LEASED; LENDIS_E_*; RESULT_TRY_AGAIN; -errno. */
static int wait_in_slot(struct attachment *attachment, uint32_t slot, int64_t deadline_ns,
                        uint32_t *index, uint64_t *word)
{
    struct waiter waiter;
    bool thorough = false;
    int result;

    result = waiter_join(&waiter, &attachment->segment, attachment->worker, slot, CELL_WAITING);
    if (result != 0)
        return result;
    if (policy_queue_is_full(attachment, waiter.ticket))
        return waiter_leave(&waiter, index, word) ? RESULT_LEASED : LENDIS_E_BUSY;
    lending_ask_for_more(attachment); /* now that the broker can see that somebody waits */
    for (;;) {
        result = waiter_take(&waiter, thorough, index, word);
        if (result != 0)
            return result == 1 ? RESULT_LEASED : result;
        if (clock_now_ns() >= deadline_ns || policy_fails_fast(attachment) ||
            (thorough && lending_is_disabled(attachment)))
            return waiter_leave(&waiter, index, word)
                       ? RESULT_LEASED
                       : lending_why_none(attachment, LENDIS_E_TIMEOUT);
        if (thorough && membership_must_restart(attachment))
            return waiter_leave(&waiter, index, word) ? RESULT_LEASED : RESULT_TRY_AGAIN;
        if (thorough)
            policy_go_on_waiting(attachment, &waiter);
        thorough = waiter_sleep(&waiter, deadline_ns);
    }
}

static int wait_for(struct attachment *attachment, int64_t deadline_ns, uint32_t *index,
                    uint64_t *word)
{
    int64_t start_ns = clock_now_ns();
    uint32_t slot;
    int result;

    if (!wait_slot_claim(attachment, &slot))
        return LENDIS_E_BUSY;
    wait_slot_since(attachment, slot, start_ns);
    result = wait_in_slot(attachment, slot, deadline_ns, index, word);
    wait_slot_release(attachment, slot);
    wait_slot_count(attachment, HISTOGRAM_wait, start_ns, result);
    return result;
}

static int why_closed(const struct attachment *attachment)
{
    switch (shm_load32(&attachment_settings(attachment)->pause)) {
    case PAUSE_DRAINED:
        return LENDIS_E_DISABLED;
    case PAUSE_SERVICE:
        return RESULT_SERVICE;
    default:
        return LENDIS_E_BUSY;
    }
}

static int try_lease(struct attachment *attachment, struct lendis_lease **lease)
{
    const struct segment *segment = &attachment->segment;
    uint64_t ticket, word;
    uint32_t slot, index;
    bool waited, taken;
    int result;

    if (segment_is_closed(segment))
        return why_closed(attachment);
    /* Nobody barges while somebody waits. */
    waited = queue_maybe_waiting(segment) && queue_head(segment, &ticket, &slot) != CELL_FREE;
    /* With all in use anyway, a command is handed over. */
    taken = !waited && uid_limit_is_reached(attachment);
    if (taken && has_idle(segment))
        return RESULT_OVER_LIMIT;
    if (waited || taken || !policy_lease_idle(attachment, &index, &word)) {
        attachment_count(attachment, COUNTER_misses, 1);
        return is_stranded(attachment) ? LENDIS_E_DISABLED : LENDIS_E_BUSY;
    }
    result = lease_make(attachment, index, word, true, lease);
    if (result == 0)
        attachment_count(attachment, COUNTER_hits, 1);
    return result;
}

int lending_try(struct attachment *attachment, struct lendis_lease **lease)
{
    int result, lost = 0;

    if (quick_try(attachment, lease))
        return 0;
    result = try_lease(attachment, lease);
    if (result == LENDIS_E_BUSY || result == RESULT_TRY_AGAIN)
        lost = reach_cut_off(attachment);
    return lost != 0 ? lost : result;
}

int lending_wait(struct attachment *attachment, int64_t deadline_ns, struct lendis_lease **lease)
{
    uint32_t index;
    uint64_t word;
    int result;

    if (deadline_ns == 0 || policy_fails_fast(attachment)) {
        lending_ask_for_more(attachment);
        doorbell_ring_for_others(attachment, NULL);
        return lending_why_none(attachment, LENDIS_E_BUSY);
    }
    /* Whoever may not have it does not queue up for it. */
    if (uid_limit_is_reached(attachment))
        return RESULT_OVER_LIMIT;
    result = wait_for(attachment, deadline_ns, &index, &word);
    return result == RESULT_LEASED ? lease_make(attachment, index, word, true, lease) : result;
}

int lending_acquire(struct attachment *attachment, int64_t deadline_ns, struct lendis_lease **lease)
{
    int result = lending_try(attachment, lease);

    if (result == LENDIS_E_BUSY)
        result = lending_wait(attachment, deadline_ns, lease);
    return result == RESULT_OVER_LIMIT ? uid_limit_wait(attachment, deadline_ns) : result;
}

bool lending_again(int result, int64_t deadline_ns)
{
    /* Between attempts on connections that we cannot use now (replaced, or not fetched before the
     * broker died). */
    static const struct timespec pause = {.tv_nsec = 1000000};

    if (result != RESULT_TRY_AGAIN && result != RESULT_OVER_LIMIT && result != LENDIS_E_DOWN)
        return false;
    if (deadline_ns == 0 || clock_now_ns() >= deadline_ns)
        return false;
    if (result != RESULT_OVER_LIMIT) /* uid_limit_wait() was the pause */
        nanosleep(&pause, NULL);
    return true;
}

int lending_final(int result, int64_t deadline_ns)
{
    if (result == RESULT_OVER_LIMIT)
        return deadline_ns == 0 ? LENDIS_E_BUSY : LENDIS_E_TIMEOUT;
    return result == RESULT_TRY_AGAIN || result == RESULT_FAILS_FAST ? LENDIS_E_DOWN : result;
}
