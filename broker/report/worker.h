/* SPDX-License-Identifier: MIT */
/*
 * The program whose memory is compared: a master that forks workers, as prefork servers do. It is
 * this program, executed anew for each variant, so that all begin with the same heap; the plan it
 * works by is a file that it shares with whoever started it.
 */
#ifndef LENDIS_REPORT_WORKER_H
#define LENDIS_REPORT_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>
#include "broker/testbed/testbed.h"

/* The first argument that makes this program the master; the second is the plan's path. */
#define WORKER_ARGUMENT "--workers-of"

#define PLAN_TARGETS_MAX 4
#define PLAN_POOL_SIZE   16
#define PLAN_KEYS        100

enum variant {
    VARIANT_NONE,   /* workers without Redis */
    VARIANT_DIRECT, /* connections of their own */
    VARIANT_LENDIS,
    VARIANTS,
};

enum use { USE_MIXED, USE_WRITE, USE_READ };

/* A server, as a worker uses it. */
struct plan_target {
    enum use use;
    unsigned connections; /* of one worker */
    int port;             /* 0: the socket */
    char tls_url[64];     /* "": without TLS */
    char socket_path[TESTBED_PATH_SIZE];
    char pool[PLAN_POOL_SIZE]; /* what serves it through lendis */
};

struct plan {
    enum variant variant;
    unsigned workers;
    unsigned target_count;
    struct plan_target targets[PLAN_TARGETS_MAX];
    unsigned value_bytes;
    bool busy; /* they go on with commands until the end; else they do some, and rest */
    char broker_socket[TESTBED_PATH_SIZE];

    atomic_uint ready; /* workers that have done their first commands */
    atomic_uint failed;
    atomic_uint stop;
    atomic_ulong commands; /* so far */
    char problem[256];     /* of the first that failed */
    atomic_int pids[];     /* of the workers */
};

/* Makes a plan for `workers` of them, all else zero, in the private directory. */
struct plan *plan_new(unsigned workers, char path[TESTBED_PATH_SIZE]);
void plan_free(struct plan *plan);

/* Starts the master. */
pid_t workers_start(const char *plan_path);

/* Until all are ready: `progress` gets how many are. Gives up when one fails, or none gets ready
 * for long. */
void workers_wait(const struct plan *plan, pid_t master,
                  void (*progress)(unsigned ready, unsigned all));

/* Ends them and their master. */
void workers_stop(struct plan *plan, pid_t master);

/* The program itself: its exit status. */
int workers_run(const char *plan_path);

#endif
