/* SPDX-License-Identifier: MIT */
/* Keys for the kernel: see kernel_keys.h. */
#include "broker/tls/kernel_keys.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "broker/tls/kernel_watch.h"
#include "broker/tls/key_schedule.h"

#define NUMBER_SIZE 8u /* of a record */

struct direction {
    struct traffic_keys keys;
    unsigned char number[NUMBER_SIZE];        /* of the next record */
    unsigned char nonce[EXPLICIT_NONCE_SIZE]; /* what follows the first 4 bytes of its nonce */
};

int kernel_tls_refuse(struct kernel_tls_refusal *refusal, int error, const char *reason)
{
    *refusal = (struct kernel_tls_refusal){.lasting = error == ENOENT || error == ENOTSUP};
    snprintf(refusal->reason, sizeof refusal->reason, "%s", reason);
    return -error;
}

/* ---- may it be? ---- */

static int check_version(const SSL *ssl, enum traffic_cipher *cipher,
                         struct kernel_tls_refusal *refusal)
{
    const int version = SSL_version(ssl);
    const SSL_CIPHER *used = SSL_get_current_cipher(ssl);
    char reason[KERNEL_TLS_REASON_SIZE];

    if (version != TLS1_2_VERSION && version != TLS1_3_VERSION) {
        snprintf(reason, sizeof reason, "the kernel has no %s", SSL_get_version(ssl));
        return kernel_tls_refuse(refusal, ENOTSUP, reason);
    }
    if (traffic_cipher_of(used, cipher) != 0) {
        snprintf(reason, sizeof reason, "the cipher %s is not among those that the kernel is given",
                 SSL_CIPHER_get_name(used));
        return kernel_tls_refuse(refusal, ENOTSUP, reason);
    }
    return 0;
}

static int check_course(const SSL *ssl, const struct kernel_watch *watch,
                        struct kernel_tls_refusal *refusal)
{
    if (!watch || !SSL_is_init_finished(ssl) || !watch->sent.finished || !watch->received.finished)
        return kernel_tls_refuse(refusal, EINVAL, "the handshake was not watched to its end");
    if (SSL_get_shutdown(ssl) != 0)
        return kernel_tls_refuse(refusal, ENOTCONN, "the connection is closed");
    if (watch->rekeyed)
        return kernel_tls_refuse(refusal, EKEYEXPIRED, "keys were changed after the handshake");
    if (SSL_has_pending(ssl))
        return kernel_tls_refuse(refusal, EAGAIN, "there are bytes that were not read");
    if (watch->stream.have != 0 || watch->stream.records != watch->made)
        return kernel_tls_refuse(refusal, EAGAIN, "there are bytes that were not sent");
    return 0;
}

/* ---- keys ---- */

static int derive_13(const SSL *ssl, const struct kernel_watch *watch, enum traffic_cipher cipher,
                     struct direction *sending, struct direction *receiving)
{
    const EVP_MD *hash = SSL_CIPHER_get_handshake_digest(SSL_get_current_cipher(ssl));
    int result = -EIO;

    if (watch->client.size > 0 && watch->server.size > 0)
        result =
            traffic_keys_13(hash, watch->client.bytes, watch->client.size, cipher, &sending->keys);
    if (result == 0)
        result = traffic_keys_13(hash, watch->server.bytes, watch->server.size, cipher,
                                 &receiving->keys);
    memcpy(sending->nonce, sending->keys.iv + 4, sizeof sending->nonce);
    memcpy(receiving->nonce, receiving->keys.iv + 4, sizeof receiving->nonce);
    return result;
}

static void add_one(unsigned char *number, size_t size)
{
    while (size > 0 && ++number[--size] == 0)
        ;
}

/* The kernel goes on from the nonce that OpenSSL used last. To receive, it takes each record's. */
static int derive_12(const SSL *ssl, const struct kernel_watch *watch, enum traffic_cipher cipher,
                     struct direction *sending, struct direction *receiving)
{
    const EVP_MD *hash = SSL_CIPHER_get_handshake_digest(SSL_get_current_cipher(ssl));
    struct traffic_master master;
    int result;

    master.secret_size =
        SSL_SESSION_get_master_key(SSL_get_session(ssl), master.secret, sizeof master.secret);
    SSL_get_client_random(ssl, master.client_random, sizeof master.client_random);
    SSL_get_server_random(ssl, master.server_random, sizeof master.server_random);
    result = traffic_keys_12(hash, &master, cipher, &sending->keys, &receiving->keys);
    OPENSSL_cleanse(&master, sizeof master);
    memcpy(sending->nonce, watch->stream.head + SSL3_RT_HEADER_LENGTH, sizeof sending->nonce);
    add_one(sending->nonce, sizeof sending->nonce);
    memcpy(receiving->nonce, receiving->number, sizeof receiving->nonce);
    return result;
}

/* ---- the kernel's structs ---- */

static void write_number(unsigned char *bytes, uint64_t number)
{
    for (size_t i = NUMBER_SIZE; i-- > 0; number >>= 8)
        bytes[i] = (unsigned char)number;
}

/* What both sizes of AES-GCM have: a salt, and the nonce behind it. */
static void fill_aes_gcm(const struct direction *direction, unsigned char *salt, unsigned char *iv,
                         unsigned char *number)
{
    memcpy(salt, direction->keys.iv, TLS_CIPHER_AES_GCM_128_SALT_SIZE);
    memcpy(iv, direction->nonce, TLS_CIPHER_AES_GCM_128_IV_SIZE);
    memcpy(number, direction->number, NUMBER_SIZE);
}

/* Returns the size that goes with the cipher. */
static socklen_t fill(union kernel_crypto_info *into, uint16_t version, enum traffic_cipher cipher,
                      const struct direction *direction)
{
    into->info.version = version;
    switch (cipher) {
    case TRAFFIC_AES_128_GCM:
        into->info.cipher_type = TLS_CIPHER_AES_GCM_128;
        memcpy(into->aes_128.key, direction->keys.key, sizeof into->aes_128.key);
        fill_aes_gcm(direction, into->aes_128.salt, into->aes_128.iv, into->aes_128.rec_seq);
        return sizeof into->aes_128;
    case TRAFFIC_AES_256_GCM:
        into->info.cipher_type = TLS_CIPHER_AES_GCM_256;
        memcpy(into->aes_256.key, direction->keys.key, sizeof into->aes_256.key);
        fill_aes_gcm(direction, into->aes_256.salt, into->aes_256.iv, into->aes_256.rec_seq);
        return sizeof into->aes_256;
    default:
        into->info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
        memcpy(into->chacha.key, direction->keys.key, sizeof into->chacha.key);
        memcpy(into->chacha.iv, direction->keys.iv, sizeof into->chacha.iv);
        memcpy(into->chacha.rec_seq, direction->number, sizeof into->chacha.rec_seq);
        return sizeof into->chacha;
    }
}

int kernel_keys_make(SSL *ssl, struct kernel_keys *keys, struct kernel_tls_refusal *refusal)
{
    const struct kernel_watch *watch = kernel_watch_of(ssl);
    const uint16_t version = (uint16_t)SSL_version(ssl);
    struct direction sending, receiving;
    enum traffic_cipher cipher;
    int result = check_course(ssl, watch, refusal);

    if (result == 0)
        result = check_version(ssl, &cipher, refusal);
    if (result != 0)
        return result;
    write_number(sending.number, watch->sent.records);
    write_number(receiving.number, watch->received.records);
    if (version == TLS1_3_VERSION)
        result = derive_13(ssl, watch, cipher, &sending, &receiving);
    else
        result = derive_12(ssl, watch, cipher, &sending, &receiving);
    if (result == 0) {
        memset(keys, 0, sizeof *keys);
        keys->size = fill(&keys->sending, version, cipher, &sending);
        fill(&keys->receiving, version, cipher, &receiving);
    } else
        kernel_tls_refuse(refusal, -result, "OpenSSL does not derive the keys");
    OPENSSL_cleanse(&sending, sizeof sending);
    OPENSSL_cleanse(&receiving, sizeof receiving);
    return result;
}
