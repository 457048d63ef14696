/* SPDX-License-Identifier: MIT */
/* What is noted of a handshake: see kernel_watch.h and kernel_tls.h. */
#include "broker/tls/kernel_watch.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <string.h>
#include "broker/base/secret.h"
#include "broker/tls/kernel_tls.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int place = -1; /* among what an SSL carries for others */

/* ---- records that are made and read ---- */

static void count_record(struct kernel_watch *watch, bool sent, unsigned char type)
{
    struct record_count *count = sent ? &watch->sent : &watch->received;

    watch->made += sent;
    count->records = type == SSL3_RT_CHANGE_CIPHER_SPEC ? 0 : count->records + 1;
}

/* TLS 1.3 changes to the keys of the traffic behind Finished; TLS 1.2 has changed in front of it,
 * and Finished is the first record. */
static void note_message(struct kernel_watch *watch, bool sent, unsigned char type, bool v13)
{
    struct record_count *count = sent ? &watch->sent : &watch->received;

    if (watch->sent.finished && watch->received.finished)
        watch->rekeyed |= !v13 || type != SSL3_MT_NEWSESSION_TICKET;
    if (type != SSL3_MT_FINISHED)
        return;
    count->finished = true;
    if (v13)
        count->records = 0;
}

static void on_message(int sent, int version, int type, const void *bytes, size_t size, SSL *ssl,
                       void *context)
{
    struct kernel_watch *watch = kernel_watch_of(ssl);
    const unsigned char *first = bytes;

    (void)version;
    (void)context;
    if (!watch || size == 0)
        return;
    if (type == SSL3_RT_HEADER)
        count_record(watch, sent != 0, first[0]);
    else if (type == SSL3_RT_HANDSHAKE)
        note_message(watch, sent != 0, first[0], SSL_version(ssl) == TLS1_3_VERSION);
}

/* ---- records that are written ---- */

static size_t least(size_t one, size_t other)
{
    return one < other ? one : other;
}

static void follow_stream(struct record_stream *stream, const unsigned char *bytes, size_t size)
{
    const size_t header = SSL3_RT_HEADER_LENGTH;
    size_t part;

    for (; size > 0; bytes += part, size -= part) {
        if (stream->have < header) {
            part = least(size, header - stream->have);
            stream->size = header;
        } else
            part = least(size, stream->size - stream->have);
        if (stream->have < sizeof stream->head)
            memcpy(stream->head + stream->have, bytes,
                   least(part, sizeof stream->head - stream->have));
        stream->have += part;
        if (stream->have == header)
            stream->size = header + (size_t)(stream->head[3] << 8 | stream->head[4]);
        if (stream->have >= header && stream->have == stream->size) {
            stream->records++;
            stream->have = 0;
        }
    }
}

static long on_bio(BIO *bio, int operation, const char *bytes, size_t size, int argument,
                   long large, int result, size_t *processed)
{
    struct kernel_watch *watch = (struct kernel_watch *)(void *)BIO_get_callback_arg(bio);

    (void)size;
    (void)argument;
    (void)large;
    if (operation == (BIO_CB_WRITE | BIO_CB_RETURN) && result > 0 && watch)
        follow_stream(&watch->stream, (const unsigned char *)bytes, *processed);
    return result;
}

/* ---- secrets ---- */

/* "LABEL <random of the client> <secret>", in hexadecimal: the format of the key log. */
static void on_key_log(const SSL *ssl, const char *line)
{
    static const char client[] = "CLIENT_TRAFFIC_SECRET_0 ", server[] = "SERVER_TRAFFIC_SECRET_0 ";
    struct kernel_watch *watch = kernel_watch_of(ssl);
    const char *secret = strrchr(line, ' ');
    struct traffic_secret *into;

    if (!watch || !secret)
        return;
    if (strncmp(line, client, sizeof client - 1) == 0)
        into = &watch->client;
    else if (strncmp(line, server, sizeof server - 1) == 0)
        into = &watch->server;
    else
        return;
    if (OPENSSL_hexstr2buf_ex(into->bytes, sizeof into->bytes, &into->size, secret + 1, '\0') != 1)
        into->size = 0;
}

/* ---- its life ---- */

static void end(struct kernel_watch *watch)
{
    if (!watch)
        return;
    BIO_set_callback_arg(watch->bio, NULL);
    BIO_set_callback_ex(watch->bio, NULL);
    BIO_free(watch->bio);
    secret_free((char *)watch, sizeof *watch);
}

static void on_free(void *parent, void *value, CRYPTO_EX_DATA *data, int index, long argument,
                    void *context)
{
    (void)parent;
    (void)data;
    (void)index;
    (void)argument;
    (void)context;
    end(value);
}

static void take_place(void)
{
    place = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_free);
}

struct kernel_watch *kernel_watch_of(const SSL *ssl)
{
    return place >= 0 ? SSL_get_ex_data(ssl, place) : NULL;
}

void kernel_watch_end(SSL *ssl)
{
    struct kernel_watch *watch = kernel_watch_of(ssl);

    if (!watch)
        return;
    SSL_set_msg_callback(ssl, NULL);
    SSL_set_ex_data(ssl, place, NULL);
    end(watch);
}

int kernel_tls_watch(SSL *ssl)
{
    static const struct kernel_watch none;
    BIO *bio = SSL_get_wbio(ssl);
    struct kernel_watch *made;

    pthread_once(&once, take_place);
    if (!bio || SSL_is_server(ssl) || kernel_watch_of(ssl))
        return -EINVAL;
    made = (struct kernel_watch *)(void *)secret_new((const char *)&none, sizeof none);
    if (!made)
        return -ENOMEM;
    if (place < 0 || SSL_set_ex_data(ssl, place, made) != 1) {
        secret_free((char *)made, sizeof *made);
        return -ENOMEM;
    }
    BIO_up_ref(bio);
    made->bio = bio;
    BIO_set_callback_arg(bio, (char *)made);
    BIO_set_callback_ex(bio, on_bio);
    SSL_set_msg_callback(ssl, on_message);
    SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(ssl), on_key_log);
    return 0;
}
