/* SPDX-License-Identifier: MIT */
/* A record layer for the kernel's keys: see tls_records.h. */
#include "tests/support/tls_records.h"

#include <openssl/evp.h>
#include <string.h>

#define HEADER 5u
#define TAG    16u
#define NONCE  12u
#define DATA   23 /* application data */

/* What one record is sealed with. */
struct sealing {
    const EVP_CIPHER *cipher;
    const unsigned char *key;
    unsigned char nonce[NONCE];
    unsigned char more[13]; /* additional data */
    int more_size;
    size_t explicit; /* bytes of the nonce that are in the record */
    bool v13;
};

static unsigned char *number_of(union kernel_crypto_info *keys)
{
    switch (keys->info.cipher_type) {
    case TLS_CIPHER_AES_GCM_128:
        return keys->aes_128.rec_seq;
    case TLS_CIPHER_AES_GCM_256:
        return keys->aes_256.rec_seq;
    default:
        return keys->chacha.rec_seq;
    }
}

static void add_one(unsigned char *number)
{
    for (int i = 7; i >= 0 && ++number[i] == 0; i--)
        ;
}

static void set_aes(struct sealing *with, const EVP_CIPHER *cipher, const unsigned char *key,
                    const unsigned char salt[4], const unsigned char iv[8])
{
    with->cipher = cipher;
    with->key = key;
    with->explicit = with->v13 ? 0 : 8;
    memcpy(with->nonce, salt, 4);
    memcpy(with->nonce + 4, iv, 8);
}

static void begin(struct tls_records *records, struct sealing *with)
{
    union kernel_crypto_info *keys = &records->keys;
    const unsigned char *number = number_of(keys);

    *with = (struct sealing){.v13 = keys->info.version == TLS_1_3_VERSION};
    switch (keys->info.cipher_type) {
    case TLS_CIPHER_AES_GCM_128:
        set_aes(with, EVP_aes_128_gcm(), keys->aes_128.key, keys->aes_128.salt, keys->aes_128.iv);
        break;
    case TLS_CIPHER_AES_GCM_256:
        set_aes(with, EVP_aes_256_gcm(), keys->aes_256.key, keys->aes_256.salt, keys->aes_256.iv);
        break;
    default:
        with->cipher = EVP_chacha20_poly1305();
        with->key = keys->chacha.key;
        memcpy(with->nonce, keys->chacha.iv, NONCE);
    }
    for (size_t i = 0; with->explicit == 0 && i < 8; i++)
        with->nonce[4 + i] ^= number[i];
}

/* Additional data: the header, or in TLS 1.2 the number and a header with the size of the text. */
static void add_header(struct tls_records *records, struct sealing *with,
                       const unsigned char header[HEADER], size_t plain)
{
    unsigned char *at = with->more;

    if (!with->v13) {
        memcpy(at, number_of(&records->keys), 8);
        at += 8;
    }
    memcpy(at, header, HEADER);
    if (!with->v13) {
        at[3] = (unsigned char)(plain >> 8);
        at[4] = (unsigned char)plain;
    }
    with->more_size = (int)(at - with->more) + (int)HEADER;
}

static void go_on(struct tls_records *records, const struct sealing *with)
{
    union kernel_crypto_info *keys = &records->keys;

    add_one(number_of(keys));
    if (with->explicit > 0)
        add_one(keys->info.cipher_type == TLS_CIPHER_AES_GCM_128 ? keys->aes_128.iv
                                                                 : keys->aes_256.iv);
}

size_t records_seal(struct tls_records *records, const unsigned char *bytes, size_t size,
                    unsigned char record[RECORD_MAX])
{
    static const unsigned char type = DATA;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    struct sealing with;
    unsigned char *out;
    size_t body;
    int done, last = 0;

    begin(records, &with);
    body = with.explicit + size + with.v13 + TAG;
    memcpy(record, (unsigned char[]){DATA, 3, 3, (unsigned char)(body >> 8), (unsigned char)body},
           HEADER);
    memcpy(record + HEADER, with.nonce + 4, with.explicit);
    out = record + HEADER + with.explicit;
    add_header(records, &with, record, size);
    EVP_EncryptInit_ex(context, with.cipher, NULL, with.key, with.nonce);
    EVP_EncryptUpdate(context, NULL, &done, with.more, with.more_size);
    EVP_EncryptUpdate(context, out, &done, bytes, (int)size);
    if (with.v13)
        EVP_EncryptUpdate(context, out + done, &last, &type, 1);
    out += done + last;
    EVP_EncryptFinal_ex(context, out, &done);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG, out);
    EVP_CIPHER_CTX_free(context);
    go_on(records, &with);
    return HEADER + body;
}

/* Decrypts `size` bytes that are followed by their tag. */
static bool decrypt(const struct sealing *with, const unsigned char *in, size_t size,
                    unsigned char *out)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    unsigned char tag[TAG];
    int done;
    bool whole;

    memcpy(tag, in + size, TAG);
    EVP_DecryptInit_ex(context, with->cipher, NULL, with->key, with->nonce);
    EVP_DecryptUpdate(context, NULL, &done, with->more, with->more_size);
    EVP_DecryptUpdate(context, out, &done, in, (int)size);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG, tag);
    whole = EVP_DecryptFinal_ex(context, out + done, &done) == 1;
    EVP_CIPHER_CTX_free(context);
    return whole;
}

size_t records_open(struct tls_records *records, const unsigned char *record, size_t size,
                    unsigned char bytes[RECORD_MAX], size_t *got)
{
    struct sealing with;
    size_t body, plain;

    begin(records, &with);
    if (size < HEADER || record[0] != DATA)
        return 0;
    body = (size_t)(record[3] << 8 | record[4]);
    if (body < with.explicit + TAG || size < HEADER + body || HEADER + body > RECORD_MAX)
        return 0;
    plain = body - with.explicit - TAG;
    memcpy(with.nonce + NONCE - with.explicit, record + HEADER, with.explicit);
    add_header(records, &with, record, plain);
    if (!decrypt(&with, record + HEADER + with.explicit, plain, bytes))
        return 0;
    /* In TLS 1.3 the type comes last. */
    if (with.v13 && bytes[--plain] != DATA)
        return 0;
    *got = plain;
    go_on(records, &with);
    return HEADER + body;
}
