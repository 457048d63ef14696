/* SPDX-License-Identifier: MIT */
/*
 * `lendis-report watch`: see watch.h. The broker is not asked: it is inspected as lendisctl does
 * (broker/tools/find_broker.h). What workers would hold without the pool cannot be measured where
 * they do not: it is their number times what compare has measured.
 */
#include "broker/report/watch.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "broker/base/proc.h"
#include "broker/tools/find_broker.h"
#include "broker/testbed/testbed.h"
#include "broker/report/costs.h"
#include "broker/report/figures.h"
#include "broker/base/proc_text.h"
#include "libclient/shared/redis_url.h"
#include "broker/base/text.h"

#define KB             1024.0
#define REDIS_LIMIT_MS 1000
#define NOTES_SIZE     1024
/* Home, and clear what is below (ECMA-48). */
#define CLEAR "\x1b[H\x1b[J"

/* One reading. */
struct view {
    const struct options *options;
    struct broker broker;
    pid_t *attached; /* processes, ascending, each once */
    size_t attached_count;
    size_t unseen; /* workers whose process is of another PID namespace */
    pid_t *watched;
    int watched_count, watched_attached;
    double connections; /* that the broker has open */
    struct readings readings;
    struct figures figures;
    char cgroup[4096]; /* folder; "": none */
    char notes[NOTES_SIZE];
};

__attribute__((format(printf, 2, 3))) static void note(struct view *view, const char *format, ...)
{
    size_t used = strlen(view->notes);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(view->notes + used, sizeof view->notes - used, format, arguments);
    va_end(arguments);
}

/* ---- who is there ---- */

static int compare_pids(const void *a, const void *b)
{
    const pid_t *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

static int find_attached(struct view *view)
{
    const struct catalog *catalog = &view->broker.catalog;
    size_t count = 0;

    view->attached = calloc(catalog->worker_max, sizeof *view->attached);
    if (!view->attached)
        return -ENOMEM;
    for (uint32_t i = 0; i < catalog->worker_max; i++) {
        if (statistics_worker_pool(catalog, i) < 0)
            continue;
        if (catalog->workers[i].pid && view->broker.pids_are_ours)
            view->attached[count++] = (pid_t)catalog->workers[i].pid;
        else
            view->unseen++;
    }
    qsort(view->attached, count, sizeof *view->attached, compare_pids);
    /* A process is a worker of each pool that it uses. */
    for (size_t i = 0; i < count; i++)
        if (i == 0 || view->attached[i] != view->attached[i - 1])
            view->attached[view->attached_count++] = view->attached[i];
    return 0;
}

static bool is_attached(const struct view *view, pid_t pid)
{
    return bsearch(&pid, view->attached, view->attached_count, sizeof pid, compare_pids) != NULL;
}

/* The processes that are inspected: those that match, or those that are attached. */
static int find_watched(struct view *view)
{
    const struct options *options = view->options;

    if (!options->match) {
        view->watched = calloc(view->attached_count + 1, sizeof *view->watched);
        if (!view->watched)
            return -ENOMEM;
        memcpy(view->watched, view->attached, view->attached_count * sizeof *view->watched);
        view->watched_count = (int)view->attached_count;
    } else {
        view->watched_count = processes_find(options->match_kind, options->match, &view->watched);
    }
    for (int i = 0; i < view->watched_count; i++)
        view->watched_attached += is_attached(view, view->watched[i]);
    return view->watched_count < 0 ? view->watched_count : 0;
}

static double count_connections(const struct broker *broker)
{
    double count = 0;

    for (uint32_t pool = 0; pool < CATALOG_MAX_POOLS; pool++) {
        const struct segment *segment = &broker->segments[pool];

        for (uint32_t i = 0; segment->base && i < segment_places(segment); i++) {
            enum word_state state = word_state(shm_load_relaxed(&segment->connections[i].word));

            count += state != WORD_EMPTY && state != WORD_OPENING;
        }
    }
    return count;
}

/* ---- Redis ---- */

static redisContext *connect_to(const struct redis_url *address)
{
    struct timeval limit = {.tv_sec = REDIS_LIMIT_MS / 1000};
    redisContext *context = address->host
                                ? redisConnectWithTimeout(address->host, address->port, limit)
                                : redisConnectUnixWithTimeout(address->path, limit);

    if (context && !context->err)
        redisSetTimeout(context, limit);
    return context;
}

static void read_server(struct view *view, const char *url)
{
    char problem[256], why[REDIS_URL_WHY_SIZE];
    struct redis_url address;
    redisContext *context;

    if (redis_url_parse(url, &address, why) != 0)
        return;
    if (address.tls) {
        view->readings.said = (struct redis_memory){NAN, NAN, NAN, NAN};
        note(view, "Redis at %s is not asked: it has TLS\n", url);
        redis_url_free(&address);
        return;
    }
    context = connect_to(&address);
    if (!context || context->err)
        snprintf(problem, sizeof problem, "%s", context ? context->errstr : "no memory");
    if (!context || context->err ||
        !redis_memory_add(context, &view->readings.said, problem, sizeof problem)) {
        view->readings.said = (struct redis_memory){NAN, NAN, NAN, NAN};
        note(view, "Redis at %s does not say: %s\n", url, problem);
    }
    if (context)
        redisFree(context);
    redis_url_free(&address);
}

static void read_servers(struct view *view)
{
    const struct catalog *catalog = &view->broker.catalog;

    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        struct catalog_pool pool, before;
        bool known = false;

        if (catalog_read_pool(catalog, i, &pool) == -ENOENT || !pool.address[0])
            continue;
        for (uint32_t j = 0; j < i && !known; j++) /* pools may share a server */
            known = catalog_read_pool(catalog, j, &before) != -ENOENT &&
                    strncmp(before.address, pool.address, sizeof pool.address) == 0;
        if (!known) {
            char url[sizeof pool.address + 1];

            text_clean(url, sizeof url, pool.address, sizeof pool.address);
            read_server(view, url);
        }
    }
}

/* ---- all of it ---- */

static int read_all(struct view *view)
{
    int result = find_attached(view);

    if (result == 0)
        result = find_watched(view);
    if (result != 0)
        return result;
    for (int i = 0; i < view->watched_count; i++)
        process_add(view->watched[i], true, &view->readings.workers);
    process_add(view->broker.pid, true, &view->readings.broker);
    view->readings.segments = proc_memfd_bytes(view->broker.pid, "lendis-");
    view->connections = count_connections(&view->broker);
    read_servers(view);
    kernel_read(&view->readings.kernel);
    figures_of(&view->readings, &view->figures);
    if (view->options->match && view->options->match_kind != MATCH_NAME &&
        !cgroup_folder(view->watched, view->watched_count, view->cgroup, sizeof view->cgroup))
        note(view, "The cgroup has no memory.stat that can be read.\n");
    if (view->unseen)
        note(view, "%zu workers are of another PID namespace: their memory is not read.\n",
             view->unseen);
    return 0;
}

static void forget(struct view *view)
{
    broker_close(&view->broker);
    free(view->attached);
    free(view->watched);
}

/* ---- what is shown ---- */

enum { KEY, TITLE, VALUE, EACH, KIND, COLUMNS };

static const struct column columns[COLUMNS] = {
    [KEY] = {"figure", NULL, COLUMN_TEXT},
    [TITLE] = {"title", "what", COLUMN_TEXT},
    [VALUE] = {"value", "kB, number", COLUMN_NUMBER},
    [EACH] = {"each", "for each", COLUMN_NUMBER},
    [KIND] = {"kind", NULL, COLUMN_TEXT},
};

/* A row; `number` false: bytes. `of` above 0: as many share it. */
static void put(const struct view *view, struct table *table, const char *key, const char *title,
                double value, bool number, double of)
{
    bool people = view->options->format == TABLE_PEOPLE;
    double unit = people && !number ? KB : 1;

    table_row(table);
    table_string(table, KEY, key);
    table_string(table, TITLE, title);
    table_decimal(table, VALUE, value / unit, 0);
    if (of > 0)
        table_decimal(table, EACH, value / unit / of, 1);
    table_string(table, KIND, number ? "number" : "bytes");
}

static void put_figure(const struct view *view, struct table *table, enum figure figure, double of)
{
    put(view, table, figure_info[figure].key, figure_info[figure].title,
        view->figures.values[figure], figure_info[figure].kind == FIGURE_NUMBER, of);
}

static void put_figures(const struct view *view, struct table *table)
{
    static const enum figure of_workers[] = {FIGURE_WORKERS_PSS, FIGURE_WORKERS_USS,
                                             FIGURE_WORKERS_RSS, FIGURE_WORKERS_VIRTUAL,
                                             FIGURE_WORKERS_DESCRIPTORS};
    static const enum figure of_servers[] = {FIGURE_BROKER,
                                             FIGURE_BROKER_PRIVATE,
                                             FIGURE_SEGMENTS,
                                             FIGURE_REDIS_RSS,
                                             FIGURE_REDIS_USED,
                                             FIGURE_REDIS_CLIENTS,
                                             FIGURE_REDIS_CONNECTIONS,
                                             FIGURE_PAGE_TABLES,
                                             FIGURE_DESCRIPTOR_TABLES,
                                             FIGURE_SOCKET_SLAB,
                                             FIGURE_SOCKETS,
                                             FIGURE_SOCKET_CHARGED};

    put(view, table, "attached", "processes attached", (double)view->attached_count, true, 0);
    put(view, table, "watched", "processes inspected", view->watched_count, true, 0);
    put(view, table, "watched_attached", "of them attached", view->watched_attached, true, 0);
    put(view, table, "connections", "connections of the broker", view->connections, true, 0);
    for (size_t i = 0; i < sizeof of_workers / sizeof *of_workers; i++)
        put_figure(view, table, of_workers[i], view->watched_count);
    for (size_t i = 0; i < sizeof of_servers / sizeof *of_servers; i++)
        put_figure(view, table, of_servers[i], 0);
}

static void put_cgroup(const struct view *view, struct table *table)
{
    static const char *const fields[] = {"anon", "file",         "shmem",     "slab",
                                         "sock", "kernel_stack", "pagetables"};
    char path[sizeof view->cgroup + 32], *text;

    if (!view->cgroup[0])
        return;
    snprintf(path, sizeof path, "%s/memory.current", view->cgroup);
    text = read_text(path);
    put(view, table, "cgroup_current", "cgroup: memory.current", text ? strtod(text, NULL) : NAN,
        false, 0);
    free(text);
    snprintf(path, sizeof path, "%s/memory.stat", view->cgroup);
    text = read_text(path);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char key[64], title[64];

        snprintf(key, sizeof key, "cgroup_%s", fields[i]);
        snprintf(title, sizeof title, "cgroup: %s", fields[i]);
        put(view, table, key, title, text ? stat_field(text, fields[i]) : NAN, false, 0);
    }
    free(text);
}

/* NAN, not readable where it was measured, is left out on both sides. */
static double known(double bytes)
{
    return isnan(bytes) ? 0 : bytes;
}

static void put_savings(struct view *view, struct table *table)
{
    const struct options *options = view->options;
    double workers = (double)(view->attached_count + view->unseen), each, would, holds;
    struct costs costs;
    int result = costs_load(options, &costs);

    if (result != 0) {
        note(view,
             "What the pool saves is not known: no costs of connections of %s workers (%s).\n"
             "Run on this machine: lendis-report compare%s\n",
             options->busy ? "busy" : "idle", strerror(-result), options->busy ? " --busy" : "");
        return;
    }
    each = options->connections_given ? options->connections : costs.connections_per_worker;
    would = workers * each *
            (costs.worker_connection + costs.redis_connection + known(costs.kernel_connection));
    holds = view->figures.values[FIGURE_BROKER] + view->figures.values[FIGURE_SEGMENTS] +
            workers * (costs.lendis_worker + known(costs.lendis_kernel)) +
            view->connections * (costs.redis_connection + known(costs.kernel_connection));
    put(view, table, "connections_without", "connections without the pool", workers * each, true,
        workers);
    put(view, table, "would_hold", "they would take, by compare", would, false, workers);
    put(view, table, "holds", "lendis takes", holds, false, workers);
    put(view, table, "saved", "saved now", would - holds, false, workers);
    put(view, table, "saved_percent", "saved now, %", 100 * (would - holds) / would, true, 0);
    if (isnan(costs.kernel_connection))
        note(view, "compare could not read what sockets take in the kernel: that is left out.\n");
}

static void put_title(const struct view *view)
{
    const struct options *options = view->options;
    static const char *const kinds[] = {"processes called", "unit", "cgroup"};

    printf("lendisd, process %d; ", (int)view->broker.pid);
    if (options->match)
        printf("workers: %s %s\n", kinds[options->match_kind], options->match);
    else
        puts("workers: the processes that are attached");
    puts("PSS counts shared pages once; kernel: sockets is of the whole machine");
}

static int show(struct view *view)
{
    struct table *table = table_new("watch", columns, COLUMNS, view->options->format);
    char missing[256];
    int result;

    if (!table)
        return -ENOMEM;
    if (view->options->format == TABLE_PEOPLE)
        put_title(view);
    put_figures(view, table);
    put_cgroup(view, table);
    put_savings(view, table);
    figures_missing(&view->figures, missing, sizeof missing);
    if (*missing)
        note(view, "Not readable by this user: %s.\n", missing);
    if (view->figures.values[FIGURE_SWAPPED] > 0)
        note(view, "%.0f kB are swapped out: they are in no figure.\n",
             view->figures.values[FIGURE_SWAPPED] / KB);
    result = table_print(table);
    fputs(view->notes, view->options->format == TABLE_PEOPLE ? stdout : stderr);
    fflush(stdout);
    return result;
}

/* ---- again and again ---- */

/* Results: 0; -errno, it was said why. */
static int read_and_show(const struct options *options, bool clear)
{
    static struct view view; /* some hundred pointers for segments */
    char problem[512];
    int result;

    view = (struct view){.options = options};
    if (broker_find(options->socket_path, 0, &view.broker, problem, sizeof problem) != 0) {
        fprintf(stderr, "%slendis-report: %s\n", clear ? CLEAR : "", problem);
        return -ENOENT;
    }
    result = read_all(&view);
    if (clear)
        fputs(CLEAR, stdout);
    if (result == 0)
        result = show(&view);
    if (result != 0)
        fprintf(stderr, "lendis-report: %s\n", strerror(-result));
    forget(&view);
    return result;
}

int watch_run(const struct options *options)
{
    bool again = isatty(STDOUT_FILENO) && options->format == TABLE_PEOPLE;

    /* At first there must be a broker; later one may be starting. */
    if (read_and_show(options, again) != 0)
        return EXIT_FAILURE;
    if (!again)
        return EXIT_SUCCESS;
    for (;;) { /* until a signal ends it */
        sleep_us(options->interval_ms * INT64_C(1000));
        read_and_show(options, true);
    }
}
