/* SPDX-License-Identifier: MIT */
/* Resets of a pool's connections: see hygiene.h. */
#include "broker/hygiene.h"

#include <string.h>
#include "broker/pool.h"

/*
 * The limit of a reset. Long enough for a server that is held up by somebody's slow command; then
 * everything waits, and dialling anew would not be faster. Short enough for the place of a
 * connection that will not answer, because its last holder left a blocking command on it.
 */
#define RESET_LIMIT_MS 500u

/* A server that said that it has no RESET is asked again after this time. */
#define REFUSED_MS 60000u

/* ---- what the server can do ---- */

static bool is_refused(const struct broker_pool *pool)
{
    return pool->hygiene.refused_ms != 0 && clock_ms() - pool->hygiene.refused_ms < REFUSED_MS;
}

static void note_refusal(struct broker_pool *pool)
{
    pool->hygiene.refused_ms = clock_ms();
    log_limited(&pool->hygiene.refused_limit, LOG_LEVEL_NOTICE,
                "pool %s: %s; unclean connections are replaced unless it is known how to undo what "
                "was left",
                pool->config->name, reset_text(RESET_REFUSED));
}

void hygiene_renew(struct broker_pool *pool)
{
    pool->hygiene.refused_ms = 0;
}

/* ---- the course of a reset ---- */

static void fail(struct broker_pool *pool, struct broker_connection *connection,
                 enum reset_result result)
{
    if (result == RESET_REFUSED)
        note_refusal(pool);
    else
        log_limited(&pool->hygiene.failed_limit, LOG_LEVEL_DEBUG,
                    "pool %s: connection %u is replaced, not reset: %s", pool->config->name,
                    connection->index, reset_text(result));
    connection_close(connection, CLOSE_reset);
}

static void succeed(struct broker_pool *pool, struct broker_connection *connection)
{
    connection_reset_over(connection);
    shm_add_relaxed(&pool->owner.catalog->counters[BROKER_COUNTER_resets], 1);
    if (!queue_pass_on(&pool->owner.segment, connection->index,
                       word_make(WORD_CHECKING, 0, connection->generation)))
        pool->owner.spoiled(connection);
}

bool hygiene_go_on(struct broker_pool *pool, struct broker_connection *connection)
{
    enum reset_result result = reset_go_on(connection->reset);

    switch (result) {
    case RESET_WAITING:
        return true;
    case RESET_LOST:
        return false;
    case RESET_CLEAN:
        succeed(pool, connection);
        return true;
    default:
        fail(pool, connection, result);
        return true;
    }
}

/* RESET where there is one, else as little as makes it clean; *kind says what. False: nothing does. */
static bool choose(const struct broker_pool *pool, uint32_t left, enum reset_kind *kind)
{
    *kind = RESET_WHOLE;
    if (pool->config->reset == RESET_NEVER)
        *kind = RESET_PROVE;
    else if (is_refused(pool))
        *kind = RESET_UNDO;
    return *kind != RESET_UNDO || reset_can_undo(left);
}

/* The timer stays armed when a reset is over before it: one call for all within the limit. */
static void arm(struct broker_pool *pool)
{
    int armed;

    if (sd_event_source_get_enabled(pool->hygiene.timer, &armed) < 0 || armed == SD_EVENT_OFF) {
        sd_event_source_set_time_relative(pool->hygiene.timer, RESET_LIMIT_MS * 1000);
        sd_event_source_set_enabled(pool->hygiene.timer, SD_EVENT_ONESHOT);
    }
}

void hygiene_take(struct broker_pool *pool, struct broker_connection *connection, uint64_t word)
{
    const struct pool_config *config = pool->config;
    const struct reset_profile profile = {
        .db = config->redis.db,
        .username = config->username,
        .password = config->password,
        .password_size = config->password_size,
        .client_name = pool->client_name,
    };
    struct connection *shared = &pool->owner.segment.connections[connection->index];
    enum reset_result result;
    enum reset_kind kind;
    uint64_t taken;
    uint32_t left;

    if (!word_take_unclean(connection_word(connection), word, &taken)) {
        pool->owner.spoiled(connection);
        return;
    }
    /* Whatever a worker wrote there: bits that mean nothing are taken for the most. */
    left = (uint32_t)shm_load_relaxed(&shared->left);
    if (!choose(pool, left, &kind)) {
        connection_close(connection, CLOSE_returned);
        return;
    }
    result = reset_begin(connection->fd, kind, &profile, left, &connection->reset);
    if (result == RESET_WAITING && connection_reset_begun(connection)) {
        connection->reset_ms = clock_ms();
        arm(pool);
        return;
    }
    fail(pool, connection, result == RESET_WAITING ? RESET_FAILED : result);
}

static int on_limit(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;
    uint64_t now = clock_ms();
    bool again = false, closed = false;

    (void)source;
    (void)usec;
    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[i];

        if (!connection->reset)
            continue;
        if (now - connection->reset_ms >= RESET_LIMIT_MS) {
            fail(pool, connection, RESET_WAITING);
            closed = true;
        } else {
            again = true;
        }
    }
    if (again)
        arm(pool);
    if (closed)
        broker_pool_refill(pool);
    return 0;
}

int hygiene_start(struct broker_pool *pool)
{
    int result = sd_event_add_time(pool->owner.event, &pool->hygiene.timer, CLOCK_MONOTONIC, 0,
                                   1000, on_limit, pool);

    return result < 0 ? result : sd_event_source_set_enabled(pool->hygiene.timer, SD_EVENT_OFF);
}

void hygiene_stop(struct broker_pool *pool)
{
    pool->hygiene.timer = sd_event_source_disable_unref(pool->hygiene.timer);
}
