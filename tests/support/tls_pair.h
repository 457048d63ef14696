/* SPDX-License-Identifier: MIT */
/*
 * A TLS client and a TLS server in one process, of OpenSSL, with memory between them that a test
 * can take records out of and put others into. They are driven in turn; nothing waits. Failures
 * are cmocka's.
 */
#ifndef LENDIS_TESTS_TLS_PAIR_H
#define LENDIS_TESTS_TLS_PAIR_H

#include <openssl/ssl.h>
#include <stddef.h>

struct tls_pair {
    SSL_CTX *client_context, *server_context;
    SSL *client, *server;
    BIO *to_server, *to_client; /* what was written and not yet read */
};

/* Contexts and both ends, before the handshake. `version` is TLS1_2_VERSION or TLS1_3_VERSION,
 * `cipher` a name of that version. */
void tls_pair_make(struct tls_pair *pair, int version, const char *cipher);

/* Both ends anew, of the same contexts, to resume `session` (NULL: none). */
void tls_pair_renew(struct tls_pair *pair, SSL_SESSION *session);

void tls_pair_shake_hands(struct tls_pair *pair);

/* `from` writes, the other end reads all of it and compares. */
void tls_pair_carry(SSL *from, SSL *to, const unsigned char *bytes, size_t size);

/* Reads exactly `size` bytes and compares. */
void tls_pair_expect(SSL *ssl, const unsigned char *bytes, size_t size);

void tls_pair_end(struct tls_pair *pair);

#endif
