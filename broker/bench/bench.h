/* SPDX-License-Identifier: MIT */
/* What the parts of lendis-bench share: what it is to measure, its servers and its figures. */
#ifndef LENDIS_BENCH_BENCH_H
#define LENDIS_BENCH_BENCH_H

#include <stdbool.h>
#include <stdio.h>
#include "broker/bench/figures.h"
#include "broker/bench/variant.h"

#define BENCH_NOTES_MAX 64

struct bench {
    /* As it was asked for. */
    double seconds; /* of each round */
    double ramp;    /* load before each that is not measured */
    unsigned rounds;
    bool full;    /* all variants of each row */
    bool awake;   /* keep processors from idling */
    double quiet; /* rounds wait until others keep less than so many processors busy, and are
                        repeated when it did not last; 0: no waiting */
    FILE *out;    /* tables; NULL: none */

    struct servers servers;
    struct figures figures;
    bool failed; /* there were errors, wrong replies, or workers that hung */

    /* What was left out and what disturbed, once each, for the end. */
    char notes[BENCH_NOTES_MAX][200];
    size_t note_count;
};

/* A line for the end, unless it is there already. */
void bench_note(struct bench *bench, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A figure of a part that has no rounds, and its line in the table. */
void bench_figure(struct bench *bench, const char *row, const char *name, double value,
                  int decimals, const char *unit, const char *text);

/* Says on a terminal what goes on, in a line that the next one overwrites; and clears that line. */
void bench_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void bench_progress_end(void);

#endif
