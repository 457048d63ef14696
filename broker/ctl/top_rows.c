/* SPDX-License-Identifier: MIT */
/* Rows of `lendisctl top`: see top_rows.h. */
#include "broker/ctl/top_rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "broker/base/text.h"
#include "broker/tools/table.h"

/* ---- cells ---- */

static struct top_row *add_row(struct top *top)
{
    if (top->count == TOP_ROWS_MAX)
        return NULL;
    memset(&top->rows[top->count], 0, sizeof *top->rows);
    return &top->rows[top->count++];
}

static void set_text(struct top_cell *cell, const char *text, size_t size)
{
    char clean[TOP_CELL_SIZE];

    text_clean(clean, sizeof clean, text, size < TOP_CELL_SIZE - 1 ? size : TOP_CELL_SIZE - 1);
    snprintf(cell->text, sizeof cell->text, "%s", clean);
}

static void set_number(struct top_cell *cell, uint64_t number)
{
    snprintf(cell->text, sizeof cell->text, "%" PRIu64, number);
    cell->number = (double)number;
}

/* How fast a counter grew since the last refresh. */
static void set_rate(struct top *top, struct top_cell *cell, uint64_t now, uint64_t then)
{
    double rate = top->first || now < then ? 0 : (double)(now - then) / top->seconds;

    cell->number = rate;
    if (top->first)
        snprintf(cell->text, sizeof cell->text, "-");
    else if (rate >= 1e6)
        snprintf(cell->text, sizeof cell->text, "%.2fM", rate / 1e6);
    else if (rate >= 1e5)
        snprintf(cell->text, sizeof cell->text, "%.0fk", rate / 1e3);
    else
        snprintf(cell->text, sizeof cell->text, rate > 0 && rate < 9.95 ? "%.1f" : "%.0f", rate);
}

static void set_time(struct top_cell *cell, uint64_t ns)
{
    text_time(cell->text, sizeof cell->text, ns);
    cell->number = (double)ns;
}

void top_set_age(struct top_cell *cell, uint64_t ms)
{
    uint64_t seconds = ms / 1000;

    cell->number = (double)ms;
    if (seconds < 60)
        snprintf(cell->text, sizeof cell->text, "%.1fs", (double)ms / 1000);
    else if (seconds < 3600)
        snprintf(cell->text, sizeof cell->text, "%" PRIu64 "m%02" PRIu64 "s", seconds / 60,
                 seconds % 60);
    else
        snprintf(cell->text, sizeof cell->text, "%" PRIu64 "h%02" PRIu64 "m", seconds / 3600,
                 seconds % 3600 / 60);
}

static void set_command(const struct top *top, struct top_cell *cell, uint32_t pid)
{
    char text[64];
    size_t size = broker_command(top->broker, pid, text, sizeof text);

    set_text(cell, size > 0 ? text : "-", size > 0 ? size : 1);
}

/* ---- the pools ---- */

static const char *state_of(const struct catalog_pool *pool)
{
    switch (shm_load32(&pool->pause)) {
    case PAUSE_PAUSED:
        return "paused";
    case PAUSE_DRAINED:
        return "drained";
    default:
        break;
    }
    switch (shm_load32(&pool->backend)) {
    case BACKEND_UP:
        return "up";
    case BACKEND_DOWN:
        return "DOWN";
    default:
        return "unknown";
    }
}

/* The p99 of the waits since the last refresh; 0: nobody waited. */
static uint64_t recent_wait(struct top *top, uint32_t index, const struct segment *segment)
{
    struct histogram_sum *past = &top->past[index].waits, now, grown = {0};

    if (!segment->base)
        return 0;
    histogram_sum_read(segment, HISTOGRAM_wait, &now);
    for (uint32_t i = 0; i < SCALE_BUCKETS; i++) {
        grown.buckets[i] =
            now.buckets[i] > past->buckets[i] ? now.buckets[i] - past->buckets[i] : 0;
        grown.count += grown.buckets[i];
    }
    grown.max = now.max;
    *past = now;
    return top->first || grown.count == 0 ? 0 : histogram_sum_quantile(&grown, 990);
}

static const struct top_column pool_columns[] = {
    {"POOL", 14, true},   {"STATE", 8, true},     {"SIZE", 5, false},       {"IDLE", 5, false},
    {"LEASED", 7, false}, {"WAIT", 6, false},     {"LEASES/s", 9, false},   {"WAITS/s", 8, false},
    {"CMDS/s", 8, false}, {"P99 WAIT", 9, false}, {"TIMEOUT/s", 10, false}, {"WORKERS", 8, false},
};

static void collect_pools(struct top *top)
{
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        const struct pool_statistics *now = &top->pools[i], *then = &top->past[i].statistics;
        struct top_row *row;
        uint64_t wait;

        if (!now->present)
            continue;
        wait = recent_wait(top, i, &top->broker->segments[i]);
        row = add_row(top);
        if (!row)
            return;
        set_text(&row->cells[0], now->entry.name, CATALOG_NAME_SIZE);
        set_text(&row->cells[1], state_of(&now->entry), 8);
        set_number(&row->cells[2], now->entry.size);
        set_number(&row->cells[3], now->connections[USE_idle]);
        set_number(&row->cells[4], now->connections[USE_leased]);
        set_number(&row->cells[5], now->waiting);
        set_rate(top, &row->cells[6], now->counters[COUNTER_leases],
                 then->counters[COUNTER_leases]);
        set_rate(top, &row->cells[7], now->counters[COUNTER_waits], then->counters[COUNTER_waits]);
        set_rate(top, &row->cells[8],
                 now->counters[COUNTER_commands] + now->counters[COUNTER_handed],
                 then->counters[COUNTER_commands] + then->counters[COUNTER_handed]);
        if (wait > 0)
            set_time(&row->cells[9], wait);
        else
            set_text(&row->cells[9], "-", 1);
        set_rate(top, &row->cells[10], now->counters[COUNTER_timeouts],
                 then->counters[COUNTER_timeouts]);
        set_number(&row->cells[11], now->workers);
    }
}

/* ---- the workers ---- */

static const struct top_column worker_columns[] = {
    {"PID", 8, false},    {"POOL", 12, true},     {"UID", 6, false},
    {"HELD", 5, false},   {"LEASES/s", 9, false}, {"WAITS/s", 8, false},
    {"CMDS/s", 8, false}, {"TIMEOUTS", 9, false}, {"COMMAND", 16, true},
};

static uint32_t held_by(const struct segment *segment, uint32_t worker)
{
    uint32_t held = 0;

    for (uint32_t i = 0; i < segment->connection_max; i++) {
        uint64_t word = shm_load(&segment->connections[i].word);

        held += word_state(word) == WORD_LEASED && word_owner(word) == worker;
    }
    return held;
}

static void collect_worker(struct top *top, uint32_t index, uint32_t pool)
{
    const struct segment *segment = &top->broker->segments[pool];
    struct catalog_worker entry = top->broker->catalog.workers[index];
    struct worker_past *past = &top->workers[index], now = {.since_ms = entry.since_ms};
    struct top_row *row = add_row(top);

    if (!row)
        return;
    set_number(&row->cells[0], entry.pid);
    set_text(&row->cells[1], top->broker->catalog.pools[pool].name, CATALOG_NAME_SIZE);
    set_number(&row->cells[2], entry.uid);
    set_command(top, &row->cells[8], entry.pid);
    if (!segment->base || index >= segment->worker_max)
        return;
    now.leases = shm_load_relaxed(&segment->workers[index].counters[COUNTER_leases]);
    now.waits = shm_load_relaxed(&segment->workers[index].counters[COUNTER_waits]);
    now.commands = shm_load_relaxed(&segment->workers[index].counters[COUNTER_commands]) +
                   shm_load_relaxed(&segment->workers[index].counters[COUNTER_handed]);
    if (past->since_ms != now.since_ms)
        *past = now;
    set_number(&row->cells[3], held_by(segment, index));
    set_rate(top, &row->cells[4], now.leases, past->leases);
    set_rate(top, &row->cells[5], now.waits, past->waits);
    set_rate(top, &row->cells[6], now.commands, past->commands);
    set_number(&row->cells[7],
               shm_load_relaxed(&segment->workers[index].counters[COUNTER_timeouts]));
    *past = now;
}

static void collect_workers(struct top *top)
{
    const struct catalog *catalog = &top->broker->catalog;

    for (uint32_t i = 0; i < catalog->worker_max; i++) {
        int pool = statistics_worker_pool(catalog, i);

        if (pool >= 0)
            collect_worker(top, i, (uint32_t)pool);
    }
}

/* ---- the leases ---- */

static const struct top_column lease_columns[] = {
    {"POOL", 14, true},  {"CONN", 5, false}, {"STATE", 9, true},    {"AGE", 9, false},
    {"USES", 11, false}, {"PID", 9, false},  {"COMMAND", 20, true},
};

static void collect_lease(struct top *top, uint32_t pool, uint32_t index, uint64_t word)
{
    const struct segment *segment = &top->broker->segments[pool];
    const struct catalog *catalog = &top->broker->catalog;
    uint32_t holder = word_holder(segment, word);
    struct top_row *row = add_row(top);

    if (!row)
        return;
    set_text(&row->cells[0], catalog->pools[pool].name, CATALOG_NAME_SIZE);
    set_number(&row->cells[1], index);
    set_text(&row->cells[2], word_state_name(word), 16);
    top_set_age(&row->cells[3], statistics_lease_age(segment, index, word));
    set_number(&row->cells[4], shm_load_relaxed(&segment->connections[index].uses));
    if (statistics_worker_pool(catalog, holder) != (int)pool)
        return;
    set_number(&row->cells[5], catalog->workers[holder].pid);
    set_command(top, &row->cells[6], catalog->workers[holder].pid);
}

static void collect_leases(struct top *top)
{
    for (uint32_t pool = 0; pool < CATALOG_MAX_POOLS; pool++) {
        const struct segment *segment = &top->broker->segments[pool];

        for (uint32_t i = 0; segment->base && i < segment->connection_max; i++) {
            uint64_t word = shm_load(&segment->connections[i].word);

            if (word_is_out(word))
                collect_lease(top, pool, i, word);
        }
    }
}

#define COUNT(columns) (sizeof(columns) / sizeof *(columns))
_Static_assert(COUNT(pool_columns) <= TOP_CELLS && COUNT(worker_columns) <= TOP_CELLS &&
                   COUNT(lease_columns) <= TOP_CELLS,
               "a row has a cell for each column");

const struct top_view top_views[TOP_VIEWS] = {
    {"pools", 'p', pool_columns, COUNT(pool_columns), 6, collect_pools},
    {"workers", 'w', worker_columns, COUNT(worker_columns), 4, collect_workers},
    {"leases", 'l', lease_columns, COUNT(lease_columns), 3, collect_leases},
};
