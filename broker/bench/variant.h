/* SPDX-License-Identifier: MIT */
/*
 * A variant is what is compared: MODE[:SIZE][:TRANSPORT][@BUILD], for example
 *
 *   direct               a hiredis connection per worker
 *   lendis:4             lendis_command() on a pool of 4 connections
 *   lease:16:unix        a lease for each command, 16 connections, on Redis' Unix socket
 *   direct:tls           a connection with TLS per worker, by OpenSSL
 *   transaction:16       a lease for MULTI, a command and EXEC
 *   twemproxy            a connection per worker to a twemproxy
 *   lendis:4@/tmp/build  the lendisd and the load engine of another build
 */
#ifndef LENDIS_BENCH_VARIANT_H
#define LENDIS_BENCH_VARIANT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "broker/testbed/testbed.h"
#include "broker/bench/client.h"
#include "broker/bench/forwarder.h"

#define VARIANT_SIZE 4u /* connections, where none are named */

enum proxy { PROXY_NONE, PROXY_TWEMPROXY, PROXY_HAPROXY };

struct variant {
    char text[64]; /* as it was written */
    enum client_mode mode;
    enum proxy proxy;
    unsigned size;
    char transport[8]; /* "": that of the row */
    const char *build; /* the part of `text`; NULL: this one */
};

/* The servers: Redis always, the rest for a variant, one after the other. */
struct servers {
    struct redis_server redis;
    struct lendisd broker;
    struct forwarder forwarder; /* on the way to Redis over TCP, if that is to be far */
    pid_t proxy_pid;            /* 0: none runs */
    char proxy_url[TESTBED_PATH_SIZE + 16];
    unsigned workers;         /* that are to attach */
    double rtt_us;            /* to Redis over TCP; 0: as it is */
    const char *broker_lines; /* further lines of the configuration's sections; or "" */
    const char *pool_lines;
};

/* False: why not is in `problem`. `variant` stays where it is: its build is a part of it. */
bool variant_parse(const char *text, struct variant *variant, char *problem, size_t size);

/* False: the program that it needs is not installed; which, is in `problem`. */
bool variant_is_there(const struct variant *variant, char *problem, size_t size);

const char *servers_redis_url(const struct servers *servers, const char *transport);

/* Starts what a variant needs besides Redis, and stops it. */
void servers_start(struct servers *servers, const struct variant *variant, const char *transport);
void servers_stop(struct servers *servers);

#endif
