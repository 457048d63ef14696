/* SPDX-License-Identifier: MIT */
/* Cells: see cell.h. Each round is a process of its own, of the build that the variant names
 * (load.c). */
#include "broker/bench/cell.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "broker/tools/table.h"
#include "broker/bench/cpu.h"
#include "broker/bench/units.h"
#include "broker/bench/wake_limit.h"

#define ARGUMENTS_MAX 64u
#define OUTPUT_SIZE   16384u
/* A round that takes longer than that, besides its load, does not end by itself. */
#define ROUND_LIMIT_MS 120000
/* How long a round waits for others to become quiet, and how often it is repeated. */
#define QUIET_LOOKS 100
#define QUIET_TRIES 4
/* Processors that others keep busy: above that a round is counted as disturbed. */
#define DISTURBED 0.2
/* How long the limit of wake-ups is measured, before each round of the variants. */
#define LIMIT_SECONDS 0.2

/* ---- what is compared ---- */

bool cell_parse_variants(struct bench *bench, struct cell *cell, const char *list, char *problem,
                         size_t size)
{
    char copy[1024], *rest = copy, *text;

    snprintf(copy, sizeof copy, "%s", list);
    cell->count = 0;
    while ((text = strsep(&rest, ","))) {
        struct variant *variant = &cell->variants[cell->count];

        if (cell->count == CELL_VARIANTS_MAX) {
            snprintf(problem, size, "more than %u variants", CELL_VARIANTS_MAX);
            return false;
        }
        if (!variant_parse(text, variant, problem, size))
            return false;
        if (variant_is_there(variant, problem, size))
            cell->count++;
        else if (variant->build)
            return false;
        else
            bench_note(bench, "%s: left out", problem);
    }
    return true;
}

/* The load in words. */
static void describe(const struct cell *cell, char *text, size_t size)
{
    const struct load_shape *load = &cell->load;
    size_t value = load->value ? load->value : CLIENT_VALUE_MIN, used;

    used =
        (size_t)snprintf(text, size, "%u worker%s, ", load->workers, load->workers == 1 ? "" : "s");
    if (load->mix)
        used += (size_t)snprintf(text + used, size - used, "%u/%u ", 100 - load->mix, load->mix);
    used += (size_t)snprintf(text + used, size - used, "%s, %s-byte values",
                             load->mix ? "GET/SET" : "GET", units_grouped((double)value));
    if (load->rate > 0)
        used += (size_t)snprintf(text + used, size - used, ", %s commands/s due (open loop)",
                                 units_grouped(load->rate));
    else if (load->think_us > 0)
        used += (size_t)snprintf(text + used, size - used, ", %s think time",
                                 units_time(load->think_us));
    else
        used += (size_t)snprintf(text + used, size - used, ", no think time");
    if (load->leasers)
        used +=
            (size_t)snprintf(text + used, size - used, ", %u of them take leases", load->leasers);
    if (load->hold_us > 0)
        used += (size_t)snprintf(text + used, size - used, ", leases held %s",
                                 units_time(load->hold_us));
    if (load->rtt_us > 0)
        snprintf(text + used, size - used, ", Redis %s away", units_time(load->rtt_us));
}

/* ---- a round ---- */

struct arguments {
    const char *list[ARGUMENTS_MAX];
    char texts[ARGUMENTS_MAX][TESTBED_PATH_SIZE + 32];
    size_t count;
};

static void add(struct arguments *arguments, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(struct arguments *arguments, const char *format, ...)
{
    char *text = arguments->texts[arguments->count];
    va_list values;

    if (arguments->count + 1 == ARGUMENTS_MAX)
        give_up("too many arguments for a round");
    va_start(values, format);
    vsnprintf(text, sizeof arguments->texts[0], format, values);
    va_end(values);
    arguments->list[arguments->count++] = text;
}

static void add_program(struct arguments *arguments, const struct variant *variant)
{
    if (variant->build)
        add(arguments, "%s/lendis-bench", variant->build);
    else
        add(arguments, "/proc/self/exe");
    add(arguments, "load");
    add(arguments, "--tsv");
}

static void add_load(struct arguments *arguments, const struct bench *bench,
                     const struct load_shape *load)
{
    size_t value = load->value ? load->value : CLIENT_VALUE_MIN;

    add(arguments, "--workers=%u", load->workers);
    add(arguments, "--think-us=%.0f", load->think_us);
    add(arguments, "--think-kind=%s", load->pace == PACE_FIXED ? "fixed" : "exponential");
    add(arguments, "--value=%zu", value);
    add(arguments, "--mix=%u", load->mix);
    add(arguments, "--hold-us=%.0f", load->hold_us);
    add(arguments, "--seconds=%g", bench->seconds);
    add(arguments, "--ramp=%g", bench->ramp);
    if (load->leasers)
        add(arguments, "--leasers=%u", load->leasers);
    if (load->rate > 0)
        add(arguments, "--rate=%g", load->rate);
    if (bench->awake)
        add(arguments, "--awake");
}

static void add_servers(struct arguments *arguments, const struct servers *servers,
                        const struct variant *variant, const char *transport)
{
    add(arguments, "--mode=%s", client_mode_name(variant->mode));
    add(arguments, "--redis=%s", servers->redis.unix_url);
    add(arguments, "--pid=redis=%d", (int)servers->redis.pid);
    if (variant->proxy != PROXY_NONE) {
        add(arguments, "--url=%s", servers->proxy_url);
        add(arguments, "--pid=proxy=%d", (int)servers->proxy_pid);
    } else if (client_mode_is_lendis(variant->mode)) {
        add(arguments, "--socket=%s", servers->broker.socket_path);
        add(arguments, "--pool=bench");
        add(arguments, "--pid=broker=%d", (int)servers->broker.pid);
    } else {
        add(arguments, "--url=%s", servers_redis_url(servers, transport));
    }
}

/* All but the two lines of figures is for people. */
static void pass_on(const char *text, const char *variant)
{
    unsigned figures = 0;

    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n");

        if (strncmp(line, "mode\t", 5) == 0)
            figures = 2;
        if (figures > 0)
            figures--;
        else
            fprintf(stderr, "%s: %.*s\n", variant, (int)length, line);
        line += length + (line[length] == '\n');
    }
}

static void await_quiet(const struct bench *bench)
{
    for (unsigned i = 0; bench->quiet > 0 && i < QUIET_LOOKS; i++)
        if (cpu_busy() < bench->quiet)
            return;
}

/* True: the round counts. `output`: what it said. */
static bool run_once(struct bench *bench, const struct arguments *arguments, char *output,
                     const struct variant *variant)
{
    struct figures figures = {0};
    struct series only = {"", "", ""};
    const char *lines;
    double others;
    int status;

    await_quiet(bench);
    status = program_run(arguments->list, output, OUTPUT_SIZE,
                         ROUND_LIMIT_MS + (int)((bench->seconds + bench->ramp) * 1000));
    lines = strstr(output, "mode\t");
    if (status > 1 || !lines || !figures_parse(&figures, only, 1, lines))
        give_up("a round of %s did not run (status %d): %s", variant->text, status, output);
    if (status != 0)
        bench->failed = true;
    others = figures_get(&figures, only, 1, "other_load");
    free(figures.list);
    return status != 0 || bench->quiet <= 0 || !(others > bench->quiet);
}

static void run_round(struct bench *bench, const struct cell *cell, const struct variant *variant,
                      unsigned round, double limit)
{
    const char *transport = variant->transport[0] ? variant->transport : cell->transport;
    struct series series = {cell->row, cell->transport, variant->text};
    static char output[OUTPUT_SIZE];
    struct arguments arguments = {0};

    bench->servers.workers = cell->load.workers;
    bench->servers.rtt_us = cell->load.rtt_us;
    servers_start(&bench->servers, variant, transport);
    add_program(&arguments, variant);
    add_load(&arguments, bench, &cell->load);
    add_servers(&arguments, &bench->servers, variant, transport);
    add(&arguments, "--seed=%u", round);
    for (unsigned tries = 1; !run_once(bench, &arguments, output, variant) && tries < QUIET_TRIES;)
        tries++;
    servers_stop(&bench->servers);
    bench_progress_end();
    pass_on(output, variant->text);
    figures_parse(&bench->figures, series, round, strstr(output, "mode\t"));
    figures_add(&bench->figures, series, round, "wake_limit", limit);
    figures_add(&bench->figures, series, round, "of_limit",
                figures_get(&bench->figures, series, round, "ops_per_s") / limit);
    figures_add(&bench->figures, series, round, "rtt_us", cell->load.rtt_us);
}

/* ---- the table ---- */

enum {
    COLUMN_VARIANT,
    COLUMN_OPS,
    COLUMN_SPREAD,
    COLUMN_TIMES,
    COLUMN_LIMIT,
    COLUMN_REACHED,
    COLUMN_P50,
    COLUMN_P99,
    COLUMN_P999,
    COLUMN_WORST,
    COLUMN_FAIR,
    COLUMN_CPU,
    COLUMN_WORKERS,
    COLUMN_BETWEEN,
    COLUMN_REDIS,
    COLUMN_CONNECTIONS,
    COLUMN_UNSERVED,
    COLUMN_LEASES,
    COLUMN_LEASE_P99,
    COLUMN_BAD,
    COLUMN_OTHERS,
    COLUMNS,
};

static void set_number(struct table *table, size_t column, int decimals, double value)
{
    char text[48];

    if (isnan(value))
        snprintf(text, sizeof text, "-");
    else if (decimals == 0)
        snprintf(text, sizeof text, "%s", units_grouped(value));
    else
        snprintf(text, sizeof text, "%.*f", decimals, value);
    table_string(table, column, text);
}

static void set_ratio(struct table *table, const struct figures *figures, struct series series,
                      struct series base)
{
    struct ratio ratio = figures_ratio(figures, series, "ops_per_s", base, "ops_per_s");
    char text[64];

    if (strcmp(series.variant, base.variant) == 0)
        snprintf(text, sizeof text, "1");
    else if (isnan(ratio.median))
        snprintf(text, sizeof text, "-");
    else
        snprintf(text, sizeof text, "%.2f (%.2f-%.2f)", ratio.median, ratio.least, ratio.most);
    table_string(table, COLUMN_TIMES, text);
}

static void print_row(struct table *table, const struct figures *figures, struct series series,
                      struct series base)
{
    static const struct {
        size_t column;
        const char *name;
        int decimals; /* -1: a time */
    } plain[] = {
        {COLUMN_OPS, "ops_per_s", 0},
        {COLUMN_LIMIT, "wake_limit", 0},
        {COLUMN_REACHED, "of_limit", 2},
        {COLUMN_P50, "p50_us", -1},
        {COLUMN_P99, "p99_us", -1},
        {COLUMN_P999, "p999_us", -1},
        {COLUMN_WORST, "max_us", -1},
        {COLUMN_FAIR, "fairness", 2},
        {COLUMN_CPU, "cpu_s_per_mop", 1},
        {COLUMN_WORKERS, "workers_s_per_mop", 1},
        {COLUMN_REDIS, "redis_s_per_mop", 1},
        {COLUMN_CONNECTIONS, "connections", 0},
        {COLUMN_UNSERVED, "unserved", 0},
        {COLUMN_LEASES, "leases_per_s", 0},
        {COLUMN_LEASE_P99, "lease_p99_us", -1},
        {COLUMN_OTHERS, "other_load", 2},
    };
    double between;
    char spread[16];

    table_row(table);
    table_string(table, COLUMN_VARIANT, series.variant);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        double value = figures_median(figures, series, plain[i].name);

        if (plain[i].decimals < 0)
            table_string(table, plain[i].column, units_time(value));
        else
            set_number(table, plain[i].column, plain[i].decimals, value);
    }
    between = 100 * figures_spread(figures, series, "ops_per_s");
    snprintf(spread, sizeof spread, isfinite(between) ? "%.0f%%" : "-", between);
    table_string(table, COLUMN_SPREAD, spread);
    set_ratio(table, figures, series, base);
    set_number(table, COLUMN_BETWEEN, 1,
               figures_median(figures, series, "broker_s_per_mop") +
                   figures_median(figures, series, "proxy_s_per_mop"));
    set_number(table, COLUMN_BAD, 0,
               figures_sum(figures, series, "errors") + figures_sum(figures, series, "wrong") +
                   figures_sum(figures, series, "hung"));
}

static void print_table(struct bench *bench, const struct cell *cell)
{
    struct column columns[COLUMNS] = {
        [COLUMN_VARIANT] = {.title = "variant"},
        [COLUMN_OPS] = {.title = "op/s"},
        [COLUMN_SPREAD] = {.title = "+-"},
        [COLUMN_TIMES] = {.title = "times the first"},
        [COLUMN_LIMIT] = {.title = "limit"},
        [COLUMN_REACHED] = {.title = "reached"},
        [COLUMN_P50] = {.title = "p50"},
        [COLUMN_P99] = {.title = "p99"},
        [COLUMN_P999] = {.title = "p99.9"},
        [COLUMN_WORST] = {.title = "worst"},
        [COLUMN_FAIR] = {.title = "fair"},
        [COLUMN_CPU] = {.title = "cpu s/Mop ="},
        [COLUMN_WORKERS] = {.title = "workers"},
        [COLUMN_BETWEEN] = {.title = "between"},
        [COLUMN_REDIS] = {.title = "redis"},
        [COLUMN_CONNECTIONS] = {.title = "conns"},
        [COLUMN_UNSERVED] = {.title = cell->load.rate > 0 ? "unserved" : NULL},
        [COLUMN_LEASES] = {.title = cell->load.leasers ? "leases/s" : NULL},
        [COLUMN_LEASE_P99] = {.title = cell->load.leasers ? "their p99" : NULL},
        [COLUMN_BAD] = {.title = "bad"},
        [COLUMN_OTHERS] = {.title = "others"},
    };
    struct series base = {cell->row, cell->transport, cell->variants[0].text};
    struct table *table;

    for (size_t i = 1; i < COLUMNS; i++)
        columns[i].kind = COLUMN_NUMBER;
    table = table_new("cell", columns, COLUMNS, false);
    for (size_t i = 0; table && i < cell->count; i++)
        print_row(table, &bench->figures,
                  (struct series){cell->row, cell->transport, cell->variants[i].text}, base);
    if (table_print(table) != 0)
        give_up("cannot print the table");
}

/* Rounds during which others were busy: those figures are not to be trusted. */
static void note_disturbed(struct bench *bench, const struct cell *cell)
{
    unsigned disturbed = 0;

    for (size_t i = 0; i < cell->count; i++)
        for (unsigned round = 1; round <= bench->rounds; round++)
            if (figures_get(&bench->figures,
                            (struct series){cell->row, cell->transport, cell->variants[i].text},
                            round, "other_load") > DISTURBED)
                disturbed++;
    if (disturbed)
        bench_note(bench,
                   "row %s, %s: others kept more than %.1f processors busy in %u of %zu rounds",
                   cell->row, cell->transport, DISTURBED, disturbed, bench->rounds * cell->count);
}

void cell_run(struct bench *bench, const struct cell *cell)
{
    char text[256];

    if (cell->count == 0)
        return;
    for (unsigned round = 1; round <= bench->rounds; round++) {
        double limit = wake_limit_measure(cell->load.workers, LIMIT_SECONDS);

        for (size_t i = 0; i < cell->count; i++) {
            size_t at = round % 2 ? i : cell->count - 1 - i;

            bench_progress("%s, %s: round %u of %u, %s", cell->row, cell->transport, round,
                           bench->rounds, cell->variants[at].text);
            run_round(bench, cell, &cell->variants[at], round, limit);
        }
    }
    note_disturbed(bench, cell);
    if (!bench->out)
        return;
    describe(cell, text, sizeof text);
    fprintf(bench->out, "\n[%s] %s: %s; %u round%s of %g s\n", cell->row, cell->transport, text,
            bench->rounds, bench->rounds == 1 ? "" : "s", bench->seconds);
    print_table(bench, cell);
}
