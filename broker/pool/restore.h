/* SPDX-License-Identifier: MIT */
/*
 * A pool takes over what the previous broker left in the descriptor store (fd_store.h): its
 * segment, its doorbell and every connection that fits. Then nothing changes for those that have
 * leases. If the pool is not the same any more (another address, user, database or size, another
 * layout), it is left alone: the old segment and its connections belong to those who have them,
 * until they give them back.
 */
#ifndef LENDIS_BROKER_RESTORE_H
#define LENDIS_BROKER_RESTORE_H

#include <stdbool.h>

struct broker_pool;

/*
 * For a pool that is being made, with its table of closed connections, and no segment. True: it has
 * the segment and doorbell of the previous broker, its counters go on, and connections are open or
 * renewed; pool->segment_fd and doorbell (-1: there was none) are set. False: nothing was changed.
 */
bool restore_pool(struct broker_pool *pool);

#endif
