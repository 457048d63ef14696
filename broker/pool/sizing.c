/* SPDX-License-Identifier: MIT */
/* How many connections a pool is to have: see sizing.h. */
#include "broker/pool/sizing.h"

#include "broker/pool/internal.h"

/* Replacements at the same time: one in eight, so that a pool that was opened in a burst is through
 * before long, and Redis sees few connections beyond the configured ones. */
#define SPARE_SHARE 8u
#define SPARE_MOST  LENDIS_SPARE_PLACES

/*
 * Tables are made for twice what there is, and for this at least: 128 bytes in the segment and some
 * in each worker, of which those that are never used take no memory.
 */
#define ROOM_LEAST 64u

/* So many connections can be replaced at the same time. */
static uint32_t spares(const struct pool_config *config)
{
    uint32_t count = 1 + config->size / SPARE_SHARE;

    return count < SPARE_MOST ? count : SPARE_MOST;
}

uint32_t sizing_places(const struct pool_config *config)
{
    return config->size + config->reserve_size + spares(config);
}

uint32_t sizing_limit(const struct broker_pool *pool)
{
    return pool->config->size + pool->parts->sizing.reserve;
}

uint32_t sizing_room(const struct pool_config *config)
{
    uint32_t room = 2 * sizing_places(config);

    if (room < ROOM_LEAST)
        room = ROOM_LEAST;
    return room < LENDIS_MAX_CONNECTIONS ? room : LENDIS_MAX_CONNECTIONS;
}

void sizing_count(const struct broker_pool *pool, struct sizing_counts *counts)
{
    *counts = (struct sizing_counts){0};
    for (uint32_t i = 0; i < pool->places; i++) {
        const struct broker_connection *connection = &pool->connections[i];
        uint64_t word;

        if (connection->state == CONNECTION_DIALLING) {
            counts->successors += connection->successor;
            counts->regular += !connection->successor;
        }
        if (connection->state != CONNECTION_OPEN)
            continue;
        word = shm_load(connection_word(connection));
        counts->open++;
        counts->idle += word_state(word) == WORD_IDLE;
        counts->out += word_is_out(word);
        counts->checking += connection->checking;
        counts->due += connection->replacement == REPLACEMENT_DUE;
        counts->retiring += connection->replacement == REPLACEMENT_RETIRING;
        counts->regular += connection->replacement != REPLACEMENT_RETIRING;
    }
}

/* How many regular connections there ought to be. What the words say is only believed up to the
 * limit. */
static uint32_t wanted(const struct broker_pool *pool, const struct sizing_counts *counts)
{
    uint32_t spare = queue_length(&pool->owner.segment), limit = sizing_limit(pool);

    if (spare < pool->config->min_idle)
        spare = pool->config->min_idle;
    /* Whoever rang may not be in the queue yet. */
    if (spare == 0 && pool->parts->sizing.requested)
        spare = 1;
    return counts->out >= limit || spare > limit - counts->out ? limit : counts->out + spare;
}

bool sizing_lacks_spare(const struct broker_pool *pool, const struct sizing_counts *counts)
{
    return counts->retiring + counts->successors >= spares(pool->config);
}

enum demand sizing_demand(const struct broker_pool *pool)
{
    struct sizing_counts counts;

    if (pool->draining || pool->parts->health.holding || pool->parts->corruption.paused ||
        pool->parts->pause.state != PAUSE_NONE)
        return DEMAND_NONE;
    /* One at a time until it is known which commands may share a connection. */
    if (pool->parts->server.commands.due && pool->owner.dialling > 0)
        return DEMAND_NONE;
    if (pool->parts->health.failures > 0) {
        /* One at a time, and always one: how else would anybody learn that Redis is back. */
        if (pool->owner.dialling > 0)
            return DEMAND_NONE;
        if (pool->owner.open == 0)
            return DEMAND_MORE;
    }
    sizing_count(pool, &counts);
    if (counts.regular < wanted(pool, &counts))
        return DEMAND_MORE;
    if (counts.due > counts.successors && !sizing_lacks_spare(pool, &counts))
        return DEMAND_SUCCESSOR;
    return DEMAND_NONE;
}

struct broker_connection *sizing_place(const struct broker_pool *pool)
{
    /* The places of a pool that was made smaller are given up from the end. */
    for (uint32_t i = 0; i < pool->places && i < sizing_places(pool->config); i++)
        if (pool->connections[i].state == CONNECTION_CLOSED)
            return &pool->connections[i];
    return NULL;
}

void sizing_note_request(struct broker_pool *pool, bool requested)
{
    pool->parts->sizing.requested = requested;
}

/* ---- the reserve ---- */

/* Whether whoever said that it waits for long does so still. */
static bool is_overdue(const struct broker_pool *pool)
{
    const struct segment *segment = &pool->owner.segment;
    uint64_t ticket = shm_exchange(&segment->queue->overdue, 0), cell;

    if (ticket-- == 0)
        return false;
    cell = shm_load(queue_cell(segment, ticket));
    return cell_state(cell) != CELL_FREE && cell_lap(cell) == queue_lap(segment, ticket);
}

void sizing_call_reserve(struct broker_pool *pool)
{
    struct sizing_counts counts;

    if (pool->config->reserve_size == 0 || !is_overdue(pool))
        return;
    sizing_count(pool, &counts);
    if (pool->parts->sizing.reserve < pool->config->reserve_size &&
        counts.regular >= sizing_limit(pool))
        pool->parts->sizing.reserve++;
}

void sizing_give_up_reserve(struct broker_pool *pool, const struct sizing_counts *counts)
{
    uint32_t used = counts->regular > pool->config->size ? counts->regular - pool->config->size : 0;

    if (queue_length(&pool->owner.segment) == 0 && pool->parts->sizing.reserve > used)
        pool->parts->sizing.reserve = used;
}

void sizing_cut_reserve(struct broker_pool *pool)
{
    if (pool->parts->sizing.reserve > pool->config->reserve_size)
        pool->parts->sizing.reserve = pool->config->reserve_size;
}

/* ---- places ---- */

void sizing_set_places(struct broker_pool *pool, uint32_t places)
{
    /* Workers can have written there all the time. */
    for (uint32_t i = pool->places; i < places; i++)
        connection_restore(&pool->connections[i]);
    pool->places = places;
    shm_store32(&pool->owner.catalog->places, places);
}

void sizing_settle(struct broker_pool *pool)
{
    uint32_t target = sizing_places(pool->config), places = pool->places;

    while (places > target && pool->connections[places - 1].state == CONNECTION_CLOSED)
        places--;
    if (places != pool->places)
        sizing_set_places(pool, places);
}
