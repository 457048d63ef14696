/* SPDX-License-Identifier: MIT */
/*
 * What a pool does about errors by which its server says something of itself (server_error.h), as
 * workers report them (struct connection.said) and checks bring them.
 *
 * READONLY to a pool that writes, NOAUTH: the connections are not what they were. The name is
 * looked up again, and all of them are replaced; at once, then ever more rarely, for what is there
 * may be no better. MASTERDOWN, LOADING and the like from a replica: it is unwell, and services
 * leave it (unwell.h), until a check of one of its connections says that it is well.
 */
#ifndef LENDIS_BROKER_NOTICE_H
#define LENDIS_BROKER_NOTICE_H

#include <systemd/sd-event.h>
#include "broker/base/log.h"

struct broker_pool;
struct broker_connection;

/* Of a pool; all zero at first. */
struct notice {
    sd_event_source *timer; /* the next question to a replica that is unwell */
    uint64_t replaced_ms;   /* when all connections were last to be replaced */
    uint32_t pause_ms;      /* not again within this time */
    struct log_limit limit;
};

/* Results: 0, notice_stop() must follow; -errno. */
int notice_start(struct broker_pool *pool);
void notice_stop(struct broker_pool *pool);

/* Inspects what a worker reported of `connection`. */
void notice_inspect(struct broker_pool *pool, struct broker_connection *connection);

/* A check was answered, by the server's proof or by an error about itself. */
void notice_checked(struct broker_pool *pool, bool well);

#endif
