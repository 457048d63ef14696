/* SPDX-License-Identifier: MIT */
/*
 * Worker processes: forked from a test or a measuring tool, they do what a function says, and share
 * memory with it for what they found. They end with the process that forked them, however it ends.
 */
#ifndef LENDIS_CREW_H
#define LENDIS_CREW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct crew_control {
    atomic_uint ready; /* workers that called crew_ready() */
    atomic_uint go;
    atomic_uint stop;
};

struct crew {
    unsigned count;
    pid_t *pids;   /* 0: ended and reaped */
    int *statuses; /* wait statuses of those */
    int (*function)(struct crew *crew, unsigned number);
    void *context; /* the caller's; a worker has its copy of what it points to */
    size_t result_size;
    size_t size; /* of the mapping below */
    struct crew_control *control;
    char *results;
};

/*
 * Forks `count` workers, each of which runs `function` and ends with its result as exit status.
 * Each has result_size bytes of zeroed memory, at crew_result(), that the parent sees as well.
 * Workers do not use cmocka's assertions, which would go on with the next test: they return what
 * they found.
 */
void crew_start(struct crew *crew, unsigned count, size_t result_size,
                int (*function)(struct crew *crew, unsigned number), void *context);

/* Reaps worker `number` if need be (SIGKILL first) and forks it anew, with the result as it was. */
void crew_replace(struct crew *crew, unsigned number);

void *crew_result(const struct crew *crew, unsigned number);

/* Sends a signal, without waiting for anything. */
void crew_signal(const struct crew *crew, unsigned number, int signal);

/* Waits until all have ended. Results: true, and statuses are all there; false, some still run
 * after limit_ms. */
bool crew_wait(struct crew *crew, int limit_ms);

/* Reaps worker `number`; its wait status, or -1 when it still ran after limit_ms. */
int crew_wait_one(struct crew *crew, unsigned number, int limit_ms);

/* Of all that were reaped, those that did not exit with 0. */
unsigned crew_failures(const struct crew *crew);

/* Kills those that still run, reaps them, frees everything. */
void crew_end(struct crew *crew);

/* A common start: workers call crew_ready(), which returns when the parent called crew_go().
 * crew_go() first waits until all are ready and gives up after 20 s. */
void crew_ready(struct crew *crew);
void crew_go(struct crew *crew);

/* The parent asks the workers to end; they look at crew_stopping() now and then. */
void crew_stop(struct crew *crew);
static inline bool crew_stopping(const struct crew *crew)
{
    return atomic_load_explicit(&crew->control->stop, memory_order_relaxed);
}

#endif
