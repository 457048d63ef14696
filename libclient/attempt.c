/* SPDX-License-Identifier: MIT */
/*
 * A call's attempts: see attempt.h. Each goes the way that is open at the time: an idle connection,
 * one of another process (submit.h), or one of this process alone (fallback.h).
 */
#include "libclient/attempt.h"

#include <errno.h>
#include "libclient/membership/attachment.h"
#include "libclient/clock.h"
#include "libclient/handover/combiner.h"
#include "libclient/handover/doorbell.h"
#include "libclient/connection/fallback.h"
#include "libclient/lease.h"
#include "libclient/lending.h"
#include "libclient/lending_policy.h"
#include "libclient/membership/membership.h"
#include "libclient/result.h"
#include "libclient/handover/submit.h"
#include "libclient/membership/uid_limit.h"

/* A connection can be dead at most as often as there are ones that died since they were last
 * used. */
#define ATTEMPTS_MAX 8
/* A read that was on a connection when it ended is sent again so often at most. */
#define RESENDS_MAX 2

/* One attempt on a connection of its own. */
static int attempt_alone(struct attachment *attachment, const struct call *call,
                         int64_t wait_deadline_ns)
{
    struct lendis_lease *lease;
    int result = lending_acquire(attachment, wait_deadline_ns, &lease);

    if (result != 0)
        return result;
    membership_use(attachment);
    lease->exclusive = true;
    result = call_on_lease(lease, call);
    lease_release(lease);
    return result;
}

/* One attempt: on an idle connection, else handed over. */
static int attempt_shared(struct attachment *attachment, const struct call *call,
                          int64_t wait_deadline_ns)
{
    struct lendis_lease *lease;
    int result = lending_try(attachment, &lease);

    if (result == 0) {
        membership_use(attachment);
        return combiner_run(lease, call);
    }
    if (result == LENDIS_E_BUSY && (wait_deadline_ns == 0 || policy_fails_fast(attachment))) {
        lending_ask_for_more(attachment);
        doorbell_ring_for_others(attachment, NULL);
        return lending_why_none(attachment, LENDIS_E_BUSY);
    }
    if (result == LENDIS_E_BUSY)
        result = submit_call(attachment, call, wait_deadline_ns);
    return result == RESULT_OVER_LIMIT ? uid_limit_wait(attachment, wait_deadline_ns) : result;
}

/* The limits of lendis_exec(): of the whole call, and of the wait for a connection (0: none is
 * waited for). */
static void set_deadlines(const struct attachment *attachment, struct call *call, int timeout_ms,
                          int64_t *wait_deadline_ns)
{
    int64_t now_ns = clock_now_ns();

    if (timeout_ms > 0) {
        call->deadline_ns = *wait_deadline_ns = now_ns + timeout_ms * INT64_C(1000000);
        return;
    }
    call->deadline_ns = call_reply_deadline(attachment, &call->command, now_ns);
    if (timeout_ms < 0)
        *wait_deadline_ns =
            now_ns + attachment_settings(attachment)->wait_timeout_ms * INT64_C(1000000);
}

/* It has been on so many connections that ended that it may be the reason. */
static bool is_lost_too_often(const struct call *call)
{
    return *call->losses > RESENDS_MAX;
}

/* The call on a connection of the process' own, because of `why`: see fallback_acquire(). */
static int attempt_direct(struct lendis_pool *pool, int why, const struct attachment *attachment,
                          const struct call *call, int64_t wait_deadline_ns)
{
    int result = LENDIS_E_DOWN;

    for (int attempt = 0;
         attempt < ATTEMPTS_MAX && result == LENDIS_E_DOWN && !is_lost_too_often(call); attempt++) {
        struct lendis_lease *lease;

        if (attempt > 0)
            call->sink->restart(call->sink->context);
        result = fallback_acquire(pool, why, attachment, wait_deadline_ns, &lease);
        if (result != 0)
            return result;
        result = call_on_lease(lease, call);
        fallback_release(lease, false);
    }
    return result;
}

/* Without an attachment: there is no broker, because of `why`. */
static int attempt_without_broker(struct lendis_pool *pool, int why, struct call *call,
                                  int timeout_ms, bool first, int64_t wait_deadline_ns)
{
    const struct attachment *limits;

    if (!fallback_applies(pool, why))
        return membership_result(pool, why);
    limits = fallback_attachment(pool);
    if (!limits)
        return -ENOMEM;
    if (first) {
        attachment_classify(limits, call->request, call->size, &call->command);
        set_deadlines(limits, call, timeout_ms, &wait_deadline_ns);
    } else {
        call->sink->restart(call->sink->context);
    }
    return attempt_direct(pool, why, NULL, call, wait_deadline_ns);
}

int attempt_call(struct lendis_pool *pool, struct call *call, int timeout_ms, int wait_ms)
{
    int64_t wait_deadline_ns = 0;
    bool first = true, share = false;
    int dead = 0, result;

    /* A connection that cannot be had is waited for up to the limit; dead ones are counted. */
    do {
        struct attachment *attachment;

        result = membership_enter(pool, &attachment);
        if (result != 0)
            return attempt_without_broker(pool, result, call, timeout_ms, first, wait_deadline_ns);
        if (first) {
            attachment_classify(attachment, call->request, call->size, &call->command);
            share = command_may_share(&call->command);
            set_deadlines(attachment, call, timeout_ms, &wait_deadline_ns);
            if (wait_ms > 0 && wait_deadline_ns > clock_deadline_ns(wait_ms))
                wait_deadline_ns = clock_deadline_ns(wait_ms);
        } else {
            call->sink->restart(call->sink->context);
        }
        first = false;
        result = share ? attempt_shared(attachment, call, wait_deadline_ns)
                       : attempt_alone(attachment, call, wait_deadline_ns);
        if (result == RESULT_SERVICE) {
            membership_leave(attachment);
            return result;
        }
        if (result == LENDIS_E_DISABLED) {
            result = attempt_direct(pool, result, attachment, call, wait_deadline_ns);
            dead += result == LENDIS_E_DOWN ? ATTEMPTS_MAX : 0;
        }
        membership_leave(attachment);
        dead += result == LENDIS_E_DOWN;
        /* One that was lost with others is sent again alone: if it was the reason, that is seen. */
        share = share && result != RESULT_NEEDS_LEASE && *call->losses == 0;
    } while (result == RESULT_NEEDS_LEASE || (dead < ATTEMPTS_MAX && !is_lost_too_often(call) &&
                                              lending_again(result, wait_deadline_ns)));
    return lending_final(result == RESULT_NEEDS_LEASE ? RESULT_TRY_AGAIN : result,
                         wait_deadline_ns);
}
