/* SPDX-License-Identifier: MIT */
/*
 * Watches how long the leases of a pool last, and how many one user has: lease_timeout,
 * leak_warn_after, per_uid_leases. Part of the pool; takes connections from their holders, and does
 * nothing else to them.
 *
 * A lease begins by a compare-and-swap that the broker does not see. So it inspects the words at
 * intervals, a tenth of the smallest limit, while there are workers and connections; when a lease
 * is known, at the moment that it is due. The same word with the same number of uses is the same
 * lease: a worker that gives a connection back and leases it again, and combiners that pass one on
 * among each other, count the uses up. When a lease began is believed to the holder
 * (connection.leased_ms) as far as it lies between two scans; so a limit is kept exactly, and
 * whoever writes nonsense there gains a tenth of it. A holder that falsifies the number of uses
 * gains what it could have by giving the connection back and leasing it again: the workers of a
 * pool trust each other.
 */
#ifndef LENDIS_BROKER_LEASE_LIMITS_H
#define LENDIS_BROKER_LEASE_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "broker/base/log.h"

struct broker_pool;

/* What a scan found; of each connection, all-zero at first. */
struct lease_seen {
    uint64_t word; /* 0: it was not held */
    uint64_t uses;
    uint64_t since_ms;
    bool warned;
};

struct lease_limits {
    sd_event_source *timer;
    uint64_t scanned_ms; /* the last scan */
    uint32_t share;      /* per_uid_leases at that time */
    uint64_t share_ms;   /* when it was last changed: leases from before it are in their right */
    struct log_limit leak_limit;
    struct log_limit revoke_limit;
};

/* Results: 0; -errno. */
int lease_limits_start(struct broker_pool *pool);
void lease_limits_stop(struct broker_pool *pool);

/*
 * A connection was opened, or a worker came: inspects leases from now on, if there is anything to
 * look for.
 */
void lease_limits_wake(struct broker_pool *pool);

/* The limits are other ones now. */
void lease_limits_renew(struct broker_pool *pool);

#endif
