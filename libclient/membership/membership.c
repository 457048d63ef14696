/* SPDX-License-Identifier: MIT */
/*
 * Which attachment a call uses: made by the first one, renewed after the broker's end, made anew in
 * a forked child. The data path only passes through membership_enter() and membership_leave(): a
 * few loads and one atomic add each.
 */
#include "libclient/membership/membership.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>
#include "libclient/membership/attach.h"
#include "libclient/membership/attachment.h"
#include "libclient/clock.h"
#include "libclient/membership/inherit.h"
#include "libclient/lending_policy.h"
#include "libclient/connection/private_connection.h"

/* Attempts to attach again: 10 ms, doubled up to 1 s, half of it random, so that hundreds of
 * workers do not come at once. */
#define RETRY_MIN_NS INT64_C(10000000)
#define RETRY_MAX_NS INT64_C(1000000000)

/* Between looks for the answer to a greeting. */
#define ANSWER_NS INT64_C(1000000)

/* When to try again. Caller holds the lock. */
static void schedule_retry(struct local *local, int why)
{
    int64_t delay = RETRY_MAX_NS, now = clock_coarse_ns();

    if (local->failures < 7)
        delay = RETRY_MIN_NS << local->failures;
    local->failures++;
    local->last_failure = why;
    /* The low bits of the clock and the pid are random enough to spread workers. */
    delay = delay / 2 + (clock_now_ns() ^ (int64_t)getpid() * 7919) % (delay / 2);
    atomic_store_explicit(&local->retry_ns, now + delay, memory_order_relaxed);
}

/* Makes `fresh` current; `old` (may be NULL) is emptied when its last user leaves. Caller holds the
 * lock. */
static void make_current(struct lendis_pool *pool, struct attachment *fresh, struct attachment *old)
{
    struct local *local = pool->local;

    local->failures = 0;
    reach_note(pool);
    /* Any start will do, as long as each process has one of its own. */
    atomic_store_explicit(&local->sample,
                          (uint32_t)(clock_now_ns() * 2654435761u) ^ (uint32_t)getpid() * 40503u,
                          memory_order_relaxed);
    atomic_store_explicit(&local->retry_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&local->current, fresh, memory_order_seq_cst);
    private_connection_close_idle(pool);
    if (!old)
        return;
    atomic_store_explicit(&old->retired, true, memory_order_seq_cst);
    if (atomic_load_explicit(&old->users, memory_order_seq_cst) == 0)
        attachment_leave(old);
}

/* In a forked child: the parent's attachment that we may take over, the one that is filled and not
 * retired. Caller holds the lock, or is alone. */
static struct attachment *inherited_attachment(struct lendis_pool *pool)
{
    struct attachment *inherited = NULL;

    for (struct attachment *each = pool->attachments; each; each = each->next) {
        inherit_attachment(each);
        if (each->catalog.header && !atomic_load_explicit(&each->retired, memory_order_relaxed))
            inherited = each;
    }
    return inherited;
}

int membership_begin(struct lendis_pool *pool, bool now)
{
    struct local *local = pool->local;
    struct attachment *fresh, *inherited;
    int result = 0;

    pthread_mutex_lock(&local->lock);
    if (!atomic_load_explicit(&local->current, memory_order_relaxed)) {
        if (!now &&
            clock_coarse_ns() < atomic_load_explicit(&local->retry_ns, memory_order_relaxed)) {
            result = local->last_failure;
        } else {
            inherited = inherited_attachment(pool);
            result = attach_open(pool, inherited, &fresh);
            if (result == 0)
                make_current(pool, fresh, inherited == fresh ? NULL : inherited);
            else if (result != -ENOMEM) { /* the broker has no part in that */
                reach_failed(pool, result);
                schedule_retry(local, result);
            }
        }
    }
    pthread_mutex_unlock(&local->lock);
    return result;
}

/* Tries to attach to a new broker, or anew, as the old one is gone or has expelled us. True: there
 * is another current attachment. */
static bool renew(struct lendis_pool *pool, struct attachment *attachment)
{
    struct local *local = pool->local;
    struct attachment *fresh;
    bool renewed = true;

    if (atomic_load_explicit(&local->current, memory_order_acquire) != attachment)
        return true;
    if (clock_coarse_ns() < atomic_load_explicit(&local->retry_ns, memory_order_relaxed) ||
        pthread_mutex_trylock(&local->lock) != 0)
        return false;
    if (atomic_load_explicit(&local->current, memory_order_relaxed) == attachment) {
        int result = attach_again(pool, attachment, &fresh);

        renewed = result == 0;
        if (result == 0)
            make_current(pool, fresh, attachment);
        else if (result == -EAGAIN &&
                 pool->greeting.socket >=
                     0) /* a millisecond or so: a broker that starts is soon there */
            atomic_store_explicit(&local->retry_ns, clock_coarse_ns() + ANSWER_NS,
                                  memory_order_relaxed);
        else {
            reach_failed(pool, result);
            reach_look_for_redis(attachment, result);
            schedule_retry(local, result);
        }
    }
    pthread_mutex_unlock(&local->lock);
    return renewed;
}

bool membership_must_restart(struct attachment *attachment)
{
    if (!attachment_is_orphan(attachment))
        return false;
    return attachment_is_expelled(attachment) || renew(attachment->pool, attachment) ||
           reach_cut_off(attachment) != 0;
}

/* Why the last attempt to attach failed. Results: 0, it is under way; as lendis_attach(). */
static int why_not_renewed(struct lendis_pool *pool)
{
    struct local *local = pool->local;
    int result = 0;

    pthread_mutex_lock(&local->lock);
    if (pool->greeting.socket < 0 &&
        clock_coarse_ns() < atomic_load_explicit(&local->retry_ns, memory_order_relaxed))
        result = local->last_failure;
    pthread_mutex_unlock(&local->lock);
    return result;
}

/*
 * Attaches anew, as `expelled`, the current attachment, is not to be used: the caller waits for
 * what the broker says. Results: 0, there is another one; as lendis_attach().
 */
static int replace_expelled(struct lendis_pool *pool, struct attachment *expelled)
{
    static const struct timespec pause = {.tv_nsec = ANSWER_NS};
    int64_t deadline_ns = clock_now_ns() + pool->attach_timeout_ms * INT64_C(1000000);
    int result;

    while (!renew(pool, expelled)) {
        result = why_not_renewed(pool);
        if (result != 0)
            return result;
        if (clock_now_ns() >= deadline_ns)
            return LENDIS_E_TIMEOUT;
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* Whether `current`, which the caller uses, will do, or there is a better one by now. Results: 0
 * and *usable; as lendis_attach(). */
static int check_usable(struct lendis_pool *pool, struct attachment *current, bool *usable)
{
    *usable = !attachment_is_orphan(current);
    if (*usable)
        return 0;
    if (attachment_is_expelled(current))
        return replace_expelled(pool, current);
    *usable = !renew(pool, current);
    return 0;
}

int membership_enter(struct lendis_pool *pool, struct attachment **attachment)
{
    struct local *local = pool->local;

    for (;;) {
        struct attachment *current = atomic_load_explicit(&local->current, memory_order_acquire);
        bool usable = false;
        int result = 0;

        if (!current) {
            result = membership_begin(pool, false);
            if (result != 0)
                return result;
            continue;
        }
        /* Pairs with make_current(): either it sees our use, or we see that it is no longer
         * current. Only then may we read what it has mapped. */
        membership_use(current);
        if (atomic_load_explicit(&local->current, memory_order_seq_cst) == current)
            result = check_usable(pool, current, &usable);
        if (usable) {
            *attachment = current;
            return 0;
        }
        membership_leave(current);
        if (result != 0)
            return result;
    }
}

void membership_leave(struct attachment *attachment)
{
    if (membership_unuse(attachment))
        membership_empty(attachment);
}

void membership_empty(struct attachment *attachment)
{
    struct local *local = attachment->pool->local;

    pthread_mutex_lock(&local->lock);
    if (atomic_load_explicit(&attachment->retired, memory_order_relaxed) &&
        atomic_load_explicit(&attachment->users, memory_order_relaxed) == 0)
        attachment_leave(attachment);
    pthread_mutex_unlock(&local->lock);
}

int membership_result(const struct lendis_pool *pool, int result)
{
    policy_note_outage(NULL); /* Redis it is not */
    if (reach_lost(pool) == result)
        return result;
    return result == -ENOENT || result == -ECONNREFUSED || result == -EAGAIN ||
                   result == LENDIS_E_TIMEOUT
               ? LENDIS_E_DOWN
               : result;
}

void membership_end(struct lendis_pool *pool)
{
    struct attachment *current = atomic_load_explicit(&pool->local->current, memory_order_relaxed);

    /* In a child that never used the handle: its copies are closed, and no broker hears of it. */
    if (!current)
        inherited_attachment(pool);
    attach_forget_greeting(pool);
    for (struct attachment *each = pool->attachments; each; each = each->next)
        current ? attachment_leave(each) : attachment_empty(each);
}
