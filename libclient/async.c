/* SPDX-License-Identifier: MIT */
/*
 * Acquiring in steps that do not wait, for event loops: lendis_acquire_begin() and what follows it.
 *
 * A wait stands in the pool's queue as a sleeping thread would, with a place of its own. What its
 * owner polls is an epoll descriptor over the poll wake-up of its slot's group
 * (lendis/poll_wakeup.h), edge-triggered, and a timer of its own. The wake-up says that something
 * may have been handed over. The timer stands for what waiter_sleep() has as its limits: the
 * waiter's patience, after which it scans by itself (so one that nobody sent, or that could not be
 * had, costs some milliseconds and nothing else, with or without a broker: I7, I9), and the end of
 * the wait.
 *
 * A wait belongs to one thread at a time; only the list of them is shared. Nothing here is on the
 * way of a lease that does not wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "lendis/waiter.h"
#include "libclient/async.h"
#include "libclient/membership/attachment.h"
#include "libclient/cancel.h"
#include "libclient/clock.h"
#include "libclient/connection/fallback.h"
#include "libclient/lease.h"
#include "libclient/lending.h"
#include "libclient/lending_policy.h"
#include "libclient/membership/membership.h"
#include "libclient/result.h"
#include "libclient/service.h"
#include "libclient/membership/uid_limit.h"
#include "libclient/handover/wait_slot.h"
#include "libclient/shared/descriptor.h"

/* Until another attempt, as in lending_again(). */
#define PAUSE_NS INT64_C(1000000)

struct lendis_wait {
    struct lendis_wait *next, **link; /* in local->waits, under the lock */
    struct lendis_pool *pool;
    int64_t mark;                  /* of the process that began it */
    struct lendis_lease *lease;    /* leased already */
    struct attachment *attachment; /* in use while the wait is queued, else NULL */
    struct waiter waiter;
    int64_t start_ns;
    int64_t deadline_ns; /* 0: does not wait; DEADLINE_OF_POOL: not looked up yet */
    int epoll;           /* -1 until somebody has to poll */
    int timer;
    uint32_t watched; /* groups whose wake-up `epoll` watches, a bit each */
};

enum { EVENT_WAKEUP, EVENT_TIMER };

/* A forked child finds the mark zeroed. */
static int64_t process_mark(struct local *local)
{
    int64_t mark = atomic_load_explicit(&local->mark, memory_order_relaxed);

    if (mark != 0)
        return mark;
    /* A child's first wait begins later than its parent's did. */
    atomic_compare_exchange_strong(&local->mark, &mark, clock_now_ns());
    return atomic_load_explicit(&local->mark, memory_order_relaxed);
}

static bool is_mine(const struct lendis_wait *wait)
{
    return wait &&
           wait->mark == atomic_load_explicit(&wait->pool->local->mark, memory_order_relaxed);
}

/* ---- the list ---- */

static void enlist(struct lendis_wait *wait)
{
    struct local *local = wait->pool->local;

    pthread_mutex_lock(&local->lock);
    wait->next = local->waits;
    wait->link = &local->waits;
    if (wait->next)
        wait->next->link = &wait->next;
    local->waits = wait;
    pthread_mutex_unlock(&local->lock);
}

static void delist(struct lendis_wait *wait)
{
    struct local *local = wait->pool->local;

    pthread_mutex_lock(&local->lock);
    *wait->link = wait->next;
    if (wait->next)
        wait->next->link = wait->link;
    pthread_mutex_unlock(&local->lock);
}

static void wait_free(struct lendis_wait *wait)
{
    if (wait->timer >= 0)
        close(wait->timer);
    if (wait->epoll >= 0)
        close(wait->epoll);
    free(wait);
}

/* ---- what is polled ---- */

/* The timer fires at `at_ns`; in the past: at once. Setting it also takes back that it fired. */
static void set_timer(const struct lendis_wait *wait, int64_t at_ns)
{
    struct itimerspec when = {
        .it_value = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000}};

    timerfd_settime(wait->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static int watch(int epoll, int fd, uint32_t events, uint32_t what)
{
    struct epoll_event event = {.events = events, .data.u32 = what};

    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int open_descriptors(struct lendis_wait *wait)
{
    if (wait->epoll >= 0)
        return 0;
    wait->timer = descriptor_timer();
    if (wait->timer < 0)
        return -errno;
    wait->epoll = descriptor_epoll();
    if (wait->epoll < 0) {
        int result = -errno;

        close(wait->timer);
        wait->timer = -1;
        return result;
    }
    return watch(wait->epoll, wait->timer, EPOLLIN, EVENT_TIMER);
}

/* Takes back what made the descriptor readable. True: time passed. */
static bool clear_events(const struct lendis_wait *wait)
{
    struct epoll_event events[1 + POLL_WAKEUPS];
    int count = epoll_wait(wait->epoll, events, 1 + POLL_WAKEUPS, 0);
    bool timer = false;

    for (int i = 0; i < count; i++)
        timer |= events[i].data.u32 == EVENT_TIMER;
    return timer;
}

/* Has the poll wake-up of the wait's slot watched. Without one the timer must do. */
static int watch_wakeup(struct lendis_wait *wait, struct attachment *attachment, uint32_t slot)
{
    uint32_t group = poll_wakeup_group(slot);
    int result = attachment_fetch_wakeups(attachment);

    if (result == LENDIS_E_DOWN || (wait->watched >> group & 1))
        return 0;
    if (result == 0)
        result = watch(wait->epoll, attachment->wakeups[group], EPOLLIN | EPOLLET, EVENT_WAKEUP);
    if (result == 0)
        wait->watched |= 1u << group;
    return result;
}

/* The wakeups of an attachment that is left are no longer of interest. */
static void unwatch_wakeups(struct lendis_wait *wait)
{
    for (uint32_t group = 0; group < POLL_WAKEUPS; group++)
        if (wait->watched >> group & 1)
            epoll_ctl(wait->epoll, EPOLL_CTL_DEL, wait->attachment->wakeups[group], NULL);
    wait->watched = 0;
}

/* ---- in the queue ---- */

static void set_patience(const struct lendis_wait *wait)
{
    int64_t at_ns = clock_now_ns() + waiter_patience_ns(&wait->waiter);

    set_timer(wait, at_ns < wait->deadline_ns ? at_ns : wait->deadline_ns);
}

/* No longer queued: gives up the slot. The use of the attachment goes to the caller. */
static struct attachment *leave_slot(struct lendis_wait *wait, int result)
{
    struct attachment *attachment = wait->attachment;

    waiter_end_polling(&wait->waiter);
    wait_slot_release(attachment, wait->waiter.slot);
    wait_slot_count(attachment, HISTOGRAM_wait, wait->start_ns, result);
    unwatch_wakeups(wait);
    wait->attachment = NULL;
    return attachment;
}

/* Ends the place in the queue. Results: `result`; or 0, a connection had been handed over before:
 * wait->lease has it. */
static int take_leave(struct lendis_wait *wait, int result, uint32_t index, uint64_t word)
{
    bool passed = result == 0 || waiter_leave(&wait->waiter, &index, &word) == 1;
    struct attachment *attachment = leave_slot(wait, passed ? 0 : result);

    if (passed)
        result = lease_make(attachment, index, word, true, &wait->lease);
    if (result != 0)
        membership_leave(attachment);
    return result;
}

/* One scan of the queue, and more as long as something happens. Results: as finish;
 * RESULT_TRY_AGAIN. */
static int step(struct lendis_wait *wait, bool thorough)
{
    struct attachment *attachment = wait->attachment;
    uint64_t word = 0;
    uint32_t index = 0;
    int result;

    do {
        result = waiter_take(&wait->waiter, thorough, &index, &word);
        if (result == 1)
            return take_leave(wait, 0, index, word);
        if (result < 0)
            return take_leave(wait, result, index, word);
        if (thorough)
            policy_go_on_waiting(attachment, &wait->waiter);
        if (clock_now_ns() >= wait->deadline_ns || policy_fails_fast(attachment) ||
            (thorough && lending_is_disabled(attachment)))
            return take_leave(wait, lending_why_none(attachment, LENDIS_E_TIMEOUT), index, word);
        if (thorough && membership_must_restart(attachment))
            return take_leave(wait, RESULT_TRY_AGAIN, index, word);
    } while (!waiter_poll(&wait->waiter));
    return LENDIS_E_AGAIN;
}

/* Queues up. Results: LENDIS_E_AGAIN, and the use of the attachment is the wait's; as step(), and
 * it is the caller's. */
static int queue_up(struct lendis_wait *wait, struct attachment *attachment)
{
    uint32_t slot;
    int result;

    result = open_descriptors(wait);
    if (result != 0)
        return result;
    if (!wait_slot_claim(attachment, &slot))
        return LENDIS_E_BUSY;
    wait_slot_since(attachment, slot, wait->start_ns);
    result = watch_wakeup(wait, attachment, slot);
    if (result == 0)
        result = waiter_join_polling(&wait->waiter, &attachment->segment, attachment->worker, slot);
    if (result != 0) {
        wait_slot_release(attachment, slot);
        return result;
    }
    wait->attachment = attachment;
    lending_ask_for_more(attachment); /* now that the broker can see that somebody waits */
    clear_events(wait);               /* wake-ups from before */
    set_patience(wait);
    return LENDIS_E_AGAIN;
}

/* A connection of the process' own, if there is one to be had. Results: as attempt(). */
static int go_direct(struct lendis_wait *wait, int why, const struct attachment *attachment)
{
    int result;

    if (wait->deadline_ns == DEADLINE_OF_POOL && !attachment) {
        struct attachment *limits = fallback_attachment(wait->pool);

        if (limits)
            wait->deadline_ns = clock_deadline_ns(attachment_settings(limits)->wait_timeout_ms);
    }
    result = fallback_acquire(wait->pool, why, attachment, 0, &wait->lease);
    /* There are as many as may be, and it has time. */
    if (result == LENDIS_E_BUSY && wait->deadline_ns != 0)
        return clock_now_ns() < wait->deadline_ns ? RESULT_TRY_AGAIN : LENDIS_E_TIMEOUT;
    if (result != RESULT_TRY_AGAIN)
        wait->deadline_ns = 0; /* as for lendis_acquire(), this is the end */
    return result;
}

/* A service's waits are a member's. */
static int move_to(struct lendis_wait *wait, struct lendis_pool *member)
{
    bool listed = wait->link != NULL;

    if (!member)
        return -ENOMEM;
    if (listed)
        delist(wait);
    wait->pool = member;
    wait->mark = process_mark(member->local);
    if (listed)
        enlist(wait);
    return 0;
}

/* One attempt from the start. Results: as finish; RESULT_TRY_AGAIN. */
static int attempt(struct lendis_wait *wait)
{
    struct attachment *attachment;
    int result = membership_enter(wait->pool, &attachment);

    if (result != 0)
        return go_direct(wait, result, NULL);
    result = lending_try(attachment, &wait->lease);
    if (result == 0)
        return 0; /* the lease keeps the attachment in use */
    if (result == RESULT_SERVICE) {
        result = move_to(wait, service_lease_pool(wait->pool, attachment));
        membership_leave(attachment);
        return result != 0 ? result : attempt(wait);
    }
    if (wait->deadline_ns == DEADLINE_OF_POOL)
        wait->deadline_ns = clock_deadline_ns(attachment_settings(attachment)->wait_timeout_ms);
    if (result == LENDIS_E_BUSY && (wait->deadline_ns == 0 || policy_fails_fast(attachment))) {
        lending_ask_for_more(attachment);
        result = lending_why_none(attachment, LENDIS_E_BUSY);
    } else if (result == LENDIS_E_BUSY) {
        result = uid_limit_is_reached(attachment) ? RESULT_OVER_LIMIT : queue_up(wait, attachment);
    }
    if (result == LENDIS_E_DISABLED)
        result = go_direct(wait, result, attachment);
    if (!wait->attachment)
        membership_leave(attachment);
    else if (policy_queue_is_full(attachment, wait->waiter.ticket))
        return take_leave(wait, LENDIS_E_BUSY, 0, 0);
    return result == LENDIS_E_AGAIN ? step(wait, false) : result;
}

/* What an attempt came to: whether there will be another. Results: as finish. */
static int decide(struct lendis_wait *wait, int result)
{
    int64_t now_ns = clock_now_ns();

    if (result != RESULT_TRY_AGAIN && result != RESULT_OVER_LIMIT && result != LENDIS_E_DOWN)
        return lending_final(result, wait->deadline_ns);
    if (wait->deadline_ns == 0 || now_ns >= wait->deadline_ns || open_descriptors(wait) != 0)
        return lending_final(result, wait->deadline_ns);
    set_timer(wait, now_ns + PAUSE_NS);
    return LENDIS_E_AGAIN;
}

static int advance(struct lendis_wait *wait)
{
    bool timer = wait->epoll >= 0 && clear_events(wait);
    int result;

    if (!wait->attachment)
        return decide(wait, attempt(wait));
    result = step(wait, timer);
    if (result == LENDIS_E_DISABLED)
        return decide(wait, attempt(wait));
    if (result == LENDIS_E_AGAIN && timer)
        set_patience(wait);
    return decide(wait, result);
}

/* ---- the calls ---- */

LENDIS_PUBLIC int lendis_acquire_begin(struct lendis_pool *pool, int timeout_ms,
                                       struct lendis_wait **wait)
{
    int before CANCEL_RESTORED = cancel_off();
    struct lendis_wait *made;
    int result;

    if (!pool || !wait || timeout_ms < -1)
        return -EINVAL;
    made = calloc(1, sizeof *made);
    if (!made)
        return -ENOMEM;
    made->pool = pool;
    made->epoll = made->timer = -1;
    made->start_ns = clock_now_ns();
    made->deadline_ns = timeout_ms < 0    ? DEADLINE_OF_POOL
                        : timeout_ms == 0 ? 0
                                          : made->start_ns + timeout_ms * INT64_C(1000000);
    made->mark = process_mark(pool->local);
    result = advance(made);
    if (result != 0 && result != LENDIS_E_AGAIN) {
        wait_free(made);
        return result;
    }
    enlist(made);
    *wait = made;
    return 0;
}

LENDIS_PUBLIC int lendis_acquire_fd(const struct lendis_wait *wait)
{
    int before CANCEL_RESTORED = cancel_off();
    /* The descriptors of a wait that need not poll are made here; const is the caller's view. */
    struct lendis_wait *ours = (struct lendis_wait *)wait;

    if (!is_mine(wait))
        return -EINVAL;
    if (wait->lease) {
        int result = open_descriptors(ours);

        if (result != 0)
            return result;
        set_timer(wait, 1);
    }
    return wait->epoll;
}

LENDIS_PUBLIC int lendis_acquire_finish(struct lendis_wait *wait, struct lendis_lease **lease)
{
    int before CANCEL_RESTORED = cancel_off();
    int result;

    if (!lease || !is_mine(wait))
        return -EINVAL;
    result = wait->lease ? 0 : advance(wait);
    if (result == LENDIS_E_AGAIN)
        return result;
    if (result == 0) {
        *lease = wait->lease;
        (*lease)->exclusive = true;
    }
    delist(wait);
    wait_free(wait);
    return result;
}

static void give_up(struct lendis_wait *wait)
{
    uint64_t word;
    uint32_t index;

    if (wait->attachment) {
        struct attachment *attachment = wait->attachment;

        if (waiter_leave(&wait->waiter, &index, &word))
            queue_pass_on(&attachment->segment, index, word);
        leave_slot(wait, 0);
        membership_leave(attachment);
    } else if (wait->lease) {
        lendis_release(wait->lease);
    }
}

LENDIS_PUBLIC void lendis_acquire_cancel(struct lendis_wait *wait)
{
    int before CANCEL_RESTORED = cancel_off();

    if (!wait)
        return;
    /* In a child the descriptors of a wait that another thread was beginning may be others'. */
    if (!is_mine(wait)) {
        free(wait);
        return;
    }
    give_up(wait);
    delist(wait);
    wait_free(wait);
}

void async_cancel_all(struct lendis_pool *pool)
{
    while (pool->local->waits)
        lendis_acquire_cancel(pool->local->waits);
}
