/* SPDX-License-Identifier: MIT */
/*
 * Whether a pool's Redis can be reached, as its dials and the ends of its connections show, and
 * what follows: how long nobody dials, and whether anybody waits.
 *
 * A pool whose Redis cannot be reached has one dial under way at a time, with exponential backoff
 * and full jitter. When so many dials in a row have failed that nobody should wait for Redis any
 * more (fail_fast_after), workers see a mark in the catalog, and those that wait already are woken
 * to see it; the first success takes the mark away.
 */
#ifndef LENDIS_BROKER_HEALTH_H
#define LENDIS_BROKER_HEALTH_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "broker/base/log.h"
#include "lendis/catalog.h"

struct broker_pool;

struct health {
    sd_event_source *retry; /* end of `holding` */
    bool holding;           /* no dial before `retry` */
    uint32_t failures;      /* failed dials in a row, probes only after the first */
    uint32_t churn;         /* connections in a row that did not live for a second */
    struct log_limit limit;
};

/* Results: 0, health_stop() must follow; -errno. */
int health_start(struct broker_pool *pool);
void health_stop(struct broker_pool *pool);

/* A dial failed, which was begun while the pool was failing (`probe`), or was not. */
void health_dial_failed(struct broker_pool *pool, bool probe, enum dial_reason reason,
                        const char *error);

/* Likewise for a dial that says nothing of the pool: it is only counted. */
void health_count_failure(struct broker_pool *pool, enum dial_reason reason, const char *error);

void health_dial_succeeded(struct broker_pool *pool);

/* Redis closed a connection that was opened at opened_ms. */
void health_connection_lost(struct broker_pool *pool, uint64_t opened_ms);

/* Of those that Redis closed, one was closed for what was sent on it. */
void health_forgive(struct broker_pool *pool);

/* More were closed right after they were opened than one server can be believed. */
bool health_is_churning(const struct broker_pool *pool);

/* Then: not as fast as we can. */
void health_slow_down(struct broker_pool *pool);

/* Connections were opened or closed. */
void health_update(struct broker_pool *pool);

/* The pool has another server, of which nothing is known. */
void health_reset(struct broker_pool *pool);

#endif
