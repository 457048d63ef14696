/* SPDX-License-Identifier: MIT */
/*
 * Resets on servers that have no RESET or do not let everyone have it, with a password, in a
 * cluster, under each policy (`reset` in lendis.conf(5)), and under load; and that nobody waits for
 * one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "tests/support/clean.h"

static struct stage stage;

/* A pool in db 2 with further keys; the server runs. */
static void start_broker(const char *keys)
{
    stage.db = 2;
    lendisd_start(&stage.fixture.broker,
                  "[pool p]\nredis = unix://%s?db=2\nsize = 1\nmin_idle = 1\n"
                  "command_timeout = 300ms\n%s",
                  stage.fixture.redis.socket_path, keys);
    stage_open(&stage);
}

/* Likewise, logged in as `user` with the password "secret". */
static void start_broker_as(const char *user)
{
    char path[TESTBED_PATH_SIZE], keys[2 * TESTBED_PATH_SIZE];
    FILE *file;

    scratch_path(path, "password");
    file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file, "secret\n");
    fclose(file);
    chmod(path, 0600);
    snprintf(keys, sizeof keys, "username = %s\npassword_file = %s\n", user, path);
    stage.user = user;
    start_broker(keys);
}

static int end(void **state)
{
    (void)state;
    stage_end(&stage);
    return 0;
}

static void ask(redisReply *reply)
{
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s", reply->str);
    freeReplyObject(reply);
}

static void by_command(const char *command, enum fate fate)
{
    struct lendis_lease *lease = stage_enter(&stage);
    redisReply *reply = lendis_lease_command(lease, command);

    if (reply)
        freeReplyObject(reply);
    stage_leave(lease, fate == REPLACED);
    stage_expect(&stage, fate, command);
}

static void by_context(const char *command, enum fate fate)
{
    struct lendis_lease *lease = stage_enter(&stage);

    ask(redisCommand(lendis_lease_context(lease), command));
    stage_leave(lease, fate == REPLACED);
    stage_expect(&stage, fate, command);
}

static void by_descriptor(enum fate fate)
{
    static const char command[] = "*2\r\n$6\r\nSELECT\r\n$1\r\n5\r\n";
    struct lendis_lease *lease = stage_enter(&stage);
    int fd = lendis_lease_fd(lease);
    char ok[5];

    assert_int_equal(send(fd, command, sizeof command - 1, MSG_NOSIGNAL), sizeof command - 1);
    assert_int_equal(recv(fd, ok, sizeof ok, MSG_WAITALL), sizeof ok);
    stage_leave(lease, fate == REPLACED);
    stage_expect(&stage, fate, "a descriptor");
}

/* ---- servers ---- */

/* What lendis knows is undone by name; the rest is replaced. */
static void without_reset(void)
{
    const char *why = "the server has no RESET or no CLIENT INFO";

    assert_true(lendisd_silent_about(&stage.fixture.broker, why));
    by_command("MULTI", REPLACED); /* now it is known */
    assert_true(lendisd_logged(&stage.fixture.broker, why));
    by_command("MULTI", RESET);
    by_command("WATCH watched", RESET);
    by_command("SELECT 5", RESET);
    by_command("CLIENT SETNAME somebody", RESET);
    by_command("SUBSCRIBE channel", REPLACED);
    by_command("AUTH default x", REPLACED);
    by_command("CLIENT TRACKING ON", REPLACED);
    by_context("SELECT 5", REPLACED);
    by_context("PING", REPLACED);
    by_descriptor(REPLACED);
    by_command("GET a", CLEAN);
}

static void a_server_without_reset(void **state)
{
    static const char *const arguments[] = {"--rename-command", "RESET", "", NULL};

    (void)state;
    stage.fixture.redis.arguments = arguments;
    redis_start(&stage.fixture.redis);
    start_broker("");
    without_reset();
}

/* An ACL cannot forbid RESET itself (flag no_auth of COMMAND), but what proves that it worked. */
static void a_user_without_reset(void **state)
{
    (void)state;
    redis_start(&stage.fixture.redis);
    ask(redis_do(&stage.fixture.redis, "ACL SETUSER app on >secret ~* &* +@all -client|info"));
    start_broker_as("app");
    without_reset();
}

static void a_user_to_whom_reset_is_denied(void **state)
{
    (void)state;
    redis_start(&stage.fixture.redis);
    ask(redis_do(&stage.fixture.redis, "ACL SETUSER app on >secret ~* &* +@all -reset"));
    start_broker_as("app");
    by_command("MULTI", RESET);
    by_context("SELECT 5", RESET);
}

/* It is asked anew when the pool connects anew. */
static void a_server_that_gets_reset(void **state)
{
    (void)state;
    redis_start(&stage.fixture.redis);
    ask(redis_do(&stage.fixture.redis, "ACL SETUSER app on >secret ~* &* +@all -client|info"));
    start_broker_as("app");
    by_command("MULTI", REPLACED);
    by_context("SELECT 5", REPLACED);
    redis_restart(&stage.fixture.redis);
    ask(redis_do(&stage.fixture.redis, "ACL SETUSER app on >secret ~* &* +@all"));
    assert_true(pool_fills(&stage.fixture.observer, 1, 10000));
    by_context("SELECT 5", RESET);
}

static void a_pool_with_a_password(void **state)
{
    redisReply *keys;

    (void)state;
    redis_start(&stage.fixture.redis);
    ask(redis_do(&stage.fixture.redis, "ACL SETUSER app on >secret ~* &* +@all"));
    ask(redis_do(&stage.fixture.redis, "ACL SETUSER other on >else ~* &* +@all"));
    ask(redis_do(&stage.fixture.redis, "ACL SETUSER weak on >else ~* &* +@all -client"));
    start_broker_as("app");
    by_command("SELECT 5", RESET);
    by_context("SELECT 5", RESET);
    by_descriptor(RESET);
    /* What only a login could undo: test_secrets has what is never sent. */
    by_command("AUTH other else", REPLACED);
    by_context("AUTH other else", REPLACED);
    by_context("RESET", REPLACED);
    by_command("AUTH weak else", REPLACED);
    by_context("AUTH weak else", REPLACED);
    keys = redis_do(&stage.fixture.redis, "EVAL %s 0",
                    "redis.call('SELECT', 2) return redis.call('KEYS', '*')");
    assert_int_equal(keys->elements, 3); /* mine, other, watched */
    freeReplyObject(keys);
}

static bool cluster_is_up(void)
{
    redisReply *reply = redis_do(&stage.fixture.redis, "CLUSTER INFO");
    bool up = strstr(reply->str, "cluster_state:ok") != NULL;

    freeReplyObject(reply);
    return up;
}

static void a_cluster_node(void **state)
{
    char bus[16], nodes[TESTBED_PATH_SIZE];
    const char *arguments[] = {
        "--cluster-enabled", "yes", "--cluster-config-file", nodes, "--cluster-port", bus, NULL};
    int port, reserved = reserve_port(&port);

    (void)state;
    snprintf(bus, sizeof bus, "%d", port);
    scratch_path(nodes, "nodes.conf");
    stage.fixture.redis.arguments = arguments;
    stage.fixture.redis.tcp = true;
    stage.cluster = true;
    redis_start(&stage.fixture.redis);
    ask(redis_do(&stage.fixture.redis, "CLUSTER ADDSLOTSRANGE 0 16383"));
    assert_true(eventually(cluster_is_up(), 10000));
    lendisd_start(&stage.fixture.broker, "[pool p]\nredis = %s\nsize = 1\nmin_idle = 1\n",
                  stage.fixture.redis.unix_url);
    stage_open(&stage);
    by_command("READONLY", RESET);
    by_context("READONLY", RESET);
    by_command("ASKING", RESET);
    by_context("ASKING", RESET);
    close(reserved);
}

/* ---- policies ---- */

static void always(void **state)
{
    unsigned long resets;

    (void)state;
    redis_start(&stage.fixture.redis);
    start_broker("reset = always\n");
    resets = resets_so_far(&stage);
    for (unsigned i = 1; i <= 20; i++) {
        struct lendis_lease *lease = stage_lease(&stage, stage.leaver);

        ask(lendis_lease_command(lease, "SET a b"));
        assert_int_equal(lendis_release(lease), 0);
        assert_true(eventually(resets_so_far(&stage) == resets + i, 5000));
    }
    /* Commands that share a connection leave nothing. */
    resets = resets_so_far(&stage);
    for (unsigned i = 0; i < 20; i++)
        ask(lendis_command(stage.next, "PING"));
    assert_int_equal(resets_so_far(&stage), resets);
    assert_int_equal(closed_so_far(&stage), 0);
}

/* The next one's connection is in this db. */
static void expect_db(unsigned db)
{
    struct lendis_lease *lease = stage_lease(&stage, stage.next);
    redisReply *info = lendis_lease_command(lease, "CLIENT INFO");
    char field[16];

    snprintf(field, sizeof field, " db=%u ", db);
    assert_non_null(info);
    assert_non_null(strstr(info->str, field));
    freeReplyObject(info);
    ask(lendis_lease_command(lease, "SELECT 2"));
    assert_int_equal(lendis_release(lease), 0);
}

static void never(void **state)
{
    struct lendis_lease *lease;

    (void)state;
    redis_start(&stage.fixture.redis);
    start_broker("reset = never\n");
    lease = stage_enter(&stage);
    ask(lendis_lease_command(lease, "SELECT 5"));
    stage_leave(lease, false);
    expect_db(5);
    /* What lendis did not see is checked for what is unread, and left as it is otherwise. */
    lease = stage_enter(&stage);
    ask(redisCommand(lendis_lease_context(lease), "SELECT 7"));
    stage_leave(lease, false);
    expect_db(7);
    assert_int_equal(closed_so_far(&stage), 0);
    by_command("SUBSCRIBE channel", REPLACED);
    by_context("MULTI", REPLACED);
    lease = stage_enter(&stage);
    send(lendis_lease_fd(lease), "*1\r\n$4\r\nPI", 10, MSG_NOSIGNAL);
    stage_leave(lease, true);
    stage_expect(&stage, REPLACED, "half a command");
}

/* ---- time ---- */

/* While one is reset, the other one is there; and a server that hangs holds up neither. */
static void nobody_waits_for_a_reset(void **state)
{
    struct lendis_lease *lease, *other;
    int64_t began_ns;

    (void)state;
    redis_start(&stage.fixture.redis);
    lendisd_start(&stage.fixture.broker,
                  "[pool p]\nredis = unix://%s?db=2\nsize = 2\nmin_idle = 2\n",
                  stage.fixture.redis.socket_path);
    stage_open(&stage);
    assert_true(pool_fills(&stage.fixture.observer, 2, 10000));
    lease = stage_enter(&stage);
    ask(lendis_lease_command(lease, "SELECT 5"));
    redis_pause(&stage.fixture.redis);
    began_ns = now_ns();
    assert_int_equal(lendis_release(lease), 0);
    assert_int_equal(lendis_acquire(stage.next, 0, &other), 0);
    assert_true(eventually(words_in(&stage.fixture.observer, WORD_CHECKING) == 1, 5000));
    lendis_detach(pool_attach(&stage.fixture.broker, "p"));
    assert_true(now_ns() - began_ns < INT64_C(400000000));
    redis_continue(&stage.fixture.redis);
    assert_true(eventually(resets_so_far(&stage) == stage.resets + 1, 5000));
    assert_int_equal(lendis_release(other), 0);
    assert_int_equal(closed_so_far(&stage), stage.closed);
}

/* A connection that is given back, and then its holder goes: it was given back. */
static void the_holder_goes_right_after(void **state)
{
    (void)state;
    redis_start(&stage.fixture.redis);
    start_broker("");
    for (int round = 0; round < 20; round++) {
        struct lendis_pool *gone = pool_attach(&stage.fixture.broker, "p");
        struct lendis_lease *lease;

        stage.closed = closed_so_far(&stage);
        stage.resets = resets_so_far(&stage);
        lease = stage_lease(&stage, gone);
        ask(lendis_lease_command(lease, "MULTI"));
        assert_int_equal(lendis_release(lease), 0);
        lendis_detach(gone);
        stage_expect(&stage, RESET, "detached");
    }
}

/* ---- under load ---- */

#define LOAD_MS 3000

struct counts {
    unsigned long rounds;
    char text[256]; /* what was wrong */
};

static bool is_wrong(struct counts *counts, redisReply *reply, const char *expected)
{
    bool wrong = !reply || !reply->str || !strstr(reply->str, expected);

    if (wrong)
        snprintf(counts->text, sizeof counts->text, "%.150s, not %s",
                 reply && reply->str ? reply->str : "nothing", expected);
    if (reply)
        freeReplyObject(reply);
    return wrong;
}

static void leave_something(struct lendis_lease *lease, unsigned long what)
{
    static const char *const commands[] = {"SELECT 5", "MULTI", "SUBSCRIBE c", "WATCH mine",
                                           "CLIENT SETNAME x"};
    redisReply *reply;

    if (what % 12 == 10) {
        redisAppendCommand(lendis_lease_context(lease), "PING");
        redisBufferWrite(lendis_lease_context(lease), &(int){0});
        return;
    }
    if (what % 12 == 11) {
        send(lendis_lease_fd(lease), "*1\r\n$4\r\nPI", 10, MSG_NOSIGNAL);
        return;
    }
    reply = what % 2 ? lendis_lease_command(lease, commands[what % 5])
                     : redisCommand(lendis_lease_context(lease), commands[what % 5]);
    if (reply)
        freeReplyObject(reply);
}

/* Odd workers use what lendis_command() gives, which must never be what even ones leave. */
static int leave_and_see(struct processes *processes, unsigned number)
{
    struct counts *counts = processes_result(processes, number);
    struct lendis_pool *pool = pool_attach(&stage.fixture.broker, "p");
    struct lendis_lease *lease;
    char value[64];

    processes_ready(processes);
    while (!processes_stopping(processes)) {
        snprintf(value, sizeof value, "value-%u-%lu", number, ++counts->rounds);
        if (number % 2) {
            if (is_wrong(counts, lendis_command(pool, "ECHO %s", value), value))
                return 1;
            continue;
        }
        if (lendis_acquire(pool, 10000, &lease) != 0)
            return 2;
        if (is_wrong(counts, lendis_lease_command(lease, "CLIENT INFO"), " db=2 ") ||
            is_wrong(counts, lendis_lease_command(lease, "CLIENT INFO"), " name=lendis-p ") ||
            is_wrong(counts, lendis_lease_command(lease, "ECHO %s", value), value))
            return 1;
        leave_something(lease, counts->rounds);
        lendis_release(lease);
    }
    lendis_detach(pool);
    return 0;
}

static void under_load(void **state)
{
    struct processes *processes = &stage.fixture.processes;
    struct word_count words;

    (void)state;
    stage.db = 2;
    redis_start(&stage.fixture.redis);
    lendisd_start(&stage.fixture.broker,
                  "[pool p]\nredis = unix://%s?db=2\nsize = 4\nmin_idle = 4\n",
                  stage.fixture.redis.socket_path);
    stage_open(&stage);
    processes_start(processes, 8, sizeof(struct counts), leave_and_see, NULL);
    processes_go(processes);
    sleep_us(LOAD_MS * 1000);
    processes_stop(processes);
    assert_true(processes_wait(processes, 20000));
    for (unsigned i = 0; i < processes->count; i++) {
        const struct counts *counts = processes_result(processes, i);

        if (counts->text[0])
            fail_msg("worker %u: %s", i, counts->text);
        assert_true(counts->rounds > 5);
    }
    assert_int_equal(processes_failures(processes), 0);
    processes_end(processes);
    assert_true(resets_so_far(&stage) > 20);
    assert_true(pool_fills(&stage.fixture.observer, 4, 10000));
    assert_true(observe_words(&stage.fixture.observer, &words));
    stage_expect_clean(&stage);
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(a_server_without_reset),
        TEST(a_user_without_reset),
        TEST(a_user_to_whom_reset_is_denied),
        TEST(a_server_that_gets_reset),
        TEST(a_pool_with_a_password),
        TEST(a_cluster_node),
        TEST(always),
        TEST(never),
        TEST(nobody_waits_for_a_reset),
        TEST(the_holder_goes_right_after),
        TEST(under_load),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("reset", tests, NULL, NULL);
}
