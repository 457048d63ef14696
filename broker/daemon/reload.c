/* SPDX-License-Identifier: MIT */
/* Another configuration for a running broker: see reload.h. */
#include "broker/daemon/reload.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "broker/pool/pause.h"
#include "broker/pool/reconfigure.h"

/* Who gets a report, besides the log. */
struct audience {
    reload_report *report;
    void *context;
};

static void report_line(enum log_level level, const char *text, void *context)
{
    const struct audience *audience = context;

    log_line(level, "%s", text);
    if (audience->report)
        audience->report(audience->context, text);
}

static void __attribute__((format(printf, 3, 4)))
say(struct audience *audience, enum log_level level, const char *format, ...)
{
    char text[240];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    report_line(level, text, audience);
}

static void publish(const struct reload *reload)
{
    if (reload->published)
        reload->published(reload->context);
}

/* ---- which pool is which ---- */

static struct broker_pool *find_running(const struct reload *reload, const char *name)
{
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++)
        if (reload->pools[i].config && strcmp(reload->pools[i].config->name, name) == 0)
            return &reload->pools[i];
    return NULL;
}

static const struct pool_config *find_configured(const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->pool_count; i++)
        if (strcmp(config->pools[i].name, name) == 0)
            return &config->pools[i];
    return NULL;
}

static struct broker_pool *find_free(const struct reload *reload)
{
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++)
        if (!reload->pools[i].config)
            return &reload->pools[i];
    return NULL;
}

/* ---- pools that come and go ---- */

static int start_pool(struct reload *reload, const struct pool_config *config)
{
    struct broker_pool *pool = find_free(reload);
    int result = pool ? broker_pool_start(pool, config, (uint32_t)(pool - reload->pools),
                                          reload->environment)
                      : -ENOSPC;

    if (result != 0) {
        log_line(LOG_LEVEL_ERR, "pool %s: cannot be made: %s", config->name, strerror(-result));
        if (pool)
            pool->config = NULL;
    }
    return result;
}

int reload_start(struct reload *reload)
{
    int result = 0;

    for (uint32_t i = 0; i < reload->config->pool_count && result == 0; i++)
        result = start_pool(reload, &reload->config->pools[i]);
    return result;
}

/* The pool is no longer configured: it keeps what it was configured with until it goes. */
static void leave(struct broker_pool *pool)
{
    struct pool_config *configured = (struct pool_config *)pool->config;

    /* Moved: what is left behind in the old configuration owns nothing. */
    pool->own = *configured;
    *configured = (struct pool_config){0};
    pool->config = &pool->own;
    pool->leaving = true;
    pause_set(pool, PAUSE_DRAINED);
}

static void come_back(struct broker_pool *pool, const struct pool_config *config)
{
    reconfigure(pool, config);
    if (!pool->leaving)
        return;
    pool->leaving = false;
    pause_set(pool, config->enabled ? PAUSE_NONE : PAUSE_DRAINED);
    pool_config_free(&pool->own);
}

static void free_pool(struct broker_pool *pool)
{
    struct catalog_pool *entry = pool->owner.catalog;

    log_line(LOG_LEVEL_INFO, "pool %s: has gone", pool->config->name);
    broker_pool_stop(pool);
    /* The next pool in this entry begins at zero. */
    catalog_write_begin(entry);
    memset(entry->name, 0, sizeof *entry - offsetof(struct catalog_pool, name));
    catalog_write_end(entry);
    shm_store32(&entry->backend, BACKEND_UNKNOWN);
    atomic_fetch_and_explicit(&pool->environment->catalog->header->paused_pools,
                              ~(UINT64_C(1) << pool->index), memory_order_seq_cst);
    pool_config_free(&pool->own);
    *pool = (struct broker_pool){0};
}

bool reload_sweep(struct reload *reload)
{
    bool again = false;

    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        struct broker_pool *pool = &reload->pools[i];

        if (!pool->config || !pool->leaving)
            continue;
        if (broker_pool_is_deserted(pool) && pause_step(pool) == 0)
            free_pool(pool);
        else
            again = true;
    }
    return again;
}

/* ---- reading it anew ---- */

/* Whether all of it can be done, before anything is. */
static bool is_possible(struct reload *reload, const struct config *next, struct audience *audience)
{
    uint32_t needed = 0, there = 0;
    bool possible = true;

    for (uint32_t i = 0; i < next->pool_count; i++) {
        const struct pool_config *config = &next->pools[i];
        const struct broker_pool *pool = find_running(reload, config->name);

        needed += !pool;
        if (pool && !pool->config->primary != !config->primary) {
            say(audience, LOG_LEVEL_ERR,
                "[pool %s] primary: a pool cannot become a service, nor a service a pool, while "
                "the broker runs; restart it",
                config->name);
            possible = false;
        }
        if (!pool || reconfigure_fits(pool, config))
            continue;
        say(audience, LOG_LEVEL_ERR,
            "[pool %s] size: %u is more than this broker made room for when it started; restart it",
            config->name, config->size);
        possible = false;
    }
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++)
        there += reload->pools[i].config != NULL;
    if (there + needed > CATALOG_MAX_POOLS) {
        say(audience, LOG_LEVEL_ERR,
            "%u more pools are too many as long as workers have not left the old ones; %u can be",
            needed, CATALOG_MAX_POOLS);
        possible = false;
    }
    return possible;
}

static void take_over_broker(struct reload *reload, struct config *next, struct audience *audience)
{
    const char *fixed = config_needs_restart(&reload->config->broker, &next->broker);

    if (fixed)
        say(audience, LOG_LEVEL_WARNING,
            "[broker] %s: has changed; it counts from the next start of the broker on", fixed);
    /* What does not count is not shown as if it did. */
    if (fixed) {
        char *socket = next->broker.socket, *metrics = next->broker.metrics;

        next->broker.socket = reload->config->broker.socket;
        reload->config->broker.socket = socket;
        next->broker.metrics = reload->config->broker.metrics;
        reload->config->broker.metrics = metrics;
        next->broker.max_workers = reload->config->broker.max_workers;
    }
    log_set_level((enum log_level)next->broker.log_level);
    reload->environment->dialler->limit = next->broker.dial_concurrency;
    reload->environment->dialler->rate = next->broker.dial_rate;
}

/* Everything fits: from here on it is done. */
static int take_over(struct reload *reload, struct config *next, struct audience *audience,
                     uint32_t *count)
{
    struct config old = *reload->config;
    int result = 0;

    take_over_broker(reload, next, audience);
    old = *reload->config;
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        struct broker_pool *pool = &reload->pools[i];

        if (!pool->config || pool->leaving || find_configured(next, pool->config->name))
            continue;
        log_line(LOG_LEVEL_NOTICE, "pool %s: is no longer configured; it is drained",
                 pool->config->name);
        leave(pool);
        ++*count;
    }
    for (uint32_t i = 0; i < next->pool_count; i++) {
        const struct pool_config *config = &next->pools[i];
        struct broker_pool *pool = find_running(reload, config->name);

        if (pool) {
            come_back(pool, config);
        } else {
            int started = start_pool(reload, config);

            if (started != 0) {
                say(audience, LOG_LEVEL_ERR, "pool %s cannot be made: %s", config->name,
                    strerror(-started));
                result = started;
            }
        }
        ++*count;
    }
    *reload->config = *next;
    config_free(&old);
    return result;
}

int reload_read(struct reload *reload, reload_report *report, void *context, uint32_t *count)
{
    struct audience audience = {.report = report, .context = context};
    struct config next;
    int result;

    *count = 0;
    reload_sweep(reload);
    result = config_load(reload->config->path, environ, report_line, &audience, &next);
    if (result != 0)
        return result;
    if (!is_possible(reload, &next, &audience)) {
        config_free(&next);
        return -EINVAL;
    }
    result = take_over(reload, &next, &audience, count);
    publish(reload);
    return result;
}

/* ---- key by key ---- */

static int set_in_pool(struct reload *reload, struct broker_pool *pool, const char *key,
                       const char *value, struct audience *audience)
{
    /* The configuration that is in force is ours; the pool only borrows it. */
    struct pool_config *config = (struct pool_config *)pool->config;
    struct pool_config before = *config, after;
    int result = config_set(reload->config, config, key, value, report_line, audience);

    if (result != 0)
        return result;
    if (!reconfigure_fits(pool, config)) {
        say(audience, LOG_LEVEL_ERR,
            "[pool %s] size: %u is more than this broker made room for when it started; restart it",
            config->name, config->size);
        *config = before;
        return -EINVAL;
    }
    /* So that it sees what was and what is. */
    after = *config;
    *config = before;
    pool->config = &before;
    *config = after;
    reconfigure(pool, config);
    return 0;
}

int reload_set(struct reload *reload, uint64_t pools, const char *key, const char *value,
               reload_report *report, void *context)
{
    struct audience audience = {.report = report, .context = context};
    int result = 0;

    if (pools == 0) {
        result = config_set(reload->config, NULL, key, value, report_line, &audience);
        log_set_level((enum log_level)reload->config->broker.log_level);
        reload->environment->dialler->limit = reload->config->broker.dial_concurrency;
        reload->environment->dialler->rate = reload->config->broker.dial_rate;
    }
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS && result == 0; i++)
        if (pools >> i & 1)
            result = set_in_pool(reload, &reload->pools[i], key, value, &audience);
    publish(reload);
    return result;
}

/* ---- the end ---- */

void reload_stop(struct reload *reload)
{
    for (uint32_t i = 0; reload->pools && i < CATALOG_MAX_POOLS; i++) {
        struct broker_pool *pool = &reload->pools[i];

        if (!pool->config)
            continue;
        broker_pool_stop(pool);
        if (pool->leaving)
            pool_config_free(&pool->own);
    }
    if (reload->config)
        config_free(reload->config);
}
