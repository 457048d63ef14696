/* SPDX-License-Identifier: MIT */
/*
 * A service for tests: a real primary with two real replicas (redis-server --replicaof), a pool for
 * each (main, r1, r2), and a service of all three (shop). Which server a call runs on is read from
 * the servers' own counts.
 */
#ifndef LENDIS_TESTS_TRIO_H
#define LENDIS_TESTS_TRIO_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "tests/support/fixture.h"

extern struct fixture fixture; /* its redis is the primary */
extern struct redis_server replicas[2];

/* The servers, without a broker. */
void trio_start_servers(void);
/* Setup and teardown of a test. */
int trio_start(void **state);
int trio_end(void **state);

bool is_synced(const struct redis_server *replica);

/* How often a command ran on a server, which "cmdstat_get:calls=3,..." tells. */
long calls(const struct redis_server *server, const char *command);

/* The key has this value there. */
bool has(const struct redis_server *server, const char *key, const char *value);

void expect_text(redisReply *reply, const char *text);

/* Writes, and waits until each server that runs has it. */
void set_everywhere(struct lendis_pool *pool, const char *key, const char *value);

/* GET key gives "value". */
bool reads_well(struct lendis_pool *pool);

/* Of 20 such reads, all of which succeed, some run on this server. */
bool is_asked(struct lendis_pool *pool, const struct redis_server *server);

#endif
