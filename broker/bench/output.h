/* SPDX-License-Identifier: MIT */
/* What comes out of a run besides its tables: targets, JSON, CSV, a picture. */
#ifndef LENDIS_BENCH_OUTPUT_H
#define LENDIS_BENCH_OUTPUT_H

#include "broker/bench/bench.h"

/* PASS or MISS for each target. Returns how many were missed. */
unsigned output_targets(const struct bench *bench, FILE *out);

/* One object: the machine, a result for each row, transport and variant, the targets, the notes. */
void output_json(const struct bench *bench, const char *machine, FILE *out);

/* A line for each figure of each round. */
void output_csv(const struct bench *bench, FILE *out);

/* Results: 0; -1, and why not in `problem`. */
int output_plot(const struct bench *bench, const char *path, char *problem, size_t size);

#endif
