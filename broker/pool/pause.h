/* SPDX-License-Identifier: MIT */
/*
 * What an operator does to a running pool: pausing and draining it, opening it again, and taking
 * leases away. Workers know it from the catalog (struct catalog_header.paused_pools, enum
 * pause_state); what they have not noticed yet is waited for, never relied on: a pool is paused
 * when no connection of it is open any more (I5).
 */
#ifndef LENDIS_BROKER_PAUSE_H
#define LENDIS_BROKER_PAUSE_H

#include "lendis/catalog.h"
#include "lendis/reasons.h"

struct broker_pool;

#define PAUSE_ANY UINT32_MAX

struct pause {
    enum pause_state state;
};

enum pause_state pause_state(const struct broker_pool *pool);

/*
 * Pauses, drains or opens the pool. Closing it takes effect as connections come back: pause_step().
 */
void pause_set(struct broker_pool *pool, enum pause_state pause);

/* Closes what has come back to a pool that is paused or drained. Returns how many connections are
 * still out. */
uint32_t pause_step(struct broker_pool *pool);

/* Closes what nobody has. Returns how many connections are still out. */
uint32_t pause_close_returned(struct broker_pool *pool, enum close_reason reason);

/*
 * Takes leases away: of connection `index` alone unless that is PAUSE_ANY, and of worker `worker`
 * alone unless that is PAUSE_ANY. Returns how many there were.
 */
uint32_t pause_kill(struct broker_pool *pool, uint32_t index, uint32_t worker);

#endif
