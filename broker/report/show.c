/* SPDX-License-Identifier: MIT */
/* Tables of a comparison: see show.h. */
#include "broker/report/show.h"

#include <math.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "broker/report/kernel.h"
#include "broker/report/targets.h"

#define KB 1024.0
#define MB 1e6

/* More than those are others': our servers' own, and a share of what is to be measured. */
#define OTHER_SOCKETS       16
#define OTHER_SOCKETS_SHARE 0.02

/* In these columns everything about memory is shown. */
enum { NAME, NONE, DIRECT, LENDIS, DUE_DIRECT, DUE_LENDIS, SAVED, PERCENT, COMPARED };

static const struct column compared_columns[COMPARED] = {
    [NAME] = {"what", "kB", COLUMN_TEXT},
    [NONE] = {"none", "no Redis", COLUMN_NUMBER},
    [DIRECT] = {"direct", "own", COLUMN_NUMBER},
    [LENDIS] = {"lendis", "lendis", COLUMN_NUMBER},
    [DUE_DIRECT] = {"due_direct", "due, own", COLUMN_NUMBER},
    [DUE_LENDIS] = {"due_lendis", "due, lendis", COLUMN_NUMBER},
    [SAVED] = {"saved", "saved", COLUMN_NUMBER},
    [PERCENT] = {"percent", "% of due", COLUMN_NUMBER},
};

static double percent(double part, double whole)
{
    return whole != 0 ? 100 * part / whole : NAN;
}

/* ---- for people ---- */

static void put_setup(const struct options *options, const struct comparison *comparison)
{
    unsigned connections = experiment_connections(options);
    struct utsname machine = {0};

    uname(&machine);
    printf("%u workers: %u connections of their own, %u each, or %u in lendis' %s\n",
           comparison->workers, comparison->workers * connections, connections,
           comparison->pool_size, options->reference ? "pools" : "pool");
    if (options->reference)
        puts("each worker: 10 to a primary, 20 to two replicas, 5 to a local server");
    printf("%s, values of %u bytes, by %s; Redis %s, Linux %s, %ld CPUs\n",
           options->busy ? "busy" : "idle", options->value_bytes,
           options->unix_socket ? "Unix socket"
           : options->tls       ? "TLS"
                                : "TCP",
           experiment_redis_version(), machine.release, sysconf(_SC_NPROCESSORS_ONLN));
    puts("\"due\" is what is more than with the same workers without Redis: due to connections.");
}

static void put_row(struct table *table, const struct comparison *comparison, enum figure figure)
{
    double unit = figure_info[figure].kind == FIGURE_NUMBER ? 1 : KB;
    double due = comparison->due[VARIANT_DIRECT].values[figure];
    double saved = comparison->saved.values[figure];

    table_row(table);
    table_string(table, NAME, figure_info[figure].title);
    for (int v = 0; v < VARIANTS; v++)
        table_decimal(table, NONE + (size_t)v,
                      comparison->outcomes[v].figures.values[figure] / unit, 0);
    table_decimal(table, DUE_DIRECT, due / unit, 0);
    table_decimal(table, DUE_LENDIS, comparison->due[VARIANT_LENDIS].values[figure] / unit, 0);
    table_decimal(table, SAVED, saved / unit, 0);
    /* Where own connections cost next to nothing, a percentage of it says nothing. */
    if (due > 1)
        table_decimal(table, PERCENT, percent(saved, due), 1);
}

static int show_figures(const struct comparison *comparison, const char *name, enum figure first,
                        enum figure last)
{
    struct table *table = table_new(name, compared_columns, COMPARED, TABLE_PEOPLE);

    for (enum figure figure = first; table && figure <= last; figure++)
        put_row(table, comparison, figure);
    return table_print(table);
}

enum {
    MEASURE,
    WORKER_NONE,
    WORKER_DIRECT,
    WORKER_LENDIS,
    LESS,
    LESS_PERCENT,
    HUNDRED,
    CLAIM,
    CLAIM_HUNDRED,
    WORKER_COLUMNS
};

static const struct column worker_columns[WORKER_COLUMNS] = {
    [MEASURE] = {"what", "kB, each", COLUMN_TEXT},
    [WORKER_NONE] = {"none", "no Redis", COLUMN_NUMBER},
    [WORKER_DIRECT] = {"direct", "own", COLUMN_NUMBER},
    [WORKER_LENDIS] = {"lendis", "lendis", COLUMN_NUMBER},
    [LESS] = {"less", "saved", COLUMN_NUMBER},
    [LESS_PERCENT] = {"percent", "%", COLUMN_NUMBER},
    [HUNDRED] = {"hundred", "MB per 100", COLUMN_NUMBER},
    [CLAIM] = {"claim", "claim, %", COLUMN_TEXT},
    [CLAIM_HUNDRED] = {"claim_hundred", "claim, MB per 100", COLUMN_TEXT},
};

static void put_each(struct table *table, const struct comparison *comparison, const char *name,
                     enum figure figure)
{
    double workers = comparison->workers, saved = comparison->saved.values[figure];
    double direct = comparison->outcomes[VARIANT_DIRECT].figures.values[figure];

    table_row(table);
    table_string(table, MEASURE, name);
    for (int v = 0; v < VARIANTS; v++)
        table_decimal(table, WORKER_NONE + (size_t)v,
                      comparison->outcomes[v].figures.values[figure] / workers / KB, 1);
    table_decimal(table, LESS, saved / workers / KB, 1);
    table_decimal(table, LESS_PERCENT, percent(saved, direct), 1);
    table_decimal(table, HUNDRED, saved / workers * 100 / MB, 1);
}

static int show_worker(const struct comparison *comparison)
{
    struct table *table = table_new("worker", worker_columns, WORKER_COLUMNS, TABLE_PEOPLE);

    if (!table)
        return table_print(table);
    put_each(table, comparison, "RSS", FIGURE_WORKERS_RSS);
    table_string(table, CLAIM, "15-25");
    table_string(table, CLAIM_HUNDRED, "10");
    put_each(table, comparison, "virtual size", FIGURE_WORKERS_VIRTUAL);
    table_string(table, CLAIM, "40-50");
    table_string(table, CLAIM_HUNDRED, "70");
    put_each(table, comparison, "PSS", FIGURE_WORKERS_PSS);
    put_each(table, comparison, "USS", FIGURE_WORKERS_USS);
    put_each(table, comparison, "the whole system's", FIGURE_TOTAL);
    table_string(table, CLAIM_HUNDRED, "10");
    return table_print(table);
}

/*
 * Sockets are counted for the whole machine. How many there must be is known of two variants: next
 * to none, and both ends of each connection.
 */
static void note_other_sockets(const struct comparison *comparison)
{
    const double *none = comparison->outcomes[VARIANT_NONE].figures.values;
    const double *direct = comparison->outcomes[VARIANT_DIRECT].figures.values;
    double ends = 2 * direct[FIGURE_REDIS_CONNECTIONS];
    double others = fmax(fabs(none[FIGURE_SOCKETS]), fabs(direct[FIGURE_SOCKETS] - ends));

    if (others > OTHER_SOCKETS + ends * OTHER_SOCKETS_SHARE)
        printf("Other programs opened or closed %.0f sockets meanwhile: what sockets take in the "
               "kernel, and "
               "the sum, is not this experiment's alone. Run it on a quieter machine.\n",
               others);
}

static void put_notes(const struct comparison *comparison)
{
    static const char *const names[] = {"without Redis", "with own connections", "through lendis"};
    char missing[256];

    figures_missing(&comparison->saved, missing, sizeof missing);
    if (*missing)
        printf("Not readable by this user, so in no sum: %s.\n", missing);
    note_other_sockets(comparison);
    for (int v = 0; v < VARIANTS; v++) {
        const struct outcome *outcome = &comparison->outcomes[v];

        if (!outcome->steady)
            printf("It still moved after %.0f s, %s: run it on a quieter machine.\n",
                   outcome->seconds, names[v]);
        if (outcome->figures.values[FIGURE_SWAPPED] > 0)
            printf("%.0f kB were swapped out, %s: they are in no sum.\n",
                   outcome->figures.values[FIGURE_SWAPPED] / KB, names[v]);
    }
}

static void put_cross_check(const struct comparison *comparison)
{
    for (int v = VARIANT_DIRECT; v < VARIANTS; v++) {
        double machine = comparison->due[v].values[FIGURE_MACHINE];
        double counted = comparison->due[v].values[FIGURE_TOTAL];

        printf("  %-16s MemAvailable fell by %8.0f kB more than without Redis; counted: %8.0f kB, "
               "%+.0f%%\n",
               v == VARIANT_DIRECT ? "own connections" : "lendis", machine / KB, counted / KB,
               percent(counted - machine, machine));
    }
}

int show_comparison(const struct options *options, const struct comparison *comparison)
{
    const struct outcome *outcomes = comparison->outcomes;
    int result;

    put_setup(options, comparison);
    if (options->busy)
        printf("commands per second: %.0f with own connections, %.0f through lendis\n",
               outcomes[VARIANT_DIRECT].commands, outcomes[VARIANT_LENDIS].commands);
    puts("\nA worker: what ps(1) shows, RSS and virtual size, and what it takes");
    result = show_worker(comparison);
    puts("PSS is the one that counts. RSS counts a page that is shared once for each process that "
         "has it: the\n"
         "program's text, pages from before the fork, lendis' segments. The sum of it exceeds what "
         "there is. Virtual\n"
         "size is addresses, whether there is memory behind them or not.");
    puts("\nWhere the memory is: no page is counted twice");
    if (result == 0)
        result = show_figures(comparison, "memory", FIGURE_WORKERS, FIGURE_TOTAL);
    puts("\nThe same workers in other measures");
    if (result == 0)
        result =
            show_figures(comparison, "workers", FIGURE_WORKERS_PSS, FIGURE_WORKERS_DESCRIPTORS);
    puts("\nBroker, Redis and kernel");
    if (result == 0)
        result = show_figures(comparison, "servers", FIGURE_BROKER_PRIVATE, FIGURE_SOCKET_CHARGED);
    puts("\nCross-check by the whole machine");
    put_cross_check(comparison);
    put_notes(comparison);
    return result;
}

unsigned show_targets(const struct options *options, const struct comparison *comparison)
{
    struct target targets[TARGETS_MAX];
    size_t count = targets_of(options, comparison, targets);
    unsigned missed = 0;

    for (size_t i = 0; i < count; i++) {
        bool reached = target_reached(&targets[i]);

        printf("%s  %s: %.1f %s (target: %s %.0f %s)\n", reached ? "PASS" : "MISS", targets[i].text,
               targets[i].measured, targets[i].unit, targets[i].at_least ? "at least" : "below",
               targets[i].limit, targets[i].unit);
        missed += !reached;
    }
    return missed;
}

/* ---- for programs ---- */

enum {
    R_WORKERS,
    R_CONNECTIONS,
    R_POOL_SIZE,
    R_STATE,
    R_TRANSPORT,
    R_VALUE_BYTES,
    R_FIGURE,
    R_KIND,
    R_NONE,
    R_DIRECT,
    R_LENDIS,
    R_DUE_DIRECT,
    R_DUE_LENDIS,
    R_SAVED,
    R_PERCENT,
    R_STEADY,
    ROW_COLUMNS
};

static const struct column row_columns[ROW_COLUMNS] = {
    [R_WORKERS] = {"workers", NULL, COLUMN_NUMBER},
    [R_CONNECTIONS] = {"connections_per_worker", NULL, COLUMN_NUMBER},
    [R_POOL_SIZE] = {"pool_size", NULL, COLUMN_NUMBER},
    [R_STATE] = {"state", NULL, COLUMN_TEXT},
    [R_TRANSPORT] = {"transport", NULL, COLUMN_TEXT},
    [R_VALUE_BYTES] = {"value_bytes", NULL, COLUMN_NUMBER},
    [R_FIGURE] = {"figure", NULL, COLUMN_TEXT},
    [R_KIND] = {"kind", NULL, COLUMN_TEXT},
    [R_NONE] = {"none", NULL, COLUMN_NUMBER},
    [R_DIRECT] = {"direct", NULL, COLUMN_NUMBER},
    [R_LENDIS] = {"lendis", NULL, COLUMN_NUMBER},
    [R_DUE_DIRECT] = {"due_direct", NULL, COLUMN_NUMBER},
    [R_DUE_LENDIS] = {"due_lendis", NULL, COLUMN_NUMBER},
    [R_SAVED] = {"saved", NULL, COLUMN_NUMBER},
    [R_PERCENT] = {"saved_percent", NULL, COLUMN_NUMBER},
    [R_STEADY] = {"steady", NULL, COLUMN_TEXT},
};

static void put_machine_row(struct table *table, const struct options *options,
                            const struct comparison *comparison, enum figure figure)
{
    static const char *const kinds[] = {
        [FIGURE_COUNTED] = "counted", [FIGURE_BYTES] = "bytes", [FIGURE_NUMBER] = "number"};
    double due = comparison->due[VARIANT_DIRECT].values[figure];
    bool steady = true;

    table_row(table);
    table_number(table, R_WORKERS, comparison->workers);
    table_number(table, R_CONNECTIONS, experiment_connections(options));
    table_number(table, R_POOL_SIZE, comparison->pool_size);
    table_string(table, R_STATE, options->busy ? "busy" : "idle");
    table_string(table, R_TRANSPORT, options->unix_socket ? "unix" : options->tls ? "tls" : "tcp");
    table_number(table, R_VALUE_BYTES, options->value_bytes);
    table_string(table, R_FIGURE, figure_info[figure].key);
    table_string(table, R_KIND, kinds[figure_info[figure].kind]);
    for (int v = 0; v < VARIANTS; v++) {
        table_decimal(table, R_NONE + (size_t)v, comparison->outcomes[v].figures.values[figure], 0);
        steady = steady && comparison->outcomes[v].steady;
    }
    table_decimal(table, R_DUE_DIRECT, due, 0);
    table_decimal(table, R_DUE_LENDIS, comparison->due[VARIANT_LENDIS].values[figure], 0);
    table_decimal(table, R_SAVED, comparison->saved.values[figure], 0);
    table_decimal(table, R_PERCENT, percent(comparison->saved.values[figure], due), 1);
    table_string(table, R_STEADY, steady ? "yes" : "no");
}

int show_rows(const struct options *options, const struct comparison *comparisons, size_t count)
{
    struct table *table = table_new("compare", row_columns, ROW_COLUMNS, options->format);

    for (size_t i = 0; table && i < count; i++)
        for (enum figure figure = 0; figure < FIGURE_COUNT; figure++)
            put_machine_row(table, options, &comparisons[i], figure);
    return table_print(table);
}
