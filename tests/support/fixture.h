/* SPDX-License-Identifier: MIT */
/*
 * What the system tests need on top of support.h: everything that a test started in one place, so
 * that a teardown can end it whatever the test came to; and workers whose every reply is checked.
 */
#ifndef LENDIS_TESTS_FIXTURE_H
#define LENDIS_TESTS_FIXTURE_H

#include "lendis_hiredis.h"
#include "tests/support/support.h"

/* What a test runs; all zero at first. */
struct fixture {
    struct redis_server redis;
    struct fake_redis fake;
    struct lendisd broker;
    struct observer observer;
    struct processes processes;
};

/* Ends whatever of it runs. */
void fixture_end(struct fixture *fixture);

/* lendis_attach() with the defaults; gives up when it fails. */
struct lendis_pool *pool_attach(const struct lendisd *broker, const char *name);

/* ---- checked work ---- */

/* Counts, in memory that others may read meanwhile. */
struct tally {
    atomic_ulong good;
    atomic_ulong wrong;   /* replies that were another's, or make no sense */
    atomic_ulong missing; /* nil where a value had been stored */
    atomic_ulong timeout; /* LENDIS_E_TIMEOUT, and so on */
    atomic_ulong busy;
    atomic_ulong uncertain;
    atomic_ulong down;
    atomic_ulong other;    /* any other result */
    atomic_int other_last; /* the last one of these */
    atomic_long worst_us;  /* the longest command */
};

/*
 * One command through lendis_command(), each third turn ECHO, SET and GET, with arguments that name
 * `number` and `turn`; counted in `tally`. True: it was answered, and rightly.
 */
bool talk(struct lendis_pool *pool, struct tally *tally, unsigned number, unsigned long turn);

/* Everything that was not answered. */
unsigned long tally_failed(const struct tally *tally);

/* Adds up those of processes that have a struct tally as the first thing in their result. */
void tally_processes(const struct processes *processes, struct tally *sum);

void tally_print(const char *title, const struct tally *tally);

/* The place in the broker's worker table that this process has; -1, none. */
int worker_of(const struct observer *observer, pid_t pid);

/* Workers in the table of the observer's broker, for all pools, the observer included. */
unsigned workers_attached(const struct observer *observer);

#endif
