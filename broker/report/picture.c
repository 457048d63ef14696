/* SPDX-License-Identifier: MIT */
/* Pictures: see picture.h. */
#include "broker/report/picture.h"

#include <math.h>
#include <stdio.h>
#include "broker/testbed/plot.h"

#define MB 1e6

static int draw_bars(const struct options *options, const struct comparison *comparison,
                     char *problem, size_t size)
{
    static const char *const groups[] = {"own connections", "lendis"};
    enum { GROUPS = sizeof groups / sizeof *groups };
    const char *series[FIGURE_COUNT];
    double values[FIGURE_COUNT * GROUPS];
    char title[128];
    size_t parts = 0;

    for (enum figure figure = 0; figure < FIGURE_COUNT; figure++) {
        if (figure_info[figure].kind != FIGURE_COUNTED || isnan(comparison->saved.values[figure]))
            continue;
        series[parts] = figure_info[figure].title;
        /* What got less than without Redis, by a page here and there, cannot be stacked. */
        for (int g = 0; g < GROUPS; g++)
            values[parts * GROUPS + (size_t)g] =
                fmax(0, comparison->due[VARIANT_DIRECT + g].values[figure] / MB);
        parts++;
    }
    snprintf(title, sizeof title, "Memory due to Redis connections: %u workers, %s, %s",
             comparison->workers, options->reference ? "35 connections each" : "whole system",
             options->busy ? "busy" : "idle");
    return plot_write(&(struct plot){.kind = PLOT_STACKED,
                                     .title = title,
                                     .y_label = "MB",
                                     .series = series,
                                     .series_count = parts,
                                     .groups = groups,
                                     .count = GROUPS,
                                     .values = values},
                      1, options->plot_path, problem, size);
}

static int draw_curves(const struct options *options, const struct comparison *comparisons,
                       size_t count, char *problem, size_t size)
{
    static const char *const series[] = {"own connections", "lendis"};
    double x[SWEEP_MAX], values[2 * SWEEP_MAX];
    char title[128];

    for (size_t i = 0; i < count; i++) {
        x[i] = comparisons[i].workers;
        values[i] = comparisons[i].due[VARIANT_DIRECT].values[FIGURE_TOTAL] / MB;
        values[count + i] = comparisons[i].due[VARIANT_LENDIS].values[FIGURE_TOTAL] / MB;
    }
    snprintf(title, sizeof title, "Memory due to Redis connections: %u of a worker, %s",
             experiment_connections(options), options->busy ? "busy" : "idle");
    return plot_write(&(struct plot){.kind = PLOT_CURVES,
                                     .title = title,
                                     .x_label = "workers",
                                     .y_label = "MB, whole system",
                                     .series = series,
                                     .series_count = 2,
                                     .x = x,
                                     .count = count,
                                     .values = values},
                      1, options->plot_path, problem, size);
}

int picture_write(const struct options *options, const struct comparison *comparisons, size_t count,
                  char *problem, size_t size)
{
    return count == 1 ? draw_bars(options, comparisons, problem, size)
                      : draw_curves(options, comparisons, count, problem, size);
}
