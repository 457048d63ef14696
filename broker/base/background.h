/* SPDX-License-Identifier: MIT */
/*
 * What may take long and has no other way than to block (a name lookup, a file on a server that
 * hangs), without holding up the event loop: each task runs in a thread of its own, touches nothing
 * but itself there, and comes back to the loop through an eventfd. How many tasks there are is the
 * care of those who start them: one at a time for each thing that can hang.
 *
 * A struct background lives as long as the process: a thread that is still blocked at the end finds
 * its lock.
 */
#ifndef LENDIS_BROKER_BACKGROUND_H
#define LENDIS_BROKER_BACKGROUND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct background_task;

struct background {
    sd_event_source *source;
    int wake; /* eventfd; written by the threads. -1: nobody waits for them any more */
    pthread_mutex_t lock;
    struct background_task *done; /* under lock */
};

#define BACKGROUND_NONE                                                                            \
    {                                                                                              \
        .wake = -1, .lock = PTHREAD_MUTEX_INITIALIZER                                              \
    }

/* The first member of what a task is about. It belongs to its thread until `end`. */
struct background_task {
    struct background_task *next;
    struct background *background;
    void (*run)(struct background_task *task); /* in the thread; may block */
    /* In the loop: frees it. With `wanted` false it does nothing else. */
    void (*end)(struct background_task *task, bool wanted);
};

/* Results: 0; -errno. */
int background_start(struct background *background, sd_event *event);

/* Tasks still under way keep what they need, and are not ended any more. */
void background_stop(struct background *background);

/* Results: 0, `run` runs, and `end` follows; -errno, the task is as it was. */
int background_run(struct background *background, struct background_task *task);

/*
 * For what cannot go on without it: runs `task` in the background and waits for it, for limit_ms at
 * most. Results: 0, it was ended; -ETIMEDOUT, it still runs, and will be ended as one that is not
 * wanted; -errno, the task is as it was.
 */
int background_run_within(uint32_t limit_ms, struct background_task *task);

#endif
