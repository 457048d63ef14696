/* SPDX-License-Identifier: MIT */
/*
 * One connection from its handshake until it is lent. Never waits. Of a handshake no more than
 * HANDSHAKE_LIMIT bytes are taken, and nothing is written before the peer has been verified.
 */
#ifndef LENDIS_BROKER_TLS_CONNECTION_H
#define LENDIS_BROKER_TLS_CONNECTION_H

#include <openssl/ssl.h>
#include "broker/tls/context.h"
#include "broker/tls/socket_bio.h"

/* A chain of certificates may have 100 KiB: SSL_CTX_set_max_cert_list(3ssl). */
#define HANDSHAKE_LIMIT (256u * 1024)

struct tls_connection {
    SSL *ssl;
    struct tls_context *context;
    struct socket_bio socket;
    bool established; /* the handshake is over */
    uint32_t epoch;   /* of the sessions, when it began */
    char error[TLS_TEXT_SIZE];
};

/* The connection that `ssl` is of. */
static inline struct tls_connection *tls_connection_of(const SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

/* tls.h has what these do. */
int tls_connection_open(struct tls_context *context, int fd, struct tls_connection **connection);
enum tls_result tls_connection_handshake(struct tls_connection *connection);
enum tls_result tls_connection_read(struct tls_connection *connection, void *data, size_t size,
                                    size_t *done);
enum tls_result tls_connection_write(struct tls_connection *connection, const void *data,
                                     size_t size, size_t *done);
const char *tls_connection_error(const struct tls_connection *connection);
void tls_connection_close(struct tls_connection *connection);

#endif
