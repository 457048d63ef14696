/* SPDX-License-Identifier: MIT */
/*
 * A user's share of a pool: per_uid_leases in lendis.conf(5).
 *
 * Who holds a connection is in its word, and whose process that is in the catalog, which the broker
 * alone writes: so a user's connections are counted where they are, and nothing is left over by a
 * process that dies. Whoever has leased one counts once more, itself included, and gives it on if
 * it is one too many. The last of any that came at the same time sees all others, so no more than
 * the limit are ever used. The broker revokes what stands above it all the same.
 */
#ifndef LENDIS_SHARE_H
#define LENDIS_SHARE_H

#include "libclient/pool.h"

/* Without a limit, a load and no more. Taken: this user may not lease one more; exceeded: with the
 * one that was just leased, it has one too many. */
bool uid_limit_is_reached(const struct attachment *attachment);
bool uid_limit_is_exceeded(const struct attachment *attachment);

/*
 * Waits until the share is no longer taken, until deadline_ns (0: not at all). One that waits is in
 * no queue: it checks every millisecond or so, and nobody else waits behind it. Results:
 * RESULT_OVER_LIMIT, try again; LENDIS_E_TIMEOUT; LENDIS_E_BUSY.
 */
int uid_limit_wait(struct attachment *attachment, int64_t deadline_ns);

#endif
