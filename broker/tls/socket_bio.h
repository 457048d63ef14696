/* SPDX-License-Identifier: MIT */
/*
 * What OpenSSL reads from and writes to: a socket that never raises SIGPIPE and never waits, with a
 * count of what has come and a limit to it while nobody is trusted yet. It remembers what the last
 * system call on it ended with, by which a relay saves another one.
 */
#ifndef LENDIS_BROKER_TLS_SOCKET_BIO_H
#define LENDIS_BROKER_TLS_SOCKET_BIO_H

#include <openssl/bio.h>
#include <stdbool.h>
#include <stddef.h>

struct socket_bio {
    int fd;
    int error;       /* of the last read or write that failed; EAGAIN is none */
    bool drained;    /* the last read got less than there was room for */
    bool full;       /* the last write found no room */
    size_t received; /* bytes */
    size_t limit;    /* more of these are an error, EMSGSIZE; 0: there is none */
};

/* On `socket`, which must outlive it. NULL: there is no memory. */
BIO *socket_bio_new(struct socket_bio *socket);

/* Once, before the first one and from one thread: makes the kind. False: there is no memory. */
bool socket_bio_prepare(void);

#endif
