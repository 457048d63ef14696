/* SPDX-License-Identifier: MIT */
/*
 * Servers, users and proxies that do not let the broker have all its commands: what is not needed
 * may be refused, or cost a connection; what is lost is reported; the pool works. And servers that
 * are none: a Sentinel, and answers without an end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "broker/testbed/internal.h"
#include "lendis/rights.h"
#include "tests/support/fixture.h"

#define LIMIT_MS 15000

static struct fixture fixture;
static pid_t proxy;

static int end(void **state)
{
    (void)state;
    if (proxy > 0)
        program_kill(proxy);
    proxy = 0;
    fixture_end(&fixture);
    return 0;
}

static void write_secret(char path[TESTBED_PATH_SIZE], const char *text)
{
    FILE *file;

    scratch_path(path, "secret");
    file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static uint32_t refused(void)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return entry.refused;
}

static uint64_t dial_errors(void)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return CATALOG_SUM(entry.dial_errors);
}

static uint64_t closed_for(enum close_reason reason)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return entry.closed[reason];
}

static uint64_t checked(void)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return entry.counters[BROKER_COUNTER_checks];
}

static void start_broker(const char *url, const char *more)
{
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = 2\nmin_idle = 2\n%s", url, more);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
}

static void expect_text(struct lendis_pool *pool, const char *command, int type, const char *text)
{
    redisReply *reply = lendis_command(pool, command);

    if (!reply)
        fail_msg("no reply: %s", lendis_strerror(lendis_pool_error(NULL, NULL)));
    assert_int_equal(reply->type, type);
    assert_string_equal(reply->str, text);
    freeReplyObject(reply);
}

/* The pool lends, keeps its connections over checks, and what is refused is as expected. */
static void expect_works(uint32_t expected)
{
    struct lendis_pool *pool;
    uint64_t before;
    char output[8192];
    const char *argv[] = {
        built_program("lendisctl"), "--socket", fixture.broker.socket_path, "show", "pools", NULL};

    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    pool = pool_attach(&fixture.broker, "p");
    expect_text(pool, "SET key value", REDIS_REPLY_STATUS, "OK");
    expect_text(pool, "GET key", REDIS_REPLY_STRING, "value");
    lendis_detach(pool);
    assert_int_equal(refused(), expected);
    /* Nothing of it was a failed dial. */
    assert_int_equal(dial_errors(), 0);
    before = checked();
    assert_true(eventually(checked() >= before + 4, LIMIT_MS));
    assert_int_equal(closed_for(CLOSE_check), 0);
    assert_int_equal(closed_for(CLOSE_lost), 0);
    assert_int_equal(program_run(argv, output, sizeof output, 10000), 0);
    assert_int_equal(strstr(output, "is refused") != NULL, expected != 0);
    assert_int_equal(strstr(output, "CLIENT SETNAME") != NULL, (expected & RIGHT_BIT(name)) != 0);
}

/* ---- users ---- */

static void a_user_with(const char *rights, uint32_t expected)
{
    char secret[TESTBED_PATH_SIZE], more[TESTBED_PATH_SIZE + 128], command[256];

    redis_start(&fixture.redis);
    snprintf(command, sizeof command, "ACL SETUSER app on >pw ~* %s", rights);
    freeReplyObject(redis_do(&fixture.redis, command));
    write_secret(secret, "pw\n");
    snprintf(more, sizeof more, "username = app\npassword_file = %s\ncheck_interval = 200ms\n",
             secret);
    start_broker(fixture.redis.unix_url, more);
    expect_works(expected);
}

static void a_user_with_get_and_set_alone(void **state)
{
    (void)state;
    a_user_with("+get +set", RIGHT_BIT(name) | RIGHT_BIT(ping) | RIGHT_BIT(command));
    assert_true(lendisd_logged(&fixture.broker, "refuses CLIENT SETNAME"));
    assert_true(lendisd_logged(&fixture.broker, "refuses PING"));
    assert_true(lendisd_logged(&fixture.broker, "refuses COMMAND"));
}

static void a_user_with_ping(void **state)
{
    (void)state;
    a_user_with("+get +set +ping", RIGHT_BIT(name) | RIGHT_BIT(command));
}

static void a_user_with_all(void **state)
{
    (void)state;
    a_user_with("+@all", 0);
    assert_true(lendisd_silent_about(&fixture.broker, "refuses"));
}

/* Asked again when the server may be another one: here it has come to its end meanwhile. */
static void a_right_that_is_granted_later(void **state)
{
    (void)state;
    a_user_with("+get +set +ping +command", RIGHT_BIT(name));
    redis_kill(&fixture.redis);
    redis_start(&fixture.redis);
    freeReplyObject(redis_do(&fixture.redis, "ACL SETUSER app on >pw ~* +@all"));
    assert_true(eventually(refused() == 0, LIMIT_MS));
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
}

/* What is needed is not done without. */
static void a_database_is_needed(void **state)
{
    char secret[TESTBED_PATH_SIZE], more[TESTBED_PATH_SIZE + 128], url[TESTBED_PATH_SIZE + 32];
    struct catalog_pool entry;

    (void)state;
    redis_start(&fixture.redis);
    freeReplyObject(redis_do(&fixture.redis, "ACL SETUSER app on >pw ~* +get +set"));
    write_secret(secret, "pw\n");
    snprintf(more, sizeof more, "username = app\npassword_file = %s\n", secret);
    snprintf(url, sizeof url, "unix://%s?db=3", fixture.redis.socket_path);
    start_broker(url, more);
    assert_true(eventually(dial_errors() > 0, LIMIT_MS));
    observe_pool(&fixture.observer, &entry);
    assert_int_equal(entry.backend, BACKEND_DOWN);
    assert_non_null(strstr(entry.last_error, "select"));
}

/* ---- servers and proxies ---- */

static void a_server_without_client(void **state)
{
    static const char *const arguments[] = {"--rename-command", "CLIENT", "", NULL};

    (void)state;
    fixture.redis.arguments = arguments;
    redis_start(&fixture.redis);
    start_broker(fixture.redis.unix_url, "check_interval = 200ms\n");
    expect_works(RIGHT_BIT(name));
}

/* It closes the connection at a command that it does not know. */
static void a_proxy_that_closes_the_connection(void **state)
{
    char config[TESTBED_PATH_SIZE], log[TESTBED_PATH_SIZE], program[256], url[64], stats[16];
    const char *argv[] = {program, "-c", config, "-s", stats, "-a", "127.0.0.1", NULL};
    int port, port_fd, stats_port, stats_fd;
    struct lendis_pool *pool;
    FILE *file;

    (void)state;
    if (!program_find("nutcracker", program, sizeof program))
        skip();
    fixture.redis.tcp = true;
    redis_start(&fixture.redis);
    port_fd = reserve_port(&port);
    stats_fd = reserve_port(&stats_port);
    snprintf(stats, sizeof stats, "%d", stats_port);
    scratch_path(config, "nutcracker.yml");
    scratch_path(log, "nutcracker.log");
    file = fopen(config, "we");
    assert_non_null(file);
    fprintf(file, "p:\n  listen: 127.0.0.1:%d\n  redis: true\n  servers:\n   - 127.0.0.1:%d:1\n",
            port, fixture.redis.port);
    assert_int_equal(fclose(file), 0);
    proxy = program_start(argv, log, 0);
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", port);
    start_broker(url, "check_interval = 200ms\ndial_backoff_min = 10ms\n");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    pool = pool_attach(&fixture.broker, "p");
    expect_text(pool, "SET key value", REDIS_REPLY_STATUS, "OK");
    lendis_detach(pool);
    assert_int_equal(refused() & RIGHT_BIT(name), RIGHT_BIT(name));
    assert_true(lendisd_logged(&fixture.broker, "closes the connection at CLIENT SETNAME"));
    assert_true(eventually(checked() >= 4, LIMIT_MS));
    assert_int_equal(closed_for(CLOSE_check), 0);
    assert_int_equal(closed_for(CLOSE_lost), 0);
    close(port_fd);
    close(stats_fd);
}

/* ---- what is no server for a pool ---- */

static bool says_sentinel(void)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return strstr(entry.last_error, "Sentinel") != NULL;
}

static void expect_sentinel(const char *url)
{
    uint64_t errors;

    start_broker(url, "connect_timeout = 1s\n");
    assert_true(eventually(says_sentinel(), LIMIT_MS));
    /* Not only the first time. */
    errors = dial_errors();
    assert_true(eventually(dial_errors() >= errors + 2, LIMIT_MS));
    assert_true(says_sentinel());
    assert_int_equal(words_in(&fixture.observer, WORD_IDLE), 0);
    assert_true(lendisd_logged(&fixture.broker, "cannot open"));
}

static void start_sentinel(int *port)
{
    char config[TESTBED_PATH_SIZE], log[TESTBED_PATH_SIZE], program[256];
    const char *argv[] = {program, config, "--sentinel", NULL};
    int port_fd = reserve_port(port);
    FILE *file;

    if (!program_find("redis-server", program, sizeof program))
        skip();
    scratch_path(config, "sentinel.conf");
    scratch_path(log, "sentinel.log");
    file = fopen(config, "we");
    assert_non_null(file);
    fprintf(file, "port %d\nbind 127.0.0.1\nprotected-mode no\ndir %s\n", *port,
            scratch_directory());
    assert_int_equal(fclose(file), 0);
    proxy = program_start(argv, log, 0);
    close(port_fd);
}

static void a_sentinel(void **state)
{
    char url[64];
    int port;

    (void)state;
    start_sentinel(&port);
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", port);
    expect_sentinel(url);
}

static void a_sentinel_with_a_database(void **state)
{
    char url[64];
    int port;

    (void)state;
    start_sentinel(&port);
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/2", port);
    expect_sentinel(url);
}

/* ---- answers without an end ---- */

static size_t resident(void)
{
    struct smaps memory;

    return process_memory(fixture.broker.pid, &memory) ? (size_t)memory.rss : SIZE_MAX;
}

/* To the handshake's commands or (`command_info`) to COMMAND: `head`, and then `more` for ever. */
static void expect_bounded(bool command_info, const char *head, const char *more, const char *error)
{
    struct catalog_pool entry;
    int64_t until_ms;
    size_t before, most = 0;

    fake_start(&fixture.fake, FAKE_ANSWER);
    strcpy(fixture.fake.control->endless_head, head);
    strcpy(fixture.fake.control->endless_more, more);
    atomic_store(command_info ? &fixture.fake.control->command_info
                              : &fixture.fake.control->handshake,
                 FAKE_ENDLESS);
    start_broker(fixture.fake.unix_url, "connect_timeout = 2s\n");
    before = resident();
    assert_true(eventually(dial_errors() >= 1, LIMIT_MS));
    observe_pool(&fixture.observer, &entry);
    if (!strstr(entry.last_error, error))
        fail_msg("%s", entry.last_error);
    for (until_ms = now_ms() + 500; now_ms() < until_ms; sleep_us(2000))
        most = resident() > most ? resident() : most;
    if (most > before + (1u << 20))
        fail_msg("from %zu to %zu KiB", before / 1024, most / 1024);
    if (command_info) {
        /* The server is not asked again; its connections are good. */
        assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
        assert_int_equal(refused(), RIGHT_BIT(command));
    }
    fixture_end(&fixture);
}

static void answers_without_an_end(void **state)
{
    (void)state;
    expect_bounded(false, "*100000000\r\n", ":1\r\n", "Protocol error");
    expect_bounded(false, "+", "xxxxxxxxxxxxxxxx", "Protocol error");
    expect_bounded(false, "$500000000\r\n", "xxxxxxxxxxxxxxxx", "Protocol error");
    expect_bounded(true, "*100000000\r\n", ":1\r\n", "larger");
    expect_bounded(true, "*100000000\r\n", "*2\r\n$3\r\nfoo\r\n:1\r\n", "larger");
    expect_bounded(true, "", "*1\r\n", "larger");
    expect_bounded(true, "$500000000\r\n", "xxxxxxxxxxxxxxxx", "larger");
    expect_bounded(true, "-ERR ", "xxxxxxxxxxxxxxxx", "larger");
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(a_user_with_get_and_set_alone),
        TEST(a_user_with_ping),
        TEST(a_user_with_all),
        TEST(a_right_that_is_granted_later),
        TEST(a_database_is_needed),
        TEST(a_server_without_client),
        TEST(a_proxy_that_closes_the_connection),
        TEST(a_sentinel),
        TEST(a_sentinel_with_a_database),
        TEST(answers_without_an_end),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("handshake", tests, NULL, NULL);
}
