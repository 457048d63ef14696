/* SPDX-License-Identifier: MIT */
/*
 * Connections that the broker dials for one process alone: what a pool with `enabled = no` and
 * `fallback = direct` gives in place of leases. The process asks by WIRE_DIRECT, gets a socket that
 * is logged in and ready, and closes it itself; so passwords stay with the broker, which counts
 * what it gave and has nothing more to do with it. Such dials take their turns with all others
 * (dial_concurrency); how many are out is private.h's.
 */
#ifndef LENDIS_BROKER_DIRECT_H
#define LENDIS_BROKER_DIRECT_H

#include <stdbool.h>

struct broker_pool;

struct direct;

/* A pool's; all zero at first. */
struct directs {
    struct direct *first; /* under way */
};

/*
 * Gets `fd`, borrowed for the time of the call, and 0; or -1 and LENDIS_E_DOWN. The direct is gone.
 */
typedef void direct_done(void *context, int fd, int result);

/*
 * Whether the pool has such connections now. Results: 0; -ESTALE, it lends; LENDIS_E_DISABLED, it
 * has no fallback.
 */
int direct_offered(const struct broker_pool *pool);

/*
 * Begins. Results: 0, and `done` is called once, perhaps before this returns, unless
 * direct_abandon() comes first; -ENOMEM; as direct_offered().
 */
int direct_start(struct broker_pool *pool, direct_done *done, void *context,
                 struct direct **direct);

/* Nobody wants it any more; a dial that is under way ends by itself. NULL is allowed. */
void direct_abandon(struct direct *direct);

/* The pool's addresses were looked up, or cannot be. */
void direct_resolved(struct broker_pool *pool, bool found);

/* The pool is about to go: all of its end, with LENDIS_E_DOWN. */
void direct_stop(struct broker_pool *pool);

#endif
