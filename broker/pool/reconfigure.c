/* SPDX-License-Identifier: MIT */
/* Changing a pool that runs: see reconfigure.h. */
#include "broker/pool/reconfigure.h"

#include <string.h>
#include "broker/config/encryption.h"
#include "broker/pool/internal.h"

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* The same server, as the same user, in the same database; of passwords credential.h knows. */
static bool same_session(const struct pool_config *a, const struct pool_config *b)
{
    return same_text(a->redis.host, b->redis.host) && same_text(a->redis.path, b->redis.path) &&
           a->redis.port == b->redis.port && a->redis.db == b->redis.db &&
           same_text(a->username, b->username) && same_text(a->client_name, b->client_name) &&
           pool_tls_same(a, b);
}

/* ---- replacing ---- */

uint32_t reconfigure_reconnect(struct broker_pool *pool)
{
    uint32_t count = 0;

    /* The name may mean another address by now. */
    target_set(pool);
    credential_renew(pool);
    role_watch_renew(pool);
    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[i];

        if (connection->state != CONNECTION_OPEN)
            continue;
        maintenance_mark_due(connection, CLOSE_reconnected);
        count++;
    }
    /* What is being dialled is not known to be what is wanted now. */
    dialling_end(pool, CLOSE_reconnected);
    dialler_give_turns(pool->owner.dialler);
    maintenance_inspect(pool);
    deferred_want(pool, DEFERRED_SERVE);
    return count;
}

uint32_t reconfigure_pending(const struct broker_pool *pool)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < pool->places; i++)
        count += pool->connections[i].state == CONNECTION_OPEN &&
                 pool->connections[i].replacement != REPLACEMENT_NONE &&
                 pool->connections[i].replacement_reason == CLOSE_reconnected;
    return count;
}

/* Another server: what is known of the old one means nothing. */
static void change_session(struct broker_pool *pool)
{
    health_reset(pool);
    server_renew(pool);
    cleaning_renew(pool);
    pool->parts->target.addresses.count = 0;
    encryption_renew(pool);
    reconfigure_reconnect(pool);
}

/* A connection logged in with another password than that of the configuration that was read now. */
static bool has_old_logins(const struct broker_pool *pool)
{
    if (!pool->config->password_file)
        return false;
    for (uint32_t i = 0; i < pool->places; i++)
        if (pool->connections[i].state == CONNECTION_OPEN && pool->connections[i].login != 0 &&
            pool->connections[i].login != pool->parts->credential.serial)
            return true;
    return false;
}

/* ---- more and fewer ---- */

/* Those beyond the last place, and, from the end, those that are too many. */
static void retire_excess(struct broker_pool *pool)
{
    uint32_t target = sizing_places(pool->config);
    struct sizing_counts counts;

    sizing_count(pool, &counts);
    for (uint32_t i = pool->places; i-- > 0;) {
        struct broker_connection *connection = &pool->connections[i];
        bool regular = connection->state == CONNECTION_DIALLING
                           ? !connection->successor
                           : connection->replacement != REPLACEMENT_RETIRING;

        if (connection->state == CONNECTION_CLOSED ||
            (i < target && (!regular || counts.regular <= sizing_limit(pool))))
            continue;
        counts.regular -= regular;
        if (connection->state == CONNECTION_DIALLING)
            connection_close(connection, CLOSE_surplus);
        else
            maintenance_retire(pool, connection, CLOSE_surplus);
    }
    dialler_give_turns(pool->owner.dialler);
}

/* ---- all of it ---- */

bool reconfigure_fits(const struct broker_pool *pool, const struct pool_config *config)
{
    return sizing_places(config) <= pool->room;
}

void reconfigure(struct broker_pool *pool, const struct pool_config *config)
{
    const struct pool_config *before = pool->config;
    bool other_server = !same_session(before, config);
    bool other_part = before->role != config->role || before->is_member != config->is_member;

    pool->config = config;
    other_server = credential_configure(pool, before) || other_server || has_old_logins(pool);
    /* Before a connection is made there: workers scan no further than the catalog says. */
    if (sizing_places(config) > pool->places)
        sizing_set_places(pool, sizing_places(config));
    broker_pool_publish(pool);
    if (other_server)
        change_session(pool);
    else if (other_part)
        role_watch_renew(pool);
    sizing_cut_reserve(pool);
    if (sizing_places(config) < pool->places || config->size < before->size)
        retire_excess(pool);
    if (config->enabled != before->enabled)
        pause_set(pool, config->enabled ? PAUSE_NONE : PAUSE_DRAINED);
    if (config->max_lifetime_ms != before->max_lifetime_ms ||
        config->lifetime_jitter != before->lifetime_jitter ||
        config->password_lifetime_ms != before->password_lifetime_ms)
        maintenance_renew(pool);
    maintenance_inspect(pool);
    lease_limits_renew(pool);
    deferred_want(pool, DEFERRED_INSPECT);
}
