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
#include "broker/base/clock.h"
#include "broker/ctl/screen.h"
#include "broker/ctl/top_rows.h"

/* Lines above the rows. */
#define HEAD_LINES 4

/* ---- filter and order ---- */

static bool matches(const struct top *top, const struct top_row *row)
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
    const struct top_cell *left = &((const struct top_row *)a)->cells[top->sort];
    const struct top_cell *right = &((const struct top_row *)b)->cells[top->sort];
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
    int64_t now = (int64_t)clock_us();

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
    top->seconds = (double)(now - top->read_us) / 1e6;
    top->read_us = now;
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
    struct top_cell up;
    char line[512];

    top_set_age(&up, clock_realtime_ms() - catalog->header->started_ms);
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
        snprintf(line, sizeof line, "THE BROKER IS GONE; this is its last state. %s", top->problem);
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
static void draw_cells(const struct top *top, const struct top_row *row, int room)
{
    char line[512];
    size_t at = 0;

    for (size_t i = 0; i < top->view->count; i++) {
        const struct top_column *column = &top->view->columns[i];
        const char *text = row ? row->cells[i].text : column->title;
        int width = column->width;

        /* The last one makes do with what is left, and takes all of it. */
        if (i == top->view->count - 1 && column->text && room - (int)at >= 8)
            width = room - (int)at < (int)TOP_CELL_SIZE ? room - (int)at : (int)TOP_CELL_SIZE;
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
    "+ -         refresh more often, less often (every second at first)",
    "space       refresh now",
    "h ?         this help",
    "q           quit",
    "",
    "A rate is of the time since the last refresh; P99 WAIT is of waits that ended in it.",
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
        for (size_t i = 0; i < sizeof help_lines / sizeof *help_lines; i++)
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

static void choose_view(struct top *top, const struct top_view *view)
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
    for (size_t i = 0; i < TOP_VIEWS; i++)
        if (key == top_views[i].key)
            choose_view(top, &top_views[i]);
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
    int64_t next_us = 0;
    int result = 0;

    while (result == 0) {
        int64_t now = (int64_t)clock_us();
        int key;

        if (now >= next_us) {
            result = read_all(top);
            next_us = now + top->interval_ms * INT64_C(1000);
        }
        if (result == 0)
            result = draw(top);
        if (result != 0)
            break;
        key = screen_key((int)((next_us - now) / 1000) + 1);
        if (key == KEY_END || !take_key(top, key))
            break;
        /* Another view or filter needs other rows: refresh. */
        if (key != KEY_NONE && !strchr("<>r?h", key < 256 ? key : '?') && key < 256)
            next_us = 0;
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
        .rows = calloc(TOP_ROWS_MAX, sizeof *top.rows),
        .first = true,
        .view = &top_views[0],
        .sort = top_views[0].sort,
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
