/* SPDX-License-Identifier: MIT */
/*
 * The quick way of a lease, which nearly all of them go: an attachment that is current, a pool that
 * is open, nobody who waits, a connection that is idle, was used a moment ago and whose descriptor
 * is here. Whatever else there may be is for lending.c and lease.c: false says so, and all is as it
 * was.
 *
 * Nothing here waits, and nothing is a cancellation point (pthreads(7)): so cancellation need not
 * be switched off (cancel.h). tests/lint/cancellation.sh checks what quick_lease.c calls.
 */
#ifndef LENDIS_QUICK_LEASE_H
#define LENDIS_QUICK_LEASE_H

#include "libclient/pool.h"

/* lendis_acquire(), likewise for the caller alone. */
bool quick_acquire(struct lendis_pool *pool, struct lendis_lease **lease);

/* lending_try(): the lease keeps `attachment` in use in the caller's place. */
bool quick_try(struct attachment *attachment, struct lendis_lease **lease);

/* lease_is_mine(), of one of the pool's connections. */
static inline bool quick_is_mine(const struct lendis_lease *lease)
{
    return lease && lease->attachment && !lease->private &&
           atomic_load_explicit(&lease->attachment->pool->local->current, memory_order_relaxed) &&
           atomic_load_explicit(&lease->held, memory_order_relaxed);
}

/* lease_release(), of a connection that is proven clean. */
bool quick_release(struct lendis_lease *lease);

#endif
