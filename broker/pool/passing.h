/* SPDX-License-Identifier: MIT */
/*
 * Connections that stand still on their way from one worker to another: after a death their
 * hand-over is finished by nobody if the waiter is gone, and perhaps by nobody if the giver is.
 * They are revoked in time for I6.
 */
#ifndef LENDIS_BROKER_PASSING_H
#define LENDIS_BROKER_PASSING_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct broker_pool;
struct broker_connection;

struct passing {
    sd_event_source *sweep; /* the next inspection of what was noted */
};

/* Results: 0, passing_stop() must follow; -errno. */
int passing_start(struct broker_pool *pool);
void passing_stop(struct broker_pool *pool);

/* Notes a connection that is being passed, to see later whether it still stands as it does now. */
void passing_note(struct broker_pool *pool, struct broker_connection *connection, uint64_t word);

/* The same if it is passed to one that is not attached. False: it is not. */
bool passing_inspect(struct broker_pool *pool, struct broker_connection *connection, uint64_t word);

#endif
