/* SPDX-License-Identifier: MIT */
/*
 * Whether the name of a pool's Redis still means the servers that its connections lead to. A
 * failover by name says nothing to a connection that is open: its server lives on, and answers
 * reads with data that nobody writes any more. So the name is looked up again each check_interval,
 * and after each lookup that succeeds connections to an address that is no longer among those found
 * are replaced, without a dip (maintenance.h).
 *
 * A lookup that fails says nothing: what was found before goes on being used. While one is under
 * way it is waited for, but for LOOKUP_PATIENCE_MS only, if there is something older.
 */
#ifndef LENDIS_BROKER_NAME_WATCH_H
#define LENDIS_BROKER_NAME_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "broker/base/log.h"

struct broker_pool;
struct broker_connection;

/* Of a pool; all zero at first. */
struct name_watch {
    sd_event_source *timer; /* the next lookup, or the end of the patience */
    struct log_limit limit;
};

/* Results: 0, name_watch_stop() must follow; -errno. */
int name_watch_start(struct broker_pool *pool);
void name_watch_stop(struct broker_pool *pool);

/* A lookup has begun. */
void name_watch_begun(struct broker_pool *pool);

/* target.addresses are new: replaces what leads elsewhere. The caller refills the pool. */
void name_watch_found(struct broker_pool *pool);

/* A connection was opened; meanwhile the name may have come to mean another server. */
void name_watch_opened(struct broker_pool *pool, struct broker_connection *connection);

/* The lookup failed. True: there are addresses of an earlier one, which are used again. */
bool name_watch_failed(struct broker_pool *pool, const char *error);

#endif
