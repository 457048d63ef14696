/* SPDX-License-Identifier: MIT */
/* Output: see output.h. */
#include "broker/bench/output.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "broker/testbed/plot.h"
#include "broker/bench/rows.h"
#include "broker/bench/units.h"

#define VERDICTS_MAX 256u

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

static void put_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else if ((unsigned char)*text < ' ')
            fputc(' ', out);
        else
            fputc(*text, out);
    fputc('"', out);
}

/* No exponents, which not everybody reads. */
static void put_number(FILE *out, double number)
{
    char text[64];
    size_t length;

    if (isnan(number) || isinf(number)) {
        fputs("null", out);
        return;
    }
    length = (size_t)snprintf(text, sizeof text, "%.4f", number);
    while (text[length - 1] == '0')
        length--;
    if (text[length - 1] == '.')
        length--;
    fprintf(out, "%.*s", (int)length, text);
}

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
static void put_figures(const struct figures *figures, const struct figure *of, unsigned round,
                        FILE *out)
{
    const char *separator = "";

    fputc('{', out);
    for (size_t i = 0; i < figures->count; i++) {
        const struct figure *figure = &figures->list[i];

        if (figure->round != (round ? round : 1) || !same_series(figure, of))
            continue;
        fputs(separator, out);
        put_string(out, figure->name);
        fputs(": ", out);
        put_number(out,
                   round ? figure->value : figures_median(figures, series_of(of), figure->name));
        separator = ", ";
    }
    fputc('}', out);
}

static void put_result(const struct figures *figures, const struct figure *of, FILE *out)
{
    unsigned rounds = figures_rounds(figures, series_of(of));

    fputs("  {\"row\": ", out);
    put_string(out, of->row);
    fputs(", \"transport\": ", out);
    put_string(out, of->transport);
    fputs(", \"variant\": ", out);
    put_string(out, of->variant);
    fputs(",\n   \"medians\": ", out);
    put_figures(figures, of, 0, out);
    fputs(",\n   \"rounds\": [", out);
    for (unsigned round = 1; round <= rounds; round++) {
        fputs(round > 1 ? ",\n    " : "", out);
        put_figures(figures, of, round, out);
    }
    fputs("]}", out);
}

static void put_targets(const struct bench *bench, FILE *out)
{
    static struct verdict verdicts[VERDICTS_MAX];
    size_t count = rows_judge(bench, verdicts, VERDICTS_MAX);

    for (size_t i = 0; i < count; i++) {
        fputs(i ? ",\n  {\"target\": " : "  {\"target\": ", out);
        put_string(out, verdicts[i].text);
        fputs(", \"figure\": ", out);
        put_number(out, verdicts[i].figure);
        fprintf(out, ", \"%s\": ", verdicts[i].target->comparison == '<' ? "at_most" : "at_least");
        put_number(out, verdicts[i].target->value);
        fprintf(out, ", \"met\": %s}", verdicts[i].met ? "true" : "false");
    }
}

void output_json(const struct bench *bench, const char *machine, FILE *out)
{
    const char *separator = "";

    fputs("{\"machine\": ", out);
    put_string(out, machine);
    fputs(",\n \"seconds\": ", out);
    put_number(out, bench->seconds);
    fprintf(out, ", \"rounds\": %u,\n \"results\": [\n", bench->rounds);
    for (size_t i = 0; i < bench->figures.count; i++) {
        if (!is_first(&bench->figures, i))
            continue;
        fputs(separator, out);
        put_result(&bench->figures, &bench->figures.list[i], out);
        separator = ",\n";
    }
    fputs("],\n \"targets\": [\n", out);
    put_targets(bench, out);
    fputs("],\n \"notes\": [", out);
    for (size_t i = 0; i < bench->note_count; i++) {
        fputs(i ? ", " : "", out);
        put_string(out, bench->notes[i]);
    }
    fputs("]}\n", out);
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

/* True: the load is that of the first row but for the workers, of which no row before has as many. */
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
