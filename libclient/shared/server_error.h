/* SPDX-License-Identifier: MIT */
/*
 * What an error reply says about the server, not about the command: one table for broker and
 * library.
 *
 * Redis begins its errors with a word that says what kind they are. Most concern one command and
 * are the caller's alone. Those below concern the server, the node's role or the connection. "The
 * server answers" is never "the server is away": whoever gets such an error knows that the server
 * lives.
 *
 * Sources: the shared error objects of Redis 7.0 (src/server.c, createSharedObjects) and what
 * processCommand() and acceptCommonHandler() answer; Redis' documentation of ACL, replication, the
 * cluster specification and client handling; of Valkey 8, REDIRECT.
 */
#ifndef LENDIS_SERVER_ERROR_H
#define LENDIS_SERVER_ERROR_H

#include <stddef.h>
#include <stdint.h>

/* What follows from an error. The caller of a command gets it in any case, unless another node
 * answered in its place. */
enum server_error_flag {
    /* A check that brings it has its proof of life; a dial whose last command brings it is good. */
    ERROR_ALIVE = 1,
    /* A read can be done by another node of a service. */
    ERROR_ELSEWHERE = 2,
    /* The node may have another role, or the name another node: inspect it again. */
    ERROR_INSPECT = 4,
    /* The connection is not what it was: it is replaced. */
    ERROR_REPLACE = 8,
    /* The server takes no client now, or none of ours: a dial ends, and the next one is held
     * back. */
    ERROR_HOLD = 16,
    /* Likewise, until somebody changes the server's configuration or ours. */
    ERROR_LOGIN = 32,
    /* Only of a pool that writes: its node was a primary. */
    ERROR_OF_PRIMARY = 64,
    /* The server ends the connection behind it. */
    ERROR_ENDS = 128,
};

/* clang-format off */
/* ERROR(name, how it begins, flags, what it means). The first one that fits counts. */
#define SERVER_ERRORS(ERROR) \
    ERROR(misconf,     "MISCONF ",     ERROR_ALIVE, \
          "Redis cannot save its data and refuses writes; reads go on.") \
    ERROR(busy,        "BUSY ",        ERROR_ALIVE | ERROR_ELSEWHERE, \
          "A script, function or module runs for long; it can be killed.") \
    ERROR(loading,     "LOADING ",     ERROR_ALIVE | ERROR_ELSEWHERE | ERROR_INSPECT | ERROR_HOLD, \
          "Redis is loading its data.") \
    ERROR(masterdown,  "MASTERDOWN ",  ERROR_ALIVE | ERROR_ELSEWHERE | ERROR_INSPECT, \
          "A replica without its primary, which is not to serve old data.") \
    ERROR(readonly,    "READONLY ",    ERROR_ALIVE | ERROR_INSPECT | ERROR_REPLACE | ERROR_OF_PRIMARY, \
          "A write came to a replica: after a failover, to what was the primary.") \
    ERROR(unblocked,   "UNBLOCKED ",   ERROR_ALIVE | ERROR_INSPECT | ERROR_REPLACE | ERROR_OF_PRIMARY, \
          "A blocked command ended, for the primary became a replica.") \
    ERROR(redirect,    "REDIRECT ",    ERROR_ALIVE | ERROR_ELSEWHERE | ERROR_INSPECT | ERROR_REPLACE, \
          "Another node serves this now.") \
    ERROR(oom,         "OOM ",         ERROR_ALIVE, "Redis has used all of maxmemory.") \
    ERROR(noreplicas,  "NOREPLICAS ",  ERROR_ALIVE, "Fewer replicas are well than writes need.") \
    ERROR(clusterdown, "CLUSTERDOWN ", ERROR_ALIVE | ERROR_ELSEWHERE, \
          "The cluster, or the part of it that has the key, does not serve.") \
    ERROR(moved,       "MOVED ",       ERROR_ALIVE, "Another node of the cluster has the key.") \
    ERROR(ask,         "ASK ",         ERROR_ALIVE, "Likewise, for this command alone.") \
    ERROR(tryagain,    "TRYAGAIN ",    ERROR_ALIVE, "The keys are on their way to another node.") \
    ERROR(noauth,      "NOAUTH ",      ERROR_INSPECT | ERROR_REPLACE | ERROR_LOGIN, \
          "The connection is not logged in, or not any more.") \
    ERROR(wrongpass,   "WRONGPASS ",   ERROR_LOGIN, "User and password do not fit, or the user is off.") \
    ERROR(noperm,      "NOPERM ",      ERROR_LOGIN, "The user may not use this command or key.") \
    ERROR(denied,      "DENIED ",      ERROR_LOGIN | ERROR_ENDS, "Redis runs in protected mode.") \
    ERROR(full,        "ERR max number of clients", ERROR_HOLD | ERROR_ENDS, \
          "Redis has as many clients as it allows.") \
    ERROR(protocol,    "ERR Protocol error", ERROR_ENDS, \
          "Redis could not read the command, or it was too large.")
/* clang-format on */

enum server_error {
    SERVER_ERROR_none, /* it concerns the command alone */
#define SERVER_ERROR_ENUM(name, begin, flags, text) SERVER_ERROR_##name,
    SERVER_ERRORS(SERVER_ERROR_ENUM)
#undef SERVER_ERROR_ENUM
        SERVER_ERROR_COUNT
};

/* Which of them `text`, an error reply of `size` bytes with or without its "-", is. What comes is
 * never trusted: any bytes are allowed, and less than the whole line will do. */
enum server_error server_error_classify(const char *text, size_t size);

/* The same for a text that has the error somewhere in it, as what a dial leaves behind may. */
enum server_error server_error_find(const char *text);

/* Its flags; 0 for SERVER_ERROR_none and for anything that is no server_error. */
uint32_t server_error_flags(enum server_error error);

/* Its name in this table, and what it means; "" as above. */
const char *server_error_name(enum server_error error);
const char *server_error_text(enum server_error error);

/* The longest beginning in the table: so much of a reply is enough to classify it. */
#define SERVER_ERROR_SIZE 32u

#endif
