/* SPDX-License-Identifier: MIT */
/*
 * For tests of I3: a pool of one connection, one worker that leaves something behind, and another
 * one that must find the connection as the pool's configuration has it. What these functions find
 * is told by cmocka's failures.
 */
#ifndef LENDIS_TESTS_CLEAN_H
#define LENDIS_TESTS_CLEAN_H

#include "tests/support/fixture.h"

/* What becomes of a connection that was given back. */
enum fate {
    CLEAN,    /* for the next one as it is */
    RESET,    /* made clean by the broker: the same connection */
    REPLACED, /* closed: another one */
    EITHER,   /* one of the last two, as the versions of Redis and hiredis have it */
};

struct stage {
    struct fixture fixture;
    struct lendis_pool *leaver, *next; /* two workers of the pool */
    /* What the next one finds. Set before stage_open(). */
    unsigned db;
    const char *user;
    bool tcp;
    bool cluster; /* SELECT is not possible */
    /* When the last connection was given back. */
    unsigned long closed, resets;
    long long id; /* CLIENT ID of the connection that was leased last */
};

/* The pool "p" of the running broker, of one connection: waits until it is open. */
void stage_open(struct stage *stage);

/* Ends everything. */
void stage_end(struct stage *stage);

/* A lease by `pool`; it must work. */
struct lendis_lease *stage_lease(struct stage *stage, struct lendis_pool *pool);

/* The leaver's lease, and what is the case before it is given back. */
struct lendis_lease *stage_enter(struct stage *stage);

/* Gives it back. Where holder or server ended the connection, the broker may have seen that
 * before. */
void stage_leave(struct lendis_lease *lease, bool may_be_revoked);

/* The next holder finds a clean connection, and how it became so since stage_enter() is `fate`. */
void stage_expect(struct stage *stage, enum fate fate, const char *what);

/* The next holder finds a connection as the pool's configuration has it, and its own replies. */
void stage_expect_clean(struct stage *stage);

/* `reply` is of this type and text; frees it. */
void expect_text(redisReply *reply, int type, const char *text);

unsigned long closed_so_far(const struct stage *stage);
unsigned long resets_so_far(const struct stage *stage);

#endif
