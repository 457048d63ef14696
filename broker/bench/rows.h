/* SPDX-License-Identifier: MIT */
/*
 * The rows: what lendis-bench measures when no load is given, and the targets that figures are
 * held against.
 */
#ifndef LENDIS_BENCH_ROWS_H
#define LENDIS_BENCH_ROWS_H

#include "broker/bench/cell.h"

#define ROW_TARGETS_MAX 9u

enum target_kind {
    TARGET_MEDIAN,  /* of the figure */
    TARGET_LEAST,   /* of all rounds */
    TARGET_TIMES,   /* the figure's ratio to that of the variant `other`; NULL: of direct */
    TARGET_QUOTIENT /* the figure's ratio to the figure `other` of the same variant */
};

struct target {
    const char *variant;
    enum target_kind kind;
    const char *figure;
    const char *other;
    char comparison; /* '<': at most; '>': at least */
    double value;
    const char *text;
};

struct row {
    const char *name;
    const char *text;                  /* for --list-rows */
    void (*part)(struct bench *bench); /* NULL: a cell of these: */
    struct load_shape load;
    const char *quick; /* variants of the short form; NULL: the row is not in it */
    const char *full;
    const char *transport; /* the only one; NULL: whichever */
    bool quick_unix;       /* on the Unix socket in the short form, too */
    struct target targets[ROW_TARGETS_MAX];
};

extern const struct row rows[];
extern const size_t row_count;

/* NULL: no row is called so. */
const struct row *row_find(const char *name);

/* Measures it: on `transports` ("tcp,unix"; NULL: those of the form). */
void row_run(struct bench *bench, const struct row *row, const char *transports);

/* A target that was measured. */
struct verdict {
    const struct target *target;
    char text[120]; /* with row and transport */
    double figure;
    bool met;
};

/* Fills `list`; returns how many targets of what was measured there are, at most `max`. */
size_t rows_judge(const struct bench *bench, struct verdict *list, size_t max);

#endif
