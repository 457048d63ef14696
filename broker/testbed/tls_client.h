/* SPDX-License-Identifier: MIT */
/*
 * A connection with TLS of a worker's own, as programs have it without lendis: OpenSSL in the
 * worker, with one context for all its connections. For measurements. hiredis formats and parses;
 * hiredis before 1.0 has no TLS. OpenSSL is loaded by the first call, so that tools which do not
 * measure TLS do not have it.
 */
#ifndef LENDIS_TESTBED_TLS_CLIENT_H
#define LENDIS_TESTBED_TLS_CLIENT_H

#include <stddef.h>
#include <hiredis/hiredis.h>

struct tls_client;

/* Loads OpenSSL: before a fork, so that its pages are shared. NULL, or what is missing. */
const char *tls_client_load(void);

/*
 * Connects to rediss://HOST:PORT. Trusts the CAs of `ca_file`, as the process' first connection
 * does; NULL: those of the system. Results: the client; NULL and why in `text`.
 */
struct tls_client *tls_client_open(const char *url, const char *ca_file, char *text, size_t size);

/* On `client`, or where that is NULL on `plain`. The reply, freeReplyObject(); NULL: the connection
 * is lost. */
redisReply *tls_client_command(struct tls_client *client, redisContext *plain, const char *format,
                               ...);

/* NULL is allowed. */
void tls_client_close(struct tls_client *client);

#endif
