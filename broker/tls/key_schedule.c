/* SPDX-License-Identifier: MIT */
/* The keys of records: see key_schedule.h. */
#include "broker/tls/key_schedule.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <string.h>

/* The part of a nonce that the key block has for AES-GCM in TLS 1.2 (RFC 5288, 3). */
#define SALT_SIZE 4u

int traffic_cipher_of(const SSL_CIPHER *used, enum traffic_cipher *cipher)
{
    switch (used ? SSL_CIPHER_get_cipher_nid(used) : NID_undef) {
    case NID_aes_128_gcm:
        *cipher = TRAFFIC_AES_128_GCM;
        return 0;
    case NID_aes_256_gcm:
        *cipher = TRAFFIC_AES_256_GCM;
        return 0;
    case NID_chacha20_poly1305:
        *cipher = TRAFFIC_CHACHA20_POLY1305;
        return 0;
    default:
        return -ENOTSUP;
    }
}

static size_t key_size_of(enum traffic_cipher cipher)
{
    return cipher == TRAFFIC_AES_128_GCM ? 16 : 32;
}

/* Asks the function `name` for `size` bytes. */
static int derive(const char *name, const OSSL_PARAM *parameters, unsigned char *bytes, size_t size)
{
    EVP_KDF *function = EVP_KDF_fetch(NULL, name, NULL);
    EVP_KDF_CTX *context = function ? EVP_KDF_CTX_new(function) : NULL;
    int result = context && EVP_KDF_derive(context, bytes, size, parameters) == 1 ? 0 : -EIO;

    EVP_KDF_CTX_free(context);
    EVP_KDF_free(function);
    return result;
}

/* Parameters are not const, and are not changed. */
static OSSL_PARAM octets(const char *key, const void *bytes, size_t size)
{
    return OSSL_PARAM_construct_octet_string(key, (void *)(uintptr_t)bytes, size);
}

static OSSL_PARAM digest(const EVP_MD *hash)
{
    return OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                            (char *)(uintptr_t)EVP_MD_get0_name(hash), 0);
}

/* HKDF-Expand-Label(secret, label, "", size). */
static int expand_label(const EVP_MD *hash, const unsigned char *secret, size_t secret_size,
                        const char *label, unsigned char *bytes, size_t size)
{
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        digest(hash),
        octets(OSSL_KDF_PARAM_KEY, secret, secret_size),
        octets(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6),
        octets(OSSL_KDF_PARAM_LABEL, label, strlen(label)),
        OSSL_PARAM_construct_end(),
    };

    return derive(OSSL_KDF_NAME_TLS1_3_KDF, parameters, bytes, size);
}

int traffic_keys_13(const EVP_MD *hash, const unsigned char *secret, size_t secret_size,
                    enum traffic_cipher cipher, struct traffic_keys *keys)
{
    int result = expand_label(hash, secret, secret_size, "key", keys->key, key_size_of(cipher));

    if (result == 0)
        result = expand_label(hash, secret, secret_size, "iv", keys->iv, sizeof keys->iv);
    return result;
}

/* Takes `size` bytes off the front of the block. */
static void cut(const unsigned char **block, void *into, size_t size)
{
    memcpy(into, *block, size);
    *block += size;
}

int traffic_keys_12(const EVP_MD *hash, const struct traffic_master *master,
                    enum traffic_cipher cipher, struct traffic_keys *client,
                    struct traffic_keys *server)
{
    const size_t key_size = key_size_of(cipher);
    const size_t iv_size = cipher == TRAFFIC_CHACHA20_POLY1305 ? TRAFFIC_IV_SIZE : SALT_SIZE;
    unsigned char block[2 * (TRAFFIC_KEY_MAX + TRAFFIC_IV_SIZE)];
    const unsigned char *next = block;
    const OSSL_PARAM parameters[] = {
        digest(hash),
        octets(OSSL_KDF_PARAM_SECRET, master->secret, master->secret_size),
        /* Seeds are put together in this order: of a key block, the server's random comes first. */
        octets(OSSL_KDF_PARAM_SEED, "key expansion", 13),
        octets(OSSL_KDF_PARAM_SEED, master->server_random, sizeof master->server_random),
        octets(OSSL_KDF_PARAM_SEED, master->client_random, sizeof master->client_random),
        OSSL_PARAM_construct_end(),
    };
    int result = derive(OSSL_KDF_NAME_TLS1_PRF, parameters, block, 2 * (key_size + iv_size));

    memset(client->iv, 0, sizeof client->iv);
    memset(server->iv, 0, sizeof server->iv);
    if (result == 0) {
        cut(&next, client->key, key_size);
        cut(&next, server->key, key_size);
        cut(&next, client->iv, iv_size);
        cut(&next, server->iv, iv_size);
    }
    OPENSSL_cleanse(block, sizeof block);
    return result;
}
