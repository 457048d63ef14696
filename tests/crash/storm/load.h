/* SPDX-License-Identifier: MIT */
/*
 * Load with a data-identity oracle. Every value says whose it is (values.h): a shared key's value
 * is made of the key's number, an own key's value names key, owner and serial number, a counter has
 * one owner, who knows what comes next, an ECHO is never the same twice. So a reply that was meant
 * for another command or another worker shows as what it is (I4).
 *
 * Half of the calls have a limit of their own, of some milliseconds. What passed it unsent must
 * never be executed; what passed it uncertain, or was lost with its combiner, is noted (ledger.h),
 * and its key not used again.
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
#include "tests/crash/storm/ledger.h"
#include "tests/support/support.h"

#define LOAD_OWN_KEYS 4u

/* What is counted: LOAD_COUNT(name, text). */
/* clang-format off */
#define LOAD_COUNTS(COUNT) \
    COUNT(commands,  "replies that were checked") \
    COUNT(single,    "of these, of calls with one command") \
    COUNT(pipelines, "pipelines, of the other ones") \
    COUNT(large,     "commands of more than 64 KiB, request or reply") \
    COUNT(leases,    "exclusive leases, transactions and sessions") \
    COUNT(unleased,  "leases that were not had within a short limit") \
    COUNT(alone,     "transactions and blocking commands in one call") \
    COUNT(timeouts,  "calls that passed their limit, unsent or read-only") \
    COUNT(late,      "writes that passed it and are uncertain") \
    COUNT(uncertain, "writes that are uncertain for another reason") \
    COUNT(cut,       "reads that were cut off in the middle of the reply") \
    COUNT(retries,   "calls with small commands that were begun anew") \
    COUNT(replaced,  "connections given back as unclean or broken") \
    COUNT(children,  "children that were forked") \
    COUNT(expelled,  "places that living workers lost") \
    COUNT(wrong,     "replies that were not the command's") \
    COUNT(failed,    "calls that should have succeeded")
/* clang-format on */

/* Of one place among the worker processes, in shared memory: goes on over the processes that have
 * that place. */
struct load_report {
#define LOAD_MEMBER(name, text) atomic_ullong name;
    LOAD_COUNTS(LOAD_MEMBER)
#undef LOAD_MEMBER
    atomic_llong progress_ms; /* CLOCK_MONOTONIC of the last reply */
    atomic_uint processes;    /* that had this place */
    atomic_bool recorded;     /* `text` is being written or is there */
    char text[400];           /* the first problem, for people */
    struct ledger ledger;
};

/* A key of the owner's: its name changes with the incarnation. */
struct load_key {
    char name[VALUE_KEY_MAX];
    unsigned incarnation;
    unsigned long long serial; /* of its value, or its count; 0: none */
};

struct load {
    struct lendis_pool *pool;
    struct load_report *report;
    pid_t nursery; /* a process group for forked children; 0: no children */
    bool alone;    /* no other thread uses the pool: it may lose its place */
    uint64_t random;
    char owner[32];
    struct load_key keys[LOAD_OWN_KEYS];
    struct load_key counter;
    unsigned long long serial;
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

/* Own keys are kept for so long: they outlive every worker, and do not fill Redis in a long
 * storm. */
#define LOAD_KEEP_SECONDS 600

#endif
