/* SPDX-License-Identifier: MIT */
/*
 * Combiners that stopped (SIGSTOP, a debugger) with commands of others on their connection: the
 * connection is taken from them after the pool's stall_timeout, whether or not the owners of the
 * commands still wait. The process may run again, but not on this connection.
 */
#ifndef LENDIS_STALL_H
#define LENDIS_STALL_H

#include "broker/pool.h"

/* Results: 0, stall_stop() must follow; -errno. */
int stall_start(struct broker_pool *pool);
void stall_stop(struct broker_pool *pool);

/* Looks at a connection that is out, by `word`, if somebody said that its combiner should be looked at. */
void stall_look(struct broker_pool *pool, struct broker_connection *connection, uint64_t word);

/* The owner of what is in `slot` died: nobody else will say it of the combiner that has its command. */
void stall_owner_died(struct broker_pool *pool, uint32_t slot);

#endif
