/* SPDX-License-Identifier: MIT */
/*
 * Leases: acquiring, waiting, giving back. On the fast path nothing but loads and two
 * compare-and-swaps, no system call and no allocation. Upholds I2 and I3 on the worker's side: a
 * lease is a word we moved to LEASED; what is not proven clean is moved to RETURNED.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "libclient/cancel.h"
#include "libclient/doorbell.h"
#include "libclient/exec.h"
#include "libclient/fallback.h"
#include "libclient/hygiene.h"
#include "libclient/service.h"
#include "libclient/lease.h"
#include "lendis/mailbox.h"
#include "lendis/waiter.h"
#include "libclient/lending_policy.h"
#include "libclient/reach.h"
#include "libclient/uid_limit.h"

/* wait_for()'s: a connection was leased. No LENDIS_E_* has this value, 1 is LENDIS_E_TIMEOUT. */
#define LEASED 1002

/* So many dead connections in a row are given back before one is lent unseen. */
#define LOOKS_MAX 8

static struct catalog_pool *pool_entry(const struct attachment *attachment)
{
    return &attachment->catalog.pools[attachment->pool_index];
}

static bool has_idle(const struct segment *segment)
{
    for (uint32_t i = 0; i < segment_places(segment); i++)
        if (word_state(shm_load(&segment->connections[i].word)) == WORD_IDLE)
            return true;
    return false;
}

void lease_ask_for_more(const struct attachment *attachment)
{
    if (policy_can_grow(attachment))
        attachment_ring(attachment);
}

/* ---- waiting ---- */

/* A slot whose mailbox was abandoned to a combiner is not used until that one has let go of it. */
static bool mailbox_is_free(const struct segment *segment, uint32_t slot)
{
    return mail_state(shm_load(&segment->slots[slot].mail)) == MAIL_FREE;
}

bool slot_claim(struct attachment *attachment, uint32_t *slot)
{
    const struct segment *segment = &attachment->segment;
    _Atomic bool *own_busy = &attachment->pool->local->own_slot_busy;
    uint32_t further = segment->slot_max - segment->worker_max;

    if (!atomic_exchange_explicit(own_busy, true, memory_order_acquire)) {
        if (mailbox_is_free(segment, attachment->worker)) {
            *slot = attachment->worker;
            return true;
        }
        atomic_store_explicit(own_busy, false, memory_order_release);
    }
    for (uint32_t i = 0; i < further; i++) {
        uint32_t at = segment->worker_max + (attachment->worker + i) % further;
        shm_u32 *owner = &segment->slots[at].owner;

        if (shm_load32(owner) != 0 || !shm_cas32(owner, 0, 1 + attachment->worker))
            continue;
        if (mailbox_is_free(segment, at)) {
            *slot = at;
            return true;
        }
        shm_cas32(owner, 1 + attachment->worker, 0);
    }
    return false;
}

void slot_release(struct attachment *attachment, uint32_t slot)
{
    if (slot == attachment->worker)
        atomic_store_explicit(&attachment->pool->local->own_slot_busy, false, memory_order_release);
    else
        /* By compare-and-swap: it is another's if this process lost its place. */
        shm_cas32(&attachment->segment.slots[slot].owner, 1 + attachment->worker, 0);
}

bool lease_is_disabled(const struct attachment *attachment)
{
    return segment_is_closed(&attachment->segment) &&
           shm_load32(&pool_entry(attachment)->gate) == GATE_DRAINED;
}

bool lease_is_stranded(const struct attachment *attachment)
{
    const struct segment *segment = &attachment->segment;

    if (!attachment->pool->fallback_address || !attachment_is_orphan(attachment))
        return false;
    for (uint32_t i = 0; i < segment_places(segment); i++)
        switch (word_state(shm_load(&segment->connections[i].word))) {
        case WORD_IDLE:
        case WORD_LEASED:
        case WORD_HANDED:
        case WORD_CARRIED:
            return false;
        default:
            break;
        }
    return true;
}

int lease_why_none(const struct attachment *attachment, int otherwise)
{
    if (lease_is_disabled(attachment))
        return LENDIS_E_DISABLED;
    if (shm_load32(&pool_entry(attachment)->backend) != BACKEND_DOWN &&
        !policy_fails_fast(attachment))
        return otherwise;
    policy_note_outage(attachment);
    return policy_fails_fast(attachment) ? LEASE_FAILS_FAST : LENDIS_E_DOWN;
}

/* Waits in `slot`. Results: LEASED; LENDIS_E_*; LEASE_TRY_AGAIN; -errno. */
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
        return waiter_leave(&waiter, index, word) ? LEASED : LENDIS_E_BUSY;
    lease_ask_for_more(attachment); /* now that the broker can see that somebody waits */
    for (;;) {
        result = waiter_take(&waiter, thorough, index, word);
        if (result != 0)
            return result == 1 ? LEASED : result;
        if (clock_now_ns() >= deadline_ns || policy_fails_fast(attachment) ||
            (thorough && lease_is_disabled(attachment)))
            return waiter_leave(&waiter, index, word)
                       ? LEASED
                       : lease_why_none(attachment, LENDIS_E_TIMEOUT);
        if (thorough && pool_must_restart(attachment))
            return waiter_leave(&waiter, index, word) ? LEASED : LEASE_TRY_AGAIN;
        if (thorough)
            policy_go_on_waiting(attachment, &waiter);
        thorough = waiter_sleep(&waiter, deadline_ns);
    }
}

void lease_count_wait(const struct attachment *attachment, enum histogram_name name,
                      int64_t start_ns, int result)
{
    uint64_t waited_ns = (uint64_t)(clock_now_ns() - start_ns);

    attachment_count(attachment, COUNTER_waits, 1);
    attachment_count(attachment, COUNTER_wait_ns, waited_ns);
    attachment_measure(attachment, name, waited_ns, 1);
    if (result == LENDIS_E_TIMEOUT || result == LENDIS_E_DOWN || result == LEASE_FAILS_FAST)
        attachment_count(attachment, COUNTER_timeouts, 1);
}

static int wait_for(struct attachment *attachment, int64_t deadline_ns, uint32_t *index,
                    uint64_t *word)
{
    int64_t start_ns = clock_now_ns();
    uint32_t slot;
    int result;

    if (!slot_claim(attachment, &slot))
        return LENDIS_E_BUSY;
    slot_since(attachment, slot, start_ns);
    result = wait_in_slot(attachment, slot, deadline_ns, index, word);
    slot_release(attachment, slot);
    lease_count_wait(attachment, HISTOGRAM_wait, start_ns, result);
    return result;
}

/* ---- how long leases last: histograms.h ---- */

/*
 * Chooses one lease in LEASE_SAMPLE. Multiples of 2^32 divided by the golden ratio spread as evenly
 * as can be, and fall in step with no habit of the program's; they begin at a random place, so that
 * workers with a single lease in their lives are seen as they should be. Threads may count one
 * twice.
 */
static bool is_sample(struct local *local)
{
    uint32_t sample = atomic_load_explicit(&local->sample, memory_order_relaxed) + 2654435769u;

    atomic_store_explicit(&local->sample, sample, memory_order_relaxed);
    return sample < UINT32_MAX / LEASE_SAMPLE;
}

static void time_begin(struct lendis_lease *lease, int64_t coarse_ns)
{
    lease->used = false;
    lease->timed = is_sample(lease->attachment->pool->local);
    lease->began_ns = lease->timed ? clock_now_ns() : coarse_ns;
}

static void time_end(const struct lendis_lease *lease)
{
    int64_t lasted;
    uint64_t lasted_ns;

    if (!lease->used && !lease->timed)
        return;
    lasted = (lease->timed ? clock_now_ns() : clock_coarse_ns()) - lease->began_ns;
    lasted_ns = lasted > 0 ? (uint64_t)lasted : 0;
    if (lasted_ns >= LEASE_EXACT_NS)
        attachment_measure(lease->attachment, HISTOGRAM_lease, lasted_ns, 1);
    else if (lease->timed)
        attachment_measure(lease->attachment, HISTOGRAM_lease, lasted_ns, LEASE_SAMPLE);
}

/* ---- the lease itself ---- */

struct lendis_lease *lease_find(struct attachment *attachment, uint32_t index, uint64_t generation)
{
    struct lendis_lease *lease = lease_of(attachment, index);

    if (lease && atomic_load_explicit(&lease->held, memory_order_acquire) &&
        word_generation(lease->word) == generation)
        return lease;
    for (lease = attachment->extra; lease; lease = lease->next_extra)
        if (atomic_load_explicit(&lease->held, memory_order_relaxed) && lease->index == index &&
            word_generation(lease->word) == generation)
            return lease;
    return NULL;
}

/* The struct of connection `index`, made now if there is none; NULL: no memory. */
static struct lendis_lease *lease_own(struct attachment *attachment, uint32_t index)
{
    struct lendis_lease *lease = lease_of(attachment, index), *none = NULL;

    if (lease)
        return lease;
    lease = calloc(1, sizeof *lease);
    if (!lease)
        return NULL;
    lease->attachment = attachment;
    lease->index = index;
    /* Two threads can be here at a time: one with a connection that was revoked meanwhile. Release: see lease_of(). */
    if (atomic_compare_exchange_strong_explicit(&attachment->leases[index], &none, lease,
                                                memory_order_acq_rel, memory_order_acquire))
        return lease;
    free(lease);
    return none;
}

/* A struct for a new lease of `index`: its own one, unless a revoked lease is still held in it. */
static struct lendis_lease *lease_struct(struct attachment *attachment, uint32_t index)
{
    struct lendis_lease *lease = lease_own(attachment, index);

    if (!lease || !atomic_load_explicit(&lease->held, memory_order_acquire))
        return lease;
    pthread_mutex_lock(&attachment->pool->local->lock);
    for (lease = attachment->extra; lease; lease = lease->next_extra)
        if (!atomic_load_explicit(&lease->held, memory_order_acquire))
            break;
    if (!lease) {
        lease = calloc(1, sizeof *lease);
        if (lease) {
            lease->attachment = attachment;
            lease->next_extra = attachment->extra;
            attachment->extra = lease;
        }
    }
    if (lease) {
        lease->index = index;
        atomic_store_explicit(&lease->held, true, memory_order_relaxed);
    }
    pthread_mutex_unlock(&attachment->pool->local->lock);
    return lease;
}

int lease_make(struct attachment *attachment, uint32_t index, uint64_t word, bool clean,
               struct lendis_lease **made)
{
    struct connection *connection = &attachment->segment.connections[index];
    int64_t now_ns = clock_coarse_ns();
    uint64_t now_ms = (uint64_t)now_ns / 1000000;
    struct lendis_lease *lease;
    int fd, result;

    if (clean && share_is_exceeded(attachment)) {
        queue_pass_on(&attachment->segment, index, word);
        return LEASE_OVER_SHARE;
    }
    result = attachment_descriptor(attachment, index, word_generation(word), &fd);
    if (result == 0) {
        lease = lease_struct(attachment, index);
        if (!lease)
            result = -ENOMEM;
    }
    if (result != 0) {
        if (clean)
            queue_pass_on(&attachment->segment, index, word);
        else if (word_return(&connection->word, word))
            attachment_ring(attachment);
        /* No broker to ask: others may have use for this connection, and a new broker may come. */
        return result == -ESTALE || result == LENDIS_E_DOWN ? LEASE_TRY_AGAIN : result;
    }
    lease->word = word;
    lease->fd = fd;
    lease->owns_fd = false;
    lease->exclusive = false;
    lease->exposed = false;
    lease->bare = false;
    lease->broken = false;
    lease->session = (struct session){0};
    atomic_store_explicit(&lease->held, true, memory_order_release);
    atomic_store_explicit(&attachment->pool->local->last_index, index, memory_order_relaxed);
    attachment_count(attachment, COUNTER_leases, 1);
    policy_count_use(attachment, connection);
    lease->rested = policy_is_rested(attachment, shm_load_relaxed(&connection->leased_ms), now_ms);
    shm_store_relaxed(&connection->leased_ms, now_ms);
    time_begin(lease, now_ns);
    *made = lease;
    return 0;
}

static int why_closed(const struct attachment *attachment)
{
    switch (shm_load32(&pool_entry(attachment)->gate)) {
    case GATE_DRAINED:
        return LENDIS_E_DISABLED;
    case GATE_SERVICE:
        return LEASE_SERVICE;
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
    taken = !waited && share_is_taken(attachment);
    if (taken && has_idle(segment))
        return LEASE_OVER_SHARE;
    if (waited || taken || !policy_lease_idle(attachment, &index, &word)) {
        attachment_count(attachment, COUNTER_misses, 1);
        return lease_is_stranded(attachment) ? LENDIS_E_DISABLED : LENDIS_E_BUSY;
    }
    result = lease_make(attachment, index, word, true, lease);
    if (result == 0)
        attachment_count(attachment, COUNTER_hits, 1);
    return result;
}

int lease_try(struct attachment *attachment, struct lendis_lease **lease)
{
    int result = try_lease(attachment, lease), lost = 0;

    if (result == LENDIS_E_BUSY || result == LEASE_TRY_AGAIN)
        lost = reach_cut_off(attachment);
    return lost != 0 ? lost : result;
}

/* Waits for a connection until deadline_ns (0: not at all). Results as lease_acquire_on(). */
static int lease_wait(struct attachment *attachment, int64_t deadline_ns,
                      struct lendis_lease **lease)
{
    uint32_t index;
    uint64_t word;
    int result;

    if (deadline_ns == 0 || policy_fails_fast(attachment)) {
        lease_ask_for_more(attachment);
        doorbell_ring_for_others(attachment, NULL);
        return lease_why_none(attachment, LENDIS_E_BUSY);
    }
    /* Whoever may not have it does not queue up for it. */
    if (share_is_taken(attachment))
        return LEASE_OVER_SHARE;
    result = wait_for(attachment, deadline_ns, &index, &word);
    return result == LEASED ? lease_make(attachment, index, word, true, lease) : result;
}

int lease_acquire_on(struct attachment *attachment, int64_t deadline_ns,
                     struct lendis_lease **lease)
{
    int result = lease_try(attachment, lease);

    if (result == LENDIS_E_BUSY)
        result = lease_wait(attachment, deadline_ns, lease);
    return result == LEASE_OVER_SHARE ? share_wait(attachment, deadline_ns) : result;
}

int lease_attach_result(const struct lendis_pool *pool, int result)
{
    policy_note_outage(NULL); /* Redis it is not */
    if (reach_lost(pool) == result)
        return result;
    return result == -ENOENT || result == -ECONNREFUSED || result == -EAGAIN ||
                   result == LENDIS_E_TIMEOUT
               ? LENDIS_E_DOWN
               : result;
}

bool lease_again(int result, int64_t deadline_ns)
{
    /* Between attempts on connections that we cannot use now (replaced, or not fetched before the
     * broker died). */
    static const struct timespec pause = {.tv_nsec = 1000000};

    if (result != LEASE_TRY_AGAIN && result != LEASE_OVER_SHARE && result != LENDIS_E_DOWN)
        return false;
    if (deadline_ns == 0 || clock_now_ns() >= deadline_ns)
        return false;
    if (result != LEASE_OVER_SHARE) /* share_wait() was the pause */
        nanosleep(&pause, NULL);
    return true;
}

int lease_final(int result, int64_t deadline_ns)
{
    if (result == LEASE_OVER_SHARE)
        return deadline_ns == 0 ? LENDIS_E_BUSY : LENDIS_E_TIMEOUT;
    return result == LEASE_TRY_AGAIN || result == LEASE_FAILS_FAST ? LENDIS_E_DOWN : result;
}

int lease_acquire(struct lendis_pool *pool, int64_t deadline_ns, struct lendis_lease **lease)
{
    int result;

    do {
        struct attachment *attachment;

        result = pool_enter(pool, &attachment);
        if (result != 0)
            return fallback_acquire(pool, result, NULL, deadline_ns, lease);
        result = lease_try(attachment, lease);
        if (result == 0)
            return 0; /* the lease keeps the attachment in use */
        if (result == LEASE_SERVICE) {
            pool = service_lease_pool(pool, attachment);
            pool_leave(attachment);
            return pool ? lease_acquire(pool, deadline_ns, lease) : -ENOMEM;
        }
        if (deadline_ns == DEADLINE_OF_POOL)
            deadline_ns = clock_deadline_ns(attachment_settings(attachment)->wait_timeout_ms);
        if (result == LENDIS_E_BUSY)
            result = lease_wait(attachment, deadline_ns, lease);
        if (result == 0)
            return 0;
        if (result == LEASE_OVER_SHARE)
            result = share_wait(attachment, deadline_ns);
        if (result == LENDIS_E_DISABLED) {
            result = fallback_acquire(pool, result, attachment, deadline_ns, lease);
            if (result != LEASE_TRY_AGAIN) {
                pool_leave(attachment);
                return result;
            }
        }
        pool_leave(attachment);
    } while (lease_again(result, deadline_ns));
    return lease_final(result, deadline_ns);
}

bool lease_is_revoked(const struct lendis_lease *lease)
{
    return !lease->private &&
           shm_load(&lease->attachment->segment.connections[lease->index].word) != lease->word;
}

bool lease_carry(struct lendis_lease *lease, uint32_t slot)
{
    return shm_cas(&lease->attachment->segment.connections[lease->index].word, lease->word,
                   word_with(lease->word, WORD_CARRIED, slot));
}

bool lease_carry_back(struct lendis_lease *lease, uint32_t slot)
{
    return shm_cas(&lease->attachment->segment.connections[lease->index].word,
                   word_with(lease->word, WORD_CARRIED, slot), lease->word);
}

/* The struct is free again; with it, under the lock, a descriptor that the cache has replaced
 * meanwhile. */
static void struct_release(struct lendis_lease *lease, bool revoked)
{
    struct attachment *attachment = lease->attachment;

    time_end(lease);
    if (revoked) {
        pthread_mutex_lock(&attachment->pool->local->lock);
        if (lease->owns_fd)
            close(lease->fd);
        lease->owns_fd = false;
    }
    atomic_store_explicit(&lease->held, false, memory_order_release);
    if (revoked)
        pthread_mutex_unlock(&attachment->pool->local->lock);
    pool_leave(attachment);
}

void lease_forget(struct lendis_lease *lease)
{
    lease_conceal(lease);
    struct_release(lease, true);
}

/* Gives `lease` back. Results as lendis_release(). */
static int give_back(struct lendis_lease *lease, enum verdict verdict)
{
    struct attachment *attachment = lease->attachment;
    shm_u64 *word = &attachment->segment.connections[lease->index].word;
    bool unclean = verdict != VERDICT_CLEAN, ours;

    if (verdict != VERDICT_BROKEN &&
        (policy_retires(lease) || segment_is_closed(&attachment->segment)))
        verdict = VERDICT_BROKEN;
    if (verdict == VERDICT_CLEAN) {
        ours = queue_pass_on(&attachment->segment, lease->index, lease->word);
    } else {
        ours = verdict == VERDICT_UNCLEAN ? word_return_unclean(word, lease->word)
                                          : word_return(word, lease->word);
        attachment_ring(attachment);
        attachment_count(attachment, COUNTER_returned, unclean);
    }
    if (!ours)
        attachment_count(attachment, COUNTER_revoked, 1);
    struct_release(lease, !ours);
    return ours ? 0 : LENDIS_E_REVOKED;
}

/* A lease of the parent's is not a forked child's to give back: the child's handle has no
 * attachment, or another worker. */
bool lease_is_mine(const struct lendis_lease *lease)
{
    struct local *local;

    if (!lease || !lease->attachment)
        return false;
    if (lease->private)
        return fallback_owns(lease);
    local = lease->attachment->pool->local;
    return atomic_load_explicit(&local->current, memory_order_relaxed) != NULL &&
           atomic_load_explicit(&lease->held, memory_order_relaxed);
}

/* The caller gets a connection that has not ended already and has nothing to read, as far as a look can tell. */
static int acquire_alive(struct lendis_pool *pool, int64_t deadline_ns, struct lendis_lease **lease)
{
    int result;

    for (int looks = 0; looks < LOOKS_MAX; looks++) {
        result = lease_acquire(pool, deadline_ns, lease);
        if (result != 0 || !(*lease)->rested)
            return result;
        (*lease)->rested = false;
        if (exec_is_silent((*lease)->fd))
            return 0;
        attachment_count((*lease)->attachment, COUNTER_lost, 1);
        lendis_discard(*lease);
    }
    return lease_acquire(pool, deadline_ns, lease);
}

LENDIS_PUBLIC int lendis_acquire(struct lendis_pool *pool, int timeout_ms,
                                 struct lendis_lease **lease)
{
    int before = cancel_off(), result;

    if (!pool || !lease || timeout_ms < -1)
        result = -EINVAL;
    else
        result = acquire_alive(pool,
                               timeout_ms == 0  ? 0
                               : timeout_ms < 0 ? DEADLINE_OF_POOL
                                                : clock_deadline_ns(timeout_ms),
                               lease);
    if (result == 0)
        (*lease)->exclusive = true;
    cancel_on(before);
    return result;
}

LENDIS_PUBLIC int lendis_release(struct lendis_lease *lease)
{
    int before = cancel_off(), result = 0;

    if (!lease_is_mine(lease))
        result = -EINVAL;
    else if (lease->private)
        fallback_release(lease, false);
    else
        result = give_back(lease, lease_judge(lease));
    cancel_on(before);
    return result;
}

LENDIS_PUBLIC int lendis_discard(struct lendis_lease *lease)
{
    int before CANCEL_RESTORED = cancel_off();

    if (!lease_is_mine(lease))
        return -EINVAL;
    if (lease->private)
        return fallback_release(lease, true), 0;
    lease_conceal(lease);
    return give_back(lease, VERDICT_BROKEN);
}

LENDIS_PUBLIC int lendis_lease_fd(const struct lendis_lease *lease)
{
    int before CANCEL_RESTORED = cancel_off();
    /* The struct is ours; const is the caller's view. */
    struct lendis_lease *own = (struct lendis_lease *)lease;

    if (!lease_is_mine(lease))
        return -EINVAL;
    lease_expose(own);
    own->bare = true;
    return own->fd;
}
