/* SPDX-License-Identifier: MIT */
/* What a connection costs on this machine: measured by compare, kept in a file, used by watch. */
#ifndef LENDIS_REPORT_COSTS_H
#define LENDIS_REPORT_COSTS_H

#include <stddef.h>
#include "broker/report/compare.h"

/* Bytes. */
struct costs {
    double connections_per_worker; /* as given to compare */
    /* In a worker, with its page tables, for each connection of its own. */
    double worker_connection;
    double redis_connection;  /* in Redis */
    double kernel_connection; /* sockets; NAN: was not readable */
    double lendis_worker;     /* in a worker that is attached to lendis, without the segments */
    double lendis_kernel;     /* its way to the broker: likewise NAN */
};

/* As a comparison has it. */
void costs_of(const struct options *options, const struct comparison *comparison,
              struct costs *costs);

/* Keeps them for idle or busy workers, whatever the options say; those of the others stay. Results:
 * 0; -errno. */
int costs_save(const struct options *options, const struct costs *costs);

/* Results: 0; -ENOENT, none were measured; -EINVAL, the file makes no sense; -errno. */
int costs_load(const struct options *options, struct costs *costs);

#endif
