/* SPDX-License-Identifier: MIT */
/*
 * Words and tables of the segment that a worker overwrote (I5): a word that cannot be is put right,
 * and its connection, which is not to be trusted, is closed. Where that happens all the time,
 * repairs are slowed down; when the last worker has left, the whole segment is put right.
 */
#ifndef LENDIS_BROKER_CORRUPTION_H
#define LENDIS_BROKER_CORRUPTION_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "broker/base/log.h"

struct broker_pool;
struct broker_connection;

struct corruption {
    sd_event_source *repair; /* end of `paused` */
    bool paused;             /* too much is corrupted; no inspection before `repair` */
    bool tainted;            /* words were corrupted since the segment was new */
    uint32_t count;          /* words found corrupted since since_ms */
    uint64_t since_ms;
    struct log_limit limit;
};

/* Results: 0, corruption_stop() must follow; -errno. */
int corruption_start(struct broker_pool *pool);
void corruption_stop(struct broker_pool *pool);

/* The word of `connection` cannot be. */
void corruption_found(struct broker_connection *connection);

/* The last worker has left. */
void corruption_all_left(struct broker_pool *pool);

#endif
