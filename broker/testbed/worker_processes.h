/* SPDX-License-Identifier: MIT */
/*
 * Worker processes: forked from a test or a measuring tool, they do what a function says, and share
 * memory with it for what they found. They end with the process that forked them, however it ends.
 */
#ifndef LENDIS_WORKER_PROCESSES_H
#define LENDIS_WORKER_PROCESSES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct processes_control {
    atomic_uint ready; /* workers that called processes_ready() */
    atomic_uint go;
    atomic_uint stop;
};

struct processes {
    unsigned count;
    pid_t *pids;   /* 0: ended and reaped */
    int *statuses; /* wait statuses of those */
    int (*function)(struct processes *processes, unsigned number);
    void *context; /* the caller's; a worker has its copy of what it points to */
    size_t result_size;
    size_t size; /* of the mapping below */
    struct processes_control *control;
    char *results;
};

/*
 * Forks `count` workers, each of which runs `function` and ends with its result as exit status.
 * Each has result_size bytes of zeroed memory, at processes_result(), that the parent sees as well.
 * Workers do not use cmocka's assertions, which would go on with the next test: they return what
 * they found.
 */
void processes_start(struct processes *processes, unsigned count, size_t result_size,
                     int (*function)(struct processes *processes, unsigned number), void *context);

/* Reaps worker `number` if need be (SIGKILL first) and forks it anew, with the result as it was. */
void processes_replace(struct processes *processes, unsigned number);

void *processes_result(const struct processes *processes, unsigned number);

/* Sends a signal, without waiting for anything. */
void processes_signal(const struct processes *processes, unsigned number, int signal);

/* Waits until all have ended. Results: true, and statuses are all there; false, some still run
 * after limit_ms. */
bool processes_wait(struct processes *processes, int limit_ms);

/* Reaps worker `number`; its wait status, or -1 when it still ran after limit_ms. */
int processes_wait_one(struct processes *processes, unsigned number, int limit_ms);

/* Of all that were reaped, those that did not exit with 0. */
unsigned processes_failures(const struct processes *processes);

/* Kills those that still run, reaps them, frees everything. */
void processes_end(struct processes *processes);

/* A common start: workers call processes_ready(), which returns when the parent called
 * processes_go(). processes_go() first waits until all are ready and gives up after 20 s. */
void processes_ready(struct processes *processes);
void processes_go(struct processes *processes);

/* The parent asks the workers to end; they call processes_stopping() now and then. */
void processes_stop(struct processes *processes);
static inline bool processes_stopping(const struct processes *processes)
{
    return atomic_load_explicit(&processes->control->stop, memory_order_relaxed);
}

#endif
