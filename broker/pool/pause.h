/* SPDX-License-Identifier: MIT */
/*
 * What an operator does to a running pool: pausing and draining it, opening it again, and taking
 * leases away. The catalog tells workers (struct catalog_header.gates, enum pool_gate); what they
 * have not noticed yet is waited for, never relied on: a pool is paused when no connection of it is
 * open any more (I5).
 */
#ifndef LENDIS_BROKER_GATE_H
#define LENDIS_BROKER_GATE_H

#include "broker/pool/pool.h"

#define GATE_ANY UINT32_MAX

/* Pauses, drains or opens the pool. Closing it takes effect as connections come back: gate_step(). */
void gate_set(struct broker_pool *pool, enum pool_gate gate);

/* Closes what has come back to a pool that is paused or drained. Returns how many connections are
 * still out. */
uint32_t gate_step(struct broker_pool *pool);

/*
 * Takes leases away: of connection `index` alone unless that is GATE_ANY, and of worker `worker`
 * alone unless that is GATE_ANY. Returns how many there were.
 */
uint32_t gate_kill(struct broker_pool *pool, uint32_t index, uint32_t worker);

#endif
