/* SPDX-License-Identifier: MIT */
/*
 * What a pool logs in with, as it changes: the password out of password_file, which is read again
 * for each dial, or what password_command prints, which is kept until its time is nearly over. The
 * only copy is here, in memory for secrets; a dial borrows it.
 *
 * Both are had off the event loop, one attempt at a time for each pool. While one is under way a
 * dial waits for it, but not for a file that hangs, if there is a password from before. An attempt
 * that fails leaves the last good password in use; it is logged once, counted, and made again.
 *
 * A connection that logged in with a password whose time ends is not logged in anew, for it was
 * lent (connection_may_carry_secret()): maintenance.c replaces it.
 */
#ifndef LENDIS_BROKER_CREDENTIAL_H
#define LENDIS_BROKER_CREDENTIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "broker/base/log.h"

struct broker_pool;
struct broker_connection;
struct password_reading;
struct pool_config;
struct tool;

struct credential {
    sd_event_source *timer;           /* the end of a dial's patience; the next attempt */
    struct password_reading *reading; /* under way, */
    struct tool *tool;                /* or this; never both */
    uint64_t begun_ms;                /* the last attempt, */
    uint64_t ended_ms;                /* and its end */
    uint64_t retry_ms;                /* no other one before */
    uint64_t refresh_ms;              /* of a program: when it is to be run again; else never */
    uint32_t failures;                /* attempts in a row */
    uint32_t refusals;                /* passwords in a row that Redis refused */
    uint32_t refused;                 /* the serial of the last one */
    bool fresh;                       /* no dial has begun since it was read */
    bool wanted;                      /* of a program: it is to be run again before the next dial */
    bool slow;                        /* of the attempt under way: it was reported */
    char *password;                   /* a secret; NULL: none yet */
    size_t size;
    uint64_t got_ms; /* since when it counts */
    uint32_t serial; /* of the password; 0: there was none yet */
    struct log_limit limit;
    struct log_limit line_limit;
};

/* Results: 0, credential_stop() must follow; -errno. */
int credential_start(struct broker_pool *pool);
void credential_stop(struct broker_pool *pool);

/*
 * The pool has another configuration than `before` (NULL: its first one), and takes the password
 * out of it. True: it is another one, or from elsewhere.
 */
bool credential_configure(struct broker_pool *pool, const struct pool_config *before);

/*
 * True: a dial can log in, or needs no login. False: a password is waited for, or cannot be had.
 * Ready: the same before the turn of one of the pool's own dials, for each of which the file is
 * read.
 */
bool credential_is_there(struct broker_pool *pool);
bool credential_is_ready(struct broker_pool *pool);

/* An attempt is under way. */
bool credential_is_pending(const struct broker_pool *pool);

/* Of a dial: Redis refused the login with the password of this serial; it accepted one. */
void credential_refused(struct broker_pool *pool, uint32_t serial);
void credential_accepted(struct broker_pool *pool);

/* Whether the password of the pool is this one. If not, perhaps there is a newer one, which is then
 * known to the next who asks. */
bool credential_is(struct broker_pool *pool, const char *password, size_t size);

/* The operator wants another one for the dials from now on. */
void credential_renew(struct broker_pool *pool);

/* The connection is dialled now, with the password that is there. */
void credential_note_dial(struct broker_pool *pool, struct broker_connection *connection);

/* When the connection's login is to be over: at random in the last quarter of its time, less a
 * rest; UINT64_MAX: never. One of the previous broker is taken to be as old as it can be. */
uint64_t credential_end_ms(const struct broker_pool *pool,
                           const struct broker_connection *connection);

/* It is, and there is a newer password to replace it with. */
bool credential_is_over(const struct broker_pool *pool, const struct broker_connection *connection,
                        uint64_t now_ms);

#endif
