/* SPDX-License-Identifier: MIT */
/*
 * A running broker, inspected from outside: its process, its catalog and its pool segments.
 *
 * The broker is not asked anything, so a broker that hangs or is stopped shows as well as any
 * other. What is mapped is mapped read-only; everything in it is input to be checked: the catalog
 * was written by the process that was found, the segments by every worker of the pool.
 */
#ifndef LENDIS_FIND_H
#define LENDIS_FIND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "broker/metrics/statistics.h"
#include "lendis/catalog.h"

struct broker {
    pid_t pid;
    char state;         /* as in proc(5): 'T' is stopped; 0: unknown */
    bool pids_are_ours; /* the broker lives in our PID namespace, so the pids it noted mean the same
                           to us */
    struct catalog catalog;
    /* By pool index; base NULL: no segment of this pool, or none that can be trusted. */
    struct segment segments[CATALOG_MAX_POOLS];
};

/*
 * Finds the broker that listens at `socket_path`, or that is process `pid` if that is above 0, and
 * maps what it shares. Results: 0, *broker is to be given to broker_close(); -errno, and *problem,
 * of `size` bytes, says what is wrong and what to do.
 */
int broker_find(const char *socket_path, pid_t pid, struct broker *broker, char *problem,
                size_t size);

void broker_close(struct broker *broker);

/* The name of process `pid`'s command, if that number means the same to us as to the broker.
 * Returns its length; 0: not known. */
size_t broker_command(const struct broker *broker, uint32_t pid, char *text, size_t size);

/* Where its statistics are; good as long as the broker is. */
void broker_source(const struct broker *broker, struct statistics_source *source);

#endif
