/* SPDX-License-Identifier: MIT */
/*
 * How a pool's connections are kept: which have lived or were used for long enough, or have a login
 * that is about to end, and are replaced, and which have been idle for so long that they go, or are
 * asked whether they live (cleaning.h).
 *
 * Replacement without a dip: a connection that is due is only marked so and goes on being lent. A
 * successor is dialled beside it; when that one is open, one that is due retires: at once if it
 * is idle, else when its holder gives it back, which a mark in the segment asks of it (struct
 * connection.retire). While Redis cannot be dialled nothing retires, however old it is.
 *
 * One timer for each pool, set to the next moment at which something can be due; with nothing that
 * could be, it is off. Times and uses that workers write decide nothing but when a connection is
 * replaced or closed while it is idle (I5).
 */
#ifndef LENDIS_BROKER_MAINTENANCE_H
#define LENDIS_BROKER_MAINTENANCE_H

#include <stdint.h>
#include <systemd/sd-event.h>
#include "lendis/reasons.h"

struct broker_pool;
struct broker_connection;

struct maintenance {
    sd_event_source *timer; /* the next moment at which there is something to do */
};

/* Results: 0, maintenance_stop() must follow; -errno. */
int maintenance_start(struct broker_pool *pool);
void maintenance_stop(struct broker_pool *pool);

/*
 * The connection is to be replaced, for this reason; the next inspection of the pool and what is
 * dialled after it see to it. One that is not open, or is on its way out, is left as it is.
 */
void maintenance_mark_due(struct broker_connection *connection, enum close_reason reason);

/* The connection goes as soon as nobody has it, without a successor. */
void maintenance_retire(struct broker_pool *pool, struct broker_connection *connection,
                        enum close_reason reason);

/* Lifetimes are other ones now. */
void maintenance_renew(struct broker_pool *pool);

/* A connection of the previous broker is this one's: its lifetime goes on. */
void maintenance_begin(struct broker_pool *pool, struct broker_connection *connection);

/* A connection was opened: its lifetime begins, and what it succeeds retires. */
void maintenance_opened(struct broker_pool *pool, struct broker_connection *connection);

/*
 * Sees to what is due, and sets the timer for what comes next; also to be called when the
 * configuration has changed. The caller refills the pool.
 */
void maintenance_inspect(struct broker_pool *pool);

#endif
