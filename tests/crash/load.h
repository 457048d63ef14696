/* SPDX-License-Identifier: MIT */
/*
 * Load with a data-identity oracle. Every value says whose it is: a shared key's value is made of
 * the key's number, an own key's value names key, owner and serial number, a counter has one owner,
 * who knows what comes next, an ECHO is never the same twice. So a reply that was meant for another
 * command or another worker shows as what it is (I4).
 *
 * A write that was handed over and whose combiner died is uncertain: executed or not, but if so
 * before whatever its owner sends next. The oracle knows both outcomes until a reply tells.
 *
 * Each process, each of its threads and each forked child is an owner of its own.
 */
#ifndef LENDIS_TESTS_CRASH_LOAD_H
#define LENDIS_TESTS_CRASH_LOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "lendis.h"
#include "tests/support/support.h"

#define LOAD_SHARED_KEYS 16u
#define LOAD_OWN_KEYS    4u
#define LOAD_MAYBE_MAX   6u

/* Of one place in the crew, in shared memory: goes on over the processes that have that place. */
struct load_report {
    atomic_ullong commands;   /* replies that were checked */
    atomic_ullong leases;     /* exclusive ones */
    atomic_ullong uncertain;  /* writes of which that is the result */
    atomic_ullong timeouts;   /* of leases with a short limit: part of the game */
    atomic_ullong replaced;   /* connections given back as unclean or broken */
    atomic_ullong children;   /* forked */
    atomic_ullong wrong;      /* replies that were not the command's */
    atomic_ullong failed;     /* calls that should have succeeded */
    atomic_llong progress_ms; /* CLOCK_MONOTONIC of the last reply */
    atomic_uint processes;    /* that had this place */
    atomic_bool told;         /* `text` is being written or is there */
    char text[400];           /* the first problem, for people */
};

/* What an owner knows of its key: a serial number, 0 for no value, and the uncertain ones since. */
struct load_key {
    unsigned long long serial;
    unsigned long long maybe[LOAD_MAYBE_MAX];
    unsigned maybes;
};

struct load {
    struct lendis_pool *pool;
    struct load_report *report;
    pid_t nursery; /* a process group for forked children; 0: no children */
    uint64_t random;
    char owner[40];
    struct load_key keys[LOAD_OWN_KEYS];
    unsigned long long counter;
    unsigned counter_maybe; /* so many more, perhaps */
    unsigned long long serial;
    bool own_counter_expires;
};

/* xorshift64*, Marsaglia's generator with Vigna's multiplier: good enough, and the same everywhere.
 */
uint64_t load_random(uint64_t *state);

void load_init(struct load *load, struct lendis_pool *pool, struct load_report *report,
               pid_t nursery, uint64_t seed, const char *owner);

/* One random operation, checked. */
void load_step(struct load *load);

/* Puts the shared keys there. */
void load_prepare(const struct redis_server *redis);

#endif
