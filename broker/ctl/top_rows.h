/* SPDX-License-Identifier: MIT */
/*
 * What `lendisctl top` shows: its state, its views, and the rows of each, made from two readings of
 * the counters. Reads what the broker shares, and nothing else; the terminal is top.c's.
 */
#ifndef LENDIS_CTL_TOP_ROWS_H
#define LENDIS_CTL_TOP_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "broker/tools/find_broker.h"

#define TOP_ROWS_MAX    20000u
#define TOP_CELLS       12u
#define TOP_CELL_SIZE   40u
#define TOP_FILTER_SIZE 40u

struct top_cell {
    char text[TOP_CELL_SIZE];
    double number; /* what it is sorted by; texts by themselves */
};

struct top_row {
    struct top_cell cells[TOP_CELLS];
};

struct top_column {
    const char *title;
    int width;
    bool text; /* to the left, and sorted by its text */
};

struct top;

struct top_view {
    const char *name;
    char key;
    const struct top_column *columns;
    size_t count;
    size_t sort; /* at first */
    void (*collect)(struct top *top);
};

/* What a worker had counted. */
struct worker_past {
    uint64_t since_ms; /* of the worker: another one may have its place by now */
    uint64_t leases, waits, commands;
};

struct pool_past {
    struct pool_statistics statistics;
    struct histogram_sum waits;
};

struct top {
    struct broker *broker;
    const char *socket_path;
    pid_t pid;
    bool gone;
    char problem[256];

    struct pool_statistics *pools; /* now */
    struct pool_past *past;        /* a while ago */
    struct worker_past *workers;
    bool first;     /* there is no past yet */
    double seconds; /* since then */
    int64_t read_us;

    struct top_row *rows;
    size_t count;
    const struct top_view *view;
    size_t sort;
    bool ascending;
    size_t scroll;
    char filter[TOP_FILTER_SIZE];
    bool typing; /* the filter */
    bool help;
    int interval_ms;
};

#define TOP_VIEWS 3u
extern const struct top_view top_views[TOP_VIEWS];

/* How old something is, as text to be shown. */
void top_set_age(struct top_cell *cell, uint64_t ms);

#endif
