/* SPDX-License-Identifier: MIT */
/* Leases of the pool's connections, as the library itself uses them. What is given back is never
 * lent before it is proven clean. */
#ifndef LENDIS_LEASE_H
#define LENDIS_LEASE_H

#include "libclient/pool.h"

/*
 * Turns connection `index`, leased as `word`, into a lease. Results as lending_try(); on failure
 * the connection is passed on, or returned unless it is `clean`.
 */
int lease_make(struct attachment *attachment, uint32_t index, uint64_t word, bool clean,
               struct lendis_lease **lease);

/* The broker took the connection back; whoever holds the lease does not know it yet. */
bool lease_is_revoked(const struct lendis_lease *lease);

/* True for a lease that is held, and by this process: not one of the parent's before fork. */
bool lease_is_mine(const struct lendis_lease *lease);

/* Moves the lease's connection to TRANSFERRED for `slot`; false: it was revoked. And back, if the
 * slot has not come for it. */
bool lease_transfer(struct lendis_lease *lease, uint32_t slot);
bool lease_transfer_back(struct lendis_lease *lease, uint32_t slot);
/* Ends a lease whose connection is somebody else's by now. */
void lease_forget(struct lendis_lease *lease);

/* The caller gets hold of the connection's descriptor or of a copy: from now on we do not see what
 * is done with it. It blocks as others do. */
void lease_expose(struct lendis_lease *lease);

/* Gives the lease back, as lendis_release() and lendis_discard() do for one of the pool's
 * connections. */
int lease_release(struct lendis_lease *lease);
int lease_discard(struct lendis_lease *lease);

#endif
