/* SPDX-License-Identifier: MIT */
/* How long leases last and how many a user has: see lease_limits.h. */
#include "broker/pool/lease_limits.h"

#include <stdlib.h>
#include <string.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "broker/pool/leak_report.h"
#include "broker/pool/internal.h"

/* A scan of all words of a pool takes a few microseconds; this keeps it below a thousandth. */
#define INTERVAL_LEAST_MS 10u
/* What holders say of when they began is right to a tick of CLOCK_MONOTONIC_COARSE. */
#define TICK_MS 10u
/*
 * The library keeps to per_uid_leases by itself, but for the moment in which it finds that it has
 * one too many. What stands above the limit for this long is somebody else's doing.
 */
#define SHARE_PATIENCE_MS 500u

/* ---- what is found ---- */

/* The attached worker that `word` belongs to. False: it is held by nobody that we know. */
static bool holder_of(const struct broker_pool *pool, uint64_t word, uint32_t *worker)
{
    *worker = word_holder(&pool->owner.segment, word);
    return *worker < pool->environment->worker_max &&
           shm_load32(&pool->environment->catalog->workers[*worker].pool) == 1 + pool->index;
}

/* When a lease began that was not there at the last scan. */
static uint64_t begin_of(const struct lease_limits *watch, const struct connection *shared,
                         uint64_t now_ms)
{
    uint64_t said_ms = shm_load_relaxed(&shared->leased_ms);

    return said_ms + TICK_MS >= watch->scanned_ms && said_ms <= now_ms ? said_ms : now_ms;
}

/* Brings connection->seen up to date. False: nobody holds it. */
static bool inspect(const struct broker_pool *pool, struct broker_connection *connection,
                    uint64_t now_ms)
{
    const struct connection *shared = &pool->owner.segment.connections[connection->index];
    struct lease_seen *seen = &connection->seen;
    uint64_t word = shm_load(&shared->word), uses = shm_load_relaxed(&shared->uses);

    if (connection->state != CONNECTION_OPEN || !word_is_out(word)) {
        seen->word = 0;
        return false;
    }
    if (word != seen->word || uses != seen->uses)
        *seen = (struct lease_seen){
            .word = word,
            .uses = uses,
            .since_ms = begin_of(&pool->parts->lease_limits, shared, now_ms),
        };
    return true;
}

/* ---- lease_timeout and leak_warn_after ---- */

static void revoke_late(struct broker_pool *pool, struct broker_connection *connection,
                        uint64_t age_ms)
{
    uint64_t word = connection->seen.word;
    const struct catalog_worker *holder;
    uint32_t worker;

    if (!revocation_take(pool, connection, word, REVOKE_lease_timeout))
        return; /* it came back just now */
    if (!holder_of(pool, word, &worker))
        return;
    holder = &pool->environment->catalog->workers[worker];
    log_limited(&pool->parts->lease_limits.revoke_limit, LOG_LEVEL_WARNING,
                "pool %s: connection %u is taken from process %u of user %u, which has held it for "
                "%ju ms; lease_timeout is %u ms",
                pool->config->name, connection->index, holder->pid, holder->uid, (uintmax_t)age_ms,
                pool->config->lease_timeout_ms);
}

/* Adds the lease to `list`, unless too many were reported lately. Once per lease in any case. */
static void note_leak(struct broker_pool *pool, struct broker_connection *connection,
                      uint64_t age_ms, struct leak **list)
{
    struct leak leak = {.next = *list, .connection = connection->index, .age_ms = age_ms};
    struct leak *made;
    uint32_t worker;

    if (!holder_of(pool, connection->seen.word, &worker))
        return;
    connection->seen.warned = true;
    if (!log_admit(&pool->parts->lease_limits.leak_limit, LOG_LEVEL_WARNING, &leak.kept_back))
        return;
    leak.pid = pool->environment->catalog->workers[worker].pid;
    leak.uid = pool->environment->catalog->workers[worker].uid;
    memcpy(leak.pool, pool->config->name, sizeof leak.pool);
    made = malloc(sizeof *made);
    if (!made)
        return;
    *made = leak;
    *list = made;
}

/* When something is to be done about a lease that began at since_ms; `never` without a limit. */
static uint64_t due(uint64_t since_ms, uint32_t limit_ms, uint64_t never)
{
    return limit_ms > 0 ? since_ms + limit_ms : never;
}

/* ---- per_uid_leases ---- */

struct share {
    uint32_t uid;
    uint32_t index;
    uint64_t since_ms;
};

/* By user, the oldest lease first. */
static int compare_shares(const void *a, const void *b)
{
    const struct share *left = a, *right = b;

    if (left->uid != right->uid)
        return left->uid < right->uid ? -1 : 1;
    if (left->since_ms != right->since_ms)
        return left->since_ms < right->since_ms ? -1 : 1;
    return left->index < right->index ? -1 : left->index > right->index;
}

/* The leases that count, in order. Returns how many. */
static uint32_t collect_shares(const struct broker_pool *pool, uint64_t now_ms,
                               struct share shares[LENDIS_MAX_CONNECTIONS])
{
    uint32_t count = 0, worker;

    for (uint32_t i = 0; i < pool->places; i++) {
        const struct lease_seen *seen = &pool->connections[i].seen;

        if (seen->word == 0 || now_ms - seen->since_ms < SHARE_PATIENCE_MS ||
            !holder_of(pool, seen->word, &worker))
            continue;
        shares[count++] = (struct share){
            .uid = pool->environment->catalog->workers[worker].uid,
            .index = i,
            .since_ms = seen->since_ms,
        };
    }
    if (count > 1)
        qsort(shares, count, sizeof *shares, compare_shares);
    return count;
}

/* Takes from each user the newest of what is too much. Returns whether anything was taken. */
static bool enforce_shares(struct broker_pool *pool, uint64_t now_ms)
{
    struct share shares[LENDIS_MAX_CONNECTIONS];
    uint32_t count, held = 0, most = pool->config->per_uid_leases;
    bool taken = false;

    if (most != pool->parts->lease_limits.share)
        pool->parts->lease_limits.share_ms = now_ms;
    pool->parts->lease_limits.share = most;
    if (most == 0)
        return false;
    count = collect_shares(pool, now_ms, shares);
    for (uint32_t i = 0; i < count; i++) {
        struct broker_connection *connection = &pool->connections[shares[i].index];

        held = i > 0 && shares[i].uid == shares[i - 1].uid ? held + 1 : 1;
        if (held <= most || shares[i].since_ms <= pool->parts->lease_limits.share_ms ||
            !revocation_take(pool, connection, connection->seen.word, REVOKE_user_limit))
            continue;
        taken = true;
        log_limited(&pool->parts->lease_limits.revoke_limit, LOG_LEVEL_WARNING,
                    "pool %s: connection %u is taken from a process of user %u, which holds more "
                    "than per_uid_leases = %u",
                    pool->config->name, connection->index, shares[i].uid, most);
    }
    return taken;
}

/* ---- inspecting ---- */

/* How long until the next scan, if nothing is due before; 0: there is nothing to look for. */
static uint64_t interval_ms(const struct pool_config *config)
{
    uint64_t least = UINT64_MAX;

    if (config->lease_timeout_ms > 0)
        least = config->lease_timeout_ms / 10;
    if (config->leak_warn_after_ms > 0 && config->leak_warn_after_ms / 10 < least)
        least = config->leak_warn_after_ms / 10;
    if (config->per_uid_leases > 0 && SHARE_PATIENCE_MS < least)
        least = SHARE_PATIENCE_MS;
    if (least == UINT64_MAX)
        return 0;
    return least < INTERVAL_LEAST_MS ? INTERVAL_LEAST_MS : least;
}

static void arm(struct broker_pool *pool, uint64_t now_ms, uint64_t next_ms)
{
    timer_set(pool->parts->lease_limits.timer, (next_ms > now_ms ? next_ms - now_ms : 1) * 1000);
}

/* Inspects all leases. Returns when to scan again. */
static uint64_t inspect_all(struct broker_pool *pool, uint64_t now_ms)
{
    const struct pool_config *config = pool->config;
    uint64_t next_ms = now_ms + interval_ms(config), at_ms;
    struct leak *leaks = NULL;
    bool taken = false;

    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[i];
        struct lease_seen *seen = &connection->seen;

        if (!inspect(pool, connection, now_ms))
            continue;
        at_ms = due(seen->since_ms, config->lease_timeout_ms, UINT64_MAX);
        if (at_ms <= now_ms) {
            taken = true;
            revoke_late(pool, connection, now_ms - seen->since_ms);
            continue;
        }
        next_ms = at_ms < next_ms ? at_ms : next_ms;
        at_ms = due(seen->since_ms, seen->warned ? 0 : config->leak_warn_after_ms, UINT64_MAX);
        if (at_ms <= now_ms)
            note_leak(pool, connection, now_ms - seen->since_ms, &leaks);
        else if (at_ms < next_ms)
            next_ms = at_ms;
    }
    pool->parts->lease_limits.scanned_ms = now_ms;
    taken = enforce_shares(pool, now_ms) || taken;
    leak_report(leaks);
    revocation_report(pool);
    if (taken)
        deferred_want(pool, DEFERRED_SERVE);
    return next_ms;
}

static bool has_something(const struct broker_pool *pool)
{
    return interval_ms(pool->config) > 0 && !pool->draining &&
           pool->parts->members.attached.count > 0 && pool->owner.open > 0;
}

static int on_time(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;
    uint64_t now_ms = clock_ms(), next_ms;

    (void)source;
    (void)usec;
    if (!has_something(pool))
        return 0; /* woken again when there is */
    next_ms = inspect_all(pool, now_ms);
    arm(pool, now_ms, next_ms);
    return 0;
}

void lease_limits_wake(struct broker_pool *pool)
{
    uint64_t now_ms = clock_ms();

    if (!has_something(pool) || timer_is_on(pool->parts->lease_limits.timer))
        return;
    pool->parts->lease_limits.scanned_ms = now_ms;
    arm(pool, now_ms, now_ms + interval_ms(pool->config));
}

void lease_limits_renew(struct broker_pool *pool)
{
    /* They may be shorter now than what the timer was set for. */
    timer_stop(pool->parts->lease_limits.timer);
    lease_limits_wake(pool);
}

int lease_limits_start(struct broker_pool *pool)
{
    pool->parts->lease_limits.share = pool->config->per_uid_leases;
    return timer_new(pool->owner.event, &pool->parts->lease_limits.timer, on_time, pool);
}

void lease_limits_stop(struct broker_pool *pool)
{
    pool->parts->lease_limits.timer =
        sd_event_source_disable_unref(pool->parts->lease_limits.timer);
}
