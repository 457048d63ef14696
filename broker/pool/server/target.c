/* SPDX-License-Identifier: MIT */
/* Whom to dial: see target.h. */
#include "broker/pool/server/target.h"

#include <string.h>
#include "broker/base/clock.h"
#include "broker/pool/internal.h"

/* A name is looked up again after this time; getaddrinfo(3) does not say how long an answer is
 * good for. */
#define RESOLVED_MS 30000u

static void note_addresses(struct broker_pool *pool, const struct addresses *addresses)
{
    struct catalog_pool *entry = pool->owner.catalog;

    if (pool->parts->target.addresses.count == 0 && pool->parts->health.failures == 0) {
        catalog_write_begin(entry);
        entry->last_error[0] = '\0'; /* it said that they were waited for */
        catalog_write_end(entry);
    }
    pool->parts->target.addresses = *addresses;
    pool->parts->target.current = 0;
    pool->parts->target.resolved = true;
    pool->parts->target.resolved_ms = clock_ms();
    pool->parts->target.events->found(pool);
}

static void on_resolved(void *context, const struct addresses *addresses, const char *error)
{
    struct broker_pool *pool = context;
    bool usable = addresses != NULL;

    pool->parts->target.lookup = NULL;
    if (addresses)
        note_addresses(pool, addresses);
    else
        usable = pool->parts->target.events->failed(pool, error);
    if (!usable)
        health_dial_failed(pool, pool->parts->health.failures > 0, DIAL_lookup, error);
    pool->parts->target.events->settled(pool, usable);
}

void target_look_up(struct broker_pool *pool)
{
    struct target *target = &pool->parts->target;
    int result;

    if (target->lookup)
        return;
    result = resolver_lookup(pool->environment->background, pool->config->redis.host, on_resolved,
                             pool, &target->lookup);
    if (result == 0) {
        target->begun_ms = clock_ms();
        target->events->begun(pool);
    } else if (!target->events->failed(pool, strerror(-result))) {
        health_dial_failed(pool, pool->parts->health.failures > 0, DIAL_local, strerror(-result));
    }
}

bool target_reuse(struct broker_pool *pool)
{
    struct target *target = &pool->parts->target;

    if (target->addresses.count == 0)
        return false;
    target->resolved = true;
    target->resolved_ms = clock_ms();
    if (target->current >= target->addresses.count)
        target->current = 0;
    return true;
}

/* The lookup that is under way takes long, and there are addresses of an earlier one. */
static bool is_impatient(const struct target *target)
{
    return target->addresses.count > 0 && clock_ms() - target->begun_ms >= LOOKUP_PATIENCE_MS;
}

static bool target_is_there(struct broker_pool *pool)
{
    struct target *target = &pool->parts->target;

    if (target->numeric)
        return true;
    if (!target->resolved || clock_ms() - target->resolved_ms >= RESOLVED_MS)
        target_look_up(pool);
    if (!target->resolved && is_impatient(target)) {
        target->resolved = true;
        target->current = 0;
    }
    return target->resolved;
}

void target_pass(struct broker_pool *pool, uint32_t address)
{
    if (pool->parts->target.numeric || !pool->parts->target.resolved ||
        address != pool->parts->target.current)
        return;
    pool->parts->target.current++;
    if (pool->parts->target.current >= pool->parts->target.addresses.count)
        pool->parts->target.resolved = false;
}

void target_forget(struct broker_pool *pool)
{
    pool->parts->target.resolved = false;
}

void target_cancel(struct broker_pool *pool)
{
    resolver_cancel(pool->parts->target.lookup);
    pool->parts->target.lookup = NULL;
}

bool target_is_ready(struct broker_pool *pool)
{
    /* Both are begun together. */
    bool there = target_is_there(pool);

    return credential_is_ready(pool) && there;
}

bool target_is_pending(const struct broker_pool *pool)
{
    return pool->parts->target.lookup || credential_is_pending(pool);
}

bool target_get(struct broker_pool *pool, struct dial_target *target)
{
    const struct pool_config *config = pool->config;

    if (!target_is_there(pool) || !credential_is_there(pool))
        return false;
    *target = (struct dial_target){
        .host = pool->parts->target.numeric
                    ? config->redis.host
                    : pool->parts->target.addresses.text[pool->parts->target.current],
        .path = config->redis.path,
        .port = config->redis.port,
        .db = config->redis.db,
        .username = config->username,
        .password = pool->parts->credential.password,
        .password_size = pool->parts->credential.size,
        .client_name = pool->client_name,
        .timeout_ms = config->connect_timeout_ms,
        .keepalive_ms = config->tcp_keepalive_ms,
        .node = pool->parts->target.node,
        .rights = &pool->parts->server.rights,
    };
    return encryption_complete(pool, target);
}

void target_set(struct broker_pool *pool)
{
    const struct pool_config *config = pool->config;
    bool pending = pool->parts->target.lookup != NULL;

    target_cancel(pool);
    pool->parts->target.resolved = false;
    pool->parts->target.current = 0;
    if (pending)
        pool->parts->target.events->settled(pool,
                                            false); /* who waited for the old one may ask again */
    pool->parts->target.numeric = !config->redis.host || resolver_is_numeric(config->redis.host);
    pool->parts->target.node =
        dial_node_key(config->redis.host, config->redis.port, config->redis.path);
    if (config->redis.host || config->redis.path)
        dialler_expect(pool->environment->dialler, pool->parts->target.node);
}
