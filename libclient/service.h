/* SPDX-License-Identifier: MIT */
/*
 * A service: a primary and its replicas under one name (`primary` and `replicas` in
 * lendis.conf(5)). Its handle has no connections; it has a handle of its own for each member, and
 * sends each call to one of them. A call finds out that its pool is a service where it would else
 * find a pool closed, so other pools' calls do not pay for it.
 */
#ifndef LENDIS_SERVICE_H
#define LENDIS_SERVICE_H

#include "libclient/call.h"

/*
 * attempt_call(), by a handle that may be a service's: what only reads goes to the least busy
 * replica that is up, and to the primary when none is; the rest to the primary. Results as
 * lendis_exec().
 */
int service_call(struct lendis_pool *pool, struct call *call, int timeout_ms, int wait_ms);

/* The member that a lease is to be taken from; NULL: no memory. */
struct lendis_pool *service_lease_pool(struct lendis_pool *pool,
                                       const struct attachment *attachment);

/* Detaches from all members. Nobody uses the pool any more. */
void service_end(struct lendis_pool *pool);

#endif
