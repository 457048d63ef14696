/* SPDX-License-Identifier: MIT */
/* How many connections a pool is to have: see sizing.h. */
#include "broker/pool/sizing.h"

/* Replacements at the same time: one in eight, so that a pool that was opened in a burst is through
 * before long, and Redis sees few connections more than it was told. */
#define SPARE_SHARE 8u
#define SPARE_MOST  LENDIS_SPARE_PLACES

/* Tables are made for twice what there is, and for this at least: 128 bytes in the segment and some in
 * each worker, of which those that are never used take no memory. */
#define ROOM_LEAST 64u

uint32_t demand_spares(const struct pool_config *config)
{
    uint32_t spares = 1 + config->size / SPARE_SHARE;

    return spares < SPARE_MOST ? spares : SPARE_MOST;
}

uint32_t demand_places(const struct pool_config *config)
{
    return config->size + config->reserve_size + demand_spares(config);
}

uint32_t demand_limit(const struct broker_pool *pool)
{
    return pool->config->size + pool->reserve;
}

uint32_t demand_room(const struct pool_config *config)
{
    uint32_t room = 2 * demand_places(config);

    if (room < ROOM_LEAST)
        room = ROOM_LEAST;
    return room < LENDIS_MAX_CONNECTIONS ? room : LENDIS_MAX_CONNECTIONS;
}

void demand_count(const struct broker_pool *pool, struct census *census)
{
    *census = (struct census){0};
    for (uint32_t i = 0; i < pool->places; i++) {
        const struct broker_connection *connection = &pool->connections[i];
        uint64_t word;

        if (connection->state == CONNECTION_DIALLING) {
            census->successors += connection->successor;
            census->regular += !connection->successor;
        }
        if (connection->state != CONNECTION_OPEN)
            continue;
        word = shm_load(connection_word(connection));
        census->open++;
        census->idle += word_state(word) == WORD_IDLE;
        census->out += word_is_out(word);
        census->checking += connection->checking;
        census->worn += connection->wear == WEAR_WORN;
        census->retiring += connection->wear == WEAR_RETIRING;
        census->regular += connection->wear != WEAR_RETIRING;
    }
}

/* How many regular connections there ought to be. What the words say is only believed up to the
 * limit. */
static uint32_t wanted(const struct broker_pool *pool, const struct census *census)
{
    uint32_t spare = queue_length(&pool->owner.segment), limit = demand_limit(pool);

    if (spare < pool->config->min_idle)
        spare = pool->config->min_idle;
    /* Whoever rang may not be in the queue yet. */
    if (spare == 0 && pool->asked)
        spare = 1;
    return census->out >= limit || spare > limit - census->out ? limit : census->out + spare;
}

enum demand demand_now(const struct broker_pool *pool)
{
    struct census census;

    if (pool->draining || pool->holding || pool->paused || pool->gate != GATE_OPEN)
        return DEMAND_NONE;
    /* One at a time until it is known which commands may share a connection. */
    if (pool->survey.due && pool->owner.dialling > 0)
        return DEMAND_NONE;
    if (pool->failures > 0) {
        /* One at a time, and always one: how else would anybody learn that Redis is back. */
        if (pool->owner.dialling > 0)
            return DEMAND_NONE;
        if (pool->owner.open == 0)
            return DEMAND_MORE;
    }
    demand_count(pool, &census);
    if (census.regular < wanted(pool, &census))
        return DEMAND_MORE;
    if (census.worn > census.successors &&
        census.retiring + census.successors < demand_spares(pool->config))
        return DEMAND_SUCCESSOR;
    return DEMAND_NONE;
}

struct broker_connection *demand_place(const struct broker_pool *pool)
{
    /* The places of a pool that was made smaller are given up from the end. */
    for (uint32_t i = 0; i < pool->places && i < demand_places(pool->config); i++)
        if (pool->connections[i].state == CONNECTION_CLOSED)
            return &pool->connections[i];
    return NULL;
}
