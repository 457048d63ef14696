/* SPDX-License-Identifier: MIT */
/*
 * A broker whose standard error nobody reads goes on for everybody, and whoever may connect, and no
 * more, cannot fill the log.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis/wire.h"
#include "tests/support/fixture.h"

#define NOBODY   65534u
#define REQUESTS 3000u

static struct fixture fixture;

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

/* As another user: requests that are refused, and greetings that are none. Returns the answers. */
static int pester(struct processes *processes, unsigned number)
{
    struct wire_control request = {.verb = WIRE_RELOAD};
    struct wire_outcome outcome;
    unsigned *answers = processes_result(processes, number);

    if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
        return 1;
    wire_header(&request.header, WIRE_CONTROL, sizeof request);
    for (unsigned i = 0; i < REQUESTS; i++) {
        int fd = lendisd_connect(fixture.broker.socket_path);

        if (fd < 0)
            return 2;
        if (i % 2)
            request.header.type = WIRE_CONTROL;
        else
            request.header.type = 250; /* there is no such message */
        wire_send(fd, &request, -1);
        if (wire_receive(fd, &outcome, sizeof outcome, NULL, 5000) != -EAGAIN)
            (*answers)++;
        close(fd);
    }
    return 0;
}

static void expect_pestered(void)
{
    scratch_share();
    assert_int_equal(chmod(fixture.broker.socket_path, 0666), 0);
    processes_start(&fixture.processes, 1, sizeof(unsigned), pester, NULL);
    assert_true(processes_wait(&fixture.processes, 60000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    assert_int_equal(*(unsigned *)processes_result(&fixture.processes, 0), REQUESTS);
}

static unsigned lines_logged(void)
{
    FILE *log = fopen(fixture.broker.log_path, "re");
    unsigned lines = 0;
    char line[4096];

    while (log && fgets(line, sizeof line, log))
        lines++;
    if (log)
        fclose(log);
    return lines;
}

static void who_may_only_connect_cannot_fill_the_log(void **state)
{
    unsigned before;

    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "log_level = debug\n[pool p]\nredis = %s\nallow_uids = 12345\n",
                  fixture.redis.unix_url);
    assert_true(lendisd_logged(&fixture.broker, "connected to"));
    before = lines_logged();
    expect_pestered();
    assert_true(lendisd_logged(&fixture.broker, "may not control the broker"));
    /* A few of each kind for each window; the machine can be slow. */
    assert_in_range(lines_logged() - before, 2, 100);
}

/* The broker, and what it may write to its standard error, whose other end nobody reads. */
static int start_unread(const char *option)
{
    const char *const argv[] = {built_program("lendisd"), "--config", fixture.broker.config_path,
                                option, NULL};
    int ends[2], full = 0;

    lendisd_configure(&fixture.broker, "log_level = debug\n[pool p]\nredis = %s\nsize = 2\n",
                      fixture.redis.unix_url);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    /* Not a byte more finds room. */
    assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    while (write(ends[1], "x", 1) == 1)
        full++;
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
    assert_true(full > 0);
    fixture.broker.pid = fork();
    if (fixture.broker.pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    close(ends[1]);
    return ends[0];
}

static bool can_attach(void)
{
    struct lendis_pool *pool;

    if (lendis_attach(fixture.broker.socket_path, "p", NULL, &pool) != 0)
        return false;
    lendis_detach(pool);
    return true;
}

static void expect_going_on(const char *option)
{
    int unread, status;
    struct lendis_pool *pool;
    redisReply *reply;

    redis_start(&fixture.redis);
    unread = start_unread(option);
    assert_true(eventually(can_attach(), 20000));
    expect_pestered();
    pool = pool_attach(&fixture.broker, "p");
    reply = lendis_command(pool, "ECHO mine");
    assert_non_null(reply);
    assert_string_equal(reply->str, "mine");
    freeReplyObject(reply);
    lendis_detach(pool);
    /* It reports its end, too, and does not wait for that to be read. */
    kill(fixture.broker.pid, SIGTERM);
    status = program_wait(fixture.broker.pid, 20000);
    fixture.broker.pid = status == -1 ? fixture.broker.pid : 0;
    assert_int_equal(status, 0);
    close(unread);
}

static void a_broker_whose_log_nobody_reads(void **state)
{
    (void)state;
    expect_going_on(NULL);
}

/* Parent and broker both write to it. */
static void a_supervised_broker_whose_log_nobody_reads(void **state)
{
    (void)state;
    expect_going_on("--supervise");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(who_may_only_connect_cannot_fill_the_log, end),
        cmocka_unit_test_teardown(a_broker_whose_log_nobody_reads, end),
        cmocka_unit_test_teardown(a_supervised_broker_whose_log_nobody_reads, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
