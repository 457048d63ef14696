/* SPDX-License-Identifier: MIT */
/*
 * A cell: a load, and the variants that are compared under it. Its rounds run interleaved, forwards
 * and backwards in turn, so that a machine that drifts or is busy touches all variants alike, and
 * ratios are those of rounds that ran side by side.
 */
#ifndef LENDIS_BENCH_CELL_H
#define LENDIS_BENCH_CELL_H

#include "broker/bench/bench.h"
#include "broker/bench/pace.h"

#define CELL_VARIANTS_MAX 16u

struct load_shape {
    unsigned workers;
    double think_us;
    size_t value; /* bytes; 0: the least */
    unsigned mix; /* percentage of SET */
    unsigned leasers;
    double hold_us;
    double rtt_us; /* to Redis over TCP; 0: as it is */
    double rate;   /* open loop: commands per second of all workers */
    enum pace_kind pace;
};

struct cell {
    const char *row;
    const char *transport;
    struct load_shape load;
    struct variant variants[CELL_VARIANTS_MAX];
    size_t count;
};

/* Fills the variants from a list, "direct,lendis:4". Those that are not installed are noted and
 * left out. False: something else is wrong, and is in `problem`. */
bool cell_parse_variants(struct bench *bench, struct cell *cell, const char *list, char *problem,
                         size_t size);

/* All rounds, then the table. */
void cell_run(struct bench *bench, const struct cell *cell);

#endif
