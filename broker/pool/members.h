/* SPDX-License-Identifier: MIT */
/*
 * The workers of a pool, by index: what they come with, fetch, and leave behind. Upholds I6.
 *
 * A member is attached, or expelled: its leases were taken, and its place is its own as long as its
 * process may live.
 */
#ifndef LENDIS_BROKER_MEMBERS_H
#define LENDIS_BROKER_MEMBERS_H

#include <sys/socket.h>
#include "broker/pool/worker_set.h"

struct broker_pool;

struct members {
    struct worker_set attached;
    struct worker_set expelled; /* those whose place rests, see broker_pool_expel() */
};

/* Results: 0, members_stop() must follow; -ENOMEM. */
int members_start(struct broker_pool *pool);
void members_stop(struct broker_pool *pool);

/*
 * The descriptor of an open connection, borrowed, to be given to `peer`. Results: 0; -EINVAL, no
 * such index; -ESTALE.
 */
int broker_pool_descriptor(struct broker_pool *pool, uint32_t index, uint64_t generation,
                           const struct ucred *peer, int *fd);

/* The poll wake-up of a group, borrowed. Results: 0; -EINVAL, no such group; -errno. */
int broker_pool_poll_wakeup(struct broker_pool *pool, uint32_t group, int *fd);

/*
 * Worker `worker` comes: its counters and its slot are made new. By `tenant` it knows that the
 * place is its own, see wire_welcome.
 */
void broker_pool_attach(struct broker_pool *pool, uint32_t worker, uint32_t tenant);

/*
 * Worker `worker` was one of the previous broker, and is again: what it has stays as it is.
 * `tenant` 0: it was expelled.
 */
void broker_pool_adopt_worker(struct broker_pool *pool, uint32_t worker, uint32_t tenant);

/*
 * Worker `worker` is dead, or has said that it is gone: takes it out of the queue, shuts down what
 * it held, ends or withdraws its commands, keeps its counters. Nothing of it is left, and its place
 * can be another's. `lost`: what it lost when it was expelled (NULL: nothing, or it is not known).
 * Returns how many leases it had.
 */
uint32_t broker_pool_reclaim(struct broker_pool *pool, uint32_t worker, const uint64_t *lost);

/*
 * Worker `worker` cannot be reached any more, and its process may live. Its leases are revoked and
 * it leaves the queue, as if it were dead; but it may be in the middle of something, for however
 * long it is stopped: its place, its slots, and what it combines stay its own until
 * broker_pool_reclaim() or broker_pool_readmit(). It sees in its slot that it is to do nothing
 * more. `lost` (may be NULL), a table of `room` words: gets what it held. Returns how many leases
 * it had.
 */
uint32_t broker_pool_expel(struct broker_pool *pool, uint32_t worker, uint64_t *lost);

/* The expelled worker `worker` is there again, as the same process. */
void broker_pool_readmit(struct broker_pool *pool, uint32_t worker, uint32_t tenant);

#endif
