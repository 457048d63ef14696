/* SPDX-License-Identifier: MIT */
/*
 * The keys of a connection as the kernel wants them (<linux/tls.h>): each cipher's struct, of its
 * size, with the number of the next record and, in TLS 1.2 with AES-GCM, a nonce that was not used.
 */
#ifndef LENDIS_BROKER_KERNEL_KEYS_H
#define LENDIS_BROKER_KERNEL_KEYS_H

#include <linux/tls.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include "broker/tls/kernel_tls.h"

union kernel_crypto_info {
    struct tls_crypto_info info;
    struct tls12_crypto_info_aes_gcm_128 aes_128;
    struct tls12_crypto_info_aes_gcm_256 aes_256;
    struct tls12_crypto_info_chacha20_poly1305 chacha;
};

struct kernel_keys {
    union kernel_crypto_info sending, receiving;
    socklen_t size; /* of each */
};

/* Results: as kernel_tls_install(). Whoever gets keys wipes them. */
int kernel_keys_make(SSL *ssl, struct kernel_keys *keys, struct kernel_tls_refusal *refusal);

/* Fills in a refusal; returns -error. */
int kernel_tls_refuse(struct kernel_tls_refusal *refusal, int error, const char *reason);

#endif
