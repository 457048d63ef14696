/* SPDX-License-Identifier: MIT */
/* Leases for callers: from the pool, a member of a service, or a connection of this process
 * alone. */
#include <errno.h>
#include "libclient/membership/attachment.h"
#include "libclient/cancel.h"
#include "libclient/clock.h"
#include "libclient/connection/fallback.h"
#include "libclient/lease.h"
#include "libclient/lending.h"
#include "libclient/membership/membership.h"
#include "libclient/quick_lease.h"
#include "libclient/result.h"
#include "libclient/service.h"
#include "libclient/connection/socket_io.h"
#include "libclient/membership/uid_limit.h"

/* So many dead connections in a row are given back before one is lent unseen. */
#define TRIES_MAX 8

/* lendis_acquire() with an absolute limit. */
static int acquire_lease(struct lendis_pool *pool, int64_t deadline_ns, struct lendis_lease **lease)
{
    int result;

    do {
        struct attachment *attachment;

        result = membership_enter(pool, &attachment);
        if (result != 0)
            return fallback_acquire(pool, result, NULL, deadline_ns, lease);
        result = lending_try(attachment, lease);
        if (result == 0)
            return 0; /* the lease keeps the attachment in use */
        if (result == RESULT_SERVICE) {
            pool = service_lease_pool(pool, attachment);
            membership_leave(attachment);
            return pool ? acquire_lease(pool, deadline_ns, lease) : -ENOMEM;
        }
        if (deadline_ns == DEADLINE_OF_POOL)
            deadline_ns = clock_deadline_ns(attachment_settings(attachment)->wait_timeout_ms);
        if (result == LENDIS_E_BUSY)
            result = lending_wait(attachment, deadline_ns, lease);
        if (result == 0)
            return 0;
        if (result == RESULT_OVER_LIMIT)
            result = uid_limit_wait(attachment, deadline_ns);
        if (result == LENDIS_E_DISABLED) {
            result = fallback_acquire(pool, result, attachment, deadline_ns, lease);
            if (result != RESULT_TRY_AGAIN) {
                membership_leave(attachment);
                return result;
            }
        }
        membership_leave(attachment);
    } while (lending_again(result, deadline_ns));
    return lending_final(result, deadline_ns);
}

/* The caller gets a connection that has not ended already and has nothing to read, as far as can
 * be seen. */
static int acquire_alive(struct lendis_pool *pool, int64_t deadline_ns, struct lendis_lease **lease)
{
    int result;

    for (int tries = 0; tries < TRIES_MAX; tries++) {
        result = acquire_lease(pool, deadline_ns, lease);
        if (result != 0 || !(*lease)->rested)
            return result;
        (*lease)->rested = false;
        if (socket_is_silent((*lease)->fd))
            return 0;
        attachment_count((*lease)->attachment, COUNTER_lost, 1);
        lendis_discard(*lease);
    }
    return acquire_lease(pool, deadline_ns, lease);
}

/* Reads the clock for a limit that has to be waited for perhaps. Out of line: see quick_lease.c. */
static __attribute__((noinline)) int acquire_thoroughly(struct lendis_pool *pool, int timeout_ms,
                                                        struct lendis_lease **lease)
{
    int before CANCEL_RESTORED = cancel_off();
    int64_t deadline_ns = timeout_ms == 0  ? 0
                          : timeout_ms < 0 ? DEADLINE_OF_POOL
                                           : clock_deadline_ns(timeout_ms);
    int result = acquire_alive(pool, deadline_ns, lease);

    if (result == 0)
        (*lease)->exclusive = true;
    return result;
}

LENDIS_PUBLIC int lendis_acquire(struct lendis_pool *pool, int timeout_ms,
                                 struct lendis_lease **lease)
{
    if (!pool || !lease || timeout_ms < -1)
        return -EINVAL;
    if (cancel_is_deferred() && quick_acquire(pool, lease))
        return 0;
    return acquire_thoroughly(pool, timeout_ms, lease);
}

static __attribute__((noinline)) int release_thoroughly(struct lendis_lease *lease)
{
    int before CANCEL_RESTORED = cancel_off();

    if (!lease_is_mine(lease))
        return -EINVAL;
    if (lease->private)
        return fallback_release(lease, false), 0;
    return lease_release(lease);
}

LENDIS_PUBLIC int lendis_release(struct lendis_lease *lease)
{
    if (quick_is_mine(lease) && cancel_is_deferred() && quick_release(lease))
        return 0;
    return release_thoroughly(lease);
}

LENDIS_PUBLIC int lendis_discard(struct lendis_lease *lease)
{
    int before CANCEL_RESTORED = cancel_off();

    if (!lease_is_mine(lease))
        return -EINVAL;
    if (lease->private)
        return fallback_release(lease, true), 0;
    return lease_discard(lease);
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
