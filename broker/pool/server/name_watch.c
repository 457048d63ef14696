/* SPDX-License-Identifier: MIT */
/* Names that mean other servers: see name_watch.h. */
#include "broker/pool/server/name_watch.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include "broker/base/timer.h"
#include "broker/pool/internal.h"

/* ---- addresses ---- */

/* The numeric address `text`, which may have a zone, is that of `end`. */
static bool is_end(const struct socket_end *end, const char *text)
{
    union {
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } peer;
    char plain[INET6_ADDRSTRLEN];
    struct in6_addr address;

    memset(&peer, 0, sizeof peer);
    memcpy(&peer, end->bytes, end->size);
    snprintf(plain, sizeof plain, "%.*s", (int)strcspn(text, "%"), text);
    if (peer.v4.sin_family == AF_INET)
        return inet_pton(AF_INET, plain, &address) == 1 &&
               memcmp(&address, &peer.v4.sin_addr, sizeof peer.v4.sin_addr) == 0;
    return inet_pton(AF_INET6, plain, &address) == 1 &&
           memcmp(&address, &peer.v6.sin6_addr, sizeof address) == 0;
}

static bool leads_elsewhere(const struct broker_pool *pool, const struct socket_end *peer)
{
    const struct addresses *addresses = &pool->parts->target.addresses;

    /* More of them than are kept: nothing can be said of the others. */
    if (peer->size == 0 || addresses->count == RESOLVER_MAX_ADDRESSES)
        return false;
    for (uint32_t i = 0; i < addresses->count; i++)
        if (is_end(peer, addresses->text[i]))
            return false;
    return true;
}

static void arm(struct broker_pool *pool)
{
    if (!pool->parts->target.numeric && pool->config->check_interval_ms > 0)
        timer_set(pool->parts->name_watch.timer, (uint64_t)pool->config->check_interval_ms * 1000);
}

void name_watch_found(struct broker_pool *pool)
{
    uint32_t count = 0;

    arm(pool);
    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[i];

        if (connection->state != CONNECTION_OPEN || connection->replacement != REPLACEMENT_NONE ||
            !leads_elsewhere(pool, &connection->ends.peer))
            continue;
        maintenance_mark_due(connection, CLOSE_outdated);
        count++;
    }
    if (pool->parts->role_watch.fd > 0 && leads_elsewhere(pool, &pool->parts->role_watch.ends.peer))
        role_watch_renew(pool);
    if (count > 0)
        log_limited(&pool->parts->name_watch.limit, LOG_LEVEL_NOTICE,
                    "pool %s: %s means another server now: %u connections are replaced",
                    pool->config->name, pool->config->redis.text, count);
}

void name_watch_opened(struct broker_pool *pool, struct broker_connection *connection)
{
    if (!pool->parts->target.numeric && pool->parts->target.addresses.count > 0 &&
        leads_elsewhere(pool, &connection->ends.peer))
        maintenance_mark_due(connection, CLOSE_outdated);
}

bool name_watch_failed(struct broker_pool *pool, const char *error)
{
    struct catalog_pool *entry = pool->owner.catalog;

    arm(pool);
    if (!target_reuse(pool))
        return false;
    log_limited(&pool->parts->name_watch.limit, LOG_LEVEL_WARNING,
                "pool %s: %s; what was found before is used", pool->config->name, error);
    shm_add_relaxed(&entry->dial_errors[DIAL_lookup], 1);
    return true;
}

/* ---- lookups ---- */

void name_watch_begun(struct broker_pool *pool)
{
    struct catalog_pool *entry = pool->owner.catalog;

    if (pool->parts->target.addresses.count > 0) {
        timer_set(pool->parts->name_watch.timer, LOOKUP_PATIENCE_MS * 1000);
        return;
    }
    /* Until it is over this is what the pool waits for. */
    if (pool->parts->health.failures > 0)
        return;
    catalog_write_begin(entry);
    snprintf(entry->last_error, sizeof entry->last_error, "\"%.60s\" is being looked up",
             pool->config->redis.host);
    catalog_write_end(entry);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;

    (void)source;
    (void)usec;
    if (pool->draining || pool->leaving || pool->parts->target.numeric)
        return 0;
    if (pool->parts->target.lookup) {
        deferred_want(pool, DEFERRED_SERVE);
        return 0;
    }
    arm(pool);
    if (pool->owner.open > 0 || pool->parts->role_watch.fd > 0)
        target_look_up(pool);
    return 0;
}

int name_watch_start(struct broker_pool *pool)
{
    struct name_watch *watch = &pool->parts->name_watch;
    int result = timer_new(pool->owner.event, &watch->timer, on_timer, pool);

    if (result >= 0)
        arm(pool);
    return result;
}

void name_watch_stop(struct broker_pool *pool)
{
    pool->parts->name_watch.timer = sd_event_source_disable_unref(pool->parts->name_watch.timer);
}
