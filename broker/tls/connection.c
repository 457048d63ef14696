/* SPDX-License-Identifier: MIT */
/* A connection until it is lent: see connection.h. */
#include "broker/tls/connection.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include "broker/tls/fault.h"

/* ---- whom we expect ---- */

static bool expect_peer(SSL *ssl, const struct tls_context *context)
{
    X509_VERIFY_PARAM *rules = SSL_get0_param(ssl);

    if (!context->numeric && SSL_set_tlsext_host_name(ssl, context->peer) != 1)
        return false;
    if (context->settings.verify != TLS_VERIFY_FULL)
        return true;
    X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return context->numeric ? X509_VERIFY_PARAM_set1_ip_asc(rules, context->peer) == 1
                            : X509_VERIFY_PARAM_set1_host(rules, context->peer, 0) == 1;
}

/* Here alone OpenSSL says which certificate of the chain it is about. */
static int note_verification(int good, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());

    if (!good)
        fault_of_certificate(X509_STORE_CTX_get_current_cert(store),
                             X509_STORE_CTX_get_error(store), tls_connection_of(ssl)->error);
    return good;
}

static void resume(struct tls_connection *connection)
{
    SSL_SESSION *session = sessions_take(&connection->context->sessions);

    if (session)
        SSL_set_session(connection->ssl, session);
    SSL_SESSION_free(session);
}

int tls_connection_open(struct tls_context *context, int fd, struct tls_connection **connection)
{
    struct tls_connection *made = calloc(1, sizeof *made);
    BIO *bio = NULL;

    if (!made)
        return -ENOMEM;
    made->context = tls_context_hold(context);
    made->socket = (struct socket_bio){.fd = fd, .limit = HANDSHAKE_LIMIT};
    made->ssl = SSL_new(context->material);
    if (made->ssl && expect_peer(made->ssl, context))
        bio = socket_bio_new(&made->socket);
    if (!bio) {
        tls_connection_close(made);
        return -ENOMEM;
    }
    SSL_set_bio(made->ssl, bio, bio);
    SSL_set_app_data(made->ssl, made);
    SSL_set_verify(made->ssl, SSL_CTX_get_verify_mode(context->material), note_verification);
    made->epoch = context->sessions.epoch;
    SSL_set_connect_state(made->ssl);
    /* Without memory for that the kernel cannot take it, and a relay does. */
    if (kernel_choice_may_ask(&context->kernel, context->settings.mode))
        (void)kernel_tls_watch(made->ssl);
    resume(made);
    *connection = made;
    return 0;
}

/* ---- its course ---- */

/* What an earlier call ended with says nothing of this one: after a write that failed, what the
 * peer said before it closed can still be read. */
static void begin(struct tls_connection *connection)
{
    ERR_clear_error();
    connection->socket.error = 0;
}

/* What came of a call that returned `result`, which is not 1. */
static enum tls_result judge(struct tls_connection *connection, int result)
{
    switch (SSL_get_error(connection->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return TLS_WAIT_READ;
    case SSL_ERROR_WANT_WRITE:
        return TLS_WAIT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        ERR_clear_error();
        return TLS_ENDED;
    default:
        break;
    }
    /* A bare FIN: whoever reads sees by itself whether something is missing. */
    if (connection->established && connection->socket.error == 0 &&
        ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        ERR_clear_error();
        return TLS_ENDED;
    }
    if (connection->socket.error == EMSGSIZE) {
        snprintf(connection->error, sizeof connection->error,
                 "TLS: the server's handshake is longer than any");
        ERR_clear_error();
    } else if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED &&
               connection->error[0]) {
        ERR_clear_error(); /* note_verification() has said why */
    } else {
        fault_of_connection(connection->socket.error, connection->established, connection->error);
    }
    return TLS_FAILED;
}

enum tls_result tls_connection_handshake(struct tls_connection *connection)
{
    int result;

    begin(connection);
    result = SSL_do_handshake(connection->ssl);
    if (result != 1)
        return judge(connection, result);
    connection->established = true;
    connection->socket.limit = 0;
    return TLS_DONE;
}

enum tls_result tls_connection_read(struct tls_connection *connection, void *data, size_t size,
                                    size_t *done)
{
    int result;

    begin(connection);
    result = SSL_read_ex(connection->ssl, data, size, done);
    return result == 1 ? TLS_DONE : judge(connection, result);
}

enum tls_result tls_connection_write(struct tls_connection *connection, const void *data,
                                     size_t size, size_t *done)
{
    int result;

    begin(connection);
    result = SSL_write_ex(connection->ssl, data, size, done);
    return result == 1 ? TLS_DONE : judge(connection, result);
}

const char *tls_connection_error(const struct tls_connection *connection)
{
    return connection->error;
}

void tls_connection_close(struct tls_connection *connection)
{
    if (!connection)
        return;
    if (connection->ssl)
        /* Without a goodbye; and OpenSSL would else take its session for broken. */
        SSL_set_shutdown(connection->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(connection->ssl);
    tls_context_free(connection->context);
    free(connection);
}
