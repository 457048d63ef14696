/* SPDX-License-Identifier: MIT */
/* Output: see output.h. */
#include "broker/bench/output.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "broker/testbed/plot.h"
#include "broker/tools/json.h"
#include "broker/bench/rows.h"

#define VERDICTS_MAX 256u
/* Behind the point, in JSON. */
#define DIGITS 4

/* ---- targets ---- */

unsigned output_targets(const struct bench *bench, FILE *out)
{
    static struct verdict verdicts[VERDICTS_MAX];
    size_t count = rows_judge(bench, verdicts, VERDICTS_MAX);
    unsigned missed = 0;

    for (size_t i = 0; i < count; i++)
        missed += !verdicts[i].met;
    if (!out || count == 0)
        return missed;
    fputc('\n', out);
    for (size_t i = 0; i < count; i++) {
        const struct target *target = verdicts[i].target;
        double figure = verdicts[i].figure;

        fprintf(out, "%s  %-66s %10.*g   target %s %g\n", verdicts[i].met ? "PASS" : "MISS",
                verdicts[i].text, figure >= 1000 ? 9 : 4, figure >= 1000 ? round(figure) : figure,
                target->comparison == '<' ? "<=" : ">=", target->value);
    }
    fprintf(out, "%zu of %zu targets met\n", count - missed, count);
    return missed;
}

/* ---- JSON ---- */

static struct series series_of(const struct figure *figure)
{
    return (struct series){figure->row, figure->transport, figure->variant};
}

static bool same_series(const struct figure *one, const struct figure *other)
{
    return strcmp(one->row, other->row) == 0 && strcmp(one->transport, other->transport) == 0 &&
           strcmp(one->variant, other->variant) == 0;
}

/* True: none before it is of the same series. */
static bool is_first(const struct figures *figures, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (same_series(&figures->list[i], &figures->list[at]))
            return false;
    return true;
}

/* One round's figures, or with round 0 the medians, as an object. */
static void put_figures(struct json *json, const char *key, const struct figures *figures,
                        const struct figure *of, unsigned round)
{
    json_open(json, key, '{', false);
    for (size_t i = 0; i < figures->count; i++) {
        const struct figure *figure = &figures->list[i];

        if (figure->round == (round ? round : 1) && same_series(figure, of))
            json_number(json, figure->name,
                        round ? figure->value
                              : figures_median(figures, series_of(of), figure->name),
                        DIGITS);
    }
    json_close(json);
}

static void put_result(struct json *json, const struct figures *figures, const struct figure *of)
{
    unsigned rounds = figures_rounds(figures, series_of(of));

    json_open(json, NULL, '{', false);
    json_string(json, "row", of->row);
    json_string(json, "transport", of->transport);
    json_string(json, "variant", of->variant);
    put_figures(json, "medians", figures, of, 0);
    json_open(json, "rounds", '[', true);
    for (unsigned round = 1; round <= rounds; round++)
        put_figures(json, NULL, figures, of, round);
    json_close(json);
    json_close(json);
}

static void put_targets(struct json *json, const struct bench *bench)
{
    static struct verdict verdicts[VERDICTS_MAX];
    size_t count = rows_judge(bench, verdicts, VERDICTS_MAX);

    json_open(json, "targets", '[', true);
    for (size_t i = 0; i < count; i++) {
        const struct target *target = verdicts[i].target;

        json_open(json, NULL, '{', false);
        json_string(json, "target", verdicts[i].text);
        json_number(json, "figure", verdicts[i].figure, DIGITS);
        json_number(json, target->comparison == '<' ? "at_most" : "at_least", target->value,
                    DIGITS);
        json_boolean(json, "met", verdicts[i].met);
        json_close(json);
    }
    json_close(json);
}

void output_json(const struct bench *bench, const char *machine, FILE *out)
{
    struct json json = {.out = out};

    json_open(&json, NULL, '{', true);
    json_string(&json, "machine", machine);
    json_number(&json, "seconds", bench->seconds, DIGITS);
    json_number(&json, "rounds", bench->rounds, 0);
    json_open(&json, "results", '[', true);
    for (size_t i = 0; i < bench->figures.count; i++)
        if (is_first(&bench->figures, i))
            put_result(&json, &bench->figures, &bench->figures.list[i]);
    json_close(&json);
    put_targets(&json, bench);
    json_open(&json, "notes", '[', true);
    for (size_t i = 0; i < bench->note_count; i++)
        json_string(&json, NULL, bench->notes[i]);
    json_close(&json);
    json_close(&json);
}

/* ---- CSV ---- */

void output_csv(const struct bench *bench, FILE *out)
{
    fputs("row,transport,variant,round,figure,value\n", out);
    for (size_t i = 0; i < bench->figures.count; i++) {
        const struct figure *figure = &bench->figures.list[i];

        fprintf(out, "%s,%s,%s,%u,%s,%.6g\n", figure->row, figure->transport, figure->variant,
                figure->round, figure->name, figure->value);
    }
}

/* ---- the picture ---- */

#define NAMES_MAX 24u

/* Rows that are measured in rounds, and variants, in the order in which they came. */
struct shown {
    const char *rows[NAMES_MAX], *variants[NAMES_MAX];
    double workers[NAMES_MAX];
    size_t row_count, variant_count;
    bool curves; /* the rows differ in workers alone: these are x */
    const char *transport;
};

static size_t name_index(const char **names, size_t *count, const char *name)
{
    size_t i = 0;

    while (i < *count && strcmp(names[i], name) != 0)
        i++;
    if (i == *count && i < NAMES_MAX)
        names[(*count)++] = name;
    return i;
}

/* True: the load is the first row's but for the workers, of which no row before has as many. */
static bool differs_in_workers(const struct figures *figures, const struct shown *shown,
                               struct series series)
{
    static const char *const others[] = {"think_us", "mix", "value", "leasers", "rate"};
    struct series first = {shown->rows[0], shown->transport, shown->variants[0]};
    double workers = figures_get(figures, series, 1, "workers");

    for (size_t i = 0; shown->row_count && i < sizeof others / sizeof *others; i++)
        if (figures_get(figures, series, 1, others[i]) != figures_get(figures, first, 1, others[i]))
            return false;
    for (size_t i = 0; i < shown->row_count; i++)
        if (shown->workers[i] == workers && strcmp(shown->rows[i], series.row) != 0)
            return false;
    return true;
}

static void collect(const struct figures *figures, struct shown *shown, bool curves)
{
    *shown = (struct shown){.curves = curves};
    for (size_t i = 0; i < figures->count; i++) {
        const struct figure *figure = &figures->list[i];
        size_t row;

        if (figure->round != 1 || strcmp(figure->name, "ops_per_s") != 0)
            continue;
        if (shown->transport && strcmp(shown->transport, figure->transport) != 0)
            continue;
        if (curves && !differs_in_workers(figures, shown, series_of(figure)))
            continue;
        shown->transport = figure->transport;
        row = name_index(shown->rows, &shown->row_count, figure->row);
        if (row < NAMES_MAX)
            shown->workers[row] = figures_get(figures, series_of(figure), 1, "workers");
        name_index(shown->variants, &shown->variant_count, figure->variant);
    }
}

static const double *values_of(const struct figures *figures, const struct shown *shown,
                               const char *name, double factor, double *values)
{
    for (size_t v = 0; v < shown->variant_count; v++)
        for (size_t r = 0; r < shown->row_count; r++)
            values[v * shown->row_count + r] =
                factor * figures_median(
                             figures,
                             (struct series){shown->rows[r], shown->transport, shown->variants[v]},
                             name);
    return values;
}

int output_plot(const struct bench *bench, const char *path, char *problem, size_t size)
{
    static const struct {
        const char *title, *label, *name;
        double factor;
        bool log;
    } panels[] = {
        {"Throughput", "operations per second", "ops_per_s", 1, false},
        {"Latency, p99", "ms", "p99_us", 1e-3, true},
        {"CPU time of workers, broker or proxy, and Redis", "seconds per million operations",
         "cpu_s_per_mop", 1, false},
    };
    static double values[3][NAMES_MAX * NAMES_MAX];
    struct plot plots[3];
    struct shown shown;

    collect(&bench->figures, &shown, true);
    if (shown.row_count < 2)
        collect(&bench->figures, &shown, false);
    if (shown.row_count == 0) {
        snprintf(problem, size, "%s: no row was measured that can be drawn", path);
        return -1;
    }
    for (size_t i = 0; i < 3; i++)
        plots[i] = (struct plot){.kind = shown.curves ? PLOT_CURVES : PLOT_BARS,
                                 .title = panels[i].title,
                                 .x_label = shown.curves ? "workers" : NULL,
                                 .y_label = panels[i].label,
                                 .log_x = true,
                                 .log_y = panels[i].log,
                                 .series = shown.variants,
                                 .series_count = shown.variant_count,
                                 .groups = shown.rows,
                                 .x = shown.workers,
                                 .count = shown.row_count,
                                 .values = values_of(&bench->figures, &shown, panels[i].name,
                                                     panels[i].factor, values[i])};
    return plot_write(plots, 3, path, problem, size);
}
