/* SPDX-License-Identifier: MIT */
/*
 * Connections of this process alone, for when nothing can be leased: the pool is switched off
 * (`enabled = no`, `fallback = direct`) or there is no broker (struct lendis_options.fallback_url).
 * They look like leases to everybody else.
 *
 * That a pool is switched off shows as LENDIS_E_DISABLED, on a path that a lease of an idle
 * connection does not take.
 */
#ifndef LENDIS_FALLBACK_H
#define LENDIS_FALLBACK_H

#include "libclient/pool.h"

/* Whether a process that cannot attach, because of `why`, goes on without a broker. */
bool fallback_applies(const struct lendis_pool *pool, int why);

/* Has the limits that hold without an attachment; NULL: no memory. It is the pool's. */
struct attachment *fallback_attachment(struct lendis_pool *pool);

/*
 * Leases such a connection, one that is at rest or a new one. `why`: LENDIS_E_DISABLED, with the
 * attachment that said so; or what kept us from attaching, and NULL. Waits until deadline_ns
 * (lease.h) when there are as many as there may be. Results: 0; `why`, there is no fallback;
 * LENDIS_E_BUSY and LENDIS_E_TIMEOUT, as many as there may be; LENDIS_E_DOWN; RESULT_TRY_AGAIN, the
 * pool lends again; -errno.
 */
int fallback_acquire(struct lendis_pool *pool, int why, const struct attachment *attachment,
                     int64_t deadline_ns, struct lendis_lease **lease);

/* Gives one back. */
void fallback_release(struct lendis_lease *lease, bool broken);

#endif
