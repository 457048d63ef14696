/* SPDX-License-Identifier: MIT */
/*
 * password_command: a program that prints the password, well or badly. The broker never waits for
 * it, ends it in time with all that it has started, and goes on with the last good password.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "tests/support/fixture.h"

#define LIMIT_MS 20000

static struct fixture fixture;
static struct lendis_pool *pool;
static char program_path[TESTBED_PATH_SIZE], token_path[TESTBED_PATH_SIZE],
    trace_path[TESTBED_PATH_SIZE];

static int end(void **state)
{
    (void)state;
    lendis_detach(pool);
    pool = NULL;
    fixture_end(&fixture);
    unlink(trace_path);
    scratch_path(trace_path, "trace");
    unlink(trace_path);
    return 0;
}

/* ---- what the tests are made of ---- */

static void write_file(char *path, const char *name, mode_t mode, const char *text)
{
    char beside[TESTBED_PATH_SIZE];
    FILE *file;

    scratch_path(path, "%s", name);
    scratch_path(beside, "%s.new", name);
    file = fopen(beside, "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fchmod(fileno(file), mode), 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(beside, path), 0);
}

/* What it does, in the shell's words; each run leaves a line in the trace. */
static void write_program(const char *does)
{
    char text[2048];

    scratch_path(trace_path, "trace");
    scratch_path(token_path, "token");
    snprintf(text, sizeof text, "#!/bin/sh\necho run $$ >> %s\ntoken=%s\n%s\n", trace_path,
             token_path, does);
    write_file(program_path, "print", 0755, text);
}

static void write_token(const char *token)
{
    char text[128];

    snprintf(text, sizeof text, "%s\n", token);
    write_file(token_path, "token", 0600, text);
}

static unsigned lines_of(const char *path, const char *text)
{
    char line[1024];
    unsigned count = 0;
    FILE *file = fopen(path, "re");

    while (file && fgets(line, sizeof line, file))
        count += strstr(line, text) != NULL;
    if (file)
        fclose(file);
    return count;
}

static unsigned runs(void)
{
    return lines_of(trace_path, "run ");
}

static void on_server(const char *command)
{
    redisReply *reply = redis_do(&fixture.redis, command);

    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply->str);
    freeReplyObject(reply);
}

/* The server's user "app" has this token, and, unless it is `alone`, those from before. */
static void set_server(const char *token, bool alone)
{
    char command[128];

    snprintf(command, sizeof command, "ACL SETUSER app %s on >%s ~* &* +@all",
             alone ? "resetpass" : "", token);
    on_server(command);
}

static void launch(const char *keys)
{
    lendisd_start(&fixture.broker,
                  "log_level = info\n[pool p]\nredis = %s\nusername = app\n"
                  "password_command = %s 'two words' \"a\\tb\"\nsize = 4\nmin_idle = 2\n"
                  "wait_timeout = 10s\ndial_backoff_max = 200ms\n%s",
                  fixture.redis.unix_url, program_path, keys);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
}

static void start(const char *does, const char *keys)
{
    redis_start(&fixture.redis);
    set_server("first", true);
    write_program(does);
    write_token("first");
    launch(keys);
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    pool = pool_attach(&fixture.broker, "p");
}

static struct catalog_pool entry(void)
{
    struct catalog_pool now;

    observe_pool(&fixture.observer, &now);
    return now;
}

static bool is_well(void)
{
    redisReply *reply = lendis_command(pool, "SET key value");
    bool well = reply && reply->type == REDIS_REPLY_STATUS;

    if (!well)
        fprintf(stderr, "%s\n",
                reply ? reply->str : lendis_strerror(lendis_pool_error(pool, NULL)));
    if (reply)
        freeReplyObject(reply);
    return well;
}

/* Processes that have `text` in their command line. */
static unsigned processes_with(const char *text, size_t size)
{
    DIR *folder = opendir("/proc");
    struct dirent *entry_of;
    unsigned count = 0;

    assert_non_null(folder);
    while ((entry_of = readdir(folder))) {
        char path[300], line[512];
        size_t got;
        FILE *file;

        snprintf(path, sizeof path, "/proc/%s/cmdline", entry_of->d_name);
        file = entry_of->d_name[0] > '0' && entry_of->d_name[0] <= '9' ? fopen(path, "re") : NULL;
        if (!file)
            continue;
        got = fread(line, 1, sizeof line, file);
        fclose(file);
        count += memmem(line, got, text, size) != NULL;
    }
    closedir(folder);
    return count;
}

#define SLEEPERS processes_with("sleep\0004711", 11)

static int show_pools(char *output, size_t size, bool json)
{
    const char *argv[] = {
        built_program("lendisctl"), "--socket", fixture.broker.socket_path, "show", "pools",
        json ? "--json" : NULL,     NULL};

    return program_run(argv, output, size, LIMIT_MS);
}

/* ---- it works ---- */

/* Who it is, what it has. */
static void what_it_is_run_with(void **state)
{
    (void)state;
    setenv("A_SECRET_OF_OTHERS", "yes", 1);
    start("{ echo \"arguments $# $1 $2\"; env; echo \"input $(readlink /proc/$$/fd/0)\"\n"
          "  echo \"session $(cut -d' ' -f6 /proc/$$/stat) $$\"; ls -l /proc/$$/fd\n"
          "  echo \"folder $(pwd)\"; } >> $0.trace\n"
          "cat $token; echo and more",
          "");
    unsetenv("A_SECRET_OF_OTHERS");
    strcat(strcpy(trace_path, program_path), ".trace");
    assert_true(is_well());
    assert_int_equal(lines_of(trace_path, "arguments 2 two words a\tb"), 1);
    assert_int_equal(lines_of(trace_path, "LENDIS_POOL=p"), 1);
    assert_int_equal(lines_of(trace_path, "LENDIS_USERNAME=app"), 1);
    assert_int_equal(lines_of(trace_path, "PATH=/usr/local/sbin"), 1);
    assert_int_equal(lines_of(trace_path, "A_SECRET_OF_OTHERS"), 0);
    assert_int_equal(lines_of(trace_path, "LENDIS_POOL_"), 0);
    assert_int_equal(lines_of(trace_path, "input /dev/null"), 1);
    assert_int_equal(lines_of(trace_path, "folder /\n"), 1);
    /* Nothing of the broker's: sockets, timers, memory. */
    assert_int_equal(lines_of(trace_path, "socket:"), 0);
    assert_int_equal(lines_of(trace_path, "anon_inode:"), 0);
    assert_int_equal(lines_of(trace_path, "memfd:"), 0);
    assert_true(lines_of(trace_path, "pipe:") >= 1);
    assert_true(lendisd_silent_about(&fixture.broker, "first"));
}

static void it_is_run_once(void **state)
{
    (void)state;
    start("cat $token", "");
    for (int i = 0; i < 3; i++) {
        uint64_t opened = entry().counters[BROKER_COUNTER_opened];

        on_server("CLIENT KILL USER app");
        assert_true(eventually(entry().counters[BROKER_COUNTER_opened] >= opened + 2, LIMIT_MS));
        assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    }
    assert_int_equal(runs(), 1);
}

static void a_new_one_when_redis_refuses_it(void **state)
{
    (void)state;
    start("cat $token", "");
    write_token("second");
    set_server("second", true);
    on_server("CLIENT KILL USER app");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    assert_true(is_well());
    assert_int_equal(runs(), 2);
    assert_int_equal(entry().password, PASSWORD_GOOD);
}

/* For as long as the server wants another one, it is run again, but ever more rarely. */
static void refused_again_and_again(void **state)
{
    (void)state;
    start("cat $token", "");
    set_server("second", true);
    on_server("CLIENT KILL USER app");
    assert_true(eventually(entry().dial_errors[DIAL_login] > 12, LIMIT_MS));
    assert_true(runs() <= 5);
    assert_int_equal(entry().password, PASSWORD_REFUSED);
    write_token("second");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
}

static void reconnect_asks_for_another_one(void **state)
{
    const char *argv[] = {"", "--socket", fixture.broker.socket_path, "reconnect", "p", NULL};
    char output[4096];

    (void)state;
    start("cat $token", "");
    write_token("second");
    set_server("second", true);
    argv[0] = built_program("lendisctl");
    assert_int_equal(program_run(argv, output, sizeof output, LIMIT_MS), 0);
    assert_int_equal(runs(), 2);
    assert_int_equal(entry().dial_errors[DIAL_login], 0);
    assert_true(is_well());
}

/* ---- its time ---- */

static void tokens_that_end(void **state)
{
    struct lendis_lease *lease;
    char output[8192];
    uint64_t before;

    (void)state;
    start("cat $token", "password_lifetime = 2s\n");
    assert_int_equal(show_pools(output, sizeof output, false), 0);
    assert_non_null(strstr(output, "p logs in with a password of"));
    assert_non_null(strstr(output, "asks for the next in"));
    set_server("second", false);
    write_token("second");
    assert_int_equal(lendis_acquire(pool, LIMIT_MS, &lease), 0);
    assert_true(eventually(entry().closed[CLOSE_login] >= 2, LIMIT_MS));
    /* Of a lease nothing is taken. */
    freeReplyObject(redisCommand(lendis_lease_context(lease), "GET key"));
    assert_int_equal(lendis_lease_context(lease)->err, 0);
    lendis_release(lease);
    set_server("second", true);
    assert_true(eventually(entry().closed[CLOSE_login] >= 4, LIMIT_MS));
    assert_int_equal(entry().dial_errors[DIAL_login], 0);
    /* What cannot be had replaces nothing. */
    write_program("echo no token today >&2; exit 3");
    assert_true(eventually(entry().password == PASSWORD_OLD, LIMIT_MS));
    before = entry().closed[CLOSE_login];
    assert_true(eventually(entry().counters[BROKER_COUNTER_password_failures] >= 2, LIMIT_MS));
    assert_true(entry().closed[CLOSE_login] <= before + 2);
    assert_true(is_well());
    assert_int_equal(show_pools(output, sizeof output, true), 0);
    assert_non_null(strstr(output, "\"old\""));
    assert_non_null(strstr(output, "exit status 3"));
    assert_true(lendisd_logged(&fixture.broker, "password_command says: no token today"));
    assert_int_equal(lines_of(fixture.broker.log_path, "stays in use"), 1);
    write_program("cat $token");
    assert_true(eventually(entry().password == PASSWORD_GOOD, LIMIT_MS));
    assert_true(lendisd_logged(&fixture.broker, "password_command gives a password again"));
}

/* What the broker before had dialled is replaced, and nobody notices. */
static void another_broker_goes_on(void **state)
{
    (void)state;
    start("cat $token", "password_lifetime = 1h\n");
    lendis_detach(pool);
    observer_close(&fixture.observer);
    lendisd_restart(&fixture.broker);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    pool = pool_attach(&fixture.broker, "p");
    assert_true(is_well());
    assert_int_equal(runs(), 2);
}

/* ---- it does not work ---- */

static const struct {
    const char *does, *why;
} failures[] = {
    {"exec sleep 4711", "it took longer than its time limit"},
    {"trap '' TERM HUP INT; sleep 4711 & sleep 4711", "it took longer than its time limit"},
    {"setsid sleep 4711 & setsid -f sleep 4711; kill -STOP $$", "longer than its time limit"},
    {"yes", "it printed too much"},
    {"yes >&2", "it printed too much"},
    {"head -c 5000 /dev/zero | tr '\\0' x; echo", "it printed too much"},
    {"setsid -f yes; sleep 4711", "it printed too much"},
    {"printf 'a\\0b\\n'", "it printed a NUL byte"},
    {":", "it printed nothing"},
    {"echo; cat $token", "it printed nothing"},
    {"cat $token; exit 1", "it ended with exit status 1"},
    {"cat $token; kill -9 $$", "it was killed by signal 9"},
};

static void it_fails_in_every_way(void **state)
{
    (void)state;
    start("cat $token", "password_command_timeout = 2s\npassword_lifetime = 1s\n");
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        int64_t begun;

        assert_true(eventually(entry().password == PASSWORD_GOOD, LIMIT_MS));
        write_program(failures[i].does);
        if (!eventually(strstr(entry().password_error, failures[i].why), LIMIT_MS) ||
            entry().password != PASSWORD_OLD)
            fail_msg("%s: \"%s\"", failures[i].does, entry().password_error);
        begun = now_ms();
        assert_true(is_well());
        assert_true(now_ms() - begun < 1000);
        if (!eventually(SLEEPERS + processes_with("yes", 4) == 0, 3000))
            fail_msg("%s: something is left of it", failures[i].does);
        write_program("cat $token");
    }
}

/* It has ended well: what it has left behind keeps nobody waiting, and is ended. */
static void a_child_keeps_its_output_open(void **state)
{
    (void)state;
    start("setsid -f sleep 4711; sleep 4711 & cat $token", "password_command_timeout = 20s\n");
    assert_true(is_well());
    assert_true(eventually(SLEEPERS == 0, 3000));
    assert_int_equal(entry().counters[BROKER_COUNTER_password_failures], 0);
}

/* From the beginning on: there is no password, and whoever waits is told why it is down. */
static void it_cannot_be_executed(void **state)
{
    char output[8192];

    (void)state;
    redis_start(&fixture.redis);
    set_server("first", true);
    write_program("cat $token");
    write_token("first");
    assert_int_equal(chmod(program_path, 0600), 0);
    launch("");
    assert_true(eventually(entry().backend == BACKEND_DOWN, LIMIT_MS));
    assert_true(entry().dial_errors[DIAL_password] > 0);
    assert_int_equal(show_pools(output, sizeof output, false), 0);
    assert_non_null(strstr(output, "it cannot be executed: Permission denied"));
    assert_true(lendisd_logged(&fixture.broker, "cannot be executed: Permission denied"));
    assert_int_equal(unlink(program_path), 0);
    assert_true(eventually(strstr(entry().last_error, "No such file") != NULL, LIMIT_MS));
    write_program("cat $token");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    pool = pool_attach(&fixture.broker, "p");
    assert_true(is_well());
}

/* The broker ends, or is killed: nothing is left of the program. */
static void the_broker_ends_first(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        redis_start(&fixture.redis);
        set_server("first", true);
        write_program("sleep 4711");
        launch("password_command_timeout = 5min\n");
        assert_true(eventually(SLEEPERS == 1, LIMIT_MS));
        if (round == 0)
            lendisd_kill(&fixture.broker);
        else
            assert_int_equal(lendisd_stop(&fixture.broker), 0);
        assert_true(eventually(SLEEPERS == 0, 3000));
        observer_close(&fixture.observer);
    }
}

/* One at a time, and the broker answers meanwhile. */
static void nobody_waits_for_it(void **state)
{
    char output[8192];
    int64_t begun, worst = 0;

    (void)state;
    redis_start(&fixture.redis);
    write_program("sleep 4711");
    launch("password_command_timeout = 5min\n");
    assert_true(eventually(runs() == 1, LIMIT_MS));
    for (int i = 0; i < 20; i++) {
        begun = now_ms();
        assert_int_equal(show_pools(output, sizeof output, false), 0);
        if (now_ms() - begun > worst)
            worst = now_ms() - begun;
    }
    assert_non_null(strstr(output, "p has no password yet"));
    assert_true(worst < 2000);
    assert_int_equal(runs(), 1);
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(what_it_is_run_with),
        TEST(it_is_run_once),
        TEST(a_new_one_when_redis_refuses_it),
        TEST(refused_again_and_again),
        TEST(reconnect_asks_for_another_one),
        TEST(tokens_that_end),
        TEST(another_broker_goes_on),
        TEST(it_fails_in_every_way),
        TEST(a_child_keeps_its_output_open),
        TEST(it_cannot_be_executed),
        TEST(the_broker_ends_first),
        TEST(nobody_waits_for_it),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("password_command", tests, NULL, NULL);
}
