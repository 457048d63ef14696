/* SPDX-License-Identifier: MIT */
/*
 * Hunts combiners: finds in a pool's segment a worker that holds a connection with a batch of
 * others' commands under way, stops it, makes sure that it stopped with the batch still under way,
 * and only then kills it or leaves it stopped, until the broker has taken the connection from it.
 */
#ifndef LENDIS_TESTS_CRASH_HUNTER_H
#define LENDIS_TESTS_CRASH_HUNTER_H

#include <stdbool.h>
#include <stdint.h>
#include "tests/support/support.h"

struct quarry {
    unsigned number; /* among the worker processes */
    pid_t pid;
    uint32_t index; /* of the connection */
    uint64_t word;  /* the connection's, as long as it is the quarry's */
    unsigned taken; /* others' commands in its batch */
    bool sent;      /* their sending had begun */
};

/* Finds a combiner of the worker processes, from slot `from` on, and stops it. False: none, or it
 * got away. */
bool hunter_catch(const struct observer *observer, const struct processes *processes, uint32_t from,
                  struct quarry *quarry);

/* True as soon as the connection is no longer the quarry's. */
bool hunter_lost(const struct observer *observer, const struct quarry *quarry);

#endif
