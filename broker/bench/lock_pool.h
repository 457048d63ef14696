/* SPDX-License-Identifier: MIT */
/*
 * The pool that one would write first, to compare leases with: a list of free connections in shared
 * memory under a process-shared mutex, and a condition variable for those that have to wait. It has
 * no order of waiters, and dies with a process that is killed at the wrong moment.
 */
#ifndef LENDIS_BENCH_LOCK_POOL_H
#define LENDIS_BENCH_LOCK_POOL_H

struct lock_pool;

/* In memory that forked children share. Ends the process when there is none. */
struct lock_pool *lock_pool_new(unsigned size);
void lock_pool_free(struct lock_pool *pool);

/* Waits for a free connection; returns its number. */
unsigned lock_pool_take(struct lock_pool *pool);
void lock_pool_give(struct lock_pool *pool, unsigned number);

#endif
