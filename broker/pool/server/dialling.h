/* SPDX-License-Identifier: MIT */
/*
 * Opening a pool's connections, one for each turn that the dialler gives: as many as sizing.h says
 * are missing.
 */
#ifndef LENDIS_BROKER_DIALLING_H
#define LENDIS_BROKER_DIALLING_H

#include "broker/redis/dial_turns.h"
#include "lendis/reasons.h"

struct broker_pool;
struct broker_connection;

struct dialling {
    struct dial_turn turn; /* the first: by it the rest is found */
    struct broker_pool *pool;
};

void dialling_start(struct broker_pool *pool);

/* Takes a turn if a connection is missing and may be dialled now. */
void dialling_refill(struct broker_pool *pool);

/* `connection`, which is closed, could not be dialled. */
void dialling_failed(struct broker_pool *pool, const struct broker_connection *connection,
                     const char *error);

/* Gives back the turn that was asked for. */
void dialling_withdraw(struct broker_pool *pool);

/* Ends the dials that are under way. */
void dialling_end(struct broker_pool *pool, enum close_reason reason);

#endif
