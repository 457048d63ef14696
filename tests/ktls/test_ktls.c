/* SPDX-License-Identifier: MIT */
/*
 * Pools of a real broker whose connections the kernel has: what workers do on them, how they are
 * taken back, and what is left of their keys in the broker. Skipped where this kernel has no TLS;
 * tests/ktls/machine.sh boots one that has.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "broker/testbed/certificates.h"
#include "lendis_hiredis.h"
#include "tests/support/fixture.h"

#define LIMIT_MS      30000
#define WORKERS       6
#define COMMANDS      50
#define SOL_TLS_LEVEL 282
#define LARGE         (3u << 20)
#define PIECE         (1u << 20)

static struct fixture fixture;
static struct lendis_pool *worker;

static int end(void **state)
{
    (void)state;
    lendis_detach(worker);
    worker = NULL;
    fixture_end(&fixture);
    return 0;
}

/* ---- what is started ---- */

static void start_server(void)
{
    fixture.redis = (struct redis_server){.tls = certificate_of_testbed()};
    redis_start(&fixture.redis);
}

static void start_broker(const char *mode, const char *more)
{
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\ntls_ca_file = %s\ntls_mode = %s\nsize = 2\nmin_idle = 2\n"
                  "max_idle = 2\n%s",
                  fixture.redis.tls_url, certificate_of_testbed()->file, mode, more);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    worker = pool_attach(&fixture.broker, "p");
}

static void stop_broker(void)
{
    lendis_detach(worker);
    worker = NULL;
    observer_close(&fixture.observer);
    fixture.observer = (struct observer){0};
    assert_int_equal(lendisd_stop(&fixture.broker), 0);
}

/* ---- what is seen ---- */

static bool shows(const char *name)
{
    const char *argv[] = {built_program("lendisctl"),
                          "--socket",
                          fixture.broker.socket_path,
                          "show",
                          "connections",
                          NULL};
    char output[8192];

    assert_int_equal(program_run(argv, output, sizeof output, LIMIT_MS), 0);
    return strstr(output, name) != NULL;
}

static void expect_type(redisReply *reply, int type)
{
    const char *text = NULL;

    if (!reply) {
        lendis_pool_error(worker, &text);
        fail_msg("no reply: %s", text);
    }
    if (reply->type != type)
        fail_msg("%s", reply->str ? reply->str : "another reply");
    freeReplyObject(reply);
}

static void expect_large(void)
{
    char *large = malloc(LARGE);
    redisReply *reply;

    assert_non_null(large);
    for (size_t i = 0; i < LARGE; i++)
        large[i] = (char)(i * 31 >> 3);
    expect_type(lendis_command(worker, "SET large %b", large, (size_t)LARGE), REDIS_REPLY_STATUS);
    reply = lendis_command(worker, "GET large");
    assert_non_null(reply);
    assert_int_equal(reply->len, LARGE);
    assert_memory_equal(reply->str, large, LARGE);
    freeReplyObject(reply);
    free(large);
}

static void expect_works(void)
{
    for (int i = 0; i < 100; i++)
        expect_type(lendis_command(worker, "PING"), REDIS_REPLY_STATUS);
    expect_large();
}

/* ---- cases ---- */

static void each_cipher_and_version_is_the_kernels(void **state)
{
    static const char *const lines[] = {
        "tls_max_version = 1.2\ntls_ciphers = ECDHE-ECDSA-AES128-GCM-SHA256\n",
        "tls_max_version = 1.2\ntls_ciphers = ECDHE-ECDSA-AES256-GCM-SHA384\n",
        "tls_max_version = 1.2\ntls_ciphers = ECDHE-ECDSA-CHACHA20-POLY1305\n",
        "tls_min_version = 1.3\ntls_ciphersuites = TLS_AES_128_GCM_SHA256\n",
        "tls_min_version = 1.3\ntls_ciphersuites = TLS_AES_256_GCM_SHA384\n",
        "tls_min_version = 1.3\ntls_ciphersuites = TLS_CHACHA20_POLY1305_SHA256\n",
    };

    (void)state;
    start_server();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        start_broker("ktls", lines[i]);
        assert_true(shows("ktls"));
        expect_works();
        stop_broker();
    }
}

static void what_the_kernel_cannot_goes_through_a_relay(void **state)
{
    (void)state;
    start_server();
    start_broker("auto", "tls_max_version = 1.2\ntls_ciphers = ECDHE-ECDSA-AES128-SHA256\n");
    assert_true(shows("relay"));
    assert_true(lendisd_logged(&fixture.broker,
                               "TLS by a relay, without kernel TLS for TLSv1.2 and "
                               "ECDHE-ECDSA-AES128-SHA256"));
    expect_works();
    stop_broker();
    start_broker("auto", "");
    assert_true(shows("ktls"));
}

/* A lease is given back with a reply that nobody read, or in the middle of a transaction: the next
 * holder sees nothing of it. */
static void a_connection_is_clean_again_for_the_next(void **state)
{
    static const char *const left[] = {"*1\r\n$4\r\nPING\r\n", "*1\r\n$5\r\nMULTI\r\n"};
    struct lendis_lease *lease;
    redisReply *reply;

    (void)state;
    start_server();
    start_broker("ktls", "");
    for (int i = 0; i < 20; i++) {
        const char *bytes = left[i % 2];

        assert_int_equal(lendis_acquire(worker, LIMIT_MS, &lease), 0);
        assert_int_equal(send(lendis_lease_fd(lease), bytes, strlen(bytes), MSG_NOSIGNAL),
                         strlen(bytes));
        lendis_release(lease);
        reply = lendis_command(worker, "INCR counter");
        assert_non_null(reply);
        assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
        assert_int_equal(reply->integer, i + 1);
        freeReplyObject(reply);
    }
}

/* Of a worker process: a key of its own, written and read. True: each reply was its own. */
static bool counts_for_itself(int number)
{
    struct lendis_pool *own = pool_attach(&fixture.broker, "p");
    bool right = true;

    for (int i = 1; i <= COMMANDS && right; i++) {
        redisReply *wrote = lendis_command(own, "SET own%d %d", number, number * COMMANDS + i);
        redisReply *read = lendis_command(own, "GET own%d", number);

        right = wrote && wrote->type == REDIS_REPLY_STATUS && read &&
                read->type == REDIS_REPLY_STRING && atoi(read->str) == number * COMMANDS + i;
        if (wrote)
            freeReplyObject(wrote);
        if (read)
            freeReplyObject(read);
    }
    lendis_detach(own);
    return right;
}

static void commands_are_handed_over(void **state)
{
    pid_t children[WORKERS];
    int status;

    (void)state;
    start_server();
    start_broker("ktls", "");
    for (int i = 0; i < WORKERS; i++) {
        children[i] = fork();
        if (children[i] == 0)
            _exit(counts_for_itself(i) ? 0 : 1);
        assert_true(children[i] > 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    assert_true(pool_counter(&fixture.observer, COUNTER_handed) > 0);
}

static void a_killed_connection_is_replaced(void **state)
{
    (void)state;
    start_server();
    start_broker("ktls", "");
    for (int i = 0; i < 3; i++) {
        freeReplyObject(redis_do(&fixture.redis, "CLIENT KILL TYPE normal"));
        assert_true(eventually(words_in(&fixture.observer, WORD_IDLE) == 2, LIMIT_MS));
        expect_type(lendis_command(worker, "PING"), REDIS_REPLY_STATUS);
    }
    assert_true(shows("ktls"));
}

static void a_lease_that_is_too_old_is_revoked(void **state)
{
    struct lendis_lease *lease;
    char byte;

    (void)state;
    start_server();
    start_broker("ktls", "lease_timeout = 2s\n");
    assert_int_equal(lendis_acquire(worker, LIMIT_MS, &lease), 0);
    assert_true(recv(lendis_lease_fd(lease), &byte, 1, 0) <= 0);
    lendis_release(lease);
    assert_true(eventually(words_in(&fixture.observer, WORD_IDLE) == 2, LIMIT_MS));
    expect_type(lendis_command(worker, "PING"), REDIS_REPLY_STATUS);
}

/* ---- keys ---- */

static bool memory_has(pid_t pid, const unsigned char *bytes, size_t size)
{
    char path[64], line[512];
    unsigned char *piece = malloc(PIECE);
    unsigned long from, to;
    bool found = false;
    FILE *maps;
    int memory;

    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    maps = fopen(path, "re");
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    memory = open(path, O_RDONLY | O_CLOEXEC);
    assert_non_null(maps);
    assert_true(memory >= 0);
    while (!found && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx rw", &from, &to) != 2)
            continue;
        for (; !found && from < to; from += PIECE - size) {
            size_t part = to - from < PIECE ? to - from : PIECE;
            ssize_t got = pread(memory, piece, part, (off_t)from);

            found = got > 0 && memmem(piece, (size_t)got, bytes, size) != NULL;
        }
    }
    fclose(maps);
    close(memory);
    free(piece);
    return found;
}

/* The holder can read the keys of its session; the broker has kept none. (That the search finds
 * what is there is shown on ourselves.) */
static void the_broker_keeps_no_keys(void **state)
{
    struct tls12_crypto_info_aes_gcm_256 keys;
    socklen_t size = sizeof keys;
    struct lendis_lease *lease;
    int directions[] = {TLS_TX, TLS_RX};

    (void)state;
    start_server();
    start_broker("ktls", "tls_min_version = 1.3\ntls_ciphersuites = TLS_AES_256_GCM_SHA384\n");
    assert_int_equal(lendis_acquire(worker, LIMIT_MS, &lease), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(
            getsockopt(lendis_lease_fd(lease), SOL_TLS_LEVEL, directions[i], &keys, &size), 0);
        assert_true(memory_has(getpid(), keys.key, sizeof keys.key));
        assert_false(memory_has(fixture.broker.pid, keys.key, sizeof keys.key));
    }
    lendis_release(lease);
}

static bool kernel_has_tls(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 1) == 0 &&
               getsockname(listener, (struct sockaddr *)&address, &size) == 0 &&
               connect(client, (struct sockaddr *)&address, size) == 0 &&
               setsockopt(client, IPPROTO_TCP, TCP_ULP, "tls", 3) == 0;

    close(listener);
    close(client);
    return has;
}

#define TEST(name) cmocka_unit_test_teardown(name, end)

int main(void)
{
    const char *filter = getenv("KTLS_FILTER"); /* a pattern of names */
    const struct CMUnitTest tests[] = {
        TEST(each_cipher_and_version_is_the_kernels),
        TEST(what_the_kernel_cannot_goes_through_a_relay),
        TEST(a_connection_is_clean_again_for_the_next),
        TEST(commands_are_handed_over),
        TEST(a_killed_connection_is_replaced),
        TEST(a_lease_that_is_too_old_is_revoked),
        TEST(the_broker_keeps_no_keys),
    };

    if (!kernel_has_tls()) {
        printf("# skipped: this kernel has no TLS (make ktls boots one that has)\n");
        return 77;
    }
    if (filter)
        cmocka_set_test_filter(filter);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
