/* SPDX-License-Identifier: MIT */
/* Replacing and closing connections: see maintenance.h. */
#include "broker/pool/maintenance.h"

#include <sys/random.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "broker/pool/sizing.h"

/* A connection beyond max_idle goes after this time without a lease: one that comes back while the next
 * comer is on its way would be opened anew at once. */
#define REST_MS 1000u
/* What holders say of when they began is right to a tick of CLOCK_MONOTONIC_COARSE. */
#define TICK_MS 10u
/* A retiring connection is looked at so often: its holder may have given it back in the moment in
 * which it was marked, and not have seen that. */
#define RETIRING_MS 1000u
/* Until the next look when a check is due and enough are under way. */
#define CHECK_LATER_MS 50u
#define NEVER          UINT64_MAX

uint32_t upkeep_random(uint32_t most)
{
    uint32_t random = 0;

    /* Before the kernel's generator is ready (early boot) anything will do. */
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
        random = (uint32_t)clock_ms() * 2654435761u;
    return most == UINT32_MAX ? random : random % (most + 1);
}

/* ---- which connections are worn ---- */

static uint64_t expiry_ms(const struct broker_pool *pool, uint64_t opened_ms)
{
    uint64_t life_ms = pool->config->max_lifetime_ms, now_ms = clock_ms();

    if (life_ms == 0)
        return NEVER;
    if (opened_ms > now_ms)
        opened_ms = now_ms; /* by the clock of a broker before, which was another one */
    return opened_ms + life_ms -
           upkeep_random((uint32_t)(life_ms * pool->config->lifetime_jitter / 100));
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
    connection_close(connection, (enum close_reason)connection->wear_reason);
    return true;
}

/* The worn connection that goes first: one that is idle, else the oldest. */
static struct broker_connection *find_worn(const struct broker_pool *pool)
{
    struct broker_connection *found = NULL;
    bool found_idle = false;

    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[i];
        bool idle;

        if (connection->state != CONNECTION_OPEN || connection->wear != WEAR_WORN)
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
    connection->wear = WEAR_RETIRING;
    shm_store(&pool->owner.segment.connections[connection->index].retire,
              1 + connection->generation);
    /* After the mark: whoever gave it back before has not seen it. */
    retire(connection);
}

void upkeep_retire(struct broker_pool *pool, struct broker_connection *connection,
                   enum close_reason reason)
{
    if (connection->state != CONNECTION_OPEN || connection->wear == WEAR_RETIRING)
        return;
    connection->wear_reason = (uint8_t)reason;
    begin_retiring(pool, connection);
}

void upkeep_renew(struct broker_pool *pool)
{
    for (uint32_t i = 0; i < pool->places; i++)
        pool->connections[i].expires_ms = expiry_ms(pool, pool->connections[i].opened_ms);
}

static void retire_one(struct broker_pool *pool)
{
    struct broker_connection *connection = find_worn(pool);

    if (!connection)
        return;
    begin_retiring(pool, connection);
}

/* From now on the next check is due after check_interval, less up to a quarter: so that those that were opened together
 * are not checked together. */
static void note_check(const struct broker_pool *pool, struct broker_connection *connection,
                       uint64_t now_ms)
{
    connection->checked_ms = now_ms - upkeep_random(pool->config->check_interval_ms / 4);
}

void upkeep_wear(struct broker_connection *connection, enum close_reason reason)
{
    if (connection->state != CONNECTION_OPEN || connection->wear == WEAR_RETIRING)
        return;
    connection->wear = WEAR_WORN;
    connection->wear_reason = (uint8_t)reason;
}

void upkeep_begin(struct broker_pool *pool, struct broker_connection *connection)
{
    uint64_t now_ms = clock_ms();

    connection->expires_ms = expiry_ms(pool, connection->opened_ms);
    connection->busy_ms = now_ms;
    connection->uses = shm_load_relaxed(&pool->owner.segment.connections[connection->index].uses);
    note_check(pool, connection, now_ms);
}

void upkeep_opened(struct broker_pool *pool, struct broker_connection *connection)
{
    bool successor = connection->successor;

    connection->successor = false;
    upkeep_begin(pool, connection);
    if (successor)
        retire_one(pool);
    upkeep_look(pool);
}

/* ---- which connections are too many ---- */

/*
 * Since when it is idle, at the latest. The holder writes when its lease began, not when it ended;
 * that it was out when we looked is our own knowledge. So a connection whose lease took nearly
 * max_idle_time can go sooner after it than others. That there was a lease since the last look the number of
 * uses tells; what the holder's clock says counts if it can be true, for it may be another clock.
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
static uint64_t idle_limit_ms(const struct broker_pool *pool, const struct census *census)
{
    const struct pool_config *config = pool->config;
    uint32_t staying = census->open - census->retiring;

    if (staying <= config->min_idle)
        return NEVER;
    if (census->regular > config->size || (config->max_idle > 0 && staying > config->max_idle))
        return REST_MS;
    return config->max_idle_time_ms > 0 ? config->max_idle_time_ms : NEVER;
}

/* Whether one of the idle connections, which is idle for idle_ms, is one too many, and why. */
static bool is_surplus(const struct broker_pool *pool, const struct census *census,
                       uint64_t idle_ms, enum close_reason *why)
{
    const struct pool_config *config = pool->config;

    if (census->idle <= config->min_idle || queue_length(&pool->owner.segment) > 0)
        return false;
    *why = CLOSE_idle;
    if (config->max_idle_time_ms > 0 && idle_ms >= config->max_idle_time_ms)
        return true;
    *why = CLOSE_surplus;
    if (idle_ms < REST_MS)
        return false;
    return census->regular > config->size ||
           (config->max_idle > 0 && census->idle > config->max_idle);
}

/*
 * Checks `connection`, idle since since_ms, if that is due; returns when it is next. Use is proof
 * enough that one lives. Not all at the same time, lest nobody finds one: a quarter, and one.
 */
static uint64_t check(struct broker_pool *pool, struct broker_connection *connection,
                      struct census *census, uint64_t since_ms, uint64_t now_ms)
{
    uint64_t from_ms = connection->checked_ms > since_ms ? connection->checked_ms : since_ms;
    uint64_t due_ms = from_ms + pool->config->check_interval_ms;

    if (pool->config->check_interval_ms == 0 || connection->checking)
        return NEVER;
    if (due_ms > now_ms)
        return due_ms;
    if (census->checking > census->idle / 4)
        return now_ms + CHECK_LATER_MS;
    if (queue_length(&pool->owner.segment) == 0 && hygiene_check(pool, connection)) {
        census->checking++;
        census->idle--;
    }
    note_check(pool, connection, now_ms);
    return connection->checked_ms + pool->config->check_interval_ms;
}

/* When `connection`, which is open, must be looked at next; *census is kept right. */
static uint64_t look_at(struct broker_pool *pool, struct broker_connection *connection,
                        struct census *census, uint64_t now_ms)
{
    uint64_t next_ms = NEVER, since_ms, limit_ms = idle_limit_ms(pool, census), word;
    bool idle = word_state(shm_load(connection_word(connection))) == WORD_IDLE;
    enum close_reason why;
    uint64_t check_ms;

    if (connection->wear == WEAR_NONE) {
        if (now_ms >= connection->expires_ms)
            upkeep_wear(connection, CLOSE_lifetime);
        else if (is_used_up(pool, connection))
            upkeep_wear(connection, CLOSE_uses);
        else
            next_ms = connection->expires_ms;
    }
    if (connection->wear == WEAR_RETIRING)
        return retire(connection) ? NEVER : now_ms + RETIRING_MS;
    /* A check is no use. */
    if (!idle && !connection->checking)
        connection->busy_ms = now_ms;
    since_ms = idle_since_ms(pool, connection, now_ms);
    if (idle && is_surplus(pool, census, now_ms - since_ms, &why) &&
        word_check(connection_word(connection), &word)) {
        connection_close(connection, why);
        census->open--;
        census->idle--;
        census->regular--;
        /* Nobody would see it now if the server became another one. */
        if (census->open == 0)
            broker_pool_renew(pool);
        return NEVER;
    }
    /* One that stays although its time is over is looked at when another's is. */
    if (limit_ms != NEVER && since_ms + limit_ms > now_ms && since_ms + limit_ms < next_ms)
        next_ms = since_ms + limit_ms;
    check_ms = check(pool, connection, census, since_ms, now_ms);
    return check_ms < next_ms ? check_ms : next_ms;
}

/* ---- the reserve ---- */

/* Whether whoever said that it waits for long does so still. */
static bool is_overdue(const struct broker_pool *pool)
{
    const struct segment *segment = &pool->owner.segment;
    uint64_t ticket = shm_exchange(&segment->queue->overdue, 0), cell;

    if (ticket-- == 0)
        return false;
    cell = shm_load(queue_cell(segment, ticket));
    return cell_state(cell) != CELL_FREE && cell_lap(cell) == queue_lap(segment, ticket);
}

void upkeep_reserve(struct broker_pool *pool)
{
    struct census census;

    if (pool->config->reserve_size == 0 || !is_overdue(pool))
        return;
    demand_count(pool, &census);
    if (pool->reserve < pool->config->reserve_size && census.regular >= demand_limit(pool))
        pool->reserve++;
}

/* What nobody needs of it any more is closed, and has to be called up anew. */
static void give_up_reserve(struct broker_pool *pool, const struct census *census)
{
    uint32_t used = census->regular > pool->config->size ? census->regular - pool->config->size : 0;

    if (queue_length(&pool->owner.segment) == 0 && pool->reserve > used)
        pool->reserve = used;
}

static void set_timer(struct broker_pool *pool, uint64_t next_ms)
{
    uint64_t now_ms = clock_ms();

    if (next_ms == NEVER)
        timer_stop(pool->upkeep);
    else
        timer_set(pool->upkeep, next_ms > now_ms ? (next_ms - now_ms) * 1000 : 0);
}

void upkeep_look(struct broker_pool *pool)
{
    uint64_t now_ms = clock_ms(), next_ms = NEVER;
    struct census census;

    if (pool->draining)
        return;
    demand_count(pool, &census);
    /* From the last place: the first ones are those that are lent first. */
    for (uint32_t i = pool->places; i-- > 0;) {
        uint64_t due_ms;

        if (pool->connections[i].state != CONNECTION_OPEN)
            continue;
        due_ms = look_at(pool, &pool->connections[i], &census, now_ms);
        if (due_ms < next_ms)
            next_ms = due_ms;
    }
    give_up_reserve(pool, &census);
    set_timer(pool, next_ms);
}
