/* SPDX-License-Identifier: MIT */
/* A client and a server of OpenSSL: see tls_pair.h. */
#include "tests/support/tls_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/x509.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>

#define TURNS    20 /* a handshake takes 4 */
#define TURN_MS  500
#define LIMIT_MS 20000

static EVP_PKEY *key;
static X509 *certificate;

/* One for the whole program. */
static void make_certificate(void)
{
    X509_NAME *name;

    if (certificate)
        return;
    key = EVP_EC_gen("P-256");
    certificate = X509_new();
    assert_non_null(key);
    assert_non_null(certificate);
    name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
}

static SSL_CTX *make_context(const SSL_METHOD *method, int version, const char *cipher)
{
    SSL_CTX *made = SSL_CTX_new(method);

    assert_non_null(made);
    SSL_CTX_set_min_proto_version(made, version);
    SSL_CTX_set_max_proto_version(made, version);
    if (version == TLS1_3_VERSION)
        assert_int_equal(SSL_CTX_set_ciphersuites(made, cipher), 1);
    else
        assert_int_equal(SSL_CTX_set_cipher_list(made, cipher), 1);
    return made;
}

void tls_pair_make(struct tls_pair *pair, int version, const char *cipher)
{
    make_certificate();
    *pair = (struct tls_pair){
        .client_context = make_context(TLS_client_method(), version, cipher),
        .server_context = make_context(TLS_server_method(), version, cipher),
    };
    assert_int_equal(SSL_CTX_use_certificate(pair->server_context, certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(pair->server_context, key), 1);
    SSL_CTX_set_options(pair->server_context, SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
    tls_pair_renew(pair, NULL);
}

/* As if it was shut down: a session of one that was not is not resumed. */
static void free_ends(struct tls_pair *pair)
{
    if (pair->client) {
        SSL_set_shutdown(pair->client, SSL_SENT_SHUTDOWN);
        SSL_set_shutdown(pair->server, SSL_SENT_SHUTDOWN);
    }
    SSL_free(pair->client);
    SSL_free(pair->server);
}

void tls_pair_renew(struct tls_pair *pair, SSL_SESSION *session)
{
    free_ends(pair);
    pair->client = SSL_new(pair->client_context);
    pair->server = SSL_new(pair->server_context);
    pair->to_server = BIO_new(BIO_s_mem());
    pair->to_client = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(pair->to_server, -1);
    BIO_set_mem_eof_return(pair->to_client, -1);
    BIO_up_ref(pair->to_server);
    BIO_up_ref(pair->to_client);
    SSL_set_bio(pair->client, pair->to_client, pair->to_server);
    SSL_set_bio(pair->server, pair->to_server, pair->to_client);
    SSL_set_connect_state(pair->client);
    SSL_set_accept_state(pair->server);
    if (session)
        assert_int_equal(SSL_set_session(pair->client, session), 1);
}

/* Where a test has put sockets between the two. False: nothing came, or there is no socket. */
static bool wait_for_bytes(SSL *ssl, int limit_ms)
{
    struct pollfd waited = {.fd = SSL_get_rfd(ssl), .events = POLLIN};

    return waited.fd >= 0 && SSL_want_read(ssl) && poll(&waited, 1, limit_ms) == 1;
}

void tls_pair_shake_hands(struct tls_pair *pair)
{
    int client = 0, server = 0;

    for (int turn = 0; turn < TURNS && (client != 1 || server != 1); turn++) {
        if (client != 1 && turn > 0)
            wait_for_bytes(pair->client, TURN_MS);
        client = SSL_do_handshake(pair->client);
        if (server != 1)
            wait_for_bytes(pair->server, TURN_MS);
        server = SSL_do_handshake(pair->server);
    }
    assert_int_equal(client, 1);
    assert_int_equal(server, 1);
}

void tls_pair_expect(SSL *ssl, const unsigned char *bytes, size_t size)
{
    unsigned char *got = malloc(size);
    size_t have = 0, part;

    assert_non_null(got);
    while (have < size) {
        if (SSL_read_ex(ssl, got + have, size - have, &part) == 1)
            have += part;
        else if (!wait_for_bytes(ssl, LIMIT_MS))
            break;
    }
    assert_int_equal(have, size);
    assert_memory_equal(got, bytes, size);
    free(got);
}

void tls_pair_carry(SSL *from, SSL *to, const unsigned char *bytes, size_t size)
{
    assert_int_equal(SSL_write(from, bytes, (int)size), (int)size);
    tls_pair_expect(to, bytes, size);
}

void tls_pair_end(struct tls_pair *pair)
{
    free_ends(pair);
    SSL_CTX_free(pair->client_context);
    SSL_CTX_free(pair->server_context);
    *pair = (struct tls_pair){0};
}
