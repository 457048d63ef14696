/* SPDX-License-Identifier: MIT */
/* Resets of a pool's connections: see cleaning.h. */
#include "broker/pool/cleaning.h"

#include <string.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "broker/pool/internal.h"

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
    return pool->parts->cleaning.refused_ms != 0 &&
           clock_ms() - pool->parts->cleaning.refused_ms < REFUSED_MS;
}

static void note_refusal(struct broker_pool *pool)
{
    pool->parts->cleaning.refused_ms = clock_ms();
    log_limited(&pool->parts->cleaning.refused_limit, LOG_LEVEL_NOTICE,
                "pool %s: %s; unclean connections are replaced unless it is known how to undo what "
                "was left",
                pool->config->name, reset_text(RESET_REFUSED));
    server_refuses(pool, RIGHT_BIT(reset));
}

void cleaning_renew(struct broker_pool *pool)
{
    pool->parts->cleaning.refused_ms = 0;
    pool->parts->cleaning.no_fieldsets = false;
}

/* ---- the course of a reset ---- */

static void fail(struct broker_pool *pool, struct broker_connection *connection,
                 enum reset_result result)
{
    if (redirected_close(pool, connection))
        return;
    if (connection->checking) {
        log_limited(&pool->parts->cleaning.failed_limit, LOG_LEVEL_INFO,
                    "pool %s: idle connection %u is replaced: %s", pool->config->name,
                    connection->index, reset_text(result));
        connection_close(connection, CLOSE_check);
        return;
    }
    if (result == RESET_REFUSED)
        note_refusal(pool);
    else
        log_limited(&pool->parts->cleaning.failed_limit, LOG_LEVEL_DEBUG,
                    "pool %s: connection %u is replaced, not reset: %s", pool->config->name,
                    connection->index, reset_text(result));
    connection_close(connection, CLOSE_reset);
}

static void succeed(struct broker_pool *pool, struct broker_connection *connection)
{
    bool was_check = connection->checking;

    /* Whoever answered was not whom it was dialled to. */
    if (redirected_close(pool, connection))
        return;
    if (reset_lacks_fieldsets(connection->reset))
        pool->parts->cleaning.no_fieldsets = true;
    connection_reset_over(connection);
    shm_add_relaxed(
        &pool->owner.catalog->counters[was_check ? BROKER_COUNTER_checks : BROKER_COUNTER_resets],
        1);
    if (!queue_pass_on(&pool->owner.segment, connection->index,
                       word_make(WORD_CHECKING, 0, connection->generation)))
        corruption_found(connection);
}

enum cleaning_result cleaning_go_on(struct broker_pool *pool, struct broker_connection *connection)
{
    enum reset_result result = reset_go_on(connection->reset);
    bool was_check = connection->checking;

    switch (result) {
    case RESET_WAITING:
        return CLEANING_GOES_ON;
    case RESET_LOST:
        return CLEANING_LOST;
    case RESET_CLEAN:
        succeed(pool, connection);
        return was_check ? CLEANING_WELL : CLEANING_GOES_ON;
    case RESET_ALIVE:
        /* It was clean before, and is asked no more than whether it lives. */
        if (!was_check)
            break;
        succeed(pool, connection);
        return CLEANING_UNWELL;
    default:
        break;
    }
    fail(pool, connection, result);
    return CLEANING_GOES_ON;
}

/* RESET where there is one and no login has to follow, else as little as makes it clean; *kind says
 * what. False: nothing does. */
static bool choose(const struct broker_pool *pool, const struct broker_connection *connection,
                   uint32_t left, enum reset_kind *kind)
{
    *kind = RESET_WHOLE;
    if (pool->config->reset == RESET_NEVER)
        *kind = RESET_PROVE;
    else if (is_refused(pool) || (pool->parts->server.rights.refused & RIGHT_BIT(ping)) != 0 ||
             pool->parts->server.rights.costly != 0)
        *kind = RESET_UNDO;
    else if (pool_config_logs_in(pool->config) && !connection_may_carry_secret(connection))
        *kind = RESET_NAMED;
    /* What nobody knows cannot be undone by name, nor seen. */
    if ((left & LEFT_SUSPECT) && (*kind == RESET_NAMED || *kind == RESET_UNDO))
        return false;
    return *kind != RESET_UNDO || reset_can_undo(left);
}

static uint64_t limit_ms(const struct broker_pool *pool, const struct broker_connection *connection)
{
    return connection->checking ? pool->config->check_timeout_ms : RESET_LIMIT_MS;
}

/*
 * The timer stays armed when a reset is over before it: one call for all within the limit. It comes
 * at the end of the shortest one.
 */
static void set_limit(struct broker_pool *pool, uint64_t ms)
{
    timer_ensure_at(pool->parts->cleaning.timer, (clock_ms() + ms) * 1000);
}

static struct reset_profile profile_of(const struct broker_pool *pool)
{
    const struct pool_config *config = pool->config;
    /* Where the user may not give a name, connections have none. */
    bool nameless = rights_missing(&pool->parts->server.rights) & RIGHT_BIT(name);

    return (struct reset_profile){
        .db = config->redis.db,
        .username = config->username,
        .client_name = nameless ? "" : pool->client_name,
        .keepalive_ms = config->tcp_keepalive_ms,
        .fieldsets = !pool->parts->cleaning.no_fieldsets,
        .proof =
            pool->parts->server.rights.refused & RIGHT_BIT(ping) ? RESET_BY_ERROR : RESET_BY_PING,
    };
}

/* What follows reset_begin(). */
static void begun(struct broker_pool *pool, struct broker_connection *connection,
                  enum reset_result result)
{
    if (result == RESET_WAITING && connection_reset_begun(connection)) {
        connection->reset_ms = clock_ms();
        set_limit(pool, limit_ms(pool, connection));
        return;
    }
    fail(pool, connection, result == RESET_WAITING ? RESET_FAILED : result);
}

bool cleaning_check(struct broker_pool *pool, struct broker_connection *connection)
{
    struct reset_profile profile = profile_of(pool);
    uint64_t taken;

    if (!word_check(connection_word(connection), &taken))
        return false;
    connection->checking = true;
    if (redirected_close(pool, connection))
        return true;
    if (pool->parts->server.rights.costly != 0)
        profile.proof = RESET_BY_PONG;
    begun(pool, connection,
          reset_begin(connection->fd, RESET_PROVE, &profile, 0, &connection->reset));
    return true;
}

void cleaning_take(struct broker_pool *pool, struct broker_connection *connection, uint64_t word)
{
    const struct reset_profile profile = profile_of(pool);
    struct connection *shared = &pool->owner.segment.connections[connection->index];
    enum reset_kind kind;
    uint64_t taken;
    uint32_t left;

    if (!word_take_unclean(connection_word(connection), word, &taken)) {
        corruption_found(connection);
        return;
    }
    /* Whatever a worker wrote there: bits that mean nothing are taken for the most. */
    left = (uint32_t)shm_load_relaxed(&shared->left);
    if (redirected_close(pool, connection))
        return;
    if (!choose(pool, connection, left, &kind)) {
        connection_close(connection, CLOSE_returned);
        return;
    }
    begun(pool, connection, reset_begin(connection->fd, kind, &profile, left, &connection->reset));
}

static int on_limit(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;
    uint64_t now = clock_ms();
    uint64_t next = UINT64_MAX;
    bool closed = false;

    (void)source;
    (void)usec;
    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[i];

        if (!connection->reset)
            continue;
        if (now - connection->reset_ms >= limit_ms(pool, connection)) {
            fail(pool, connection, RESET_WAITING);
            closed = true;
        } else if (connection->reset_ms + limit_ms(pool, connection) - now < next) {
            next = connection->reset_ms + limit_ms(pool, connection) - now;
        }
    }
    if (next != UINT64_MAX)
        set_limit(pool, next);
    if (closed)
        deferred_want(pool, DEFERRED_SERVE);
    return 0;
}

int cleaning_start(struct broker_pool *pool)
{
    return timer_new(pool->owner.event, &pool->parts->cleaning.timer, on_limit, pool);
}

void cleaning_stop(struct broker_pool *pool)
{
    pool->parts->cleaning.timer = sd_event_source_disable_unref(pool->parts->cleaning.timer);
}
