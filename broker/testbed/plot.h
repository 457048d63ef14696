/* SPDX-License-Identifier: MIT */
/*
 * Pictures of figures: bars and curves, drawn by gnuplot(1) into an SVG or PNG file, several below
 * each other if need be. What a tool measured for minutes must not be lost to a missing program or
 * a directory that cannot be written: plot_check() reports it before.
 */
#ifndef LENDIS_TESTBED_PLOT_H
#define LENDIS_TESTBED_PLOT_H

#include <stdbool.h>
#include <stddef.h>

enum plot_kind {
    PLOT_BARS,    /* a bar for each series, side by side, in each group */
    PLOT_STACKED, /* one bar for each group, of a part for each series */
    PLOT_CURVES,  /* a line for each series, over x */
};

struct plot {
    enum plot_kind kind;
    const char *title;
    const char *x_label; /* NULL: none */
    const char *y_label;
    bool log_x, log_y;         /* x: curves alone */
    const char *const *series; /* their names, for the legend */
    size_t series_count;
    const char *const *groups; /* bars: the groups' names */
    const double *x;           /* curves */
    size_t count;              /* of groups or of x */
    const double *values;      /* of series s: values[s * count + i]; NAN: there is none */
};

/* Results: 0, plot_write() to this path has what it needs; -1, and why not in `problem`. */
int plot_check(const char *path, char *problem, size_t size);

/* Draws `count` plots below each other into the file, anew. Results: 0; -1, likewise. */
int plot_write(const struct plot *plots, size_t count, const char *path, char *problem,
               size_t size);

#endif
