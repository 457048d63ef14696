/* SPDX-License-Identifier: MIT */
/*
 * The `show` verbs: see show.h. Every figure is read once from memory that others write meanwhile,
 * checked and then used. Rows are therefore consistent in themselves at best, never with each
 * other.
 */
#include "broker/ctl/show.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "broker/base/text.h"
#include "lendis/rights.h"

/* The worker counters that have a column in the tables; JSON has all. */
#define IN_POOLS_TABLE(counter)                                                                    \
    ((counter) == COUNTER_leases || (counter) == COUNTER_waits || (counter) == COUNTER_timeouts)
#define IN_WORKERS_TABLE(counter) (IN_POOLS_TABLE(counter) || (counter) == COUNTER_fetches)

/* ---- pools ---- */

enum {
    POOLS_POOL,
    POOLS_BACKEND,
    POOLS_STATE,
    POOLS_ADDRESS,
    POOLS_SIZE,
    POOLS_OPEN,
    POOLS_STATES, /* one for each state, by its number */
    POOLS_INVALID = POOLS_STATES + WORD_STATES,
    POOLS_OTHER,
    POOLS_WAITING,
    POOLS_WORKERS,
    POOLS_MEMBERS,
    POOLS_USERNAME,
    POOLS_DB,
    POOLS_MIN_IDLE,
    POOLS_CONNECT_TIMEOUT,
    POOLS_WAIT_TIMEOUT,
    POOLS_COMMAND_TIMEOUT,
    POOLS_COMMANDS,
    POOLS_REFUSED,
    POOLS_PASSWORD,
    POOLS_PASSWORD_AGE,
    POOLS_PASSWORD_NEXT,
    POOLS_PASSWORD_ERROR,
    POOLS_COUNTERS, /* one for each worker counter, by its number */
    POOLS_COUNTERS_LAST = POOLS_COUNTERS + COUNTER_COUNT - 1,
    POOLS_BROKER, /* likewise each of the broker's, and each reason */
    POOLS_CLOSED = POOLS_BROKER + BROKER_COUNTER_COUNT,
    POOLS_CLOSED_BY,
    POOLS_REVOKED = POOLS_CLOSED_BY + CLOSE_REASON_COUNT,
    POOLS_REVOKED_BY,
    POOLS_DIAL_ERRORS = POOLS_REVOKED_BY + REVOKE_REASON_COUNT,
    POOLS_DIAL_ERRORS_BY,
    POOLS_LAST_ERROR = POOLS_DIAL_ERRORS_BY + DIAL_REASON_COUNT,
    POOLS_COLUMNS
};

static const struct column pools_columns[POOLS_COLUMNS] = {
    [POOLS_POOL] = {"pool", "pool", COLUMN_TEXT},
    [POOLS_BACKEND] = {"backend", "backend", COLUMN_TEXT},
    [POOLS_STATE] = {"state", "state", COLUMN_TEXT},
    [POOLS_ADDRESS] = {"address", "address", COLUMN_TEXT},
    [POOLS_SIZE] = {"size", "size", COLUMN_NUMBER},
    [POOLS_OPEN] = {"open", "open", COLUMN_NUMBER},
    [POOLS_STATES + WORD_EMPTY] = {"empty", NULL, COLUMN_NUMBER},
    [POOLS_STATES + WORD_OPENING] = {"opening", NULL, COLUMN_NUMBER},
    [POOLS_STATES + WORD_IDLE] = {"idle", "idle", COLUMN_NUMBER},
    [POOLS_STATES + WORD_LEASED] = {"leased", "leased", COLUMN_NUMBER},
    [POOLS_STATES + WORD_PASSED] = {"handed", NULL, COLUMN_NUMBER},
    [POOLS_STATES + WORD_RETURNED] = {"returned", NULL, COLUMN_NUMBER},
    [POOLS_STATES + WORD_RECLAIMED] = {"reclaimed", NULL, COLUMN_NUMBER},
    [POOLS_STATES + WORD_CHECKING] = {"checking", NULL, COLUMN_NUMBER},
    [POOLS_STATES + WORD_TRANSFERRED] = {"transferred", NULL, COLUMN_NUMBER},
    [POOLS_STATES + WORD_UNCLEAN] = {"unclean", NULL, COLUMN_NUMBER},
    [POOLS_INVALID] = {"invalid", NULL, COLUMN_NUMBER},
    [POOLS_OTHER] = {"other", "other", COLUMN_NUMBER},
    [POOLS_WAITING] = {"waiting", "waiting", COLUMN_NUMBER},
    [POOLS_WORKERS] = {"workers", "workers", COLUMN_NUMBER},
    [POOLS_MEMBERS] = {"members", NULL, COLUMN_TEXT},
    [POOLS_USERNAME] = {"username", NULL, COLUMN_TEXT},
    [POOLS_DB] = {"db", NULL, COLUMN_NUMBER},
    [POOLS_MIN_IDLE] = {"min_idle", NULL, COLUMN_NUMBER},
    [POOLS_CONNECT_TIMEOUT] = {"connect_timeout_ms", NULL, COLUMN_NUMBER},
    [POOLS_WAIT_TIMEOUT] = {"wait_timeout_ms", NULL, COLUMN_NUMBER},
    [POOLS_COMMAND_TIMEOUT] = {"command_timeout_ms", NULL, COLUMN_NUMBER},
    [POOLS_COMMANDS] = {"commands", NULL, COLUMN_TEXT},
    [POOLS_REFUSED] = {"refused", NULL, COLUMN_TEXT},
    [POOLS_PASSWORD] = {"password", NULL, COLUMN_TEXT},
    [POOLS_PASSWORD_AGE] = {"password_age_ms", NULL, COLUMN_NUMBER},
    [POOLS_PASSWORD_NEXT] = {"password_next_ms", NULL, COLUMN_NUMBER},
    [POOLS_PASSWORD_ERROR] = {"password_error", NULL, COLUMN_TEXT},
#define POOLS_COLUMN(name, unit, text)                                                             \
    [POOLS_COUNTERS + COUNTER_##                                                                   \
        name] = {#name "_total", IN_POOLS_TABLE(COUNTER_##name) ? #name : NULL, COLUMN_NUMBER},
    COUNTERS(POOLS_COLUMN)
#undef POOLS_COLUMN
#define BROKER_COLUMN(name, unit, text)                                                            \
    [POOLS_BROKER + BROKER_COUNTER_##name] = {#name "_total", NULL, COLUMN_NUMBER},
        BROKER_COUNTERS(BROKER_COLUMN)
#undef BROKER_COLUMN
            [POOLS_CLOSED] = {"closed_total", NULL, COLUMN_NUMBER},
#define CLOSED_COLUMN(name, text)                                                                  \
    [POOLS_CLOSED_BY + CLOSE_##name] = {"closed_" #name "_total", NULL, COLUMN_NUMBER},
    CLOSE_REASONS(CLOSED_COLUMN)
#undef CLOSED_COLUMN
        [POOLS_REVOKED] = {"revoked_by_broker_total", NULL, COLUMN_NUMBER},
#define REVOKED_COLUMN(name, text)                                                                 \
    [POOLS_REVOKED_BY + REVOKE_##name] = {"revoked_" #name "_total", NULL, COLUMN_NUMBER},
    REVOKE_REASONS(REVOKED_COLUMN)
#undef REVOKED_COLUMN
        [POOLS_DIAL_ERRORS] = {"dial_errors_total", NULL, COLUMN_NUMBER},
#define DIAL_COLUMN(name, text)                                                                    \
    [POOLS_DIAL_ERRORS_BY + DIAL_##name] = {"dial_errors_" #name "_total", NULL, COLUMN_NUMBER},
    DIAL_REASONS(DIAL_COLUMN)
#undef DIAL_COLUMN
        [POOLS_LAST_ERROR] = {"last_error", NULL, COLUMN_TEXT},
};

/* Whether it lends. `open`: how many connections there are, by which one sees how far it is. */
static const char *pause_name(uint32_t pause, uint32_t open)
{
    switch (pause) {
    case PAUSE_NONE:
        return "lending";
    case PAUSE_PAUSED:
        return open > 0 ? "pausing" : "paused";
    case PAUSE_DRAINED:
        return open > 0 ? "draining" : "drained";
    case PAUSE_SERVICE:
        return "service";
    default:
        return "unknown";
    }
}

static void set_states(struct table *table, const struct pool_statistics *pool)
{
    uint32_t shown = pool->states[WORD_IDLE] + pool->states[WORD_LEASED], all = 0, open;

    for (uint32_t i = 0; i < WORD_STATES; i++)
        table_number(table, POOLS_STATES + i, pool->states[i]);
    for (uint32_t i = 0; i <= WORD_STATES; i++)
        all += pool->states[i];
    open = all - pool->states[WORD_EMPTY] - pool->states[WORD_OPENING];
    table_number(table, POOLS_OPEN, open);
    table_string(table, POOLS_STATE, pause_name(shm_load32(&pool->entry.pause), open));
    table_number(table, POOLS_INVALID, pool->states[WORD_STATES]);
    table_number(table, POOLS_OTHER, all - pool->states[WORD_EMPTY] - shown);
    table_number(table, POOLS_WAITING, pool->waiting);
}

static void set_counts(struct table *table, size_t column, const shm_u64 *counts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        table_number(table, column + i, shm_load_relaxed(&counts[i]));
}

/* What the server refuses to the broker: commands, separated by a comma. */
static void refused_text(const struct catalog_pool *pool, char *text, size_t size)
{
    static const char *const commands[] = {
#define RIGHT_TEXT(name, command, lost) command,
        RIGHTS(RIGHT_TEXT)
#undef RIGHT_TEXT
    };
    uint32_t refused = shm_load32(&pool->refused);
    size_t used = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < RIGHT_COUNT; i++)
        if (refused >> i & 1 && used < size)
            used +=
                (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", commands[i]);
}

static void add_pool(const struct show *show, struct table *table,
                     const struct pool_statistics *statistics)
{
    const struct catalog_pool *pool = &statistics->entry;
    char refused[128], members[SHOW_MEMBERS_SIZE];

    refused_text(pool, refused, sizeof refused);
    table_row(table);
    table_text(table, POOLS_POOL, pool->name, sizeof pool->name);
    table_string(table, POOLS_BACKEND, show_backend_name(shm_load32(&pool->backend)));
    if (shm_load32(&pool->pause) == PAUSE_SERVICE) {
        show_members(show, pool, members, sizeof members);
        table_string(table, POOLS_BACKEND, show_backend_name(show_service_backend(show, pool)));
        table_string(table, POOLS_MEMBERS, members);
    }
    table_text(table, POOLS_ADDRESS, pool->address, sizeof pool->address);
    table_text(table, POOLS_USERNAME, pool->username, sizeof pool->username);
    table_text(table, POOLS_COMMANDS, pool->commands, sizeof pool->commands);
    table_string(table, POOLS_REFUSED, refused);
    table_string(table, POOLS_PASSWORD, show_password_name(shm_load32(&pool->password)));
    table_number(table, POOLS_PASSWORD_AGE, show_password_age_ms(pool));
    table_number(table, POOLS_PASSWORD_NEXT, show_password_next_ms(pool));
    table_text(table, POOLS_PASSWORD_ERROR, pool->password_error, sizeof pool->password_error);
    table_text(table, POOLS_LAST_ERROR, pool->last_error, sizeof pool->last_error);
    table_number(table, POOLS_SIZE, pool->size);
    table_number(table, POOLS_DB, pool->db);
    table_number(table, POOLS_MIN_IDLE, pool->min_idle);
    table_number(table, POOLS_CONNECT_TIMEOUT, pool->connect_timeout_ms);
    table_number(table, POOLS_WAIT_TIMEOUT, pool->wait_timeout_ms);
    table_number(table, POOLS_COMMAND_TIMEOUT, pool->command_timeout_ms);
    set_counts(table, POOLS_BROKER, pool->counters, BROKER_COUNTER_COUNT);
    table_number(table, POOLS_CLOSED, CATALOG_SUM(pool->closed));
    set_counts(table, POOLS_CLOSED_BY, pool->closed, CLOSE_REASON_COUNT);
    table_number(table, POOLS_REVOKED, CATALOG_SUM(pool->revoked));
    set_counts(table, POOLS_REVOKED_BY, pool->revoked, REVOKE_REASON_COUNT);
    table_number(table, POOLS_DIAL_ERRORS, CATALOG_SUM(pool->dial_errors));
    set_counts(table, POOLS_DIAL_ERRORS_BY, pool->dial_errors, DIAL_REASON_COUNT);
    table_number(table, POOLS_WORKERS, statistics->workers);
    for (uint32_t i = 0; i < COUNTER_COUNT; i++)
        table_number(table, POOLS_COUNTERS + i, statistics->counters[i]);
    if (statistics->known)
        set_states(table, statistics);
}

/* For people: why a backend is down, or what it waits for, below the table. */
static void print_pool_errors(const struct show *show)
{
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        char name[CATALOG_NAME_SIZE + 1], error[sizeof(((struct catalog_pool *)0)->last_error) + 1];
        struct catalog_pool pool;

        if ((show->pool >= 0 && (uint32_t)show->pool != i) ||
            catalog_read_pool(&show->broker->catalog, i, &pool) == -ENOENT ||
            shm_load32(&pool.backend) == BACKEND_UP)
            continue;
        text_clean(name, sizeof name, pool.name, sizeof pool.name);
        text_clean(error, sizeof error, pool.last_error, sizeof pool.last_error);
        if (shm_load32(&pool.backend) == BACKEND_DOWN)
            printf("%s is down: %s\n", name, error[0] ? error : "no reason known yet");
        else if (error[0])
            printf("%s waits: %s\n", name, error);
    }
}

/* Likewise: which commands may not share a connection, where lendis' own table has it otherwise. */
static void print_pool_commands(const struct show *show)
{
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        char name[CATALOG_NAME_SIZE + 1], commands[CATALOG_COMMANDS_SIZE + 1];
        struct catalog_pool pool;

        if ((show->pool >= 0 && (uint32_t)show->pool != i) ||
            catalog_read_pool(&show->broker->catalog, i, &pool) == -ENOENT || !pool.commands[0])
            continue;
        text_clean(name, sizeof name, pool.name, sizeof pool.name);
        text_clean(commands, sizeof commands, pool.commands, sizeof pool.commands);
        printf("%s knows of commands (+ may block, - does not, ! exclusive): %s\n", name, commands);
    }
}

/* Likewise: what works without the broker's having all its rights. */
static void print_pool_refusals(const struct show *show)
{
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        char name[CATALOG_NAME_SIZE + 1], refused[128];
        struct catalog_pool pool;

        if ((show->pool >= 0 && (uint32_t)show->pool != i) ||
            catalog_read_pool(&show->broker->catalog, i, &pool) == -ENOENT)
            continue;
        text_clean(name, sizeof name, pool.name, sizeof pool.name);
        refused_text(&pool, refused, sizeof refused);
        if (refused[0])
            printf("%s is refused (see RIGHTS in lendis.conf(5)): %s\n", name, refused);
    }
}

int show_pools(const struct show *show)
{
    struct pool_statistics *statistics = show_statistics(show);
    struct table *table = table_new("pools", pools_columns, POOLS_COLUMNS, show_format(show));
    int result;

    for (uint32_t i = 0; table && statistics && i < CATALOG_MAX_POOLS; i++) {
        const struct segment *segment;
        struct catalog_pool pool;

        if (show_pool(show, i, &pool, &segment) && statistics[i].present)
            add_pool(show, table, &statistics[i]);
    }
    result = table_print(table);
    if (result == 0 && !statistics)
        result = -ENOMEM;
    free(statistics);
    if (result == 0 && !show->json)
        show_services(show);
    if (result == 0 && !show->json)
        print_pool_errors(show);
    if (result == 0 && !show->json)
        print_pool_commands(show);
    if (result == 0 && !show->json)
        print_pool_refusals(show);
    if (result == 0 && !show->json)
        show_passwords(show);
    return result;
}

/* ---- connections ---- */

enum {
    CONNECTIONS_POOL,
    CONNECTIONS_INDEX,
    CONNECTIONS_STATE,
    CONNECTIONS_GENERATION,
    CONNECTIONS_WORKER,
    CONNECTIONS_PID,
    CONNECTIONS_USES,
    CONNECTIONS_AGE,
    CONNECTIONS_TRANSPORT,
    CONNECTIONS_COLUMNS
};

static const struct column connections_columns[CONNECTIONS_COLUMNS] = {
    [CONNECTIONS_POOL] = {"pool", "pool", COLUMN_TEXT},
    [CONNECTIONS_INDEX] = {"index", "index", COLUMN_NUMBER},
    [CONNECTIONS_STATE] = {"state", "state", COLUMN_TEXT},
    [CONNECTIONS_GENERATION] = {"generation", "generation", COLUMN_NUMBER},
    [CONNECTIONS_WORKER] = {"worker", "worker", COLUMN_NUMBER},
    [CONNECTIONS_PID] = {"pid", "pid", COLUMN_NUMBER},
    [CONNECTIONS_USES] = {"uses", "uses", COLUMN_NUMBER},
    [CONNECTIONS_AGE] = {"lease_age_ms", "lease age", COLUMN_NUMBER},
    [CONNECTIONS_TRANSPORT] = {"transport", "transport", COLUMN_TEXT},
};

/* As the broker wrote it; a worker may have written over it. */
static const char *transport_name(const struct connection *connection)
{
    static const char *const names[] = {
        [TRANSPORT_PLAIN] = "plain", [TRANSPORT_KTLS] = "ktls", [TRANSPORT_RELAY] = "relay"};
    uint32_t transport = shm_load32(&connection->transport);

    return transport < sizeof names / sizeof *names ? names[transport] : "?";
}

static void add_connection(struct table *table, const struct show *show, uint32_t pool_index,
                           const struct catalog_pool *pool, const struct segment *segment,
                           uint32_t index)
{
    const struct connection *connection = &segment->connections[index];
    uint64_t word = shm_load(&connection->word);
    uint32_t holder = word_holder(segment, word);
    uint64_t age_ms = statistics_lease_age(segment, index, word);

    table_row(table);
    table_text(table, CONNECTIONS_POOL, pool->name, sizeof pool->name);
    table_number(table, CONNECTIONS_INDEX, index);
    table_string(table, CONNECTIONS_STATE, word_state_name(word));
    table_number(table, CONNECTIONS_GENERATION, word_generation(word));
    table_number(table, CONNECTIONS_USES, shm_load_relaxed(&connection->uses));
    if (word_state(word) == WORD_LEASED)
        table_duration(table, CONNECTIONS_AGE, age_ms);
    if (word_state(word) != WORD_EMPTY && word_state(word) != WORD_OPENING)
        table_string(table, CONNECTIONS_TRANSPORT, transport_name(connection));
    if (statistics_worker_pool(&show->broker->catalog, holder) != (int)pool_index)
        return;
    table_number(table, CONNECTIONS_WORKER, (uint64_t)holder);
    if (show->broker->catalog.workers[holder].pid)
        table_number(table, CONNECTIONS_PID, show->broker->catalog.workers[holder].pid);
}

int show_connections(const struct show *show)
{
    struct table *table =
        table_new("connections", connections_columns, CONNECTIONS_COLUMNS, show_format(show));

    for (uint32_t i = 0; table && i < CATALOG_MAX_POOLS; i++) {
        const struct segment *segment;
        struct catalog_pool pool;

        if (!show_pool(show, i, &pool, &segment))
            continue;
        for (uint32_t index = 0; segment->base && index < segment_places(segment); index++)
            if (show->all || word_state(shm_load(&segment->connections[index].word)) != WORD_EMPTY)
                add_connection(table, show, i, &pool, segment, index);
    }
    return table_print(table);
}

/* ---- workers ---- */

enum {
    WORKERS_INDEX,
    WORKERS_POOL,
    WORKERS_PID,
    WORKERS_UID,
    WORKERS_GID,
    WORKERS_SINCE,
    WORKERS_STATE,
    WORKERS_COMMAND,
    WORKERS_HELD,
    WORKERS_COUNTERS, /* one for each, by its number */
    WORKERS_COLUMNS = WORKERS_COUNTERS + COUNTER_COUNT
};

static const struct column workers_columns[WORKERS_COLUMNS] = {
    [WORKERS_INDEX] = {"worker", "worker", COLUMN_NUMBER},
    [WORKERS_POOL] = {"pool", "pool", COLUMN_TEXT},
    [WORKERS_PID] = {"pid", "pid", COLUMN_NUMBER},
    [WORKERS_UID] = {"uid", "uid", COLUMN_NUMBER},
    [WORKERS_GID] = {"gid", "gid", COLUMN_NUMBER},
    [WORKERS_SINCE] = {"since_ms", "since", COLUMN_NUMBER},
    [WORKERS_STATE] = {"state", "state", COLUMN_TEXT},
    [WORKERS_COMMAND] = {"command", "command", COLUMN_TEXT},
    [WORKERS_HELD] = {"held", "held", COLUMN_NUMBER},
#define WORKERS_COLUMN(name, unit, text)                                                           \
    [WORKERS_COUNTERS + COUNTER_##                                                                 \
        name] = {#name "_total", IN_WORKERS_TABLE(COUNTER_##name) ? #name : NULL, COLUMN_NUMBER},
    COUNTERS(WORKERS_COLUMN)
#undef WORKERS_COLUMN
};

/* How many leases of the pool each worker holds. */
static void count_held(const struct segment *segment, uint32_t *held, uint32_t worker_max)
{
    memset(held, 0, sizeof *held * worker_max);
    for (uint32_t i = 0; segment->base && i < segment_places(segment); i++) {
        uint64_t word = shm_load(&segment->connections[i].word);

        if (word_state(word) == WORD_LEASED && word_owner(word) < worker_max)
            held[word_owner(word)]++;
    }
}

static void add_worker(struct table *table, const struct show *show, uint32_t index,
                       const struct catalog_pool *pool, const struct segment *segment,
                       uint32_t held)
{
    struct catalog_worker worker = show->broker->catalog.workers[index];

    table_row(table);
    table_number(table, WORKERS_INDEX, index);
    table_text(table, WORKERS_POOL, pool->name, sizeof pool->name);
    if (worker.pid)
        table_number(table, WORKERS_PID, worker.pid);
    table_number(table, WORKERS_UID, worker.uid);
    table_number(table, WORKERS_GID, worker.gid);
    table_date(table, WORKERS_SINCE, worker.since_ms);
    table_text(table, WORKERS_STATE, worker.tenant ? "attached" : "resting", 8);
    show_command(show, table, WORKERS_COMMAND, worker.pid);
    if (!segment->base || index >= segment->worker_max)
        return;
    table_number(table, WORKERS_HELD, held);
    for (uint32_t i = 0; i < COUNTER_COUNT; i++)
        table_number(table, WORKERS_COUNTERS + i,
                     shm_load_relaxed(&segment->workers[index].counters[i]));
}

int show_workers(const struct show *show)
{
    uint32_t worker_max = show->broker->catalog.worker_max;
    uint32_t *held = calloc(worker_max, sizeof *held);
    struct table *table = table_new("workers", workers_columns, WORKERS_COLUMNS, show_format(show));
    int result;

    for (uint32_t i = 0; table && held && i < CATALOG_MAX_POOLS; i++) {
        const struct segment *segment;
        struct catalog_pool pool;

        if (!show_pool(show, i, &pool, &segment))
            continue;
        count_held(segment, held, worker_max);
        for (uint32_t worker = 0; worker < worker_max; worker++)
            if (statistics_worker_pool(&show->broker->catalog, worker) == (int)i)
                add_worker(table, show, worker, &pool, segment, held[worker]);
    }
    result = table_print(table);
    if (result == 0 && !held)
        result = -ENOMEM;
    free(held);
    return result;
}
