/* SPDX-License-Identifier: MIT */
/* Changing a pool that runs: see reconfigure.h. */
#include "broker/pool/reconfigure.h"

#include <string.h>
#include "broker/base/timer.h"
#include "broker/pool/sizing.h"
#include "broker/pool/pause.h"
#include "broker/pool/lease_limits.h"
#include "broker/pool/maintenance.h"

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* The same server, as the same user, in the same database. */
static bool same_session(const struct pool_config *a, const struct pool_config *b)
{
    return same_text(a->redis.host, b->redis.host) && same_text(a->redis.path, b->redis.path) &&
           a->redis.port == b->redis.port && a->redis.db == b->redis.db &&
           same_text(a->username, b->username) && same_text(a->client_name, b->client_name) &&
           a->password_size == b->password_size &&
           (a->password_size == 0 || memcmp(a->password, b->password, a->password_size) == 0);
}

/* ---- replacing ---- */

uint32_t reconfigure_reconnect(struct broker_pool *pool)
{
    uint32_t count = 0;

    /* The name may mean another address by now. */
    broker_pool_set_address(pool);
    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[i];

        if (connection->state != CONNECTION_OPEN)
            continue;
        upkeep_wear(connection, CLOSE_reconnected);
        count++;
    }
    /* What is being dialled is not known to be what is wanted now. */
    for (uint32_t i = 0; i < pool->places; i++)
        if (pool->connections[i].state == CONNECTION_DIALLING)
            connection_close(&pool->connections[i], CLOSE_reconnected);
    dialler_give_turns(pool->owner.dialler);
    upkeep_look(pool);
    broker_pool_refill(pool);
    return count;
}

uint32_t reconfigure_pending(const struct broker_pool *pool)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < pool->places; i++)
        count += pool->connections[i].state == CONNECTION_OPEN &&
                 pool->connections[i].wear != WEAR_NONE &&
                 pool->connections[i].wear_reason == CLOSE_reconnected;
    return count;
}

/* Another server: what is known of the old one means nothing. */
static void change_session(struct broker_pool *pool)
{
    pool->failures = 0;
    pool->churn = 0;
    pool->holding = false;
    timer_stop(pool->retry);
    broker_pool_renew(pool);
    hygiene_renew(pool);
    reconfigure_reconnect(pool);
}

/* ---- more and fewer ---- */

/* Those beyond the last place, and, from the end, those that are too many. */
static void retire_excess(struct broker_pool *pool)
{
    uint32_t target = demand_places(pool->config);
    struct census census;

    demand_count(pool, &census);
    for (uint32_t i = pool->places; i-- > 0;) {
        struct broker_connection *connection = &pool->connections[i];
        bool regular = connection->state == CONNECTION_DIALLING ? !connection->successor
                                                                : connection->wear != WEAR_RETIRING;

        if (connection->state == CONNECTION_CLOSED ||
            (i < target && (!regular || census.regular <= demand_limit(pool))))
            continue;
        census.regular -= regular;
        if (connection->state == CONNECTION_DIALLING)
            connection_close(connection, CLOSE_surplus);
        else
            upkeep_retire(pool, connection, CLOSE_surplus);
    }
    dialler_give_turns(pool->owner.dialler);
}

void reconfigure_settle(struct broker_pool *pool)
{
    uint32_t target = demand_places(pool->config), places = pool->places;

    while (places > target && pool->connections[places - 1].state == CONNECTION_CLOSED)
        places--;
    if (places != pool->places)
        broker_pool_set_places(pool, places);
}

/* ---- all of it ---- */

bool reconfigure_fits(const struct broker_pool *pool, const struct pool_config *config)
{
    return demand_places(config) <= pool->room;
}

void reconfigure(struct broker_pool *pool, const struct pool_config *config)
{
    const struct pool_config *before = pool->config;
    bool other_server = !same_session(before, config);

    pool->config = config;
    /* Before a connection is made there: workers look no further than they are told. */
    if (demand_places(config) > pool->places)
        broker_pool_set_places(pool, demand_places(config));
    broker_pool_publish(pool);
    if (other_server)
        change_session(pool);
    if (pool->reserve > config->reserve_size)
        pool->reserve = config->reserve_size;
    if (demand_places(config) < pool->places || config->size < before->size)
        retire_excess(pool);
    if (config->enabled != before->enabled)
        gate_set(pool, config->enabled ? GATE_OPEN : GATE_DRAINED);
    if (config->max_lifetime_ms != before->max_lifetime_ms ||
        config->lifetime_jitter != before->lifetime_jitter)
        upkeep_renew(pool);
    upkeep_look(pool);
    /* Its limits may be shorter now than what the timer was set for. */
    timer_stop(pool->watch.timer);
    lease_watch_wake(pool);
    broker_pool_look_over(pool);
}
