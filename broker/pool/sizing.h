/* SPDX-License-Identifier: MIT */
/*
 * How many connections a pool is to have, and whether one must be opened now. Only counts and
 * compares: dialling.c dials, maintenance.c decides which ones are to be replaced or to go.
 *
 * A pool has `places`: its size and its reserve, and a few more. A connection that is to be
 * replaced stays until its successor is open, so for that time there is one more than size allows.
 */
#ifndef LENDIS_BROKER_SIZING_H
#define LENDIS_BROKER_SIZING_H

#include <stdbool.h>
#include <stdint.h>

struct broker_pool;
struct broker_connection;
struct pool_config;

struct sizing {
    bool requested;   /* the doorbell rang since a connection was opened last */
    uint32_t reserve; /* of reserve_size, how many may be open now */
};

/* One pass over all connections of a pool. What the words say is a hint (I5). */
struct sizing_counts {
    uint32_t open;
    uint32_t idle;       /* of the open ones, by their words */
    uint32_t out;        /* of the open ones: leased, or on their way to a waiter */
    uint32_t checking;   /* of the open ones: being checked */
    uint32_t regular;    /* open or being dialled, and to stay, or to be replaced later */
    uint32_t due;        /* of these: to be replaced, its successor is not open yet */
    uint32_t retiring;   /* open beside the regular ones: their successors are open */
    uint32_t successors; /* being dialled beside them */
};

void sizing_count(const struct broker_pool *pool, struct sizing_counts *counts);

enum demand {
    DEMAND_NONE,
    DEMAND_MORE,      /* somebody needs it, or min_idle does */
    DEMAND_SUCCESSOR, /* in place of one that is due */
};

/* What is to be dialled now. */
enum demand sizing_demand(const struct broker_pool *pool);

/* So many regular connections there may be now: size, and what of the reserve is called up. */
uint32_t sizing_limit(const struct broker_pool *pool);

/* There is no room beside the connections for another successor: holders keep those that retire. */
bool sizing_lacks_spare(const struct broker_pool *pool, const struct sizing_counts *counts);

/* A place that has no connection; NULL: there is none. */
struct broker_connection *sizing_place(const struct broker_pool *pool);

/* The doorbell rang: somebody may need a connection; or one was opened since. */
void sizing_note_request(struct broker_pool *pool, bool requested);

/* If somebody has waited for reserve_after, one connection more may be opened. */
void sizing_call_reserve(struct broker_pool *pool);

/* What nobody needs of the reserve any more is closed, and has to be called up anew. */
void sizing_give_up_reserve(struct broker_pool *pool, const struct sizing_counts *counts);

/* reserve_size is another one now. */
void sizing_cut_reserve(struct broker_pool *pool);

/* So many connections of the table are in use from now on; the caller sees to those beyond. */
void sizing_set_places(struct broker_pool *pool, uint32_t places);

/* Gives up places at the end that a smaller pool does not need, as they become free. */
void sizing_settle(struct broker_pool *pool);

/* How many places a pool with this configuration has. */
uint32_t sizing_places(const struct pool_config *config);

/* For how many its tables are made: so far it can grow while it runs. */
uint32_t sizing_room(const struct pool_config *config);

#endif
