/* SPDX-License-Identifier: MIT */
/*
 * What OpenSSL does not tell when asked, noted while a connection's handshake runs: the traffic
 * secrets of TLS 1.3 (key log callback), how many records each direction has had under its present
 * keys (message callback), and the nonce of the record that was written last (the BIO's callback:
 * in TLS 1.2 with AES-GCM OpenSSL counts nonces from a random number on, and one that is used twice
 * gives away the key).
 *
 * It lies in locked memory that is not dumped (secret.h), belongs to the SSL, and is wiped with it
 * or before.
 */
#ifndef LENDIS_BROKER_KERNEL_WATCH_H
#define LENDIS_BROKER_KERNEL_WATCH_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include "broker/tls/key_schedule.h"

#define EXPLICIT_NONCE_SIZE 8u

struct traffic_secret {
    unsigned char bytes[TRAFFIC_SECRET_MAX];
    size_t size; /* 0: it was not seen */
};

struct record_count {
    uint64_t records; /* under the present keys */
    bool finished;    /* its Finished has been */
};

/* Of all that is written: where its records begin and end. */
struct record_stream {
    uint64_t records; /* that are written to their end */
    size_t have;      /* bytes of the present one */
    size_t size;      /* of it, as far as is known */
    unsigned char head[SSL3_RT_HEADER_LENGTH + EXPLICIT_NONCE_SIZE];
};

struct kernel_watch {
    struct traffic_secret client, server; /* TLS 1.3 */
    struct record_count sent, received;
    uint64_t made; /* records that OpenSSL has made, from the first */
    struct record_stream stream;
    bool rekeyed; /* after the handshake there was a message that changes keys, or may */
    BIO *bio;
};

/* NULL: there is none, or none any more. */
struct kernel_watch *kernel_watch_of(const SSL *ssl);

/* Wipes and ends it. */
void kernel_watch_end(SSL *ssl);

#endif
