/* SPDX-License-Identifier: MIT */
/*
 * The process that crashes: what it does before (prepare), and the phase in which every step is a
 * kill point. One table of scenarios says what else goes on meanwhile.
 */
#ifndef LENDIS_TESTS_CRASH_SUBJECT_H
#define LENDIS_TESTS_CRASH_SUBJECT_H

#include <pthread.h>
#include "tests/crash/killpoints/peer.h"
#include "tests/crash/killpoints/steps.h"
#include "tests/support/support.h"

enum subject_stage { SUBJECT_PREPARES, SUBJECT_READY, SUBJECT_RUNS, SUBJECT_DONE, SUBJECT_FAILED };

/* Shared with the watching process; zeroed for each run. */
struct subject_report {
    struct step_report steps;
    atomic_uint stage;
    atomic_uint worker;  /* 1 + its worker index; 0: not known */
    atomic_bool go;      /* set by the watching process: run the phase */
    atomic_bool finish;  /* likewise: end */
    atomic_bool child;   /* a child that was forked beforehand runs */
    atomic_bool excused; /* something failed as it may for one that was expelled */
    char text[256];      /* what failed, for people */
};

struct subject {
    const char *socket_path;
    const char *pool_name;
    unsigned size;              /* connections of the pool */
    struct lendis_pool *master; /* a handle that the watching process attached before the fork */
    struct step_plan plan;
    struct subject_report *report;

    /* The process' own. */
    struct lendis_pool *pool;
    struct lendis_lease *lease;
    pthread_t helper;
    int helper_result;
};

enum other_waiter {
    NO_WAITER,
    WAITER_FIRST,  /* waits before the phase starts */
    WAITER_BEHIND, /* waits from when the subject sleeps in the queue */
};

enum trigger {
    NO_RELEASE,
    WHEN_ASLEEP, /* a connection becomes free once the subject sleeps in the queue */
    WHEN_OVER,   /* a connection becomes free once the phase is over, however it ended */
};

#define ACTION_BIT(action) (1u << (action))
#define ALL_ACTIONS        (ACTION_BIT(STEP_ACTIONS) - 1)

struct scenario {
    const char *name;
    unsigned actions;
    unsigned idle; /* connections that nobody else holds during the phase; the subject's included */
    unsigned stuck; /* connections that a stopped subject can keep from the others */
    enum other_waiter waiter;
    enum peer_order waits_for; /* the other waiter; a lease, or a command that others can serve */
    enum trigger trigger;
    bool one;       /* only one becomes free, also when the waiter came first: its batch has all */
    bool no_chunks; /* all chunks are somebody else's */
    bool (*prepare)(struct subject *subject);
    bool (*before)(struct subject *subject); /* right before the phase; may be NULL */
    bool (*phase)(struct subject *subject);
    bool (*after)(struct subject *subject); /* right after it; may be NULL */
};

extern const struct scenario scenarios[];
extern const unsigned scenario_count;

/* The process' part, from fork to exit status. */
int subject_run(struct subject *subject, const struct scenario *scenario);

#endif
