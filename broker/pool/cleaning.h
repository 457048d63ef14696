/* SPDX-License-Identifier: MIT */
/*
 * What a pool does with connections that come back unclean: resets them in the background
 * (session_reset.h), or has them replaced where that is not possible. Meanwhile their words are
 * CHECKING, so nobody can lease them; a holder that returned one waits for nothing. Upholds I3 on
 * the broker's side.
 *
 * No secret goes over a connection that was lent, see connection_may_carry_secret(): a pool with a
 * password has no RESET, behind which it would have to log in again.
 *
 * What workers say they left behind is a hint that saves work; the proof is in the replies. A
 * server that has no RESET, or does not let the pool's user have it, is asked again now and then,
 * and meanwhile what is known is undone by name.
 */
#ifndef LENDIS_BROKER_CLEANING_H
#define LENDIS_BROKER_CLEANING_H

#include "broker/pool/connection.h"
#include "broker/base/log.h"
#include "broker/redis/session_reset.h"

struct broker_pool;

/* Of a pool; all zero at first. */
struct cleaning {
    sd_event_source *timer; /* the next inspection of resets, for those that take long */
    uint64_t refused_ms;    /* when the server last said that it has no RESET; 0: it has not */
    bool no_fieldsets;      /* the server has no HIMPORT */
    struct log_limit refused_limit;
    struct log_limit failed_limit;
};

/* Results: 0, cleaning_stop() must follow; -errno. */
int cleaning_start(struct broker_pool *pool);
void cleaning_stop(struct broker_pool *pool);

/*
 * Begins the reset of `connection`, which its holder gave back with `word`, UNCLEAN. It is closed
 * if that is not possible.
 */
void cleaning_take(struct broker_pool *pool, struct broker_connection *connection, uint64_t word);

/*
 * Asks whether `connection`, which is idle, lives: likewise with a limit, check_timeout. False:
 * somebody has it.
 */
bool cleaning_check(struct broker_pool *pool, struct broker_connection *connection);

enum cleaning_result {
    CLEANING_GOES_ON, /* or it came to an end: the connection is lent again, or was closed */
    CLEANING_LOST,    /* Redis closed it, which is still to be noted */
    CLEANING_WELL,    /* it was a check, which Redis answered, by the proof that was asked for */
    CLEANING_UNWELL,  /* or by an error about itself */
};

/* A connection under reset has something to read. */
enum cleaning_result cleaning_go_on(struct broker_pool *pool, struct broker_connection *connection);

/* The server may be another one from now on. */
void cleaning_renew(struct broker_pool *pool);

#endif
