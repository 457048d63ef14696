/* SPDX-License-Identifier: MIT */
/* lendis-bench's command line: what to measure, how, and what comes out. */
#ifndef LENDIS_BENCH_OPTIONS_H
#define LENDIS_BENCH_OPTIONS_H

#include "broker/bench/cell.h"

#define OPTIONS_LINES_SIZE 1024

enum format { FORMAT_TABLES, FORMAT_JSON, FORMAT_CSV };

struct arguments {
    const char *rows; /* NULL: all of the form */
    const char *transports;
    const char *variants;
    const char *workers;
    const char *plot;
    bool custom; /* one load was described */
    bool strict;
    enum format format;
    struct load_shape load;
    char broker_lines[OPTIONS_LINES_SIZE], pool_lines[OPTIONS_LINES_SIZE];
};

/* Fills both. Results: 0, go on; -1, all is done; EX_USAGE, and what is wrong was said. */
int options_parse(int argc, char **argv, struct arguments *arguments, struct bench *bench);

/* Calls a function for each part of a list with commas. Results: 0; the first other result. */
int options_each(const char *list, int (*function)(const char *part, void *context), void *context);

#endif
