/* SPDX-License-Identifier: MIT */
/*
 * A TLS server that misbehaves on demand: in front of a real Redis, whose answers it passes on, in
 * processes of its own, one for each connection.
 */
#ifndef LENDIS_TESTS_TLS_SERVER_H
#define LENDIS_TESTS_TLS_SERVER_H

#include <stdatomic.h>
#include "broker/testbed/certificates.h"

/* What a new connection gets. */
enum tls_start {
    TLS_START_SERVE,   /* a handshake, and then Redis */
    TLS_START_SILENT,  /* nothing at all */
    TLS_START_HALF,    /* half a record, then nothing */
    TLS_START_CLOSE,   /* once it has said hello: the end */
    TLS_START_RESET,   /* likewise, by RST */
    TLS_START_PLAIN,   /* an answer without TLS */
    TLS_START_ENDLESS, /* handshake messages without an end */
};

/* What a connection gets before the next answer of Redis, once for each. */
enum tls_act {
    TLS_ACT_NONE,
    TLS_ACT_KEY_UPDATE,  /* new keys in both directions (TLS 1.3) */
    TLS_ACT_TICKETS,     /* two more of them (TLS 1.3) */
    TLS_ACT_RENEGOTIATE, /* (TLS 1.2) */
    TLS_ACT_GOODBYE,     /* close_notify and FIN, in place of the answer */
    TLS_ACT_FIN,         /* a bare FIN */
    TLS_ACT_CUT,         /* half of the answer, and a bare FIN */
    TLS_ACT_ALERT,       /* a fatal alert */
    TLS_ACT_GARBAGE,     /* bytes that are no record */
};

/* In memory shared with the processes: change the first ones, and read the others, at any time. */
struct tls_control {
    atomic_uint start;    /* enum tls_start */
    atomic_uint act;      /* enum tls_act */
    atomic_uint accepted; /* connections so far */
    atomic_uint served;   /* whose handshake succeeded */
    atomic_uint resumed;  /* that resumed a session */
    atomic_uint acted;    /* acts so far */
    atomic_uint goodbyes; /* connections that the client ended with a close_notify */
};

struct tls_server {
    /* Set before tls_server_start(). */
    const struct certificate *as;
    const char *backend; /* path of Redis' socket */
    int version;         /* TLS1_2_VERSION, TLS1_3_VERSION; 0: both */

    pid_t pid;
    int port;
    char url[64];
    struct tls_control *control;
};

void tls_server_start(struct tls_server *server);

/* Also all connections. */
void tls_server_stop(struct tls_server *server);

#endif
