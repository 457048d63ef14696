/* SPDX-License-Identifier: MIT */
/*
 * From the secrets of a TLS handshake to the keys of its records: HKDF-Expand-Label (RFC 8446, 7.1
 * and 7.3) for TLS 1.3, the pseudo-random function and the key block (RFC 5246, 5 and 6.3) for
 * TLS 1.2. OpenSSL's key derivation functions compute; here is what they are asked. Knows no
 * connection. Whoever gets keys wipes them, with OPENSSL_cleanse().
 */
#ifndef LENDIS_BROKER_KEY_SCHEDULE_H
#define LENDIS_BROKER_KEY_SCHEDULE_H

#include <openssl/ssl.h>
#include <stddef.h>

#define TRAFFIC_KEY_MAX 32u
#define TRAFFIC_IV_SIZE 12u
/* The hash with which they are made: SHA-384 at most. */
#define TRAFFIC_SECRET_MAX 48u

/* The ciphers whose records this can make keys for: those with an AEAD of 12 bytes of nonce. */
enum traffic_cipher { TRAFFIC_AES_128_GCM, TRAFFIC_AES_256_GCM, TRAFFIC_CHACHA20_POLY1305 };

/* Of one direction. AES-GCM in TLS 1.2 takes the first 4 bytes of the nonce from here, the others
 * from each record (RFC 5288, 3): the rest of `iv` is 0. */
struct traffic_keys {
    unsigned char key[TRAFFIC_KEY_MAX];
    unsigned char iv[TRAFFIC_IV_SIZE];
};

/* Results: 0, *cipher is what the connection uses; -ENOTSUP. */
int traffic_cipher_of(const SSL_CIPHER *used, enum traffic_cipher *cipher);

/* TLS 1.3: `secret` is a traffic secret of one direction. Results: 0; -EIO: OpenSSL cannot. */
int traffic_keys_13(const EVP_MD *hash, const unsigned char *secret, size_t secret_size,
                    enum traffic_cipher cipher, struct traffic_keys *keys);

struct traffic_master {
    unsigned char secret[SSL_MAX_MASTER_KEY_LENGTH];
    size_t secret_size;
    unsigned char client_random[SSL3_RANDOM_SIZE];
    unsigned char server_random[SSL3_RANDOM_SIZE];
};

/* TLS 1.2: what the client writes with, and the server. Results likewise. */
int traffic_keys_12(const EVP_MD *hash, const struct traffic_master *master,
                    enum traffic_cipher cipher, struct traffic_keys *client,
                    struct traffic_keys *server);

#endif
