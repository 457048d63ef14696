/* SPDX-License-Identifier: MIT */
/*
 * What is to be done for a pool once the call that found it out is over: one event source, which
 * any file of the pool triggers, instead of calling back those that called it. It runs before
 * whatever else the event loop has to do, so nothing is later by it than by the rest of one call
 * (I6, I7); what is triggered twice is done once.
 */
#ifndef LENDIS_BROKER_DEFERRED_H
#define LENDIS_BROKER_DEFERRED_H

#include <stdint.h>
#include <systemd/sd-event.h>

struct broker_pool;

enum deferred_work {
    DEFERRED_SERVE = 1, /* connections came or went: waiters get what is idle, others are opened */
    DEFERRED_INSPECT = 2,  /* all words are inspected before that */
    DEFERRED_MAINTAIN = 4, /* something may be due for replacement */
};

/* Does `work`, a set of enum deferred_work. */
typedef void deferred_run(struct broker_pool *pool, uint32_t work);

struct deferred {
    sd_event_source *source;
    deferred_run *run;
    uint32_t work;
};

/* Results: 0, deferred_stop() must follow; -errno. */
int deferred_start(struct broker_pool *pool, deferred_run *run);
void deferred_stop(struct broker_pool *pool);

void deferred_want(struct broker_pool *pool, enum deferred_work work);

#endif
