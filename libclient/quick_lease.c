/* SPDX-License-Identifier: MIT */
/*
 * The quick way of a lease: see quick_lease.h. Some 300 instructions for both halves, two
 * compare-and-swaps among them, and one reading of the coarse clock. Upholds I2 as lending.c does,
 * and I3: what is not proven clean is not given back here.
 *
 * What has to be done rarely, and may be a cancellation point, is in functions of their own, which
 * switch cancellation off; they are out of line, for the compiler saves registers for each call.
 */
#include "libclient/quick_lease.h"

#include "lendis/queue.h"
#include "libclient/cancel.h"
#include "libclient/lease_state.h"
#include "libclient/lending_policy.h"
#include "libclient/membership/membership.h"

/* ---- what is rare ---- */

static __attribute__((noinline)) void leave_retired(struct attachment *attachment)
{
    int before CANCEL_RESTORED = cancel_off();

    membership_empty(attachment);
}

static __attribute__((noinline)) void ring(struct attachment *attachment)
{
    int before CANCEL_RESTORED = cancel_off();

    attachment_ring(attachment);
}

static __attribute__((noinline)) void pass_on(struct attachment *attachment, uint32_t index,
                                              uint64_t word)
{
    int before CANCEL_RESTORED = cancel_off();

    queue_pass_on(&attachment->segment, index, word);
}

/* ---- acquire ---- */

/* membership_enter(), where there is nothing to be done. */
static inline struct attachment *enter(struct lendis_pool *pool)
{
    struct local *local = pool->local;
    struct attachment *current = atomic_load_explicit(&local->current, memory_order_acquire);

    if (!current)
        return NULL;
    membership_use(current);
    /* As there: only now may we read what it has mapped. */
    if (atomic_load_explicit(&local->current, memory_order_seq_cst) == current &&
        !attachment_is_orphan(current))
        return current;
    if (membership_unuse(current))
        leave_retired(current);
    return NULL;
}

/* Which connection a lease after `leases` others tries first, in the pool's order; or one that
 * does not exist. */
static inline uint32_t first_choice(const struct attachment *attachment, uint32_t leases)
{
    if (shm_load32_relaxed(&attachment_settings(attachment)->order) != ORDER_LAST_USED)
        return UINT32_MAX;
    if (policy_settles(leases))
        return 0;
    return atomic_load_explicit(&attachment->pool->local->last_index, memory_order_relaxed);
}

/* Whether nothing is to be asked or waited for before a lease. */
static inline bool lends_freely(const struct attachment *attachment)
{
    return !segment_is_closed(&attachment->segment) && !queue_maybe_waiting(&attachment->segment) &&
           shm_load32_relaxed(&attachment_settings(attachment)->per_uid_leases) == 0;
}

/* Whether connection `index`, whose word is `seen`, can be lent as it is, and *fd is its
 * descriptor. */
static inline bool is_at_hand(const struct attachment *attachment, uint32_t index, uint64_t seen,
                              int64_t now_ns, int *fd)
{
    const struct cached_descriptor *cached = &attachment->cached[index];
    const struct connection *connection = &attachment->segment.connections[index];

    *fd = cached->fd;
    return word_state(seen) == WORD_IDLE && lease_of(attachment, index) &&
           atomic_load_explicit(&cached->generation, memory_order_relaxed) ==
               1 + word_generation(seen) &&
           !policy_is_rested(attachment, shm_load_relaxed(&connection->leased_ms),
                             (uint64_t)now_ns / 1000000);
}

bool quick_try(struct attachment *attachment, struct lendis_lease **made)
{
    struct connection *connection;
    struct lendis_lease *lease;
    struct local *local = attachment->pool->local;
    uint32_t leases = atomic_load_explicit(&local->leases, memory_order_relaxed), index;
    uint64_t seen, word;
    int64_t now_ns;
    int fd;

    if (!lends_freely(attachment))
        return false;
    index = first_choice(attachment, leases);
    if (index >= segment_places(&attachment->segment))
        return false;
    connection = &attachment->segment.connections[index];
    now_ns = clock_coarse_ns();
    seen = shm_load(&connection->word);
    word = word_with(seen, WORD_LEASED, attachment->worker);
    if (!is_at_hand(attachment, index, seen, now_ns, &fd) ||
        !shm_cas(&connection->word, seen, word))
        return false;
    lease = lease_of(attachment, index);
    /* Only now: by another thread, which is about to end, or does not know that it was revoked. */
    if (atomic_load_explicit(&lease->held, memory_order_acquire)) {
        pass_on(attachment, index, word);
        return false;
    }
    lease_start(lease, word, fd, now_ns);
    shm_store_relaxed(&connection->leased_ms, (uint64_t)now_ns / 1000000);
    policy_count_lease(local, leases);
    attachment_count(attachment, COUNTER_hits, 1);
    if (policy_count_use(attachment, connection))
        ring(attachment);
    *made = lease;
    return true;
}

bool quick_acquire(struct lendis_pool *pool, struct lendis_lease **lease)
{
    struct attachment *attachment = enter(pool);

    if (!attachment)
        return false;
    if (quick_try(attachment, lease)) {
        (*lease)->exclusive = true;
        return true;
    }
    if (membership_unuse(attachment))
        leave_retired(attachment);
    return false;
}

/* ---- release ---- */

/* As lease_judge() in lease.c: nothing was left behind, and nothing done that we have not seen. */
static inline bool is_clean(const struct lendis_lease *lease)
{
    return !lease->exposed && !lease->broken && lease->session.left == 0 &&
           (!lease->exclusive ||
            shm_load32_relaxed(&attachment_settings(lease->attachment)->reset) != RESET_ALWAYS);
}

bool quick_release(struct lendis_lease *lease)
{
    struct attachment *attachment = lease->attachment;
    const struct segment *segment = &attachment->segment;

    if (!is_clean(lease) || policy_marked(&segment->connections[lease->index], lease->word) ||
        segment_is_closed(segment) || !queue_put_idle(segment, lease->index, lease->word))
        return false;
    lease_end(lease);
    if (membership_unuse(attachment))
        leave_retired(attachment);
    return true;
}
