/* SPDX-License-Identifier: MIT */
/*
 * The preloaded library, with a program that knows nothing of lendis (client.h). What the program
 * sees is the same as without it; that connections were leased is seen in the pool's counters, for
 * where all goes past the library every scenario passes, too. And nothing is held afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/support/fixture.h"

#define LIMIT_MS 60000
#define SIZE     4

static struct fixture fixture;
static char client[TESTBED_PATH_SIZE], library[TESTBED_PATH_SIZE], password_path[TESTBED_PATH_SIZE];

static int start_with(const char *keys)
{
    scratch_share();
    fixture.redis.tcp = true;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "[pool main]\nredis = redis://127.0.0.1:%d/0\nsize = %d\n%s"
                  "[pool one]\nredis = redis://127.0.0.1:%d/1\nsize = %d\n%s",
                  fixture.redis.port, SIZE, keys, fixture.redis.port, SIZE, keys);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "main");
    return 0;
}

static int start(void **state)
{
    (void)state;
    return start_with("");
}

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    fixture = (struct fixture){0};
    return 0;
}

/* ---- running the program ---- */

/* Its environment; `preload` NULL: without the library. */
static void set_environment(const char *preload, const char *socket_path)
{
    char port[16];

    snprintf(port, sizeof port, "%d", fixture.redis.port);
    setenv("REDIS_PORT", port, 1);
    setenv("LENDIS_SOCKET", socket_path, 1);
    setenv("LENDIS_PRELOAD_EXPLAIN", "1", 1);
    setenv("LENDIS_PRELOAD_WAIT", "200", 1);
    if (preload)
        setenv("LD_PRELOAD", preload, 1);
    else
        unsetenv("LD_PRELOAD");
}

static int run_program(const char *scenario, const char *preload, const char *socket_path,
                       char *output, size_t size)
{
    const char *const arguments[] = {client, scenario, NULL};
    int status;

    set_environment(preload, socket_path);
    status = program_run(arguments, output, size, LIMIT_MS);
    unsetenv("LD_PRELOAD");
    return status;
}

/* A number that --explain prints before `text`; 0: it does not. */
static unsigned long explained(const char *output, const char *text)
{
    unsigned long sum = 0;

    for (const char *at = output; (at = strstr(at, "lendis[")); at++) {
        const char *number = strchr(at, ']');
        char *rest;
        unsigned long value = number ? strtoul(number + 2, &rest, 10) : 0;

        if (number && strncmp(rest + 1, text, strlen(text)) == 0)
            sum += value;
    }
    return sum;
}

static void flush(void)
{
    freeReplyObject(redis_do(&fixture.redis, "FLUSHALL"));
}

static void expect_nothing_held(void)
{
    assert_true(eventually(words_in(&fixture.observer, WORD_LEASED) == 0 &&
                               words_in(&fixture.observer, WORD_RETURNED) == 0,
                           10000));
}

static void expect_success(const char *scenario, const char *preload, char *output, size_t size)
{
    int status = run_program(scenario, preload, fixture.broker.socket_path, output, size);

    if (status != 0)
        fail_msg("%s%s: status %d\n%s", scenario, preload ? "" : " without the library", status,
                 output);
    flush();
}

/* With the library, by leases of the pool. */
static void expect_leased(const char *scenario)
{
    uint64_t before = pool_counter(&fixture.observer, COUNTER_leases);
    char output[8192];

    expect_success(scenario, library, output, sizeof output);
    if (explained(output, "connections that were virtual") == 0)
        fail_msg("%s: nothing was virtual\n%s", scenario, output);
    assert_true(eventually(pool_counter(&fixture.observer, COUNTER_leases) > before, 10000));
    expect_nothing_held();
}

/* The same without it. */
static void expect_same(const char *scenario)
{
    char output[8192];

    expect_success(scenario, NULL, output, sizeof output);
    expect_leased(scenario);
}

/* ---- scenarios ---- */

#define SAME(scenario)                                                                             \
    static void scenario##_are_the_same(void **state)                                              \
    {                                                                                              \
        (void)state;                                                                               \
        expect_same(#scenario);                                                                    \
    }
SAME(commands)
SAME(bytes)
SAME(calls)
SAME(large)
SAME(pipelines)
SAME(transactions)
SAME(sessions)
SAME(identities)
SAME(mixed)
SAME(subscriptions)
SAME(nonblocking)
SAME(options)
SAME(rests)
SAME(epolls)
SAME(crowd)
SAME(busy)
SAME(threads)
SAME(cancellation)
SAME(signals)
SAME(vforks)
SAME(closes_all)
SAME(closes_behind)
SAME(copies)
SAME(passes)
SAME(daemonises)
SAME(few_descriptors)
SAME(by_number)
SAME(other_names)
SAME(elsewhere)
SAME(flags)
SAME(crossing)
SAME(longest)
SAME(half_closes)
SAME(garbage)
SAME(polled)
SAME(edges)
SAME(resp3)
SAME(clears_environment)

/* What a child shares with its parent directly, it has for itself, or finds ended. */
static void children_have_their_own(void **state)
{
    (void)state;
    expect_leased("forks");
    expect_leased("forks_in_multi");
    expect_leased("forks_while_owed");
    expect_leased("forks_everywhere");
    expect_leased("executes");
}

static void inline_commands_go_past(void **state)
{
    char output[8192];

    (void)state;
    expect_success("inline", library, output, sizeof output);
    assert_int_equal(explained(output, "real: inline commands"), 1);
    expect_nothing_held();
}

static void herds_are_the_same(void **state)
{
    char output[16384];

    (void)state;
    expect_success("herds", NULL, output, sizeof output);
    expect_success("herds", library, output, sizeof output);
    assert_true(explained(output, "requests handed over") > 0);
    assert_true(explained(output, "requests on a leased") > 0);
    assert_int_equal(explained(output, "virtual connections that became real"), 0);
    expect_nothing_held();
}

static void transactions_beyond_the_pool(void **state)
{
    char output[8192];

    (void)state;
    expect_success("busy", library, output, sizeof output);
    assert_true(explained(output, "tied: MULTI") == SIZE);
    assert_true(explained(output, "real: MULTI") == 8 - SIZE);
    expect_nothing_held();
}

/* What gets at a descriptor past the hooks finds nothing there. Directly it would find its own. */
static void raw_calls_reach_nothing(void **state)
{
    (void)state;
    expect_leased("raw_calls");
    expect_leased("raw_calls_between");
}

/* Killed while it is idle, with half a request sent, a reply owed, inside a transaction, with a
 * connection shown, half a reply read, in an epoll set. */
static void the_dead_hold_nothing(void **state)
{
    char output[8192], step[12];

    (void)state;
    for (int i = 0; i < 7; i++) {
        snprintf(step, sizeof step, "%d", i);
        setenv("STEP", step, 1);
        run_program("dies", library, fixture.broker.socket_path, output, sizeof output);
        unsetenv("STEP");
        expect_nothing_held();
        expect_leased("commands");
    }
}

/* ---- logins ---- */

static int start_with_login(void **state)
{
    static const char *const arguments[] = {"--user", "guest", "on",    ">guest",
                                            "~*",     "&*",    "+@all", NULL};
    char keys[TESTBED_PATH_SIZE + 32];
    FILE *file;

    (void)state;
    scratch_path(password_path, "password");
    file = fopen(password_path, "w");
    if (!file || fputs("sesame", file) < 0 || fclose(file) != 0)
        give_up("%s: %s", password_path, strerror(errno));
    fixture.redis.password = "sesame";
    fixture.redis.arguments = arguments;
    snprintf(keys, sizeof keys, "password_file = %s\n", password_path);
    return start_with(keys);
}

static void logins_are_the_same(void **state)
{
    (void)state;
    setenv("REDIS_PASSWORD", "sesame", 1);
    expect_same("logins");
}

/* ---- failing open ---- */

static void without_a_broker(void **state)
{
    char output[8192];

    (void)state;
    assert_int_equal(
        run_program("commands", library, "/nowhere/lendis.sock", output, sizeof output), 0);
    assert_int_equal(explained(output, "connections that were virtual"), 0);
    lendisd_pause(&fixture.broker);
    assert_int_equal(
        run_program("commands", library, fixture.broker.socket_path, output, sizeof output), 0);
    lendisd_continue(&fixture.broker);
    setenv("LENDIS_PRELOAD", "off", 1);
    assert_int_equal(
        run_program("commands", library, fixture.broker.socket_path, output, sizeof output), 0);
    unsetenv("LENDIS_PRELOAD");
    assert_int_equal(explained(output, "connections that were virtual"), 0);
}

static int start_closed(void **state)
{
    (void)state;
    fixture.redis.tcp = true;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "[pool main]\nredis = redis://127.0.0.1:%d\nenabled = no\n"
                  "[pool open]\nredis = redis://127.0.0.1:1\nserves = none\n",
                  fixture.redis.port);
    return 0;
}

static void a_pool_that_is_off(void **state)
{
    char output[8192];

    (void)state;
    assert_int_equal(
        run_program("commands", library, fixture.broker.socket_path, output, sizeof output), 0);
    assert_int_equal(explained(output, "connections that were real from the start"), 1);
    setenv("LENDIS_PRELOAD_STRICT", "1", 1);
    assert_int_not_equal(
        run_program("commands", library, fixture.broker.socket_path, output, sizeof output), 0);
    unsetenv("LENDIS_PRELOAD_STRICT");
}

/* ---- a program that lives on ---- */

struct session {
    pid_t pid;
    FILE *to, *from;
};

static void session_start(struct session *session, const char *preload)
{
    int to[2], from[2];

    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    set_environment(preload, fixture.broker.socket_path);
    session->pid = fork();
    if (session->pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        execl(client, client, "lines", NULL);
        _exit(127);
    }
    unsetenv("LD_PRELOAD");
    close(to[0]);
    close(from[1]);
    session->to = fdopen(to[1], "w");
    session->from = fdopen(from[0], "r");
    setvbuf(session->to, NULL, _IONBF, 0);
}

/* What it says to a line; static storage. */
static const char *session_ask(struct session *session, const char *line)
{
    static char answer[256];
    struct pollfd poll_fd = {.fd = fileno(session->from), .events = POLLIN};

    fprintf(session->to, "%s\n", line);
    if (poll(&poll_fd, 1, LIMIT_MS) != 1 || !fgets(answer, sizeof answer, session->from))
        fail_msg("%s: no answer", line);
    answer[strcspn(answer, "\n")] = '\0';
    return answer;
}

static void session_end(struct session *session)
{
    fclose(session->to);
    assert_int_equal(program_wait(session->pid, LIMIT_MS), 0);
    fclose(session->from);
}

/* A broker that is killed, or stopped, costs no command; a new one is found. */
static void the_broker_ends(void **state)
{
    struct session session;

    (void)state;
    session_start(&session, library);
    assert_string_equal(session_ask(&session, "dial"), "dialled");
    assert_string_equal(session_ask(&session, "SET a 1"), "+OK");
    lendisd_kill(&fixture.broker);
    for (int i = 0; i < 20; i++)
        assert_string_equal(session_ask(&session, "SET a 2"), "+OK");
    assert_string_equal(session_ask(&session, "dial"), "dialled");
    assert_string_equal(session_ask(&session, "SET a 3"), "+OK");
    lendisd_launch(&fixture.broker, true);
    for (int i = 0; i < 20; i++)
        assert_string_equal(session_ask(&session, "SET a 4"), "+OK");
    assert_int_equal(lendisd_stop(&fixture.broker), 0);
    for (int i = 0; i < 20; i++)
        assert_string_equal(session_ask(&session, "SET a 5"), "+OK");
    lendisd_launch(&fixture.broker, true);
    assert_string_equal(session_ask(&session, "dial"), "dialled");
    assert_string_equal(session_ask(&session, "SET a 6"), "+OK");
    session_end(&session);
}

/* Killed with nothing under way, with a reply owed, inside a transaction, with an answer of the
 * library's own unread: the connection goes on with what it has, and then with a new broker. */
static void the_broker_ends_at_every_step(void **state)
{
    static const char *const before[][2] = {
        {"SET a 1", "+OK"}, {"tell PING", "told"}, {"MULTI", "+OK"}, {"tell SELECT 0", "told"}};
    static const char *const after[][2] = {
        {"SET a 2", "+OK"}, {"hear", "+PONG"}, {"EXEC", "*0"}, {"hear", "+OK"}};
    struct session session;

    (void)state;
    for (unsigned step = 0; step < 4; step++) {
        session_start(&session, library);
        assert_string_equal(session_ask(&session, "dial"), "dialled");
        assert_string_equal(session_ask(&session, before[step][0]), before[step][1]);
        lendisd_kill(&fixture.broker);
        assert_string_equal(session_ask(&session, after[step][0]), after[step][1]);
        assert_string_equal(session_ask(&session, "SET a 3"), "+OK");
        lendisd_launch(&fixture.broker, true);
        for (int i = 0; i < 5; i++)
            assert_string_equal(session_ask(&session, "SET a 4"), "+OK");
        session_end(&session);
        segment_observe(&fixture.observer, fixture.broker.socket_path, "main");
        expect_nothing_held();
    }
}

/* A virtual connection outlives Redis; a transaction does not. */
static void redis_ends(void **state)
{
    struct session session;

    (void)state;
    session_start(&session, library);
    session_ask(&session, "dial");
    assert_string_equal(session_ask(&session, "SET a 1"), "+OK");
    redis_restart(&fixture.redis);
    assert_true(eventually(strcmp(session_ask(&session, "SET a 2"), "+OK") == 0 ||
                               !session_ask(&session, "dial"),
                           20000));
    /* It may have become real meanwhile: another one, of a pool that lends again. */
    assert_true(eventually(words_in(&fixture.observer, WORD_IDLE) > 0, 20000));
    assert_string_equal(session_ask(&session, "dial"), "dialled");
    assert_string_equal(session_ask(&session, "MULTI"), "+OK");
    redis_restart(&fixture.redis);
    assert_string_equal(session_ask(&session, "INCR a"), "EOF");
    session_ask(&session, "dial");
    assert_true(eventually(strcmp(session_ask(&session, "SET a 3"), "+OK") == 0 ||
                               !session_ask(&session, "dial"),
                           20000));
    session_end(&session);
}

static int find_programs(void **state)
{
    (void)state;
    snprintf(client, sizeof client, "%s", built_program("tests/system/preload/client"));
    snprintf(library, sizeof library, "%s", built_program("liblendis-preload.so"));
    if (client[0] != '/' || library[0] != '/') {
        char *path = realpath(client, NULL), *other = realpath(library, NULL);

        if (!path || !other)
            give_up("%s, %s: %s", client, library, strerror(errno));
        snprintf(client, sizeof client, "%s", path);
        snprintf(library, sizeof library, "%s", other);
        free(path);
        free(other);
    }
    return 0;
}

#define TEST(test)    cmocka_unit_test_setup_teardown(test, start, end)
#define RUN(scenario) TEST(scenario##_are_the_same)

int main(int argc, char *argv[])
{
    const struct CMUnitTest tests[] = {
        RUN(commands),
        RUN(bytes),
        RUN(calls),
        RUN(large),
        RUN(pipelines),
        RUN(transactions),
        RUN(sessions),
        RUN(identities),
        RUN(mixed),
        RUN(subscriptions),
        RUN(nonblocking),
        RUN(options),
        RUN(rests),
        RUN(epolls),
        RUN(crowd),
        RUN(busy),
        RUN(threads),
        RUN(cancellation),
        RUN(signals),
        RUN(vforks),
        RUN(closes_all),
        RUN(closes_behind),
        RUN(copies),
        RUN(passes),
        RUN(daemonises),
        RUN(few_descriptors),
        RUN(by_number),
        RUN(other_names),
        RUN(elsewhere),
        RUN(flags),
        RUN(crossing),
        RUN(longest),
        RUN(half_closes),
        RUN(garbage),
        RUN(polled),
        RUN(edges),
        RUN(resp3),
        RUN(clears_environment),
        TEST(children_have_their_own),
        TEST(inline_commands_go_past),
        RUN(herds),
        TEST(transactions_beyond_the_pool),
        TEST(raw_calls_reach_nothing),
        TEST(the_dead_hold_nothing),
        cmocka_unit_test_setup_teardown(logins_are_the_same, start_with_login, end),
        TEST(without_a_broker),
        cmocka_unit_test_setup_teardown(a_pool_that_is_off, start_closed, end),
        TEST(the_broker_ends),
        TEST(the_broker_ends_at_every_step),
        TEST(redis_ends),
    };

    signal(SIGPIPE, SIG_IGN);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("preload", tests, find_programs, NULL);
}
