/* SPDX-License-Identifier: MIT */
/* The verbs that show what was counted, and who holds and who waits: see show.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "broker/ctl/show.h"
#include "lendis/mailbox.h"
#include "broker/base/standard_io.h"

/* ---- stats ---- */

enum { STATS_POOL, STATS_NAME, STATS_VALUE, STATS_UNIT, STATS_TEXT, STATS_COLUMNS };

static const struct column stats_columns[STATS_COLUMNS] = {
    [STATS_POOL] = {"pool", "pool", COLUMN_TEXT},      [STATS_NAME] = {"name", "name", COLUMN_TEXT},
    [STATS_VALUE] = {"value", "value", COLUMN_NUMBER}, [STATS_UNIT] = {"unit", NULL, COLUMN_TEXT},
    [STATS_TEXT] = {"text", "meaning", COLUMN_TEXT},
};

struct named {
    const char *name, *unit, *text;
};

static const struct named counter_names[] = {
#define COUNTER_NAMED(name, unit, text) {#name "_total", unit, text},
    COUNTERS(COUNTER_NAMED)};
static const struct named broker_names[] = {BROKER_COUNTERS(COUNTER_NAMED)};
#undef COUNTER_NAMED
static const struct named state_names[] = {
#define STATE_NAMED(name, text) {#name, "connections", text},
    CONNECTION_STATES(STATE_NAMED)
#undef STATE_NAMED
};
static const struct named close_names[] = {
#define REASON_NAMED(name, text) {"closed_" #name "_total", "connections", text},
    CLOSE_REASONS(REASON_NAMED)
#undef REASON_NAMED
};
static const struct named revoke_names[] = {
#define REASON_NAMED(name, text) {"revoked_" #name "_total", "leases", text},
    REVOKE_REASONS(REASON_NAMED)
#undef REASON_NAMED
};
static const struct named dial_names[] = {
#define REASON_NAMED(name, text) {"dial_errors_" #name "_total", "attempts", text},
    DIAL_REASONS(REASON_NAMED)
#undef REASON_NAMED
};

static void add_stat(struct table *table, const struct catalog_pool *pool,
                     const struct named *named, uint64_t value)
{
    table_row(table);
    table_text(table, STATS_POOL, pool->name, sizeof pool->name);
    table_string(table, STATS_NAME, named->name);
    table_number(table, STATS_VALUE, value);
    table_string(table, STATS_UNIT, named->unit);
    table_string(table, STATS_TEXT, named->text);
}

/* People see only the reasons that there were. */
static void add_reasons(struct table *table, bool json, const struct catalog_pool *pool,
                        const struct named *names, const shm_u64 *counts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t value = shm_load_relaxed(&counts[i]);

        if (json || value > 0)
            add_stat(table, pool, &names[i], value);
    }
}

static void add_stats(struct table *table, bool json, const struct pool_statistics *statistics)
{
    static const struct named total = {"connections", "connections",
                                       "Open ones, and those being opened."};
    static const struct named waiting = {"waiting", "calls", "Calls that wait in the queue."};
    static const struct named workers = {"workers", "workers", "Processes that are attached."};
    const struct catalog_pool *pool = &statistics->entry;
    uint32_t connections = 0;

    for (uint32_t i = 0; i < CONNECTION_USES; i++)
        connections += statistics->connections[i];
    if (statistics->known) {
        add_stat(table, pool, &total, connections);
        for (uint32_t i = 0; i < CONNECTION_USES; i++)
            add_stat(table, pool, &state_names[i], statistics->connections[i]);
        add_stat(table, pool, &waiting, statistics->waiting);
    }
    add_stat(table, pool, &workers, statistics->workers);
    for (uint32_t i = 0; i < COUNTER_COUNT; i++)
        add_stat(table, pool, &counter_names[i], statistics->counters[i]);
    for (uint32_t i = 0; i < BROKER_COUNTER_COUNT; i++)
        add_stat(table, pool, &broker_names[i], shm_load_relaxed(&pool->counters[i]));
    add_reasons(table, json, pool, close_names, pool->closed, CLOSE_REASON_COUNT);
    add_reasons(table, json, pool, revoke_names, pool->revoked, REVOKE_REASON_COUNT);
    add_reasons(table, json, pool, dial_names, pool->dial_errors, DIAL_REASON_COUNT);
}

int show_stats(const struct show *show)
{
    struct pool_statistics *pools = show_statistics(show);
    struct table *table = table_new("stats", stats_columns, STATS_COLUMNS, show_format(show));
    int result;

    for (uint32_t i = 0; table && pools && i < CATALOG_MAX_POOLS; i++) {
        const struct segment *segment;
        struct catalog_pool pool;

        if (show_pool(show, i, &pool, &segment) && pools[i].present)
            add_stats(table, show->json, &pools[i]);
    }
    result = table_print(table);
    if (result == 0 && !pools)
        result = -ENOMEM;
    free(pools);
    return result;
}

/* ---- metrics ---- */

int show_metrics(const struct show *show)
{
    struct statistics_source source;
    int result;

    broker_source(show->broker, &source);
    result = metrics_write(&source, show->format, stdout);
    return result == 0 ? standard_io_flush() : result;
}

/* ---- latency ---- */

enum {
    LATENCY_POOL,
    LATENCY_NAME,
    LATENCY_UNIT,
    LATENCY_COUNT,
    LATENCY_MEAN,
    LATENCY_P50,
    LATENCY_P90,
    LATENCY_P99,
    LATENCY_P999,
    LATENCY_MAX,
    LATENCY_TEXT,
    LATENCY_COLUMNS
};

static const struct column latency_columns[LATENCY_COLUMNS] = {
    [LATENCY_POOL] = {"pool", "pool", COLUMN_TEXT},
    [LATENCY_NAME] = {"name", "of", COLUMN_TEXT},
    [LATENCY_UNIT] = {"unit", NULL, COLUMN_TEXT},
    [LATENCY_COUNT] = {"count", "count", COLUMN_NUMBER},
    [LATENCY_MEAN] = {"mean", "mean", COLUMN_NUMBER},
    [LATENCY_P50] = {"p50", "p50", COLUMN_NUMBER},
    [LATENCY_P90] = {"p90", "p90", COLUMN_NUMBER},
    [LATENCY_P99] = {"p99", "p99", COLUMN_NUMBER},
    [LATENCY_P999] = {"p999", "p99.9", COLUMN_NUMBER},
    [LATENCY_MAX] = {"max", "max", COLUMN_NUMBER},
    [LATENCY_TEXT] = {"text", NULL, COLUMN_TEXT},
};

static const struct named histogram_names[] = {
#define HISTOGRAM_NAMED(name, metric, unit, text) {#name, unit, text},
    HISTOGRAMS(HISTOGRAM_NAMED)
#undef HISTOGRAM_NAMED
};

static void add_latency(struct table *table, const struct catalog_pool *pool,
                        const struct segment *segment, enum histogram_name name)
{
    const struct named *named = &histogram_names[name];
    bool is_time = strcmp(named->unit, "nanoseconds") == 0;
    void (*set)(struct table *, size_t, uint64_t) = is_time ? table_time : table_number;
    struct histogram_sum sum;

    histogram_sum_read(segment, name, &sum);
    table_row(table);
    table_text(table, LATENCY_POOL, pool->name, sizeof pool->name);
    table_string(table, LATENCY_NAME, named->name);
    table_string(table, LATENCY_UNIT, named->unit);
    table_string(table, LATENCY_TEXT, named->text);
    table_number(table, LATENCY_COUNT, sum.count);
    if (sum.count == 0)
        return;
    set(table, LATENCY_MEAN, sum.sum / sum.count);
    set(table, LATENCY_P50, histogram_sum_quantile(&sum, 500));
    set(table, LATENCY_P90, histogram_sum_quantile(&sum, 900));
    set(table, LATENCY_P99, histogram_sum_quantile(&sum, 990));
    set(table, LATENCY_P999, histogram_sum_quantile(&sum, 999));
    set(table, LATENCY_MAX, sum.max);
}

int show_latency(const struct show *show)
{
    struct table *table = table_new("latency", latency_columns, LATENCY_COLUMNS, show_format(show));

    for (uint32_t i = 0; table && i < CATALOG_MAX_POOLS; i++) {
        const struct segment *segment;
        struct catalog_pool pool;

        if (!show_pool(show, i, &pool, &segment) || !segment->base)
            continue;
        for (uint32_t name = 0; name < HISTOGRAM_COUNT; name++)
            add_latency(table, &pool, segment, (enum histogram_name)name);
    }
    return table_print(table);
}

/* ---- leases and waiters: rows that are sorted by their age ---- */

struct row {
    uint32_t pool;
    uint32_t index; /* of the connection, or the wait slot */
    uint64_t age_ms;
    uint64_t word;  /* of the connection */
    int64_t worker; /* -1: none */
    int64_t server; /* the worker that has the waiter's command; -1: none */
    bool command;   /* waits for a reply, not for a connection */
};

struct rows {
    struct row *row;
    size_t count, room;
    bool no_memory;
};

static struct row *rows_add(struct rows *rows)
{
    if (rows->count == rows->room) {
        size_t room = rows->room ? rows->room * 2 : 64;
        struct row *grown = realloc(rows->row, room * sizeof *grown);

        if (!grown) {
            rows->no_memory = true;
            return NULL;
        }
        rows->row = grown;
        rows->room = room;
    }
    rows->row[rows->count] = (struct row){.worker = -1, .server = -1};
    return &rows->row[rows->count++];
}

/* The oldest first. */
static int compare_rows(const void *a, const void *b)
{
    const struct row *left = a, *right = b;

    if (left->age_ms != right->age_ms)
        return left->age_ms < right->age_ms ? 1 : -1;
    return left->index < right->index ? -1 : left->index > right->index;
}

/* `worker` if it is one of pool `index`; else -1. */
static int64_t known_worker(const struct show *show, uint32_t index, int64_t worker)
{
    if (worker < 0 || worker > (int64_t)LENDIS_MAX_WORKERS ||
        statistics_worker_pool(&show->broker->catalog, (uint32_t)worker) != (int)index)
        return -1;
    return worker;
}

static void set_worker(struct table *table, const struct show *show, int64_t worker,
                       size_t worker_column, size_t pid_column, size_t command_column)
{
    uint32_t pid;

    if (worker < 0)
        return;
    pid = show->broker->catalog.workers[worker].pid;
    table_number(table, worker_column, (uint64_t)worker);
    if (pid == 0)
        return;
    table_number(table, pid_column, pid);
    show_command(show, table, command_column, pid);
}

/* Of all pools that are to be shown, the longest first. */
static void collect_rows(const struct show *show,
                         void (*collect)(const struct show *show, uint32_t index,
                                         const struct segment *segment, struct rows *rows),
                         struct rows *rows)
{
    struct catalog_pool pool;
    const struct segment *segment;

    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++)
        if (show_pool(show, i, &pool, &segment) && segment->base)
            collect(show, i, segment, rows);
    if (rows->count > 0)
        qsort(rows->row, rows->count, sizeof *rows->row, compare_rows);
}

static int finish_rows(struct table *table, struct rows *rows)
{
    int result = table_print(table);

    free(rows->row);
    return result == 0 && rows->no_memory ? -ENOMEM : result;
}

enum {
    LEASES_POOL,
    LEASES_CONNECTION,
    LEASES_STATE,
    LEASES_AGE,
    LEASES_USES,
    LEASES_WORKER,
    LEASES_PID,
    LEASES_COMMAND,
    LEASES_COLUMNS
};

static const struct column leases_columns[LEASES_COLUMNS] = {
    [LEASES_POOL] = {"pool", "pool", COLUMN_TEXT},
    [LEASES_CONNECTION] = {"connection", "connection", COLUMN_NUMBER},
    [LEASES_STATE] = {"state", "state", COLUMN_TEXT},
    [LEASES_AGE] = {"lease_age_ms", "lease age", COLUMN_NUMBER},
    [LEASES_USES] = {"uses", "uses", COLUMN_NUMBER},
    [LEASES_WORKER] = {"worker", "worker", COLUMN_NUMBER},
    [LEASES_PID] = {"pid", "pid", COLUMN_NUMBER},
    [LEASES_COMMAND] = {"command", "command", COLUMN_TEXT},
};

static void collect_leases(const struct show *show, uint32_t index, const struct segment *segment,
                           struct rows *rows)
{
    for (uint32_t i = 0; i < segment_places(segment); i++) {
        uint64_t word = shm_load(&segment->connections[i].word);
        struct row *row;

        if (!word_is_out(word))
            continue;
        row = rows_add(rows);
        if (!row)
            return;
        row->pool = index;
        row->index = i;
        row->word = word;
        row->age_ms = statistics_lease_age(segment, i, word);
        row->worker = known_worker(show, index, word_holder(segment, word));
    }
}

int show_leases(const struct show *show)
{
    struct table *table = table_new("leases", leases_columns, LEASES_COLUMNS, show_format(show));
    struct rows rows = {0};

    if (table)
        collect_rows(show, collect_leases, &rows);
    for (size_t i = 0; table && i < rows.count; i++) {
        const struct row *row = &rows.row[i];
        const struct segment *segment = &show->broker->segments[row->pool];
        const char *name = show->broker->catalog.pools[row->pool].name;

        table_row(table);
        table_text(table, LEASES_POOL, name, CATALOG_NAME_SIZE);
        table_number(table, LEASES_CONNECTION, row->index);
        table_string(table, LEASES_STATE, word_state_name(row->word));
        if (word_state(row->word) == WORD_LEASED)
            table_duration(table, LEASES_AGE, row->age_ms);
        table_number(table, LEASES_USES, shm_load_relaxed(&segment->connections[row->index].uses));
        set_worker(table, show, row->worker, LEASES_WORKER, LEASES_PID, LEASES_COMMAND);
    }
    return finish_rows(table, &rows);
}

enum {
    WAITERS_POOL,
    WAITERS_SLOT,
    WAITERS_WHAT,
    WAITERS_AGE,
    WAITERS_WORKER,
    WAITERS_PID,
    WAITERS_COMMAND,
    WAITERS_SERVER,
    WAITERS_COLUMNS
};

static const struct column waiters_columns[WAITERS_COLUMNS] = {
    [WAITERS_POOL] = {"pool", "pool", COLUMN_TEXT},
    [WAITERS_SLOT] = {"slot", NULL, COLUMN_NUMBER},
    [WAITERS_WHAT] = {"waits_for", "waits for", COLUMN_TEXT},
    [WAITERS_AGE] = {"waits_ms", "waits", COLUMN_NUMBER},
    [WAITERS_WORKER] = {"worker", "worker", COLUMN_NUMBER},
    [WAITERS_PID] = {"pid", "pid", COLUMN_NUMBER},
    [WAITERS_COMMAND] = {"command", "command", COLUMN_TEXT},
    [WAITERS_SERVER] = {"served_by", "served by", COLUMN_NUMBER},
};

static void collect_waiter(const struct show *show, uint32_t index, const struct segment *segment,
                           uint32_t slot, struct rows *rows)
{
    struct wait_slot *shared = &segment->slots[slot];
    struct row *row = rows_add(rows);
    struct timespec now;
    uint32_t age_ms;

    if (!row)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    age_ms = (uint32_t)now.tv_sec * 1000 + (uint32_t)(now.tv_nsec / 1000000) -
             shm_load32(&shared->since_ms);
    row->pool = index;
    row->index = slot;
    /* Just joined: noted a moment after we read the clock. */
    row->age_ms = age_ms > INT32_MAX ? 0 : age_ms;
    row->worker = known_worker(show, index, (int64_t)shm_load32(&shared->owner) - 1);
}

/* Those in the queue, and those whose command somebody has taken out of it. */
static void collect_waiters(const struct show *show, uint32_t index, const struct segment *segment,
                            struct rows *rows)
{
    for (uint32_t i = 0; i < segment->cell_count; i++) {
        uint64_t cell = shm_load(&segment->cells[i]);
        size_t before = rows->count;

        if (cell_state(cell) != CELL_FREE && cell_slot(cell) < segment->slot_max)
            collect_waiter(show, index, segment, cell_slot(cell), rows);
        if (rows->count > before)
            rows->row[before].command = cell_state(cell) == CELL_COMMAND;
    }
    for (uint32_t slot = 0; slot < segment->slot_max; slot++) {
        size_t before = rows->count;

        if (mail_state(shm_load(&segment->slots[slot].mail)) != MAIL_TAKEN)
            continue;
        collect_waiter(show, index, segment, slot, rows);
        if (rows->count == before)
            continue;
        rows->row[before].command = true;
        rows->row[before].server =
            known_worker(show, index, (int64_t)shm_load32(&segment->slots[slot].taker) - 1);
    }
}

int show_waiters(const struct show *show)
{
    struct table *table = table_new("waiters", waiters_columns, WAITERS_COLUMNS, show_format(show));
    struct rows rows = {0};

    if (table)
        collect_rows(show, collect_waiters, &rows);
    for (size_t i = 0; table && i < rows.count; i++) {
        const struct row *row = &rows.row[i];

        table_row(table);
        table_text(table, WAITERS_POOL, show->broker->catalog.pools[row->pool].name,
                   CATALOG_NAME_SIZE);
        table_number(table, WAITERS_SLOT, row->index);
        table_string(table, WAITERS_WHAT, row->command ? "reply" : "connection");
        table_duration(table, WAITERS_AGE, row->age_ms);
        set_worker(table, show, row->worker, WAITERS_WORKER, WAITERS_PID, WAITERS_COMMAND);
        if (row->server >= 0)
            table_number(table, WAITERS_SERVER, (uint64_t)row->server);
    }
    return finish_rows(table, &rows);
}
