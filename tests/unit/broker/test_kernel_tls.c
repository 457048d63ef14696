/* SPDX-License-Identifier: MIT */
/*
 * Giving a connection to the kernel, with a kernel that the test plays: setsockopt(2) is the test's
 * own (ld, --wrap). What the kernel refuses, and what it is never asked, and whether OpenSSL can go
 * on afterwards. make ktls has a real kernel.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include "broker/tls/kernel_choice.h"
#include "broker/tls/kernel_tls.h"
#include "broker/tls/kernel_watch.h"
#include "tests/support/tls_pair.h"

#define SOL_TLS_LEVEL 282
#define FD            77 /* of no consequence */
#define CALLS_MAX     3

int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t size);

struct call {
    int level, option;
    socklen_t size;
};

/* What the kernel is asked, and what it answers: errno, or 0. */
static struct call calls[CALLS_MAX];
static size_t asked;
static int answers[CALLS_MAX];

static struct tls_pair pair;
static struct kernel_tls_refusal refusal;

int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t size)
{
    assert_int_equal(fd, FD);
    assert_non_null(value);
    assert_true(asked < CALLS_MAX);
    calls[asked] = (struct call){level, option, size};
    errno = answers[asked++];
    return errno == 0 ? 0 : -1;
}

/* A connection with its handshake behind it. */
static void connect_with(int version, const char *cipher)
{
    tls_pair_make(&pair, version, cipher);
    assert_int_equal(kernel_tls_watch(pair.client), 0);
    tls_pair_shake_hands(&pair);
    tls_pair_carry(pair.client, pair.server, (const unsigned char *)"PING", 4);
    tls_pair_carry(pair.server, pair.client, (const unsigned char *)"PONG", 4);
}

static void connect_13(void)
{
    connect_with(TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256");
}

static void kernel_says(int ulp, int sending, int receiving)
{
    asked = 0;
    answers[0] = ulp;
    answers[1] = sending;
    answers[2] = receiving;
}

static int begin(void **state)
{
    (void)state;
    kernel_says(0, 0, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    tls_pair_end(&pair);
    return 0;
}

static void install(int result, bool lasting, bool spoiled)
{
    refusal = (struct kernel_tls_refusal){.reason = ""};
    assert_int_equal(kernel_tls_install(pair.client, FD, &refusal), result);
    assert_int_equal(refusal.lasting, lasting);
    assert_int_equal(refusal.spoiled, spoiled);
    assert_int_equal(refusal.reason[0] != '\0', result != 0);
    assert_null(kernel_watch_of(pair.client));
}

static void openssl_goes_on(void)
{
    tls_pair_carry(pair.client, pair.server, (const unsigned char *)"GET x", 5);
    tls_pair_carry(pair.server, pair.client, (const unsigned char *)"value", 5);
}

/* Nothing of OpenSSL's reaches the peer, whatever it is asked for. */
static void openssl_is_silent(void)
{
    unsigned char *sent;

    assert_true(SSL_write(pair.client, "late", 4) <= 0);
    SSL_shutdown(pair.client);
    assert_int_equal(BIO_get_mem_data(pair.to_server, &sent), 0);
}

static void kernel_was_asked(size_t which, int level, int option, size_t size)
{
    assert_true(which < asked);
    assert_int_equal(calls[which].level, level);
    assert_int_equal(calls[which].option, option);
    assert_int_equal(calls[which].size, size);
}

static void gives(int version, const char *cipher, size_t size)
{
    kernel_says(0, 0, 0);
    connect_with(version, cipher);
    install(0, false, false);
    assert_int_equal(asked, 3);
    kernel_was_asked(0, IPPROTO_TCP, TCP_ULP, 3);
    kernel_was_asked(1, SOL_TLS_LEVEL, TLS_TX, size);
    kernel_was_asked(2, SOL_TLS_LEVEL, TLS_RX, size);
    openssl_is_silent();
    tls_pair_end(&pair);
}

/* Sizes as in <linux/tls.h>: version and cipher, iv, key, salt, number. */
static void the_kernel_gets_both_directions(void **state)
{
    (void)state;
    gives(TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", 4 + 8 + 16 + 4 + 8);
    gives(TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", 4 + 8 + 32 + 4 + 8);
    gives(TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", 4 + 12 + 32 + 8);
    gives(TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", 4 + 8 + 16 + 4 + 8);
    gives(TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", 4 + 8 + 32 + 4 + 8);
    gives(TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", 4 + 12 + 32 + 8);
}

static void without_the_module_openssl_goes_on(void **state)
{
    (void)state;
    connect_13();
    kernel_says(ENOENT, 0, 0);
    install(-ENOENT, true, false);
    assert_int_equal(asked, 1);
    assert_non_null(strstr(refusal.reason, "module tls"));
    openssl_goes_on();
}

static void a_peer_that_closes_in_between_says_nothing_about_the_kernel(void **state)
{
    (void)state;
    connect_13();
    kernel_says(ENOTCONN, 0, 0);
    install(-ENOTCONN, false, false);
    assert_int_equal(asked, 1);
}

static void keys_that_the_kernel_does_not_take_for_sending_leave_openssl_in_charge(void **state)
{
    (void)state;
    connect_13();
    kernel_says(0, EINVAL, 0);
    install(-EINVAL, true, false);
    assert_int_equal(asked, 2);
    openssl_goes_on();
}

static void memory_that_is_short_is_no_lasting_reason(void **state)
{
    (void)state;
    connect_13();
    kernel_says(0, ENOMEM, 0);
    install(-ENOMEM, false, false);
    openssl_goes_on();
}

static void keys_for_sending_alone_spoil_the_connection(void **state)
{
    (void)state;
    connect_13();
    kernel_says(0, 0, EINVAL);
    install(-EINVAL, true, true);
    openssl_is_silent();
}

static void other_ciphers_never_reach_the_kernel(void **state)
{
    static const char *const ciphers[] = {"ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-AES128-SHA256"};

    (void)state;
    for (size_t i = 0; i < sizeof ciphers / sizeof *ciphers; i++) {
        connect_with(TLS1_2_VERSION, ciphers[i]);
        install(-ENOTSUP, true, false);
        assert_non_null(strstr(refusal.reason, ciphers[i]));
        openssl_goes_on();
        tls_pair_end(&pair);
    }
    connect_with(TLS1_3_VERSION, "TLS_AES_128_CCM_SHA256");
    install(-ENOTSUP, true, false);
    openssl_goes_on();
    assert_int_equal(asked, 0);
}

static void half_a_record_in_openssl_is_waited_for(void **state)
{
    unsigned char record[64], got[16];
    int size;

    (void)state;
    connect_13();
    assert_int_equal(SSL_write(pair.server, "reply", 5), 5);
    size = BIO_read(pair.to_client, record, sizeof record);
    assert_true(size > 10);
    BIO_write(pair.to_client, record, 10);
    assert_int_equal(SSL_read(pair.client, got, sizeof got), -1);
    install(-EAGAIN, false, false);
    assert_int_equal(asked, 0);
    BIO_write(pair.to_client, record + 10, size - 10);
    tls_pair_expect(pair.client, (const unsigned char *)"reply", 5);
    openssl_goes_on();
}

static void bytes_that_nobody_has_read_stay_openssls(void **state)
{
    unsigned char got[2];

    (void)state;
    connect_13();
    assert_int_equal(SSL_write(pair.server, "reply", 5), 5);
    assert_int_equal(SSL_read(pair.client, got, 2), 2);
    install(-EAGAIN, false, false);
    tls_pair_expect(pair.client, (const unsigned char *)"ply", 3);
}

/* A BIO that is full for a while, in the way of what the client writes. */
static bool full;

static int put(BIO *bio, const char *bytes, int size)
{
    BIO_clear_retry_flags(bio);
    if (!full)
        return BIO_write(pair.to_server, bytes, size);
    BIO_set_retry_write(bio);
    return -1;
}

static long control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static void a_record_that_is_not_sent_is_waited_for(void **state)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "full");
    BIO *bio;

    (void)state;
    BIO_meth_set_write(method, put);
    BIO_meth_set_ctrl(method, control);
    bio = BIO_new(method);
    BIO_set_init(bio, 1);
    tls_pair_make(&pair, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256");
    BIO_up_ref(pair.to_server);
    SSL_set0_wbio(pair.client, bio);
    assert_int_equal(kernel_tls_watch(pair.client), 0);
    tls_pair_shake_hands(&pair);
    full = true;
    assert_int_equal(SSL_write(pair.client, "PING", 4), -1);
    install(-EAGAIN, false, false);
    assert_int_equal(asked, 0);
    full = false;
    tls_pair_carry(pair.client, pair.server, (const unsigned char *)"PING", 4);
    BIO_free(pair.to_server);
    tls_pair_end(&pair);
    BIO_meth_free(method);
}

static void updated_keys_are_not_given_to_the_kernel(void **state)
{
    unsigned char got[4];

    (void)state;
    connect_13();
    assert_int_equal(SSL_key_update(pair.server, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    assert_int_equal(SSL_do_handshake(pair.server), 1);
    assert_int_equal(SSL_read(pair.client, got, sizeof got), -1);
    install(-EKEYEXPIRED, false, false);
    assert_int_equal(asked, 0);
    openssl_goes_on();
}

static void a_second_handshake_is_not_given_to_the_kernel(void **state)
{
    unsigned char got[4];

    (void)state;
    connect_with(TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256");
    assert_int_equal(SSL_renegotiate(pair.client), 1);
    SSL_do_handshake(pair.client);
    SSL_read(pair.server, got, sizeof got);
    SSL_do_handshake(pair.client);
    SSL_read(pair.server, got, sizeof got);
    SSL_do_handshake(pair.client);
    assert_true(SSL_is_init_finished(pair.client));
    install(-EKEYEXPIRED, false, false);
    assert_int_equal(asked, 0);
    openssl_goes_on();
}

static void a_peer_that_has_said_goodbye_is_not_given_to_the_kernel(void **state)
{
    unsigned char got[4];

    (void)state;
    connect_13();
    SSL_shutdown(pair.server);
    assert_int_equal(SSL_read(pair.client, got, sizeof got), 0);
    install(-ENOTCONN, false, false);
    assert_int_equal(asked, 0);
}

static void what_was_not_watched_is_not_given_to_the_kernel(void **state)
{
    (void)state;
    tls_pair_make(&pair, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256");
    assert_int_equal(kernel_tls_watch(pair.server), -EINVAL);
    tls_pair_shake_hands(&pair);
    install(-EINVAL, false, false);
    assert_int_equal(kernel_tls_watch(pair.client), 0);
    assert_int_equal(kernel_tls_watch(pair.client), -EINVAL);
    install(-EINVAL, false, false);
    assert_int_equal(asked, 0);
    openssl_goes_on();
}

/* ---- which connections the kernel is asked to take ---- */

static struct kernel_choice choice;

static int ask(uint32_t mode, int version, const char *cipher)
{
    int result;

    asked = 0;
    connect_with(version, cipher);
    result = kernel_choice_ask(&choice, mode, pair.client, FD, &refusal);
    /* Whoever goes on with it carries no secrets along. */
    assert_null(kernel_watch_of(pair.client));
    tls_pair_end(&pair);
    return result;
}

static void a_kernel_without_tls_is_asked_once(void **state)
{
    (void)state;
    choice = (struct kernel_choice){0};
    kernel_says(ENOENT, 0, 0);
    assert_int_equal(ask(TLS_MODE_AUTO, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"), -ENOENT);
    assert_int_equal(asked, 1);
    assert_non_null(strstr(choice.notice, "module tls is not loaded"));
    assert_false(kernel_choice_may_ask(&choice, TLS_MODE_AUTO));
    choice.notice[0] = '\0';
    assert_int_equal(ask(TLS_MODE_AUTO, TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384"), -ENOTSUP);
    assert_int_equal(asked, 0);
    assert_string_equal(choice.notice, "");
}

static void each_cipher_that_it_cannot_is_asked_for_once(void **state)
{
    (void)state;
    choice = (struct kernel_choice){0};
    kernel_says(0, EINVAL, 0);
    assert_int_equal(ask(TLS_MODE_AUTO, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"), -EINVAL);
    assert_int_equal(asked, 2);
    assert_non_null(strstr(choice.notice, "TLSv1.3 and TLS_AES_128_GCM_SHA256"));
    assert_int_equal(ask(TLS_MODE_AUTO, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"), -ENOTSUP);
    assert_int_equal(asked, 0);
    /* As one that has TLS, and not the module of a cipher. */
    kernel_says(0, ENOENT, 0);
    assert_int_equal(ask(TLS_MODE_AUTO, TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256"), -ENOTSUP);
    kernel_says(0, 0, 0);
    assert_int_equal(ask(TLS_MODE_AUTO, TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384"), 0);
}

static void what_passes_is_asked_for_again(void **state)
{
    (void)state;
    choice = (struct kernel_choice){0};
    kernel_says(0, ENOMEM, 0);
    assert_int_equal(ask(TLS_MODE_AUTO, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"), -ENOMEM);
    assert_string_equal(choice.notice, "");
    kernel_says(0, 0, 0);
    assert_int_equal(ask(TLS_MODE_AUTO, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"), 0);
}

/* Who wants kernel TLS and nothing else is told each time, and it may have been loaded since. */
static void the_mode_decides_who_asks(void **state)
{
    (void)state;
    choice = (struct kernel_choice){0};
    kernel_says(ENOENT, 0, 0);
    assert_int_equal(ask(TLS_MODE_KTLS, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"), -ENOENT);
    assert_int_equal(ask(TLS_MODE_KTLS, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"), -ENOENT);
    assert_int_equal(asked, 1);
    assert_int_equal(ask(TLS_MODE_RELAY, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"), -ENOTSUP);
    assert_int_equal(asked, 0);
    assert_false(kernel_choice_may_ask(&choice, TLS_MODE_RELAY));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_kernel_gets_both_directions),
        TEST(without_the_module_openssl_goes_on),
        TEST(a_peer_that_closes_in_between_says_nothing_about_the_kernel),
        TEST(keys_that_the_kernel_does_not_take_for_sending_leave_openssl_in_charge),
        TEST(memory_that_is_short_is_no_lasting_reason),
        TEST(keys_for_sending_alone_spoil_the_connection),
        TEST(other_ciphers_never_reach_the_kernel),
        TEST(half_a_record_in_openssl_is_waited_for),
        TEST(bytes_that_nobody_has_read_stay_openssls),
        TEST(a_record_that_is_not_sent_is_waited_for),
        TEST(updated_keys_are_not_given_to_the_kernel),
        TEST(a_second_handshake_is_not_given_to_the_kernel),
        TEST(a_peer_that_has_said_goodbye_is_not_given_to_the_kernel),
        TEST(what_was_not_watched_is_not_given_to_the_kernel),
        TEST(a_kernel_without_tls_is_asked_once),
        TEST(each_cipher_that_it_cannot_is_asked_for_once),
        TEST(what_passes_is_asked_for_again),
        TEST(the_mode_decides_who_asks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
