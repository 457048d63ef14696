/* SPDX-License-Identifier: MIT */
/* Targets: see targets.h. */
#include "broker/report/targets.h"

#include <stdio.h>

/* The share of memory due to connections that is saved, from 200 workers of 4 connections on. */
#define SAVED_PERCENT     60
#define SAVED_PERCENT_TLS 90 /* OpenSSL is in each worker else */
#define SAVED_WORKERS     200
#define SAVED_CONNECTIONS 4

/* Segments and broker: with 500 workers and 64 connections, or more of them. */
#define SHARED_BYTES       (4 * 1024 * 1024.0)
#define SHARED_WORKERS     500
#define SHARED_CONNECTIONS 64

/* The reference claim for pooling in many-process applications: 10 MB less for 100 processes. */
#define REFERENCE_BYTES   10e6
#define REFERENCE_WORKERS 100

size_t targets_of(const struct options *options, const struct comparison *comparison,
                  struct target targets[TARGETS_MAX])
{
    const double *due = comparison->due[VARIANT_DIRECT].values;
    const double *lendis = comparison->outcomes[VARIANT_LENDIS].figures.values;
    double saved = comparison->saved.values[FIGURE_TOTAL];
    size_t count = 0;

    if (!options->reference && comparison->workers >= SAVED_WORKERS &&
        options->connections >= SAVED_CONNECTIONS)
        targets[count++] = (struct target){
            .text = "memory due to connections, saved over the whole system",
            .measured = 100 * saved / due[FIGURE_TOTAL],
            .limit = options->tls ? SAVED_PERCENT_TLS : SAVED_PERCENT,
            .at_least = true,
            .unit = "%",
        };
    if (comparison->workers >= SHARED_WORKERS && comparison->pool_size >= SHARED_CONNECTIONS)
        targets[count++] = (struct target){
            .text = "private memory of the broker and shared segments",
            .measured = (lendis[FIGURE_BROKER_PRIVATE] + lendis[FIGURE_SEGMENTS]) / 1024,
            .limit = SHARED_BYTES / 1024,
            .unit = "kB",
        };
    if (options->reference && comparison->workers >= REFERENCE_WORKERS)
        targets[count++] = (struct target){
            .text = "saved for 100 workers over the whole system",
            .measured = saved / comparison->workers * 100 / 1e6,
            .limit = REFERENCE_BYTES / 1e6,
            .at_least = true,
            .unit = "MB",
        };
    return count;
}
