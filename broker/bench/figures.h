/* SPDX-License-Identifier: MIT */
/*
 * All figures of a run: one list, from which tables, targets, pictures, JSON and CSV are made. A
 * figure belongs to a row (a load, or a part such as "lease"), a transport and a variant ("" where
 * there is none), has a name, and was measured in a round, 1 and up.
 */
#ifndef LENDIS_BENCH_FIGURES_H
#define LENDIS_BENCH_FIGURES_H

#include <stdbool.h>
#include <stddef.h>

/* What is measured together: a row on a transport. */
struct series {
    const char *row;
    const char *transport;
    const char *variant;
};

struct figure {
    char row[24];
    char transport[8];
    char variant[64];
    char name[32];
    unsigned round;
    double value;
};

struct figures {
    struct figure *list;
    size_t count, room;
};

/* Ends the process when there is no memory. */
void figures_add(struct figures *figures, struct series series, unsigned round, const char *name,
                 double value);

/* Adds what `text` has: a line of names and a line of values, separated by tabs, of which those
 * that are no numbers are left out. False: there are no such lines. */
bool figures_parse(struct figures *figures, struct series series, unsigned round, const char *text);

/* Of one round. NAN: there is none. */
double figures_get(const struct figures *figures, struct series series, unsigned round,
                   const char *name);

unsigned figures_rounds(const struct figures *figures, struct series series);

/* Over all rounds; NAN when there are none. */
double figures_median(const struct figures *figures, struct series series, const char *name);
double figures_least(const struct figures *figures, struct series series, const char *name);
double figures_most(const struct figures *figures, struct series series, const char *name);
double figures_sum(const struct figures *figures, struct series series, const char *name);

/* (most - least) / median. */
double figures_spread(const struct figures *figures, struct series series, const char *name);

/*
 * The ratio to another variant's figure, or to another figure: of each round to the same round of
 * the other, for these ran side by side on the same machine in the same mood; then the median, the
 * least and the most of these.
 */
struct ratio {
    double median, least, most;
};
struct ratio figures_ratio(const struct figures *figures, struct series series, const char *name,
                           struct series base, const char *base_name);

/* Sorts `list`. 0 for none. */
double median_of(double *list, size_t count);

/* Sorts `list`: the value that the share `quantile` does not exceed. */
double quantile_of(double *list, size_t count, double quantile);

#endif
