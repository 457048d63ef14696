/* SPDX-License-Identifier: MIT */
/*
 * One worker's client in the load generator: the ways of running a command that are compared. All
 * of them format the same commands with hiredis, get a redisReply and check it alike; they differ
 * in the connection alone.
 *
 * Keys are "key:NNN", values repeat the key's three digits, so a reply names the key that it
 * belongs to and a wrong one cannot pass (invariant I4).
 */
#ifndef LENDIS_BENCH_CLIENT_H
#define LENDIS_BENCH_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <hiredis/hiredis.h>
#include "broker/testbed/tls_client.h"
#include "lendis_hiredis.h"

#define CLIENT_KEYS      1000u
#define CLIENT_VALUE_MIN 3u

enum client_mode {
    CLIENT_DIRECT,      /* redisCommand() on a connection of the worker's own */
    CLIENT_LENDIS,      /* lendis_command() */
    CLIENT_EXEC,        /* lendis_exec(), without a redisReply */
    CLIENT_LEASE,       /* lendis_acquire(), lendis_lease_command(), lendis_release() */
    CLIENT_ACQUIRE,     /* the same, but only the wait in lendis_acquire() is what is measured */
    CLIENT_TRANSACTION, /* a lease for MULTI, the command, EXEC */
    CLIENT_DIRECT_TRANSACTION, /* the same on a connection of the worker's own */
};

struct client_options {
    enum client_mode mode;
    const char *url;         /* CLIENT_DIRECT: Redis, perhaps with TLS, or a proxy */
    const char *socket_path; /* the others: the broker's */
    const char *pool_name;
    size_t value_size;
    unsigned hold_us; /* CLIENT_ACQUIRE: the lease is kept for this long after its command */
};

enum client_result { CLIENT_OK = 0, CLIENT_ERROR, CLIENT_WRONG };

struct client {
    const struct client_options *options;
    redisContext *context;
    struct tls_client *tls; /* in its place, of rediss:// */
    struct lendis_pool *pool;
    char *value;         /* for SET and to compare with */
    int64_t measured_ns; /* CLIENT_ACQUIRE: CLOCK_MONOTONIC when the lease was there; else 0 */
    char text[160];      /* after CLIENT_ERROR and CLIENT_WRONG: what happened */
};

static inline bool client_mode_is_lendis(enum client_mode mode)
{
    return mode != CLIENT_DIRECT && mode != CLIENT_DIRECT_TRANSACTION;
}

static inline bool client_mode_is_transaction(enum client_mode mode)
{
    return mode == CLIENT_TRANSACTION || mode == CLIENT_DIRECT_TRANSACTION;
}

int64_t client_now_ns(void);

/* "direct", ...; false: no such mode. */
bool client_mode_parse(const char *name, enum client_mode *mode);
const char *client_mode_name(enum client_mode mode);

/*
 * Connects to redis://HOST:PORT or unix:///PATH, trying again for up to limit_ms while nobody
 * listens. Results: the context; NULL and why in `text`.
 */
redisContext *client_connect(const char *url, int limit_ms, char *text, size_t text_size);

/* Sets all keys over `context`. False: it failed, context->errstr says why. */
bool client_fill(redisContext *context, size_t value_size);

/*
 * In the master, before it forks: attaches to the pool, trying again for up to limit_ms. Results:
 * the handle; NULL and why in `text`.
 */
struct lendis_pool *client_attach(const struct client_options *options, int limit_ms, char *text,
                                  size_t text_size);

/* In the worker: readies the client, `pool` as from client_attach() or NULL. */
enum client_result client_open(struct client *client, const struct client_options *options,
                               struct lendis_pool *pool);

/* Closes what client_open() opened; the pool stays the caller's. */
void client_close(struct client *client);

/* GETs, or SETs, key `key` and checks the reply. */
enum client_result client_run(struct client *client, unsigned key, bool set);

#endif
