/* SPDX-License-Identifier: MIT */
/*
 * Another configuration for a pool that runs. No lease is taken from anybody: connections that are
 * too many, or of another address, go when they come back; what the catalog says to workers counts
 * from their next call on.
 */
#ifndef LENDIS_BROKER_RECONFIGURE_H
#define LENDIS_BROKER_RECONFIGURE_H

#include <stdbool.h>
#include <stdint.h>

struct broker_pool;
struct pool_config;

/* How a pool with `config` would fit this one's tables. Results: true; false, it has grown too far:
 * only a restart makes room. */
bool reconfigure_fits(const struct broker_pool *pool, const struct pool_config *config);

/* From now on `config` counts, which is borrowed, as the one before was. It must fit. */
void reconfigure(struct broker_pool *pool, const struct pool_config *config);

/* All connections that are open now are to be replaced, one after the other, each by a successor
 * that is opened before it goes. Returns how many there are. */
uint32_t reconfigure_reconnect(struct broker_pool *pool);

/* How many of those are still there. */
uint32_t reconfigure_pending(const struct broker_pool *pool);

#endif
