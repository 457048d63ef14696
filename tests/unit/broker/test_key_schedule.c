/* SPDX-License-Identifier: MIT */
/*
 * The keys that the kernel is given, against OpenSSL and without a kernel: what OpenSSL seals after
 * any course of a connection is opened with them, and what is sealed with them OpenSSL opens, in
 * both directions. The record layer between is the test's own (tests/support/tls_records.h).
 *
 * The courses are random; KEY_SCHEDULE_SEED=N makes the same ones again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "broker/tls/kernel_keys.h"
#include "broker/tls/kernel_watch.h"
#include "broker/tls/key_schedule.h"
#include "tests/support/tls_pair.h"
#include "tests/support/tls_records.h"

#define ROUNDS       12
#define MESSAGES_MAX 6
#define MESSAGE_MAX  40000u /* three records */

struct course {
    int version;
    const char *cipher;
};

static const struct course courses[] = {
    {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384"},
    {TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"},
    {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384"},
    {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256"},
};
#define COURSES (sizeof courses / sizeof *courses)

static unsigned char message[MESSAGE_MAX];
static struct tls_pair pair;

static size_t below(size_t limit)
{
    return (size_t)random() % limit;
}

/* Mostly small, as requests are. */
static size_t some_bytes(void)
{
    size_t size = 1 + below(below(4) == 0 ? MESSAGE_MAX : 100);

    for (size_t i = 0; i < size; i++)
        message[i] = (unsigned char)random();
    return size;
}

/* Reads what is no data: tickets. */
static void take_tickets(void)
{
    char byte;

    assert_int_equal(SSL_read(pair.client, &byte, 1), -1);
    assert_int_equal(SSL_get_error(pair.client, -1), SSL_ERROR_WANT_READ);
}

static void send_ticket(void)
{
    if (SSL_version(pair.server) == TLS1_3_VERSION && SSL_new_session_ticket(pair.server) == 1)
        assert_int_equal(SSL_do_handshake(pair.server), 1);
}

static void live_a_little(void)
{
    for (size_t left = below(MESSAGES_MAX + 1); left > 0; left--) {
        switch (below(5)) {
        case 0:
            send_ticket();
            break;
        case 1:
        case 2:
            tls_pair_carry(pair.client, pair.server, message, some_bytes());
            break;
        default:
            tls_pair_carry(pair.server, pair.client, message, some_bytes());
        }
    }
    take_tickets();
}

static struct kernel_keys keys_now(void)
{
    struct kernel_tls_refusal refusal = {.reason = ""};
    struct kernel_keys keys;

    if (kernel_keys_make(pair.client, &keys, &refusal) != 0)
        fail_msg("%s", refusal.reason);
    return keys;
}

/* What `from` writes, taken from `between` and opened here. */
static void opens_here(SSL *from, BIO *between, const union kernel_crypto_info *keys)
{
    struct tls_records records = {*keys};
    size_t size = some_bytes(), have = 0, used = 0, got;
    unsigned char bytes[RECORD_MAX], *sealed;
    long all;

    assert_int_equal(SSL_write(from, message, (int)size), (int)size);
    all = BIO_get_mem_data(between, &sealed);
    while (used < (size_t)all) {
        size_t one = records_open(&records, sealed + used, (size_t)all - used, bytes, &got);

        assert_true(one > 0);
        assert_true(have + got <= size);
        assert_memory_equal(bytes, message + have, got);
        have += got;
        used += one;
    }
    assert_int_equal(have, size);
    assert_int_equal(BIO_reset(between), 1);
}

/* What is sealed here, put into `between` for `to`. */
static void opens_there(SSL *to, BIO *between, const union kernel_crypto_info *keys)
{
    struct tls_records records = {*keys};
    unsigned char record[RECORD_MAX];

    for (size_t left = 1 + below(4); left > 0; left--) {
        size_t size = some_bytes() % RECORD_PLAIN_MAX + 1;
        size_t all = records_seal(&records, message, size, record);

        assert_int_equal(BIO_write(between, record, (int)all), (int)all);
        tls_pair_expect(to, message, size);
    }
}

/* A nonce of AES-GCM in TLS 1.2 is OpenSSL's next one: it was never used. */
static void goes_on_with_nonces(const union kernel_crypto_info *keys)
{
    const unsigned char *nonce;
    unsigned char *sealed;

    if (keys->info.version != TLS_1_2_VERSION ||
        keys->info.cipher_type == TLS_CIPHER_CHACHA20_POLY1305)
        return;
    nonce = keys->info.cipher_type == TLS_CIPHER_AES_GCM_128 ? keys->aes_128.iv : keys->aes_256.iv;
    assert_true(BIO_get_mem_data(pair.to_server, &sealed) >= 5 + EXPLICIT_NONCE_SIZE);
    assert_memory_equal(sealed + 5, nonce, EXPLICIT_NONCE_SIZE);
}

static void check_keys(void)
{
    struct kernel_keys keys = keys_now();

    assert_int_equal(SSL_write(pair.client, message, 1), 1);
    goes_on_with_nonces(&keys.sending);
    assert_int_equal(BIO_reset(pair.to_server), 1);
    keys = keys_now();
    /* The peers' own counts move at one end only. */
    opens_here(pair.server, pair.to_client, &keys.receiving);
    keys = keys_now();
    opens_there(pair.client, pair.to_client, &keys.receiving);
    keys = keys_now();
    opens_here(pair.client, pair.to_server, &keys.sending);
}

/* Once the client has sealed nothing that the server does not have. */
static void check_sealing(void)
{
    struct kernel_keys keys = keys_now();

    opens_there(pair.server, pair.to_server, &keys.sending);
}

static void live(SSL_SESSION *session)
{
    tls_pair_renew(&pair, session);
    SSL_set_num_tickets(pair.server, below(4));
    assert_int_equal(kernel_tls_watch(pair.client), 0);
    tls_pair_shake_hands(&pair);
    assert_int_equal(SSL_session_reused(pair.client), session != NULL);
    live_a_little();
}

static void live_and_check(SSL_SESSION *session)
{
    live(session);
    check_sealing();
    live(session);
    check_keys();
}

static void a_course(const struct course *course)
{
    SSL_SESSION *session;

    tls_pair_make(&pair, course->version, course->cipher);
    /* A session for the rounds that resume one. */
    SSL_set_num_tickets(pair.server, 1);
    tls_pair_shake_hands(&pair);
    take_tickets();
    session = SSL_get1_session(pair.client);
    for (int i = 0; i < ROUNDS; i++) {
        live_and_check(NULL);
        live_and_check(session);
    }
    SSL_SESSION_free(session);
    tls_pair_end(&pair);
}

static void openssl_and_the_kernels_keys_understand_each_other(void **state)
{
    const char *given = getenv("KEY_SCHEDULE_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);

    (void)state;
    printf("# KEY_SCHEDULE_SEED=%u\n", seed);
    srandom(seed);
    for (size_t i = 0; i < COURSES; i++)
        a_course(&courses[i]);
}

/* RFC 8448, 3: the server's traffic secret, its key and its iv. */
static void tls_1_3_makes_the_keys_of_its_example(void **state)
{
    static const char secret[] = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";
    static const char key[] = "9f02283b6c9c07efc26bb9f2ac92e356", iv[] = "cf782b88dd83549aadf1e984";
    unsigned char from[32], wanted_key[16], wanted_iv[12];
    struct traffic_keys keys;
    size_t size;

    (void)state;
    assert_int_equal(OPENSSL_hexstr2buf_ex(from, sizeof from, &size, secret, '\0'), 1);
    assert_int_equal(OPENSSL_hexstr2buf_ex(wanted_key, 16, &size, key, '\0'), 1);
    assert_int_equal(OPENSSL_hexstr2buf_ex(wanted_iv, 12, &size, iv, '\0'), 1);
    assert_int_equal(traffic_keys_13(EVP_sha256(), from, sizeof from, TRAFFIC_AES_128_GCM, &keys),
                     0);
    assert_memory_equal(keys.key, wanted_key, 16);
    assert_memory_equal(keys.iv, wanted_iv, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openssl_and_the_kernels_keys_understand_each_other),
        cmocka_unit_test(tls_1_3_makes_the_keys_of_its_example),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
