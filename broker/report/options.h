/* SPDX-License-Identifier: MIT */
/* The command line of lendis-report. */
#ifndef LENDIS_REPORT_OPTIONS_H
#define LENDIS_REPORT_OPTIONS_H

#include <stdbool.h>
#include "broker/report/processes.h"
#include "broker/tools/table.h"

#define SWEEP_MAX 16

struct options {
    bool watch; /* else compare */
    enum table_format format;
    const char *costs_path; /* NULL: the usual place */
    bool busy;

    /* compare */
    unsigned workers;
    unsigned connections; /* of a worker */
    unsigned pool_size;   /* 0: chosen by the number of workers */
    unsigned value_bytes;
    bool unix_socket;
    bool tls;
    bool reference;
    unsigned sweep[SWEEP_MAX];
    unsigned sweep_count;  /* 0: `workers` alone */
    bool strict;           /* a missed target is a failure */
    const char *plot_path; /* NULL: none */

    /* watch */
    const char *socket_path;
    bool connections_given;
    enum match_kind match_kind;
    const char *match; /* NULL: the workers that are attached */
    unsigned interval_ms;
};

/* Results: 0, go on; -1, all is done; EX_USAGE, and it was said what is wrong. */
int options_parse(int argc, char **argv, struct options *options);

/* The pool's size for so many workers. */
unsigned options_pool_size(const struct options *options, unsigned workers);

#endif
