/* SPDX-License-Identifier: MIT */
/*
 * How many connections a pool is to have, and whether one must be opened now. Only counts and
 * compares: pool.c dials, maintenance.c decides which ones are to be replaced or to go.
 *
 * A pool has `places`: its size and its reserve, and a few more. A connection that is to be replaced stays until its
 * successor is open, so for that time there is one more than size allows.
 */
#ifndef LENDIS_BROKER_DEMAND_H
#define LENDIS_BROKER_DEMAND_H

#include "broker/pool/pool.h"

/* One look at all connections of a pool. What the words say is a hint (I5). */
struct census {
    uint32_t open;
    uint32_t idle;       /* of the open ones, by their words */
    uint32_t out;        /* of the open ones: leased, or on their way to a waiter */
    uint32_t checking;   /* of the open ones: being checked */
    uint32_t regular;    /* open or being dialled, and to stay, or to be replaced later */
    uint32_t worn;       /* of these: to be replaced, its successor is not open yet */
    uint32_t retiring;   /* open beside the regular ones: their successors are open */
    uint32_t successors; /* being dialled beside them */
};

void demand_count(const struct broker_pool *pool, struct census *census);

enum demand {
    DEMAND_NONE,
    DEMAND_MORE,      /* somebody needs it, or min_idle does */
    DEMAND_SUCCESSOR, /* in place of a worn one */
};

/* What is to be dialled now. */
enum demand demand_now(const struct broker_pool *pool);

/* So many regular connections there may be now: size, and what of the reserve is called up. */
uint32_t demand_limit(const struct broker_pool *pool);

/* A place that has no connection; NULL: there is none. */
struct broker_connection *demand_place(const struct broker_pool *pool);

/* So many connections can be replaced at the same time. */
uint32_t demand_spares(const struct pool_config *config);

/* How many places a pool with this configuration has. */
uint32_t demand_places(const struct pool_config *config);

/* For how many its tables are made: so far it can grow while it runs. */
uint32_t demand_room(const struct pool_config *config);

#endif
