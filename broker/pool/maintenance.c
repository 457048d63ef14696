/* SPDX-License-Identifier: MIT */
/* Replacing and closing connections: see maintenance.h. */
#include "broker/pool/maintenance.h"

#include "broker/base/clock.h"
#include "broker/base/random.h"
#include "broker/base/timer.h"
#include "broker/pool/internal.h"

/*
 * A connection beyond max_idle goes after this time without a lease: one that comes back while the
 * next caller is on its way would be opened anew at once.
 */
#define REST_MS 1000u
/* What holders say of when they began is right to a tick of CLOCK_MONOTONIC_COARSE. */
#define TICK_MS 10u
/* A retiring connection is inspected so often: its holder may have given it back in the moment in
 * which it was marked, and not have seen that. */
#define RETIRING_MS 1000u
/* Until the next scan when a check is due and enough are under way. */
#define CHECK_LATER_MS 50u
#define NEVER          UINT64_MAX

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- which connections are due for replacement ---- */

static uint64_t expiry_ms(const struct broker_pool *pool, uint64_t opened_ms)
{
    uint64_t life_ms = pool->config->max_lifetime_ms, now_ms = clock_ms();

    if (life_ms == 0)
        return NEVER;
    if (opened_ms > now_ms)
        opened_ms = now_ms; /* by the clock of a previous broker, which was another one */
    return opened_ms + life_ms -
           random_up_to((uint32_t)(life_ms * pool->config->lifetime_jitter / 100));
}

static bool is_used_up(const struct broker_pool *pool, const struct broker_connection *connection)
{
    const struct connection *shared = &pool->owner.segment.connections[connection->index];

    return pool->config->max_uses > 0 && shm_load_relaxed(&shared->uses) >= pool->config->max_uses;
}

/* Closes it if nobody has it. */
static bool retire(struct broker_connection *connection)
{
    uint64_t word;

    if (!word_check(connection_word(connection), &word))
        return false;
    connection_close(connection, (enum close_reason)connection->replacement_reason);
    return true;
}

/* Of those due for replacement the one that goes first: one that is idle, else the oldest. */
static struct broker_connection *find_worn(const struct broker_pool *pool)
{
    struct broker_connection *found = NULL;
    bool found_idle = false;

    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[i];
        bool idle;

        if (connection->state != CONNECTION_OPEN || connection->replacement != REPLACEMENT_DUE)
            continue;
        idle = word_state(shm_load(connection_word(connection))) == WORD_IDLE;
        if (!found || (idle && !found_idle) ||
            (idle == found_idle && connection->opened_ms < found->opened_ms)) {
            found = connection;
            found_idle = idle;
        }
    }
    return found;
}

static void begin_retiring(struct broker_pool *pool, struct broker_connection *connection)
{
    connection->replacement = REPLACEMENT_RETIRING;
    shm_store(&pool->owner.segment.connections[connection->index].retire,
              1 + connection->generation);
    /* After the mark: whoever gave it back before has not seen it. */
    retire(connection);
}

void maintenance_retire(struct broker_pool *pool, struct broker_connection *connection,
                        enum close_reason reason)
{
    if (connection->state != CONNECTION_OPEN || connection->replacement == REPLACEMENT_RETIRING)
        return;
    connection->replacement_reason = (uint8_t)reason;
    begin_retiring(pool, connection);
}

void maintenance_renew(struct broker_pool *pool)
{
    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[i];

        connection->expires_ms = expiry_ms(pool, connection->opened_ms);
        connection->login_ends_ms = credential_end_ms(pool, connection);
    }
}

static void retire_one(struct broker_pool *pool)
{
    struct broker_connection *connection = find_worn(pool);

    if (!connection)
        return;
    begin_retiring(pool, connection);
}

/*
 * From now on the next check is due after check_interval, less up to a quarter: so that those that
 * were opened together are not checked together.
 */
static void note_check(const struct broker_pool *pool, struct broker_connection *connection,
                       uint64_t now_ms)
{
    connection->checked_ms = now_ms - random_up_to(pool->config->check_interval_ms / 4);
}

void maintenance_mark_due(struct broker_connection *connection, enum close_reason reason)
{
    if (connection->state != CONNECTION_OPEN || connection->replacement == REPLACEMENT_RETIRING)
        return;
    connection->replacement = REPLACEMENT_DUE;
    connection->replacement_reason = (uint8_t)reason;
}

void maintenance_begin(struct broker_pool *pool, struct broker_connection *connection)
{
    uint64_t now_ms = clock_ms();

    connection->expires_ms = expiry_ms(pool, connection->opened_ms);
    connection->login_ends_ms = credential_end_ms(pool, connection);
    connection->busy_ms = now_ms;
    connection->uses = shm_load_relaxed(&pool->owner.segment.connections[connection->index].uses);
    note_check(pool, connection, now_ms);
}

void maintenance_opened(struct broker_pool *pool, struct broker_connection *connection)
{
    bool successor = connection->successor;

    connection->successor = false;
    maintenance_begin(pool, connection);
    if (successor)
        retire_one(pool);
    maintenance_inspect(pool);
}

/* ---- which connections are too many ---- */

/*
 * Since when it is idle, at the latest. The holder writes when its lease began, not when it ended;
 * that it was out at a scan is our own knowledge. So a connection whose lease took nearly
 * max_idle_time can go sooner after it than others. The number of uses shows that there was a
 * lease since the last scan; what the holder's clock says counts if it can be true, for it may be
 * another clock.
 */
static uint64_t idle_since_ms(const struct broker_pool *pool, struct broker_connection *connection,
                              uint64_t now_ms)
{
    const struct connection *shared = &pool->owner.segment.connections[connection->index];
    uint64_t leased_ms = shm_load_relaxed(&shared->leased_ms);
    uint64_t uses = shm_load_relaxed(&shared->uses);

    if (uses == connection->uses)
        return connection->busy_ms;
    connection->uses = uses;
    if (leased_ms > now_ms || leased_ms + TICK_MS < connection->busy_ms)
        connection->busy_ms = now_ms;
    else if (leased_ms > connection->busy_ms)
        connection->busy_ms = leased_ms;
    return connection->busy_ms;
}

/* How long a connection may be idle, with so many as there are; NEVER: for good. */
static uint64_t idle_limit_ms(const struct broker_pool *pool, const struct sizing_counts *counts)
{
    const struct pool_config *config = pool->config;
    uint32_t staying = counts->open - counts->retiring;

    if (staying <= config->min_idle)
        return NEVER;
    if (counts->regular > config->size || (config->max_idle > 0 && staying > config->max_idle))
        return REST_MS;
    return config->max_idle_time_ms > 0 ? config->max_idle_time_ms : NEVER;
}

/* Whether one of the idle connections, which is idle for idle_ms, is one too many, and why. */
static bool is_surplus(const struct broker_pool *pool, const struct sizing_counts *counts,
                       uint64_t idle_ms, enum close_reason *why)
{
    const struct pool_config *config = pool->config;

    if (counts->idle <= config->min_idle || queue_length(&pool->owner.segment) > 0)
        return false;
    *why = CLOSE_idle;
    if (config->max_idle_time_ms > 0 && idle_ms >= config->max_idle_time_ms)
        return true;
    *why = CLOSE_surplus;
    if (idle_ms < REST_MS)
        return false;
    return counts->regular > config->size ||
           (config->max_idle > 0 && counts->idle > config->max_idle);
}

/*
 * Checks `connection`, idle since since_ms, if that is due; returns when it is next. Use is proof
 * enough that one lives. Not all at the same time, lest nobody finds one: a quarter, and one.
 */
static uint64_t check(struct broker_pool *pool, struct broker_connection *connection,
                      struct sizing_counts *counts, uint64_t since_ms, uint64_t now_ms)
{
    uint64_t from_ms = connection->checked_ms > since_ms ? connection->checked_ms : since_ms;
    uint64_t due_ms = from_ms + pool->config->check_interval_ms;

    if (pool->config->check_interval_ms == 0 || connection->checking)
        return NEVER;
    if (due_ms > now_ms)
        return due_ms;
    if (counts->checking > counts->idle / 4)
        return now_ms + CHECK_LATER_MS;
    if (queue_length(&pool->owner.segment) == 0 && cleaning_check(pool, connection)) {
        counts->checking++;
        counts->idle--;
    }
    note_check(pool, connection, now_ms);
    return connection->checked_ms + pool->config->check_interval_ms;
}

/* When `connection`, which is open, must be inspected next; *counts is kept right. */
static uint64_t inspect(struct broker_pool *pool, struct broker_connection *connection,
                        struct sizing_counts *counts, uint64_t now_ms)
{
    uint64_t next_ms = NEVER, since_ms, limit_ms = idle_limit_ms(pool, counts), word;
    bool idle = word_state(shm_load(connection_word(connection))) == WORD_IDLE;
    enum close_reason why;
    uint64_t check_ms;

    if (connection->replacement == REPLACEMENT_NONE) {
        if (now_ms >= connection->expires_ms)
            maintenance_mark_due(connection, CLOSE_lifetime);
        else if (is_used_up(pool, connection))
            maintenance_mark_due(connection, CLOSE_uses);
        else if (credential_is_over(pool, connection, now_ms))
            maintenance_mark_due(connection, CLOSE_login);
        else
            next_ms = connection->login_ends_ms > now_ms
                          ? least(connection->expires_ms, connection->login_ends_ms)
                          : connection->expires_ms; /* until there is another password */
    }
    if (connection->replacement == REPLACEMENT_RETIRING)
        return retire(connection) ? NEVER : now_ms + RETIRING_MS;
    /* A check is no use. */
    if (!idle && !connection->checking)
        connection->busy_ms = now_ms;
    since_ms = idle_since_ms(pool, connection, now_ms);
    if (idle && is_surplus(pool, counts, now_ms - since_ms, &why) &&
        word_check(connection_word(connection), &word)) {
        connection_close(connection, why);
        counts->open--;
        counts->idle--;
        counts->regular--;
        /* Nobody would see it now if the server became another one. */
        if (counts->open == 0)
            server_renew(pool);
        return NEVER;
    }
    /* One that stays although its time is over is inspected when another's is. */
    if (limit_ms != NEVER && since_ms + limit_ms > now_ms && since_ms + limit_ms < next_ms)
        next_ms = since_ms + limit_ms;
    check_ms = check(pool, connection, counts, since_ms, now_ms);
    return check_ms < next_ms ? check_ms : next_ms;
}

/*
 * A login whose time ends is not to wait for holders that keep what retires: an idle connection,
 * one at a time, goes before its successor is there, as long as dials work and nobody waits.
 */
static void make_room(struct broker_pool *pool, const struct sizing_counts *counts)
{
    struct broker_connection *worn = find_worn(pool);

    if (worn && worn->replacement_reason == CLOSE_login && counts->retiring > 0 &&
        sizing_lacks_spare(pool, counts) && pool->owner.dialling == 0 &&
        pool->parts->health.failures == 0 && queue_length(&pool->owner.segment) == 0)
        retire(worn);
}

/* ---- all of them ---- */

static void set_timer(struct broker_pool *pool, uint64_t next_ms)
{
    uint64_t now_ms = clock_ms();

    if (next_ms == NEVER)
        timer_stop(pool->parts->maintenance.timer);
    else
        timer_set(pool->parts->maintenance.timer, next_ms > now_ms ? (next_ms - now_ms) * 1000 : 0);
}

void maintenance_inspect(struct broker_pool *pool)
{
    uint64_t now_ms = clock_ms(), next_ms = NEVER;
    struct sizing_counts counts;

    if (pool->draining)
        return;
    sizing_count(pool, &counts);
    /* From the last place: the first ones are those that are lent first. */
    for (uint32_t i = pool->places; i-- > 0;) {
        uint64_t due_ms;

        if (pool->connections[i].state != CONNECTION_OPEN)
            continue;
        due_ms = inspect(pool, &pool->connections[i], &counts, now_ms);
        if (due_ms < next_ms)
            next_ms = due_ms;
    }
    make_room(pool, &counts);
    sizing_give_up_reserve(pool, &counts);
    set_timer(pool, next_ms);
}

static int on_time(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;

    (void)source;
    (void)usec;
    maintenance_inspect(pool);
    deferred_want(pool, DEFERRED_SERVE);
    return 0;
}

int maintenance_start(struct broker_pool *pool)
{
    return timer_new(pool->owner.event, &pool->parts->maintenance.timer, on_time, pool);
}

void maintenance_stop(struct broker_pool *pool)
{
    pool->parts->maintenance.timer = sd_event_source_disable_unref(pool->parts->maintenance.timer);
}
