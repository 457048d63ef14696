/* SPDX-License-Identifier: MIT */
/*
 * The relay of TLS pools: slow readers on either side, revocation, workers and brokers that die,
 * and files that are renewed while it runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "broker/testbed/certificates.h"
#include "tests/support/fixture.h"

#define LIMIT_MS 15000
#define LARGE    (64u << 20)
/* How long a relay has at most when the worker's side has ended: broker/tls/relay.c. */
#define LEAVE_MS 10000

static struct fixture fixture;
static struct lendis_pool *worker, *other;
static struct certificate ca, as;

static int end(void **state)
{
    (void)state;
    lendis_detach(worker);
    lendis_detach(other);
    worker = other = NULL;
    redis_continue(&fixture.redis);
    fixture_end(&fixture);
    return 0;
}

static void start(unsigned size, const char *more)
{
    if (!fixture.redis.pid) {
        certificate_make_ca(&ca, "lendis test CA");
        certificate_make(&as, &ca, KEY_ECDSA, "IP:127.0.0.1", 1);
        fixture.redis = (struct redis_server){.tls = &as};
        redis_start(&fixture.redis);
    }
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\ntls_mode = relay\ntls_ca_file = %s\nsize = %u\n"
                  "min_idle = %u\n%s",
                  fixture.redis.tls_url, ca.file, size, size, more);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, size, LIMIT_MS));
    worker = pool_attach(&fixture.broker, "p");
    other = pool_attach(&fixture.broker, "p");
}

static struct catalog_pool entry(void)
{
    struct catalog_pool found;

    observe_pool(&fixture.observer, &found);
    return found;
}

static size_t broker_memory(void)
{
    struct smaps memory;

    assert_true(process_memory(fixture.broker.pid, &memory));
    return (size_t)memory.rss;
}

/* It keeps no more of what is under way than its buffers. (What is freed stays, with a
 * sanitizer.) */
static void expect_little_memory(size_t before)
{
#ifdef __SANITIZE_ADDRESS__
    (void)before;
#else
    assert_true(broker_memory() < before + (2u << 20));
#endif
}

static void expect_pong(struct lendis_pool *pool)
{
    redisReply *reply = lendis_command(pool, "PING");

    if (!reply)
        fail_msg("no reply: %s", lendis_strerror(lendis_pool_error(NULL, NULL)));
    assert_string_equal(reply->str, "PONG");
    freeReplyObject(reply);
}

static bool has_reply(struct lendis_pool *pool)
{
    redisReply *reply = lendis_command(pool, "PING");

    freeReplyObject(reply);
    return reply != NULL;
}

static struct lendis_lease *take(struct lendis_pool *pool)
{
    struct lendis_lease *lease = NULL;

    assert_int_equal(lendis_acquire(pool, LIMIT_MS, &lease), 0);
    return lease;
}

/* ---- who is slow ---- */

/* A worker that does not read holds up nobody, and its reply stays where it is: at the server. */
static void a_worker_that_does_not_read(void **state)
{
    static const char get[] = "*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\n";
    struct lendis_lease *lease;
    size_t before, got = 0;
    char *data;
    int fd;

    (void)state;
    start(2, "");
    freeReplyObject(redis_do(&fixture.redis, "SETRANGE large %u x", LARGE - 1));
    before = broker_memory();
    lease = take(worker);
    fd = lendis_lease_fd(lease);
    assert_int_equal(send(fd, get, sizeof get - 1, MSG_NOSIGNAL), sizeof get - 1);
    for (int i = 0; i < 200; i++)
        expect_pong(other);
    expect_little_memory(before);
    data = malloc(LARGE + 32);
    assert_non_null(data);
    while (got < LARGE + 13) {
        ssize_t part = recv(fd, data + got, LARGE + 32 - got, 0);

        assert_true(part > 0 || (part < 0 && (errno == EAGAIN || errno == EINTR)));
        got += part > 0 ? (size_t)part : 0;
    }
    assert_int_equal(got, LARGE + 13); /* $67108864, its end, and the value's */
    assert_memory_equal(data, "$67108864\r\n", 11);
    assert_int_equal(data[11 + LARGE - 1], 'x');
    free(data);
    assert_int_equal(lendis_release(lease), 0);
}

/* A server that does not read: what a worker sends comes to a halt. */
static void a_server_that_does_not_read(void **state)
{
    static const char head[] = "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$67108864\r\n";
    struct lendis_lease *lease;
    static char block[65536];
    size_t before, sent = 0;
    struct pollfd waited;

    (void)state;
    start(2, "stall_timeout = 60s\n");
    before = broker_memory();
    lease = take(worker);
    waited = (struct pollfd){.fd = lendis_lease_fd(lease), .events = POLLOUT};
    redis_pause(&fixture.redis);
    assert_int_equal(send(waited.fd, head, sizeof head - 1, MSG_NOSIGNAL), sizeof head - 1);
    while (sent < LARGE && poll(&waited, 1, 1000) == 1) {
        ssize_t part = send(waited.fd, block, sizeof block, MSG_NOSIGNAL | MSG_DONTWAIT);

        assert_true(part > 0 || errno == EAGAIN);
        sent += part > 0 ? (size_t)part : 0;
    }
    assert_true(sent < LARGE);
    expect_little_memory(before);
    redis_continue(&fixture.redis);
    while (sent < LARGE) {
        size_t left = LARGE - sent < sizeof block ? LARGE - sent : sizeof block;
        ssize_t part = send(waited.fd, block, left, MSG_NOSIGNAL);

        assert_true(part > 0);
        sent += (size_t)part;
    }
    assert_int_equal(send(waited.fd, "\r\n", 2, MSG_NOSIGNAL), 2);
    assert_true(recv(waited.fd, block, 5, MSG_WAITALL) == 5);
    assert_memory_equal(block, "+OK\r\n", 5);
    assert_int_equal(lendis_release(lease), 0);
}

/* ---- the end of a lease ---- */

static void a_lease_is_revoked(void **state)
{
    struct lendis_lease *lease;
    int64_t begin;
    char byte;
    ssize_t got;
    int before;

    (void)state;
    start(1, "lease_timeout = 300ms\n");
    before = count_fds(fixture.broker.pid);
    lease = take(worker);
    begin = now_ms();
    do
        got = recv(lendis_lease_fd(lease), &byte, 1, 0);
    while (got < 0 && (errno == EAGAIN || errno == EINTR) && now_ms() - begin < LIMIT_MS);
    assert_true(got <= 0);
    assert_true(now_ms() - begin < LIMIT_MS / 2);
    assert_int_equal(lendis_release(lease), LENDIS_E_REVOKED);
    expect_pong(other);
    /* The old connection is gone at the server, too, and its relay: not when its time is over. */
    assert_true(eventually(redis_info(&fixture.redis, "connected_clients") == 1, LEAVE_MS / 2));
    assert_true(eventually(count_fds(fixture.broker.pid) <= before, LEAVE_MS / 2));
}

static int hold_and_wait(void *unused, unsigned number)
{
    struct lendis_lease *lease;

    (void)unused;
    (void)number;
    worker = pool_attach(&fixture.broker, "p");
    if (lendis_acquire(worker, LIMIT_MS, &lease) != 0)
        return 1;
    freeReplyObject(lendis_lease_command(lease, "BLPOP nothing 0"));
    return 0;
}

static void a_holder_is_killed(void **state)
{
    pid_t holder;

    (void)state;
    start(1, "");
    lendis_detach(worker);
    worker = NULL;
    holder = fork();
    if (holder == 0)
        _exit(hold_and_wait(NULL, 0));
    assert_true(eventually(redis_info(&fixture.redis, "blocked_clients") == 1, LIMIT_MS));
    kill(holder, SIGKILL);
    expect_pong(other);
    assert_true(eventually(redis_info(&fixture.redis, "blocked_clients") == 0, LIMIT_MS));
    assert_true(eventually(redis_info(&fixture.redis, "connected_clients") == 1, LIMIT_MS));
    program_wait(holder, LIMIT_MS);
}

/* ---- the end of the broker ---- */

/* Nobody hangs: what was under way ends, and the next broker serves. */
static void the_broker_is_killed(void **state)
{
    struct lendis_lease *lease;
    char byte;
    ssize_t got;
    int64_t begin;

    (void)state;
    start(2, "");
    lease = take(worker);
    expect_pong(other);
    lendisd_kill(&fixture.broker);
    begin = now_ms();
    do
        got = recv(lendis_lease_fd(lease), &byte, 1, 0);
    while (got < 0 && (errno == EAGAIN || errno == EINTR) && now_ms() - begin < LIMIT_MS);
    assert_int_equal(got, 0);
    lendis_release(lease);
    lendisd_launch(&fixture.broker, true);
    assert_true(eventually(has_reply(other), LIMIT_MS));
    assert_true(eventually(has_reply(worker), LIMIT_MS));
    expect_pong(worker);
}

/* With a descriptor store: relayed connections are not in it. */
static void a_broker_takes_over(void **state)
{
    static const char *const arguments[] = {"--supervise", NULL};
    struct lendis_lease *lease;
    uint32_t before;

    (void)state;
    fixture.broker.arguments = arguments;
    start(2, "");
    lease = take(worker);
    before = fixture.observer.catalog.header->broker_pid;
    kill((pid_t)before, SIGKILL);
    assert_null(lendis_lease_command(lease, "PING"));
    lendis_release(lease);
    assert_true(eventually(has_reply(other), LIMIT_MS));
    assert_true(eventually(has_reply(worker), LIMIT_MS));
    expect_pong(worker);
    expect_pong(other);
    assert_true(eventually(redis_info(&fixture.redis, "connected_clients") == 2, LIMIT_MS));
}

/* ---- renewed files ---- */

static void copy_file(const char *from, const char *to, size_t most)
{
    char bytes[16384], path[TESTBED_PATH_SIZE + 8];
    FILE *in = fopen(from, "re"), *out;
    size_t size;

    assert_non_null(in);
    size = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    snprintf(path, sizeof path, "%s.new", to);
    out = fopen(path, "we");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, size < most ? size : most, out), size < most ? size : most);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(rename(path, to), 0);
}

/* It ends when all connections are replaced. */
static pid_t begin_to_reconnect(void)
{
    const char *argv[] = {
        built_program("lendisctl"), "--socket", fixture.broker.socket_path, "reconnect", "p", NULL};
    char log[TESTBED_PATH_SIZE];

    scratch_path(log, "reconnect.log");
    return program_start(argv, log, 0);
}

static void end_reconnecting(pid_t pid)
{
    assert_int_equal(program_wait(pid, LIMIT_MS), 0);
}

/* The server gets another certificate, of another CA. */
static void another_ca(void **state)
{
    struct certificate new_ca, renewed;
    uint64_t opened;
    pid_t reconnecting;

    (void)state;
    start(2, "dial_backoff_max = 100ms\n");
    certificate_make_ca(&new_ca, "the next CA");
    certificate_make(&renewed, &new_ca, KEY_ECDSA, "IP:127.0.0.1", 1);
    freeReplyObject(redis_do(&fixture.redis, "CONFIG SET tls-cert-file %s tls-key-file %s",
                             renewed.file, renewed.key_file));
    /* Half of it is there: what was there before goes on being used, and is told of once. */
    copy_file(new_ca.file, ca.file, 100);
    reconnecting = begin_to_reconnect();
    assert_true(lendisd_logged(&fixture.broker, "those from before stay in use"));
    assert_true(eventually(entry().dial_errors[DIAL_tls] >= 3, LIMIT_MS));
    assert_true(lendisd_silent_about(&fixture.broker, "more like this"));
    expect_pong(worker);
    opened = entry().counters[BROKER_COUNTER_opened];
    copy_file(new_ca.file, ca.file, SIZE_MAX);
    assert_true(lendisd_logged(&fixture.broker, "were renewed; new connections use them"));
    end_reconnecting(reconnecting);
    assert_true(entry().counters[BROKER_COUNTER_opened] >= opened + 2);
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    expect_pong(worker);
}

static void another_client_certificate(void **state)
{
    struct certificate client, renewed;
    char more[512];
    uint64_t before;

    (void)state;
    certificate_make_ca(&ca, "lendis test CA");
    certificate_make(&as, &ca, KEY_ECDSA, "IP:127.0.0.1", 1);
    certificate_make(&client, &ca, KEY_ECDSA, "DNS:client", 1);
    certificate_make(&renewed, &ca, KEY_RSA, "DNS:client", 100);
    fixture.redis = (struct redis_server){
        .tls = &as,
        .arguments = (const char *const[]){"--tls-auth-clients", "yes", "--tls-ca-cert-file",
                                           ca.file, NULL}};
    redis_start(&fixture.redis);
    snprintf(more, sizeof more, "tls_cert_file = %s\ntls_key_file = %s\n", client.file,
             client.key_file);
    start(2, more);
    assert_true(lendisd_logged(&fixture.broker, "renew it"));
    before = entry().certificate_expiry;
    assert_true(before > (uint64_t)time(NULL) && before < (uint64_t)time(NULL) + 2 * 86400);
    /* One file after the other. */
    copy_file(renewed.file, client.file, SIZE_MAX);
    end_reconnecting(begin_to_reconnect());
    assert_true(lendisd_logged(&fixture.broker, "is not the key of the certificate"));
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    copy_file(renewed.key_file, client.key_file, SIZE_MAX);
    end_reconnecting(begin_to_reconnect());
    assert_true(entry().certificate_expiry > before + 90 * 86400);
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    expect_pong(worker);
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(a_worker_that_does_not_read),
        TEST(a_server_that_does_not_read),
        TEST(a_lease_is_revoked),
        TEST(a_holder_is_killed),
        TEST(the_broker_is_killed),
        TEST(a_broker_takes_over),
        TEST(another_ca),
        TEST(another_client_certificate),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}
