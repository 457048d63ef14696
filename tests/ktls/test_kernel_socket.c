/* SPDX-License-Identifier: MIT */
/*
 * Connections of a real kernel's TLS, with a server of OpenSSL at the other end that does what is
 * asked of it: what the holder of the descriptor reads and writes, and what it sees when the peer
 * says goodbye, changes its keys or sends something else than data. Where this kernel has no TLS
 * all is skipped; tests/ktls/machine.sh boots one that has.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "broker/tls/kernel_keys.h"
#include "broker/tls/kernel_tls.h"
#include "broker/tls/kernel_watch.h"
#include "tests/support/tls_pair.h"

#define SOL_TLS_LEVEL 282
#define LIMIT_S       20
#define ROUNDS        60
#define MESSAGE_MAX   40000u /* fits into the buffers of a socket */

static const struct {
    int version;
    const char *cipher;
} courses[] = {
    {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384"},
    {TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"},
    {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384"},
    {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256"},
};
#define COURSES (sizeof courses / sizeof *courses)

static struct tls_pair pair;
static int ours = -1, theirs = -1; /* the client's socket, the server's */
static unsigned char message[MESSAGE_MAX], got[MESSAGE_MAX];

/* ---- two ends of TCP ---- */

static void connect_sockets(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval limit = {.tv_sec = LIMIT_S};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&address, &size);
    ours = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(ours, (struct sockaddr *)&address, size), 0);
    theirs = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(theirs >= 0);
    close(listener);
    setsockopt(ours, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(theirs, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

static void set_blocking(int fd, bool blocking)
{
    assert_int_equal(fcntl(fd, F_SETFL, blocking ? 0 : O_NONBLOCK), 0);
}

/* A connection whose handshake and first exchange are OpenSSL's. */
static void connect_course(int version, const char *cipher)
{
    tls_pair_make(&pair, version, cipher);
    connect_sockets();
    set_blocking(ours, false);
    set_blocking(theirs, false);
    assert_int_equal(SSL_set_fd(pair.client, ours), 1);
    assert_int_equal(SSL_set_fd(pair.server, theirs), 1);
    assert_int_equal(kernel_tls_watch(pair.client), 0);
    tls_pair_shake_hands(&pair);
    tls_pair_carry(pair.client, pair.server, (const unsigned char *)"PING", 4);
    tls_pair_carry(pair.server, pair.client, (const unsigned char *)"PONG", 4);
}

/* The kernel's from now on. */
static void connect_kernel(int version, const char *cipher)
{
    struct kernel_tls_refusal refusal = {.reason = ""};
    int result;

    connect_course(version, cipher);
    result = kernel_tls_install(pair.client, ours, &refusal);
    if (result != 0)
        fail_msg("%s", refusal.reason);
    set_blocking(ours, true);
    set_blocking(theirs, true);
}

static void connect_13(void)
{
    connect_kernel(TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256");
}

static int end(void **state)
{
    (void)state;
    tls_pair_end(&pair);
    close(ours);
    close(theirs);
    ours = theirs = -1;
    return 0;
}

/* ---- a holder ---- */

static void we_say(const unsigned char *bytes, size_t size)
{
    assert_int_equal(send(ours, bytes, size, MSG_NOSIGNAL), size);
    tls_pair_expect(pair.server, bytes, size);
}

static void they_say(const unsigned char *bytes, size_t size)
{
    assert_int_equal(SSL_write(pair.server, bytes, (int)size), (int)size);
    assert_int_equal(recv(ours, got, size, MSG_WAITALL), size);
    assert_memory_equal(got, bytes, size);
}

static ssize_t look(void)
{
    return recv(ours, got, 1, MSG_PEEK | MSG_DONTWAIT);
}

/* What was sent is on its way for a moment. */
static void has_unread(void)
{
    assert_int_equal(poll(&(struct pollfd){.fd = ours, .events = POLLIN}, 1, LIMIT_S * 1000), 1);
    assert_int_equal(look(), 1);
}

static void is_silent(void)
{
    assert_int_equal(look(), -1);
    assert_int_equal(errno, EAGAIN);
}

/* Whatever it is that reading says: it is no data, and it stays so. */
static void is_lost(void)
{
    for (int i = 0; i < 3; i++) {
        ssize_t result = recv(ours, got, sizeof got, 0);

        assert_true(result <= 0);
        assert_true(result == 0 || (errno != EAGAIN && errno != EINTR));
    }
    assert_false(look() > 0);
}

/* ---- cases ---- */

static void any_sizes_pass_in_both_directions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof message; i++)
        message[i] = (unsigned char)random();
    for (size_t i = 0; i < COURSES; i++) {
        connect_kernel(courses[i].version, courses[i].cipher);
        for (int round = 0; round < ROUNDS; round++) {
            size_t limit = round % 4 == 0 ? MESSAGE_MAX : 100;

            we_say(message, 1 + (size_t)random() % limit);
            they_say(message, 1 + (size_t)random() % limit);
        }
        is_silent();
        end(NULL);
    }
}

/* A first session has its ticket read by OpenSSL; the second one resumes it. */
static void a_resumed_session_passes_as_well(void **state)
{
    struct kernel_tls_refusal refusal;
    SSL_SESSION *session;

    (void)state;
    connect_course(TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384");
    session = SSL_get1_session(pair.client);
    close(ours);
    close(theirs);
    connect_sockets();
    set_blocking(ours, false);
    set_blocking(theirs, false);
    tls_pair_renew(&pair, session);
    SSL_SESSION_free(session);
    SSL_set_fd(pair.client, ours);
    SSL_set_fd(pair.server, theirs);
    assert_int_equal(kernel_tls_watch(pair.client), 0);
    tls_pair_shake_hands(&pair);
    assert_true(SSL_session_reused(pair.client));
    tls_pair_carry(pair.client, pair.server, (const unsigned char *)"PING", 4);
    tls_pair_carry(pair.server, pair.client, (const unsigned char *)"PONG", 4);
    assert_int_equal(kernel_tls_install(pair.client, ours, &refusal), 0);
    set_blocking(ours, true);
    we_say((const unsigned char *)"GET x", 5);
    they_say((const unsigned char *)"value", 5);
}

static void unread_bytes_are_seen_by_looking_at_one(void **state)
{
    (void)state;
    for (size_t i = 0; i < COURSES; i++) {
        connect_kernel(courses[i].version, courses[i].cipher);
        is_silent();
        assert_int_equal(SSL_write(pair.server, "reply", 5), 5);
        has_unread();
        /* Once a record is decrypted, what is left of it is no longer TCP's. */
        assert_int_equal(recv(ours, got, 2, 0), 2);
        assert_int_equal(look(), 1);
        assert_int_equal(recv(ours, got, 3, 0), 3);
        is_silent();
        end(NULL);
    }
}

static void half_a_record_is_no_data_and_no_loss(void **state)
{
    unsigned char *record;
    BIO *between = BIO_new(BIO_s_mem());
    long size;

    (void)state;
    connect_13();
    SSL_set0_wbio(pair.server, between);
    assert_int_equal(SSL_write(pair.server, "reply", 5), 5);
    size = BIO_get_mem_data(between, &record);
    assert_int_equal(send(theirs, record, 9, 0), 9);
    is_silent();
    assert_int_equal(send(theirs, record + 9, (size_t)size - 9, 0), size - 9);
    assert_int_equal(recv(ours, got, sizeof got, 0), 5);
    assert_memory_equal(got, "reply", 5);
}

static void goodbye_ends_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < COURSES; i++) {
        connect_kernel(courses[i].version, courses[i].cipher);
        SSL_shutdown(pair.server);
        is_lost();
        end(NULL);
    }
}

/* What came before it is read. */
static void a_reply_in_front_of_the_goodbye_is_whole(void **state)
{
    (void)state;
    connect_13();
    assert_int_equal(SSL_write(pair.server, "-ERR last", 9), 9);
    SSL_shutdown(pair.server);
    assert_int_equal(recv(ours, got, sizeof got, 0), 9);
    is_lost();
}

static void a_bare_fin_ends_it(void **state)
{
    (void)state;
    connect_13();
    shutdown(theirs, SHUT_WR);
    is_lost();
}

static void a_broken_record_ends_it(void **state)
{
    static const unsigned char garbage[40] = {23, 3, 3, 0, 35, 1, 2, 3};

    (void)state;
    for (size_t i = 0; i < COURSES; i++) {
        connect_kernel(courses[i].version, courses[i].cipher);
        assert_int_equal(send(theirs, garbage, sizeof garbage, 0), sizeof garbage);
        is_lost();
        end(NULL);
    }
}

static void updated_keys_end_it(void **state)
{
    (void)state;
    connect_13();
    assert_int_equal(SSL_key_update(pair.server, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    assert_int_equal(SSL_do_handshake(pair.server), 1);
    assert_int_equal(SSL_write(pair.server, "reply", 5), 5);
    is_lost();
}

static void a_late_ticket_ends_it(void **state)
{
    (void)state;
    connect_13();
    assert_int_equal(SSL_new_session_ticket(pair.server), 1);
    assert_int_equal(SSL_do_handshake(pair.server), 1);
    is_lost();
}

/* The broker's way to take a connection back: its own descriptor of the same socket. */
static void shutdown_revokes(void **state)
{
    int brokers;

    (void)state;
    for (size_t i = 0; i < COURSES; i++) {
        connect_kernel(courses[i].version, courses[i].cipher);
        brokers = fcntl(ours, F_DUPFD_CLOEXEC, 3);
        assert_int_equal(shutdown(brokers, SHUT_RDWR), 0);
        is_lost();
        /* Writing may seem to work; nothing arrives. */
        send(ours, "x", 1, MSG_NOSIGNAL);
        assert_int_equal(recv(theirs, got, sizeof got, 0), 0);
        is_lost();
        close(brokers);
        end(NULL);
    }
}

/* What lendisd(8) says of it. */
static void the_holder_can_read_this_sessions_keys(void **state)
{
    union kernel_crypto_info keys;
    socklen_t size = sizeof keys.aes_128;

    (void)state;
    connect_13();
    assert_int_equal(getsockopt(ours, SOL_TLS_LEVEL, TLS_TX, &keys, &size), 0);
    assert_int_equal(keys.info.version, TLS_1_3_VERSION);
    assert_int_equal(keys.info.cipher_type, TLS_CIPHER_AES_GCM_128);
}

static void a_peer_that_closes_before_is_told_apart(void **state)
{
    struct kernel_tls_refusal refusal;

    (void)state;
    connect_course(TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256");
    shutdown(theirs, SHUT_RDWR);
    assert_int_equal(poll(&(struct pollfd){.fd = ours, .events = POLLIN}, 1, LIMIT_S * 1000), 1);
    assert_int_equal(kernel_tls_install(pair.client, ours, &refusal), -ENOTCONN);
    assert_false(refusal.lasting);
    assert_false(refusal.spoiled);
}

static void what_the_kernel_does_not_get_stays_openssls(void **state)
{
    struct kernel_tls_refusal refusal;

    (void)state;
    connect_course(TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256");
    assert_int_equal(kernel_tls_install(pair.client, ours, &refusal), -ENOTSUP);
    tls_pair_carry(pair.client, pair.server, (const unsigned char *)"GET x", 5);
    tls_pair_carry(pair.server, pair.client, (const unsigned char *)"value", 5);
}

static bool kernel_has_tls(void)
{
    bool has;

    connect_sockets();
    has = setsockopt(ours, IPPROTO_TCP, TCP_ULP, "tls", 3) == 0;
    close(ours);
    close(theirs);
    return has;
}

#define TEST(name) cmocka_unit_test_teardown(name, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(any_sizes_pass_in_both_directions),
        TEST(a_resumed_session_passes_as_well),
        TEST(unread_bytes_are_seen_by_looking_at_one),
        TEST(half_a_record_is_no_data_and_no_loss),
        TEST(goodbye_ends_it),
        TEST(a_reply_in_front_of_the_goodbye_is_whole),
        TEST(a_bare_fin_ends_it),
        TEST(a_broken_record_ends_it),
        TEST(updated_keys_end_it),
        TEST(a_late_ticket_ends_it),
        TEST(shutdown_revokes),
        TEST(the_holder_can_read_this_sessions_keys),
        TEST(a_peer_that_closes_before_is_told_apart),
        TEST(what_the_kernel_does_not_get_stays_openssls),
    };

    if (!kernel_has_tls()) {
        printf("# skipped: this kernel has no TLS (make ktls boots one that has)\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
