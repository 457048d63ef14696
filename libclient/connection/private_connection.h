/* SPDX-License-Identifier: MIT */
/*
 * The connections of this process alone: places for them, those at rest, and their end. When there
 * is one, and where it comes from, is fallback.c's.
 *
 * A forked child finds `local` zeroed and makes a stand-in of its own; the parent's connections are
 * closed there, never used (I2).
 */
#ifndef LENDIS_PRIVATE_CONNECTION_H
#define LENDIS_PRIVATE_CONNECTION_H

#include "libclient/pool.h"

struct private_connection {
    struct lendis_lease lease; /* the first, so that a lease finds its connection; fd -1: closed */
    struct private_connection *next;
    struct private_connection *next_idle;
    uint64_t token_cookie;
    /* The socket that it was had over: while that is open, it is ours; -1: the broker has no part
     * in it. */
    int token;
};

struct fallback {
    struct fallback *next;        /* of pool->fallbacks */
    struct attachment attachment; /* the stand-in */
    struct catalog_header header;
    struct catalog_pool settings;
    struct worker_block counted;
    struct histogram_shard measured;
    pthread_mutex_t lock;            /* guards what follows */
    struct private_connection *all;  /* structs are reused, never freed before the end */
    struct private_connection *idle; /* clean and at rest, the one used last first */
    uint32_t open;                   /* leased, at rest or being opened */
};

/* In a forked child: the parent's connections are not ours. */
void private_connection_close_inherited(struct fallback *fallback);

/* A struct without a connection, if there may be one more, of `limit`. Results: 0; LENDIS_E_BUSY;
 * -ENOMEM. */
int private_connection_claim(struct fallback *fallback, uint32_t limit,
                             struct private_connection **place);

/* Gives the place up; a descriptor in it is closed, unless it is -1. */
void private_connection_free(struct fallback *fallback, struct private_connection *place);

/* The one that was used last and that is still good, or NULL. */
struct private_connection *private_connection_take_idle(struct fallback *fallback);

/* It is clean, and at rest until the next lease. */
void private_connection_keep(struct fallback *fallback, struct private_connection *place);

/* True for a lease of these that this process holds. */
bool private_connection_owns(const struct lendis_lease *lease);

/* The pool lends: those at rest are closed. */
void private_connection_close_idle(struct lendis_pool *pool);

/* Closes and frees all. Nobody uses the pool any more. */
void private_connection_end(struct lendis_pool *pool);

#endif
