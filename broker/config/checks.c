/* SPDX-License-Identifier: MIT */
/* Checks across keys: see checks.h. */
#include "broker/config/checks.h"

#include <string.h>
#include "broker/config/encryption.h"
#include "broker/config/environment.h"
#include "broker/config/passwords.h"
#include "broker/config/values.h"
#include "libclient/shared/served.h"

/* Shorter ones would be over before they were seen: see lease_limits.h. */
#define LEASE_LIMIT_LEAST_MS 100u

static void check_lease_limits(struct loader *loader, struct pool_config *pool)
{
    struct place place = PLACE_OF(loader, pool, lease_timeout_ms);
    char limit[32], warning[32];

    config_format_duration(pool->lease_timeout_ms, limit, sizeof limit);
    config_format_duration(pool->leak_warn_after_ms, warning, sizeof warning);
    if (pool->lease_timeout_ms > 0 && pool->lease_timeout_ms < LEASE_LIMIT_LEAST_MS)
        config_complain(&place, "%s is too short; 0 and %ums to 24h are allowed", limit,
                        LEASE_LIMIT_LEAST_MS);
    place = PLACE_OF(loader, pool, leak_warn_after_ms);
    if (pool->leak_warn_after_ms > 0 && pool->leak_warn_after_ms < LEASE_LIMIT_LEAST_MS)
        config_complain(&place, "%s is too short; 0 and %ums to 24h are allowed", warning,
                        LEASE_LIMIT_LEAST_MS);
    else if (pool->lease_timeout_ms > 0 && pool->leak_warn_after_ms >= pool->lease_timeout_ms)
        config_complain(&place, "leak_warn_after is %s and lease_timeout is %s; it must be shorter",
                        warning, limit);
}

/* Whether Redis takes it for a name: CLIENT SETNAME. */
static void check_client_name(struct loader *loader, const struct pool_config *pool)
{
    struct place place = PLACE_OF(loader, pool, client_name);

    for (const char *at = pool->client_name; at && *at; at++)
        if (*at < '!' || *at > '~') {
            config_complain(&place,
                            "\"%s\" has a blank or another character that Redis allows in no "
                            "name; the characters from ! to ~ are allowed",
                            pool->client_name);
            return;
        }
}

/* A service's member must be a pool, of this role. */
static void check_member(const struct place *place, const char *name, size_t size, uint32_t role)
{
    struct config *config = place->loader->config;

    for (uint32_t i = 0; i < config->pool_count; i++) {
        struct pool_config *member = &config->pools[i];

        if (strlen(member->name) != size || memcmp(member->name, name, size) != 0)
            continue;
        if (member->primary)
            config_complain(place, "%s is a service itself; name a pool", member->name);
        else if (member->role != role)
            config_complain(place, "pool %s has role = %s; role = %s is needed here", member->name,
                            config_role_names[member->role], config_role_names[role]);
        member->is_member = true;
        return;
    }
    config_complain(place, "there is no pool \"%.*s\"", (int)size, name);
}

/* Checks the names, and writes them again with one blank between them. */
static void check_replicas(const struct place *place, char *text)
{
    static const char between[] = " \t,";
    size_t used = 0, count = 0;

    for (char *at = text + strspn(text, between); *at;) {
        size_t size = strcspn(at, between);
        char *next = at + size + strspn(at + size, between);

        check_member(place, at, size, ROLE_REPLICA);
        if (used > 0)
            text[used++] = ' ';
        memmove(text + used, at, size);
        used += size;
        count++;
        at = next;
    }
    text[used] = '\0';
    if (count > SERVICE_REPLICAS_MAX)
        config_complain(place, "%zu pools are too many; %u are allowed", count,
                        SERVICE_REPLICAS_MAX);
}

static void check_service(struct loader *loader, struct pool_config *pool)
{
    struct place place = PLACE_OF(loader, pool, replicas);

    if (pool->replicas && !pool->primary)
        config_complain(&place, "needs primary");
    else if (pool->replicas)
        check_replicas(&place, pool->replicas);
    if (!pool->primary)
        return;
    place = PLACE_OF(loader, pool, primary);
    check_member(&place, pool->primary, strlen(pool->primary), ROLE_PRIMARY);
    place = PLACE_OF(loader, pool, redis);
    if (pool->redis.text)
        config_complain(&place, "a service has none of its own; leave out redis, or primary");
}

/* The address of one list in another one; NULL: they have none in common. */
static const char *common_address(const char *list, const char *other, size_t *size)
{
    for (const char *at = list; *at; at += *size + (at[*size] == ' ')) {
        *size = strcspn(at, " ");
        for (const char *each = other; *each; each += strcspn(each, " "), each += *each == ' ')
            if (strcspn(each, " ") == *size && strncasecmp(at, each, *size) == 0)
                return at;
    }
    return NULL;
}

/* A program that comes to an address must find one pool there for each database. */
static void check_serves(struct loader *loader, uint32_t index)
{
    struct pool_config *pools = loader->config->pools, *pool = &pools[index];
    struct place place = PLACE_OF(loader, pool, serves);

    for (uint32_t i = 0; pool->serves && i < index; i++) {
        const char *address = NULL;
        size_t size;

        if (pools[i].serves && pools[i].redis.db == pool->redis.db &&
            strcmp(pool->serves, SERVED_NOTHING) != 0)
            address = common_address(pool->serves, pools[i].serves, &size);
        if (address)
            config_complain(&place, "pool %s serves %.*s already, with the same database",
                            pools[i].name, (int)size, address);
    }
}

void config_check_pool(struct loader *loader, struct pool_config *pool)
{
    struct place place;

    place = PLACE_OF(loader, pool, redis);
    if (!pool->redis.text && !pool->primary && !place.origin.line && !place.origin.variable)
        config_complain(&place,
                        "is missing; write redis = redis://HOST:PORT/DB or unix:///PATH?db=N");
    check_service(loader, pool);
    place = PLACE_OF(loader, pool, min_idle);
    if (pool->min_idle > pool->size) {
        if (!place.origin.line && !place.origin.variable)
            place = PLACE_OF(loader, pool, size);
        config_complain(&place, "min_idle is %u and size is %u; min_idle may be at most size",
                        pool->min_idle, pool->size);
    }
    place = PLACE_OF(loader, pool, max_idle);
    if (pool->max_idle > 0 && pool->max_idle < pool->min_idle)
        config_complain(
            &place, "max_idle is %u and min_idle is %u; max_idle must be 0 or at least min_idle",
            pool->max_idle, pool->min_idle);
    check_lease_limits(loader, pool);
    place = PLACE_OF(loader, pool, reserve_size);
    if (pool->reserve_size > 0 && pool->size + pool->reserve_size > CONFIG_SIZE_MOST)
        config_complain(&place,
                        "reserve_size is %u and size is %u; together they may be at most %u",
                        pool->reserve_size, pool->size, CONFIG_SIZE_MOST);
    place = PLACE_OF(loader, pool, dial_backoff_max_ms);
    if (pool->dial_backoff_max_ms < pool->dial_backoff_min_ms)
        config_complain(&place,
                        "is less than dial_backoff_min, which is %ums; it must be at least that",
                        pool->dial_backoff_min_ms);
    check_client_name(loader, pool);
    config_check_login(loader, pool);
    config_check_tls(loader, pool);
}

/* Two pools whose variables have the same names could not be told apart. */
static void check_names(struct loader *loader, uint32_t index)
{
    const struct pool_config *pools = loader->config->pools;
    char name[CATALOG_NAME_SIZE], other[CATALOG_NAME_SIZE];

    environment_name(pools[index].name, name);
    for (uint32_t i = 0; i < index; i++) {
        environment_name(pools[i].name, other);
        if (strcmp(name, other) == 0)
            config_complain_line(
                loader, pools[index].line,
                "[pool %s]: has the same environment variables as [pool %s], LENDIS_POOL_%s_...",
                pools[index].name, pools[i].name, name);
    }
}

void config_check(struct loader *loader)
{
    struct config *config = loader->config;

    for (uint32_t i = 0; i < config->pool_count; i++) {
        config_check_pool(loader, &config->pools[i]);
        config_read_tls(loader, &config->pools[i]);
        config_read_password(loader, &config->pools[i]);
        check_names(loader, i);
        check_serves(loader, i);
    }
    if (config->pool_count == 0 && loader->errors == 0)
        config_complain_line(
            loader, loader->line ? loader->line : 1,
            "there is no pool; write a [pool NAME] section with redis = redis://HOST:PORT/DB");
}
