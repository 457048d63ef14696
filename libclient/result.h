/* SPDX-License-Identifier: MIT */
/*
 * Results between the functions of this library beside LENDIS_E_* and -errno (lendis.h). None of
 * these reaches a caller of the library: lending_final() and attempt_call() turn them into public
 * results. Public ones are small or negative, so that one int holds either.
 */
#ifndef LENDIS_RESULT_H
#define LENDIS_RESULT_H

enum internal_result {
    /* The attachment is no longer current, the connection was replaced, or its descriptor is needed
     * and there is no broker to ask: start anew. */
    RESULT_TRY_AGAIN = 1000,
    /* This command cannot be handed over, request or reply are too large: it needs a lease. */
    RESULT_NEEDS_LEASE,
    /* A wait brought a connection, which is to be made a lease. */
    RESULT_LEASED,
    /* This user has as many connections of the pool as it may: uid_limit_wait(), then try again. */
    RESULT_OVER_LIMIT,
    /* The pool is a service, which has no connections of its own: its members have (service.h). */
    RESULT_SERVICE,
    /* Redis is down, and nobody is to wait for it: LENDIS_E_DOWN, without another attempt. */
    RESULT_FAILS_FAST,
};

#endif
