/* SPDX-License-Identifier: MIT */
/*
 * A broker whose memory runs out at its N-th allocation, for N = 1, 2, ... until none fails: once,
 * and from then on for a while. It never aborts and never crashes. While it starts it may give up,
 * with a status and a reason; once it runs it goes on, and when there is memory again all works.
 *
 * ALLOCATION_STEP: every so many N of the start, which has some 1,400, most of them of libraries; 1
 * takes all of them (make allocations).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/support/failing_malloc.h"
#include "tests/support/fixture.h"

#define LIMIT_MS 20000
/* More than any course has. */
#define ALLOCATIONS_MAX 20000u
#define DEFAULT_STEP    61u
/* A course has more allocations or fewer, as it happens: so often in a row none fails at its
 * end. */
#define QUIET 5u

static struct fixture fixture;
static struct failing_malloc *control;
static char control_path[TESTBED_PATH_SIZE];
static int metrics_port, metrics_fd = -1;

static int end(void **state)
{
    (void)state;
    failing_malloc_no_preload();
    fixture_end(&fixture);
    if (metrics_fd >= 0)
        close(metrics_fd);
    metrics_fd = -1;
    return 0;
}

static unsigned step(void)
{
    const char *text = getenv("ALLOCATION_STEP");
    long number = text ? strtol(text, NULL, 10) : 0;

    return number > 0 ? (unsigned)number : DEFAULT_STEP;
}

static void begin(void)
{
    if (!FAILING_MALLOC_WORKS)
        skip();
    if (!control) {
        scratch_path(control_path, "malloc");
        control = failing_malloc_new(control_path);
    }
    redis_start(&fixture.redis);
    metrics_fd = reserve_port(&metrics_port);
    lendisd_configure(&fixture.broker,
                      "metrics = 127.0.0.1:%d\n"
                      "[pool p]\nredis = %s\nsize = 2\nmin_idle = 2\ncheck_interval = 20ms\n"
                      "wait_timeout = 300ms\ndial_backoff_min = 10ms\ndial_backoff_max = 20ms\n",
                      metrics_port, fixture.redis.unix_url);
}

/* Before every start: what was logged then is not for now. */
static void truncate_log(void)
{
    if (truncate(fixture.broker.log_path, 0) < 0)
        assert_int_equal(errno, ENOENT);
}

/* Starts it with allocation `number` failing; returns when it lends or has ended. (It accepts
 * before all that it needs is there.) */
static void launch(unsigned number, bool all)
{
    truncate_log();
    failing_malloc_set(control, number, all);
    failing_malloc_preload(control_path);
    lendisd_launch(&fixture.broker, false);
    failing_malloc_no_preload();
    if (!eventually(lendisd_log_has(&fixture.broker, "lends at") ||
                        program_ended(fixture.broker.pid),
                    LIMIT_MS))
        fail_msg("allocation %u: it neither starts nor ends", number);
}

static bool command_works(void)
{
    struct lendis_pool *pool;
    redisReply *reply;
    bool works;

    if (lendis_attach(fixture.broker.socket_path, "p", NULL, &pool) != 0)
        return false;
    reply = lendis_command(pool, "PING");
    works = reply && reply->type == REDIS_REPLY_STATUS;
    freeReplyObject(reply);
    lendis_detach(pool);
    return works;
}

static void expect_recovery(unsigned number, bool all)
{
    failing_malloc_set(control, 0, false);
    if (!eventually(program_ended(fixture.broker.pid) || command_works(), LIMIT_MS) ||
        program_ended(fixture.broker.pid))
        fail_msg("allocation %u%s: the broker does not recover, or has ended", number,
                 all ? " and all that follow" : "");
}

/* It has ended by itself: with a status and a reason. */
static void expect_refusal(unsigned number)
{
    int status = program_wait(fixture.broker.pid, LIMIT_MS);

    fixture.broker.pid = 0;
    /* With 127 glibc ends a process: a destructor of a library had no memory, for instance. */
    if (!WIFEXITED(status) || WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 127)
        fail_msg("allocation %u: wait status %x", number, (unsigned)status);
    assert_int_not_equal(access(fixture.broker.socket_path, F_OK), 0);
}

/* ---- the start ---- */

static unsigned starts(bool all)
{
    unsigned number = 1, refused = 0;

    for (; number < ALLOCATIONS_MAX; number += step()) {
        bool failed;

        launch(number, all);
        failed = atomic_load(&control->failed) > 0;
        if (program_ended(fixture.broker.pid)) {
            expect_refusal(number);
            refused++;
        } else {
            expect_recovery(number, all);
            assert_int_equal(lendisd_stop(&fixture.broker), 0);
        }
        unlink(fixture.broker.socket_path);
        if (!failed)
            break;
    }
    assert_true(refused > 0);
    fprintf(stderr, "start: %u allocations, %u refusals seen\n", number, refused);
    return number;
}

static void at_the_start_once(void **state)
{
    (void)state;
    begin();
    assert_in_range(starts(false), 2, ALLOCATIONS_MAX - 1);
}

static void at_the_start_from_then_on(void **state)
{
    (void)state;
    begin();
    assert_in_range(starts(true), 2, ALLOCATIONS_MAX - 1);
}

/* ---- a broker that runs ---- */

/* Asks for the metrics; what comes does not matter. */
static void ask_for_metrics(void)
{
    static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
    const struct timeval limit = {.tv_usec = 300000};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)metrics_port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char reply[4096];

    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0)
        while (recv(fd, reply, sizeof reply, 0) > 0)
            ;
    close(fd);
}

/* Dials, an attachment with its fetch, checks, a reload, metrics. */
static void run_course(void)
{
    freeReplyObject(redis_do(&fixture.redis, "CLIENT KILL TYPE normal SKIPME yes"));
    command_works();
    kill(fixture.broker.pid, SIGHUP);
    ask_for_metrics();
    command_works();
    sleep_us(30000); /* more than check_interval: it is no matter whether there was one */
}

static void runs(bool all)
{
    unsigned number = 1, failures = 0, quiet = 0;

    launch(0, false);
    assert_false(program_ended(fixture.broker.pid));
    for (; number < ALLOCATIONS_MAX && quiet < QUIET; number++) {
        bool failed;

        failing_malloc_set(control, number, all);
        run_course();
        failed = atomic_load(&control->failed) > 0;
        expect_recovery(number, all);
        quiet = failed ? 0 : quiet + 1;
        failures += failed;
    }
    assert_true(failures > 0);
    fprintf(stderr, "course: %u allocations\n", number);
    assert_true(number < ALLOCATIONS_MAX);
    assert_int_equal(lendisd_stop(&fixture.broker), 0);
}

static void while_it_runs_once(void **state)
{
    (void)state;
    begin();
    runs(false);
}

static void while_it_runs_from_then_on(void **state)
{
    (void)state;
    begin();
    runs(true);
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(at_the_start_once),
        TEST(at_the_start_from_then_on),
        TEST(while_it_runs_once),
        TEST(while_it_runs_from_then_on),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("failing_malloc", tests, NULL, NULL);
}
