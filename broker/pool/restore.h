/* SPDX-License-Identifier: MIT */
/*
 * A pool takes over what the broker before left in the store (fd_store.h): its segment, its doorbell and
 * every connection that fits. Then nothing changes for who has leases. If the pool is not the same
 * any more (another address, user, database or size, another layout), it is left alone: the old
 * segment and its connections belong to those who have them, until they give them back.
 */
#ifndef LENDIS_BROKER_ADOPT_H
#define LENDIS_BROKER_ADOPT_H

#include "broker/pool/pool.h"

/*
 * For a pool that is being made, with its table of closed connections, and no segment. True: it has
 * the segment and doorbell of the broker before, its counters go on, and connections are open or
 * renewed; pool->segment_fd and doorbell (-1: there was none) are set. False: nothing was changed.
 */
bool adopt_pool(struct broker_pool *pool);

#endif
