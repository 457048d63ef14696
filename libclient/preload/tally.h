/* SPDX-License-Identifier: MIT */
/*
 * What becomes of virtual connections, counted for the operator: PRELOAD_COUNTERS of
 * lendis/counters.h, in the block of this process as a worker of the connection's pool. Nothing is
 * counted by a process that is no worker: counting never attaches it.
 */
#ifndef LENDIS_PRELOAD_TALLY_H
#define LENDIS_PRELOAD_TALLY_H

#include "lendis/counters.h"
#include "libclient/membership/attachment.h"
#include "libclient/preload/virtual.h"

/* One more, for the virtual connection's pool, or for `pool` (NULL: none). */
void tally(const struct virtual *virtual, enum counter counter);
void tally_pool(struct lendis_pool *pool, enum counter counter);

/* The same by a lease of the virtual connection, which costs nothing. */
static inline void tally_lease(const struct virtual *virtual, enum counter counter)
{
    attachment_count(virtual->lease->attachment, counter, 1);
}

/* It is there, for this process: once it is a worker. It is there no longer, if it was. */
void tally_opened(struct virtual *virtual);
void tally_closed(struct virtual *virtual);

#endif
