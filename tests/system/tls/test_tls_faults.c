/* SPDX-License-Identifier: MIT */
/*
 * What goes wrong with TLS: servers that stall, end or talk nonsense in the handshake, and ends,
 * alerts, new keys and late tickets afterwards. A worker sees what it would see on a plain
 * connection, or nothing; nobody gets another's answer, and the pool recovers by itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "tests/support/fixture.h"
#include "tests/support/tls_server.h"

#define LIMIT_MS 15000

static struct fixture fixture;
static struct tls_server server;
static struct lendis_pool *worker;

static int end(void **state)
{
    (void)state;
    lendis_detach(worker);
    worker = NULL;
    tls_server_stop(&server);
    fixture_end(&fixture);
    return 0;
}

/* A server of this version (0: any), whose connections begin so, and a pool of `size`. */
static void start(int version, enum tls_start with, unsigned size, const char *more)
{
    redis_start(&fixture.redis);
    server = (struct tls_server){
        .as = certificate_of_testbed(), .backend = fixture.redis.socket_path, .version = version};
    tls_server_start(&server);
    atomic_store(&server.control->start, with);
    lendisd_start(&fixture.broker,
                  "log_level = debug\n[pool p]\nredis = %s\ntls_mode = relay\ntls_ca_file = %s\n"
                  "size = %u\nmin_idle = %u\nconnect_timeout = 1s\ndial_backoff_max = 100ms\n%s",
                  server.url, server.as->file, size, size, more);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
}

static struct catalog_pool entry(void)
{
    struct catalog_pool found;

    observe_pool(&fixture.observer, &found);
    return found;
}

/* Whoever noticed it first: the broker, or the worker. */
static uint64_t connections_closed(void)
{
    struct catalog_pool found = entry();

    return CATALOG_SUM(found.closed);
}

/* ---- handshakes that come to nothing ---- */

static void expect_no_connection(enum tls_start with, enum dial_reason reason, const char *text)
{
    start(0, with, 2, "");
    assert_true(eventually(entry().dial_errors[reason] >= 2, LIMIT_MS));
    if (!lendisd_logged(&fixture.broker, text))
        fail_msg("the log has no \"%s\"; the last error is: %s", text, entry().last_error);
    assert_int_equal(entry().counters[BROKER_COUNTER_opened], 0);
    /* And it goes on as soon as the server does. */
    atomic_store(&server.control->start, TLS_START_SERVE);
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    end(NULL);
}

static void handshakes_that_come_to_nothing(void **state)
{
    (void)state;
    expect_no_connection(TLS_START_SILENT, DIAL_timeout, "no answer to the TLS handshake");
    expect_no_connection(TLS_START_HALF, DIAL_timeout, "no answer to the TLS handshake");
    expect_no_connection(TLS_START_CLOSE, DIAL_closed,
                         "closed the connection in the TLS handshake");
    expect_no_connection(TLS_START_RESET, DIAL_closed, "Connection reset by peer");
    expect_no_connection(TLS_START_PLAIN, DIAL_tls, "does not speak TLS on this port");
    expect_no_connection(TLS_START_ENDLESS, DIAL_tls, "TLS: ");
}

/* Another pool is served as ever, while all of this one's dials stall. */
static void a_stalled_handshake_holds_nobody_up(void **state)
{
    char more[256];
    redisReply *reply;

    (void)state;
    snprintf(more, sizeof more, "[pool q]\nredis = unix:///%s\nsize = 1\n", "nowhere");
    redis_start(&fixture.redis);
    snprintf(more, sizeof more, "[pool q]\nredis = %s\nsize = 1\n", fixture.redis.unix_url);
    start(0, TLS_START_SILENT, 4, more);
    assert_true(eventually(atomic_load(&server.control->accepted) > 0, LIMIT_MS));
    worker = pool_attach(&fixture.broker, "q");
    for (int i = 0; i < 50; i++) {
        reply = lendis_command(worker, "PING");
        assert_non_null(reply);
        freeReplyObject(reply);
    }
}

/* ---- sessions ---- */

static void reconnect(void)
{
    const char *argv[] = {
        built_program("lendisctl"), "--socket", fixture.broker.socket_path, "reconnect", "p", NULL};
    char output[2048];

    assert_int_equal(program_run(argv, output, sizeof output, LIMIT_MS), 0);
}

static void expect_resumption(int version)
{
    unsigned served;

    start(version, TLS_START_SERVE, 4, "");
    assert_true(pool_fills(&fixture.observer, 4, LIMIT_MS));
    served = atomic_load(&server.control->served);
    reconnect();
    assert_true(eventually(atomic_load(&server.control->served) >= served + 4, LIMIT_MS));
    assert_true(pool_fills(&fixture.observer, 4, LIMIT_MS));
    assert_true(atomic_load(&server.control->resumed) >= 4);
    end(NULL);
}

static void sessions_are_resumed(void **state)
{
    (void)state;
    expect_resumption(TLS1_2_VERSION);
    expect_resumption(TLS1_3_VERSION);
}

/* ---- afterwards ---- */

static void expect_text(redisReply *reply, const char *text)
{
    if (!reply)
        fail_msg("no reply: %s", lendis_strerror(lendis_pool_error(NULL, NULL)));
    assert_string_equal(reply->str, text);
    freeReplyObject(reply);
}

/* A connection goes on as if nothing had been. */
static void expect_unnoticed(int version, enum tls_act what)
{
    start(version, TLS_START_SERVE, 1, "");
    assert_true(pool_fills(&fixture.observer, 1, LIMIT_MS));
    worker = pool_attach(&fixture.broker, "p");
    for (unsigned i = 0; i < 20; i++) {
        char value[32];

        atomic_store(&server.control->act, what);
        snprintf(value, sizeof value, "value %u", i);
        expect_text(lendis_command(worker, "SET key %s", value), "OK");
        expect_text(lendis_command(worker, "GET key"), value);
    }
    assert_true(atomic_load(&server.control->acted) >= 10);
    assert_int_equal(entry().closed[CLOSE_lost], 0);
    assert_int_equal(entry().counters[BROKER_COUNTER_opened], 1);
    end(NULL);
}

static void new_keys_and_late_tickets(void **state)
{
    (void)state;
    expect_unnoticed(TLS1_3_VERSION, TLS_ACT_KEY_UPDATE);
    expect_unnoticed(TLS1_3_VERSION, TLS_ACT_TICKETS);
}

/* The connection ends in place of an answer, or in the middle of one: the command fails, or was
 * sent again. The pool has another one. */
static void expect_end(int version, enum tls_act what)
{
    redisReply *reply;
    unsigned acted;

    start(version, TLS_START_SERVE, 1, "");
    assert_true(pool_fills(&fixture.observer, 1, LIMIT_MS));
    worker = pool_attach(&fixture.broker, "p");
    expect_text(lendis_command(worker, "SET key value"), "OK");
    acted = atomic_load(&server.control->acted);
    atomic_store(&server.control->act, what);
    reply = lendis_command(worker, "GET key");
    if (reply)
        expect_text(reply, "value");
    assert_int_equal(atomic_load(&server.control->acted), acted + 1);
    expect_text(lendis_command(worker, "GET key"), "value");
    assert_true(eventually(connections_closed() == 1, LIMIT_MS));
    assert_true(pool_fills(&fixture.observer, 1, LIMIT_MS));
    end(NULL);
}

static void ends(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

    (void)state;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        expect_end(versions[i], TLS_ACT_GOODBYE);
        expect_end(versions[i], TLS_ACT_FIN);
        expect_end(versions[i], TLS_ACT_CUT);
        expect_end(versions[i], TLS_ACT_ALERT);
        expect_end(versions[i], TLS_ACT_GARBAGE);
    }
}

static bool is_answered(void)
{
    redisReply *reply = lendis_command(worker, "GET key");
    bool answered = reply && reply->str && strcmp(reply->str, "value") == 0;

    freeReplyObject(reply);
    return answered;
}

/* It is refused, which an OpenSSL server does not put up with. */
static void another_handshake_in_the_middle(void **state)
{
    (void)state;
    start(TLS1_2_VERSION, TLS_START_SERVE, 1, "");
    assert_true(pool_fills(&fixture.observer, 1, LIMIT_MS));
    worker = pool_attach(&fixture.broker, "p");
    atomic_store(&server.control->act, TLS_ACT_RENEGOTIATE);
    expect_text(lendis_command(worker, "SET key value"), "OK");
    assert_true(eventually(is_answered(), LIMIT_MS));
    assert_true(eventually(connections_closed() == 1, LIMIT_MS));
    assert_true(eventually(is_answered(), LIMIT_MS));
}

/* Connections that we end are ended with a goodbye. */
static void a_goodbye_of_ours(void **state)
{
    (void)state;
    start(0, TLS_START_SERVE, 2, "");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    reconnect();
    assert_true(eventually(atomic_load(&server.control->goodbyes) >= 2, LIMIT_MS));
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    assert_int_equal(lendisd_stop(&fixture.broker), 0);
    assert_true(eventually(atomic_load(&server.control->goodbyes) >= 4, LIMIT_MS));
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(handshakes_that_come_to_nothing),
        TEST(a_stalled_handshake_holds_nobody_up),
        TEST(sessions_are_resumed),
        TEST(new_keys_and_late_tickets),
        TEST(ends),
        TEST(another_handshake_in_the_middle),
        TEST(a_goodbye_of_ours),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("tls_faults", tests, NULL, NULL);
}
