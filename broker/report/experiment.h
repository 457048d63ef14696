/* SPDX-License-Identifier: MIT */
/*
 * One variant of the comparison: servers of its own, the workers, a wait until nothing moves any
 * more, one reading of everything, and the end of all of it.
 */
#ifndef LENDIS_REPORT_EXPERIMENT_H
#define LENDIS_REPORT_EXPERIMENT_H

#include "broker/report/figures.h"
#include "broker/report/options.h"
#include "broker/report/worker.h"

struct outcome {
    struct figures figures; /* of the kernel: more than before it began */
    bool steady;            /* false: it still moved when time was over */
    double seconds;         /* until it was steady */
    double commands;        /* per second, of busy workers */
};

/* Connections of one worker in this setup. */
unsigned experiment_connections(const struct options *options);

/* Connections that all workers share through lendis. */
unsigned experiment_pool_size(const struct options *options, unsigned workers);

void experiment_run(const struct options *options, enum variant variant, unsigned workers,
                    struct outcome *outcome);

/* "redis 7.0.15", of the server that was started last. */
const char *experiment_redis_version(void);

#endif
