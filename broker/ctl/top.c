/* SPDX-License-Identifier: MIT */
/*
 * `lendisctl top`: see top.h.
 *
 * Every second the counters are read and set beside those of the second before. Nothing is asked of
 * the broker, so a hanging one shows as well as any other, and one that died shows as it was until
 * another one is there.
 */
#include "broker/ctl/top.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "broker/ctl/screen.h"
#include "broker/ctl/show.h"
#include "broker/tools/table.h"
#include "broker/base/text.h"

#define ROWS_MAX    20000u
#define CELLS       12u
#define CELL_SIZE   40u
#define FILTER_SIZE 40u
/* Lines above the rows. */
#define HEAD_LINES 4

struct cell {
    char text[CELL_SIZE];
    double number; /* what it is sorted by; texts by themselves */
};

struct row {
    struct cell cells[CELLS];
};

/* Not struct column: that is a table's. */
struct column_of {
    const char *title;
    int width;
    bool text; /* to the left, and sorted by its text */
};

struct top;

struct view {
    const char *name;
    char key;
    const struct column_of *columns;
    size_t count;
    size_t sort; /* at first */
    void (*collect)(struct top *top);
};

/* What a worker had counted. */
struct worker_past {
    uint64_t since_ms; /* of the worker: another one may have its place by now */
    uint64_t leases, waits, commands;
};

struct pool_past {
    struct pool_statistics statistics;
    struct histogram_sum waits;
};

struct top {
    struct broker *broker;
    const char *socket_path;
    pid_t pid;
    bool gone;
    char problem[256];

    struct pool_statistics *pools; /* now */
    struct pool_past *past;        /* a while ago */
    struct worker_past *workers;
    bool first;     /* there is no past yet */
    double seconds; /* since then */
    int64_t read_ns;

    struct row *rows;
    size_t count;
    const struct view *view;
    size_t sort;
    bool ascending;
    size_t scroll;
    char filter[FILTER_SIZE];
    bool typing; /* the filter */
    bool help;
    int interval_ms;
};

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* ---- cells ---- */

static struct row *add_row(struct top *top)
{
    if (top->count == ROWS_MAX)
        return NULL;
    memset(&top->rows[top->count], 0, sizeof *top->rows);
    return &top->rows[top->count++];
}

static void set_text(struct cell *cell, const char *text, size_t size)
{
    char clean[CELL_SIZE];

    text_clean(clean, sizeof clean, text, size < CELL_SIZE - 1 ? size : CELL_SIZE - 1);
    snprintf(cell->text, sizeof cell->text, "%s", clean);
}

static void set_number(struct cell *cell, uint64_t number)
{
    snprintf(cell->text, sizeof cell->text, "%" PRIu64, number);
    cell->number = (double)number;
}

/* How fast a counter grew since the last look. */
static void set_rate(struct top *top, struct cell *cell, uint64_t now, uint64_t then)
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

static void set_time(struct cell *cell, uint64_t ns)
{
    text_time(cell->text, sizeof cell->text, ns);
    cell->number = (double)ns;
}

static void set_age(struct cell *cell, uint64_t ms)
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

static void set_command(const struct top *top, struct cell *cell, uint32_t pid)
{
    char text[64];
    size_t size = broker_command(top->broker, pid, text, sizeof text);

    set_text(cell, size > 0 ? text : "-", size > 0 ? size : 1);
}

/* ---- the pools ---- */

static const char *state_of(const struct catalog_pool *pool)
{
    switch (shm_load32(&pool->gate)) {
    case GATE_PAUSED:
        return "paused";
    case GATE_DRAINED:
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

/* The p99 of the waits since the last look; 0: nobody waited. */
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

static const struct column_of pool_columns[] = {
    {"POOL", 14, true},   {"STATE", 8, true},     {"SIZE", 5, false},       {"IDLE", 5, false},
    {"LEASED", 7, false}, {"WAIT", 6, false},     {"LEASES/s", 9, false},   {"WAITS/s", 8, false},
    {"CMDS/s", 8, false}, {"P99 WAIT", 9, false}, {"TIMEOUT/s", 10, false}, {"WORKERS", 8, false},
};

static void collect_pools(struct top *top)
{
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        const struct pool_statistics *now = &top->pools[i], *then = &top->past[i].statistics;
        struct row *row;
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

static const struct column_of worker_columns[] = {
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
    struct row *row = add_row(top);

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

static const struct column_of lease_columns[] = {
    {"POOL", 14, true},  {"CONN", 5, false}, {"STATE", 9, true},    {"AGE", 9, false},
    {"USES", 11, false}, {"PID", 9, false},  {"COMMAND", 20, true},
};

static void collect_lease(struct top *top, uint32_t pool, uint32_t index, uint64_t word)
{
    const struct segment *segment = &top->broker->segments[pool];
    const struct catalog *catalog = &top->broker->catalog;
    uint32_t holder = word_holder(segment, word);
    struct row *row = add_row(top);

    if (!row)
        return;
    set_text(&row->cells[0], catalog->pools[pool].name, CATALOG_NAME_SIZE);
    set_number(&row->cells[1], index);
    set_text(&row->cells[2], word_state_name(word), 16);
    set_age(&row->cells[3], statistics_lease_age(segment, index, word));
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
_Static_assert(COUNT(pool_columns) <= CELLS && COUNT(worker_columns) <= CELLS &&
                   COUNT(lease_columns) <= CELLS,
               "a row has a cell for each column");

static const struct view views[] = {
    {"pools", 'p', pool_columns, COUNT(pool_columns), 6, collect_pools},
    {"workers", 'w', worker_columns, COUNT(worker_columns), 4, collect_workers},
    {"leases", 'l', lease_columns, COUNT(lease_columns), 3, collect_leases},
};

/* ---- filter and order ---- */

static bool matches(const struct top *top, const struct row *row)
{
    if (!top->filter[0])
        return true;
    for (size_t i = 0; i < top->view->count; i++)
        if (strstr(row->cells[i].text, top->filter))
            return true;
    return false;
}

static void filter_rows(struct top *top)
{
    size_t kept = 0;

    for (size_t i = 0; i < top->count; i++)
        if (matches(top, &top->rows[i]))
            top->rows[kept++] = top->rows[i];
    top->count = kept;
}

static int compare_rows(const void *a, const void *b, void *context)
{
    const struct top *top = context;
    const struct cell *left = &((const struct row *)a)->cells[top->sort];
    const struct cell *right = &((const struct row *)b)->cells[top->sort];
    int order;

    if (top->view->columns[top->sort].text)
        order = strcmp(right->text, left->text);
    else
        order = (left->number > right->number) - (left->number < right->number);
    return top->ascending ? order : -order;
}

/* ---- reading ---- */

/* The broker is gone: is there another one? */
static void look_for_broker(struct top *top)
{
    static struct broker found;
    char problem[512];

    if (broker_find(top->socket_path, top->pid, &found, problem, sizeof problem) != 0) {
        snprintf(top->problem, sizeof top->problem, "%.255s", problem);
        return;
    }
    if (catalog_broker_gone(&found.catalog)) {
        broker_close(&found);
        return;
    }
    broker_close(top->broker);
    *top->broker = found;
    top->gone = false;
    top->first = true;
}

static int make_workers(struct top *top)
{
    struct worker_past *workers = calloc(top->broker->catalog.worker_max, sizeof *workers);

    if (!workers)
        return -ENOMEM;
    free(top->workers);
    top->workers = workers;
    return 0;
}

static int read_all(struct top *top)
{
    struct statistics_source source;
    int64_t now = now_ns();

    if (top->gone || catalog_broker_gone(&top->broker->catalog)) {
        top->gone = true;
        look_for_broker(top);
        if (top->gone)
            return 0; /* the rows stay as they were */
    }
    if (top->first && make_workers(top) != 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++)
        top->past[i].statistics = top->pools[i];
    top->seconds = (double)(now - top->read_ns) / 1e9;
    top->read_ns = now;
    broker_source(top->broker, &source);
    statistics_read(&source, top->pools);
    top->count = 0;
    top->view->collect(top);
    filter_rows(top);
    top->first = false;
    return 0;
}

/* ---- drawing ---- */

static void draw_head(const struct top *top)
{
    const struct catalog *catalog = &top->broker->catalog;
    uint64_t leases = 0, waiting = 0, connections = 0;
    uint32_t workers = 0, pools = 0;
    struct timespec now;
    struct cell up;
    char line[512];

    clock_gettime(CLOCK_REALTIME, &now);
    set_age(&up, (uint64_t)now.tv_sec * 1000 - catalog->header->started_ms);
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        const struct pool_statistics *pool = &top->pools[i];

        if (!pool->present)
            continue;
        pools++;
        workers += pool->workers;
        waiting += pool->waiting;
        for (uint32_t use = 0; use < CONNECTION_USES; use++)
            connections += pool->connections[use];
        leases += pool->counters[COUNTER_leases];
    }
    snprintf(line, sizeof line, "lendisd %d, up %s: pools %u, workers %u of %u",
             (int)top->broker->pid, up.text, pools, workers, catalog->worker_max);
    screen_line(false, line);
    if (top->gone)
        snprintf(line, sizeof line, "THE BROKER IS GONE; this is what was. %s", top->problem);
    else
        snprintf(line, sizeof line,
                 "connections %" PRIu64 ", waiting %" PRIu64 ", leases so far %" PRIu64 "%s",
                 connections, waiting, leases,
                 shm_load32(&catalog->header->draining) ? "; the broker is stopping" : "");
    screen_line(top->gone, line);
    if (top->typing)
        snprintf(line, sizeof line, "filter: %s_", top->filter);
    else
        snprintf(line, sizeof line, "%s by %s%s%s%s   [p]ools [w]orkers [l]eases [h]elp [q]uit",
                 top->view->name, top->view->columns[top->sort].title,
                 top->ascending ? " (least first)" : "", top->filter[0] ? ", with " : "",
                 top->filter);
    screen_line(false, line);
}

/* The row's cells, or with NULL the titles, as far as `room` goes. */
static void draw_cells(const struct top *top, const struct row *row, int room)
{
    char line[512];
    size_t at = 0;

    for (size_t i = 0; i < top->view->count; i++) {
        const struct column_of *column = &top->view->columns[i];
        const char *text = row ? row->cells[i].text : column->title;
        int width = column->width;

        /* The last one makes do with what is left, and takes all of it. */
        if (i == top->view->count - 1 && column->text && room - (int)at >= 8)
            width = room - (int)at < (int)CELL_SIZE ? room - (int)at : (int)CELL_SIZE;
        if ((int)at + width > room || at + (size_t)width >= sizeof line)
            break;
        /* A blank between two, on whichever side there is room. */
        if (column->text)
            snprintf(line + at, sizeof line - at, "%s%-*.*s", at ? " " : "", width - (at ? 1 : 0),
                     width - 1, text);
        else
            snprintf(line + at, sizeof line - at, " %*.*s", width - 1, width - 1, text);
        at += (size_t)width;
    }
    line[at] = '\0';
    screen_line(!row, line);
}

static const char *const help_lines[] = {
    "p w l       pools, workers, leases",
    "< >         sort by the column to the left, to the right",
    "r           the other way round",
    "/           show only lines with a text: type it, Enter; Esc shows all",
    "up, down    scroll; page up and page down by a page",
    "+ -         look more often, less often (every second at first)",
    "space       look now",
    "h ?         this help",
    "q           quit",
    "",
    "A rate is of the time since the last look; P99 WAIT is of waits that ended in it.",
    "WAIT: calls in the queue. CMDS/s: commands, those sent for others included.",
    "The terminal's width decides how many columns are shown.",
};

static int draw(struct top *top)
{
    int columns, lines;

    screen_size(&columns, &lines);
    screen_begin();
    draw_head(top);
    if (top->help) {
        screen_line(true, "keys");
        for (size_t i = 0; i < COUNT(help_lines); i++)
            screen_line(false, help_lines[i]);
        return screen_end();
    }
    draw_cells(top, NULL, columns);
    if (top->count > 0)
        qsort_r(top->rows, top->count, sizeof *top->rows, compare_rows, top);
    if (top->scroll >= top->count)
        top->scroll = top->count > 0 ? top->count - 1 : 0;
    for (size_t i = top->scroll; i < top->count && (int)(i - top->scroll) < lines - HEAD_LINES; i++)
        draw_cells(top, &top->rows[i], columns);
    if (top->count == 0)
        screen_line(false, top->filter[0] ? "nothing of that kind" : "nothing");
    return screen_end();
}

/* ---- keys ---- */

static void choose_view(struct top *top, const struct view *view)
{
    top->view = view;
    top->sort = view->sort;
    top->ascending = false;
    top->scroll = 0;
    top->help = false;
}

static void scroll(struct top *top, int by)
{
    if (by < 0 && top->scroll < (size_t)-by)
        top->scroll = 0;
    else
        top->scroll += (size_t)by;
}

static void type_filter(struct top *top, int key)
{
    size_t length = strlen(top->filter);

    if (key == KEY_ENTER || key == KEY_ESCAPE)
        top->typing = false;
    if (key == KEY_ESCAPE)
        top->filter[0] = '\0';
    if (key == KEY_BACKSPACE && length > 0)
        top->filter[length - 1] = '\0';
    if (key >= 0x20 && key < 0x7f && length < sizeof top->filter - 1) {
        top->filter[length] = (char)key;
        top->filter[length + 1] = '\0';
    }
}

/* False: the end. */
static bool take_key(struct top *top, int key)
{
    int columns, lines;

    if (top->typing) {
        type_filter(top, key);
        return true;
    }
    for (size_t i = 0; i < COUNT(views); i++)
        if (key == views[i].key)
            choose_view(top, &views[i]);
    screen_size(&columns, &lines);
    switch (key) {
    case 'q':
        return false;
    case 'h':
    case '?':
        top->help = !top->help;
        break;
    case '<':
        top->sort = (top->sort + top->view->count - 1) % top->view->count;
        break;
    case '>':
        top->sort = (top->sort + 1) % top->view->count;
        break;
    case 'r':
        top->ascending = !top->ascending;
        break;
    case '/':
        top->typing = true;
        break;
    case KEY_ESCAPE:
        top->filter[0] = '\0';
        break;
    case KEY_UP:
    case KEY_DOWN:
        scroll(top, key == KEY_UP ? -1 : 1);
        break;
    case KEY_PAGE_UP:
    case KEY_PAGE_DOWN:
        scroll(top, key == KEY_PAGE_UP ? -(lines - HEAD_LINES) : lines - HEAD_LINES);
        break;
    case '+':
        top->interval_ms = top->interval_ms > 200 ? top->interval_ms / 2 : 100;
        break;
    case '-':
        top->interval_ms = top->interval_ms < 30000 ? top->interval_ms * 2 : 60000;
        break;
    default:
        break;
    }
    return true;
}

/* ---- all of it ---- */

/* Reads when it is time or the view has changed, and draws after each key. Results: 0; -errno. */
static int loop(struct top *top)
{
    int64_t next_ns = 0;
    int result = 0;

    while (result == 0) {
        int64_t now = now_ns();
        int key;

        if (now >= next_ns) {
            result = read_all(top);
            next_ns = now + top->interval_ms * INT64_C(1000000);
        }
        if (result == 0)
            result = draw(top);
        if (result != 0)
            break;
        key = screen_key((int)((next_ns - now) / 1000000) + 1);
        if (key == KEY_END || !take_key(top, key))
            break;
        /* Another view or filter needs other rows: look again. */
        if (key != KEY_NONE && !strchr("<>r?h", key < 256 ? key : '?') && key < 256)
            next_ns = 0;
    }
    return result;
}

int top_run(struct broker *broker, const char *socket_path, pid_t pid)
{
    struct top top = {
        .broker = broker,
        .socket_path = socket_path,
        .pid = pid,
        .pools = calloc(CATALOG_MAX_POOLS, sizeof *top.pools),
        .past = calloc(CATALOG_MAX_POOLS, sizeof *top.past),
        .rows = calloc(ROWS_MAX, sizeof *top.rows),
        .first = true,
        .view = &views[0],
        .sort = views[0].sort,
        .interval_ms = 1000,
    };
    int result = -ENOMEM;

    if (top.pools && top.past && top.rows)
        result = screen_open();
    if (result == 0) {
        result = loop(&top);
        screen_close();
    }
    if (result == -ENOTTY)
        fprintf(stderr, "lendisctl: top needs a terminal; show and metrics do not\n");
    else if (result != 0)
        fprintf(stderr, "lendisctl: top: %s\n", strerror(-result));
    free(top.pools);
    free(top.past);
    free(top.workers);
    free(top.rows);
    return result;
}
