/* SPDX-License-Identifier: MIT */
/* Whether Redis can be reached: see health.h. */
#include "broker/pool/server/health.h"

#include <stdio.h>
#include "broker/base/clock.h"
#include "broker/base/random.h"
#include "broker/base/timer.h"
#include "broker/pool/internal.h"
#include "libclient/shared/server_error.h"

/* No dial sooner than this after a failed one, however the dice fall. */
#define BACKOFF_FLOOR_MS 10u

/* A server that answers that it is not ready yet is no server that is away: it is waited for, and
 * asked as often as after so many failures. */
#define ANSWERS_ROUNDS 3u

/* A connection that lives shorter than this says nothing good about the server. */
#define CHURN_MS 1000u

enum backend_state broker_pool_backend(const struct broker_pool *pool)
{
    return (enum backend_state)shm_load32(&pool->owner.catalog->backend);
}

/* ---- failing fast ---- */

/* All who wait read what the catalog says now. */
static void wake_all(const struct broker_pool *pool)
{
    struct wake_set everybody = {.groups = UINT64_MAX};

    for (uint32_t i = 0; i < WAKE_GROUPS; i++)
        everybody.bits[i] = UINT32_MAX;
    wake_flush(&pool->owner.segment, &everybody);
}

static void fail_fast(struct broker_pool *pool)
{
    uint32_t limit = pool->config->fail_fast_after;
    uint32_t failing = limit > 0 && pool->parts->health.failures >= limit && pool->owner.open == 0;
    shm_u32 *mark = &pool->owner.catalog->failing;

    if (shm_load32(mark) == failing)
        return;
    shm_store32(mark, failing);
    if (!failing)
        return;
    log_limited(&pool->parts->health.limit, LOG_LEVEL_WARNING,
                "pool %s: %u dials in a row have failed: nobody waits any more until one succeeds",
                pool->config->name, pool->parts->health.failures);
    wake_all(pool);
}

/* With a connection open Redis is up, even if another one cannot be had just now. */
void health_update(struct broker_pool *pool)
{
    enum backend_state before = broker_pool_backend(pool), now = before;

    if (pool->owner.open > 0)
        now = BACKEND_UP;
    else if (pool->parts->health.failures > 0)
        now = BACKEND_DOWN;
    if (now == BACKEND_DOWN && before != BACKEND_DOWN)
        server_renew(pool);
    shm_store32(&pool->owner.catalog->backend, now);
    fail_fast(pool);
    if (now != before)
        pool->environment->changed(pool->environment->context);
}

/* ---- dials ---- */

/*
 * No dial for a random time of up to dial_backoff_min, doubled with each of `rounds` ("full
 * jitter"), up to dial_backoff_max.
 */
static void hold(struct broker_pool *pool, uint32_t rounds)
{
    uint64_t most = pool->config->dial_backoff_min_ms;

    while (--rounds > 0 && most < pool->config->dial_backoff_max_ms)
        most *= 2;
    if (most > pool->config->dial_backoff_max_ms)
        most = pool->config->dial_backoff_max_ms;
    if (most < BACKOFF_FLOOR_MS)
        most = BACKOFF_FLOOR_MS;
    pool->parts->health.holding = true;
    timer_set(pool->parts->health.retry,
              (BACKOFF_FLOOR_MS + UINT64_C(1) * random_up_to((uint32_t)most - BACKOFF_FLOOR_MS)) *
                  1000);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;

    (void)source;
    (void)usec;
    pool->parts->health.holding = false;
    deferred_want(pool, DEFERRED_SERVE);
    return 0;
}

void health_count_failure(struct broker_pool *pool, enum dial_reason reason, const char *error)
{
    struct catalog_pool *entry = pool->owner.catalog;

    shm_add_relaxed(&entry->dial_errors[reason], 1);
    catalog_write_begin(entry);
    snprintf(entry->last_error, sizeof entry->last_error, "%s", error);
    catalog_write_end(entry);
}

void health_dial_failed(struct broker_pool *pool, bool probe, enum dial_reason reason,
                        const char *error)
{
    bool answers = server_error_flags(server_error_find(error)) & ERROR_ALIVE;

    health_count_failure(pool, reason, error);
    server_dial_failed(pool);
    if (pool->parts->health.failures == 0)
        log_limited(&pool->parts->health.limit, LOG_LEVEL_WARNING,
                    "pool %s: cannot open a connection to %s: %s (%u open); trying again",
                    pool->config->name, pool->config->redis.text, error, pool->owner.open);
    /* Of dials that were under way together only the first counts: they all met the same trouble.
     */
    if (pool->parts->health.failures == 0 || probe) {
        if (answers)
            pool->parts->health.failures = 1;
        else if (pool->parts->health.failures < UINT32_MAX)
            pool->parts->health.failures++;
        hold(pool, answers ? ANSWERS_ROUNDS : pool->parts->health.failures);
    }
    health_update(pool);
}

void health_dial_succeeded(struct broker_pool *pool)
{
    if (pool->parts->health.failures > 0)
        log_limited(&pool->parts->health.limit, LOG_LEVEL_NOTICE, "pool %s: connected to %s again",
                    pool->config->name, pool->config->redis.text);
    else if (broker_pool_backend(pool) == BACKEND_UNKNOWN)
        log_limited(&pool->parts->health.limit, LOG_LEVEL_INFO, "pool %s: connected to %s",
                    pool->config->name, pool->config->redis.text);
    pool->parts->health.failures = 0;
    health_update(pool);
}

/* ---- connections ---- */

void health_connection_lost(struct broker_pool *pool, uint64_t opened_ms)
{
    pool->parts->health.churn =
        clock_ms() - opened_ms < CHURN_MS ? pool->parts->health.churn + 1 : 0;
}

void health_forgive(struct broker_pool *pool)
{
    if (pool->parts->health.churn > 0)
        pool->parts->health.churn--;
}

bool health_is_churning(const struct broker_pool *pool)
{
    return pool->parts->health.churn > 2 * pool->config->size;
}

void health_slow_down(struct broker_pool *pool)
{
    if (!pool->parts->health.holding)
        hold(pool, pool->parts->health.churn / pool->config->size);
}

void health_reset(struct broker_pool *pool)
{
    pool->parts->health.failures = 0;
    pool->parts->health.churn = 0;
    pool->parts->health.holding = false;
    timer_stop(pool->parts->health.retry);
}

int health_start(struct broker_pool *pool)
{
    return timer_new(pool->owner.event, &pool->parts->health.retry, on_retry, pool);
}

void health_stop(struct broker_pool *pool)
{
    pool->parts->health.retry = sd_event_source_disable_unref(pool->parts->health.retry);
}
