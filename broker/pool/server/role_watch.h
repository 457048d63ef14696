/* SPDX-License-Identifier: MIT */
/*
 * Whether the server of a service's member is what the service takes it for: a replica that follows
 * its primary, or a primary. A replica without its link answers reads all the same, with data that
 * grow old (replica-serve-stale-data), so only the question shows it.
 *
 * It is asked each second, over a connection of the broker's own: those of the pool may all be out
 * for good while there is load, which is when it matters. One that is never lent needs no proof and
 * no reset. What is found is part of struct catalog_pool.unwell (unwell.h), which the library reads
 * for every call to a service. As long as nothing is known, a member counts as unwell.
 *
 * A server, user or proxy that answers neither ROLE nor INFO leaves it unknown for good: such a
 * member counts as well, and the refusal is reported (rights.h).
 */
#ifndef LENDIS_BROKER_ROLE_WATCH_H
#define LENDIS_BROKER_ROLE_WATCH_H

#include "broker/redis/dialler.h"
#include "broker/redis/redirection.h"
#include "broker/redis/replication.h"

struct broker_pool;

/* Of a pool; all zero at first. */
struct role_watch {
    sd_event_source *timer; /* the next question, or the end of the patience with this one */
    sd_event_source *io;    /* of fd */
    struct dial_turn turn;
    struct broker_pool *pool; /* for the turn, which finds it */
    struct dial *dial;
    int fd;       /* 0: there is no connection */
    bool asked;   /* a question has no answer yet */
    bool waits;   /* for an address or a password to dial with */
    bool by_info; /* ROLE was refused */
    bool unable;  /* INFO, too */
    struct socket_ends ends;
    struct replication_answer answer;
};

/* Results: 0, role_watch_stop() must follow; -errno. */
int role_watch_start(struct broker_pool *pool);
void role_watch_stop(struct broker_pool *pool);

/* The server, the pool's state or its configuration may be another one now: asks anew, at once, if
 * the pool is to be watched, and hangs up. */
void role_watch_renew(struct broker_pool *pool);

/* Asks now. */
void role_watch_hurry(struct broker_pool *pool);

/* An address or a password is there, which it may have waited for. */
void role_watch_settled(struct broker_pool *pool);

#endif
