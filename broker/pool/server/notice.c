/* SPDX-License-Identifier: MIT */
/* Errors of a server about itself: see notice.h. */
#include "broker/pool/server/notice.h"
#include "broker/base/clock.h"
#include "broker/base/timer.h"

#include "broker/pool/internal.h"
#include "libclient/shared/server_error.h"

/*
 * Between two replacements of all connections: the first, the longest, and after such a silence the
 * first one again.
 */
#define PAUSE_FIRST_MS 500u
#define PAUSE_MOST_MS  30000u
#define PAUSE_OVER_MS  60000u

/* So often a replica that is unwell is asked whether it still is. */
#define UNWELL_MS 250u

/* ---- the connections are not what they were ---- */

static void replace_all(struct broker_pool *pool, enum server_error error)
{
    struct notice *notice = &pool->parts->notice;
    uint64_t now_ms = clock_ms(), since_ms = now_ms - notice->replaced_ms;

    if (notice->pause_ms != 0 && since_ms < notice->pause_ms)
        return;
    if (notice->pause_ms == 0 || since_ms > PAUSE_OVER_MS)
        notice->pause_ms = PAUSE_FIRST_MS;
    else if (notice->pause_ms < PAUSE_MOST_MS)
        notice->pause_ms *= 2;
    notice->replaced_ms = now_ms;
    log_limited(&notice->limit, LOG_LEVEL_NOTICE,
                "pool %s: %s (Redis answered %s): %s is looked up again, and its connections are "
                "replaced",
                pool->config->name, server_error_text(error), server_error_name(error),
                pool->config->redis.text);
    target_forget(pool);
    for (uint32_t i = 0; i < pool->places; i++)
        maintenance_mark_due(&pool->connections[i], CLOSE_outdated);
}

/* ---- a replica that is unwell ---- */

static void set_erring(struct broker_pool *pool, bool erring)
{
    bool was = pool->parts->unwell.erring;

    unwell_set_erring(pool, erring);
    if (was || !erring)
        return;
    timer_set(pool->parts->notice.timer, UNWELL_MS * 1000);
    role_watch_hurry(pool);
}

static int on_unwell(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;

    (void)source;
    (void)usec;
    if (!pool->parts->unwell.erring)
        return 0;
    /* Without a connection the next dial has to show it. */
    if (pool->owner.open == 0)
        set_erring(pool, false);
    for (uint32_t i = 0; i < pool->places; i++)
        if (pool->connections[i].state == CONNECTION_OPEN && !pool->connections[i].reset &&
            cleaning_check(pool, &pool->connections[i]))
            break;
    timer_set(pool->parts->notice.timer, UNWELL_MS * 1000);
    return 0;
}

void notice_checked(struct broker_pool *pool, bool well)
{
    if (pool->config->role == ROLE_REPLICA)
        set_erring(pool, !well);
}

/* ---- what workers report ---- */

void notice_inspect(struct broker_pool *pool, struct broker_connection *connection)
{
    shm_u64 *said = &pool->owner.segment.connections[connection->index].said;
    enum server_error error;
    uint64_t seen;
    uint32_t flags;

    if (shm_load(said) == 0)
        return;
    seen = shm_exchange(said, 0);
    error = (enum server_error)(seen & 255);
    flags = server_error_flags(error);
    if (seen >> 8 != 1 + connection->generation || flags == 0)
        return;
    shm_add_relaxed(&pool->owner.catalog->counters[BROKER_COUNTER_notices], 1);
    if ((flags & ERROR_REPLACE) &&
        (!(flags & ERROR_OF_PRIMARY) || pool->config->role == ROLE_PRIMARY))
        replace_all(pool, error);
    else if (flags & ERROR_ELSEWHERE)
        notice_checked(pool, false);
}

int notice_start(struct broker_pool *pool)
{
    return timer_new(pool->owner.event, &pool->parts->notice.timer, on_unwell, pool);
}

void notice_stop(struct broker_pool *pool)
{
    pool->parts->notice.timer = sd_event_source_disable_unref(pool->parts->notice.timer);
}
