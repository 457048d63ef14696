/* SPDX-License-Identifier: MIT */
/*
 * Known loads give known counts, through all that reports them: lendisctl, the metrics listener,
 * and lendisctl top on a terminal of 80 columns and 24 lines. The example dashboard and alert rules
 * know no metric that there is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>
#include <netinet/in.h>
#include "lendis_hiredis.h"
#include "broker/testbed/internal.h"
#include "tests/support/fixture.h"
#include "tests/support/judge.h"

#define OUTPUT   (1 << 20)
#define LIMIT_MS 20000

static struct fixture fixture;
static char text[OUTPUT];
static char metrics_path[TESTBED_PATH_SIZE];

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

/* A real Redis, a pool "p" of it, and metrics at a socket. */
static void start(const char *keys)
{
    scratch_path(metrics_path, "%s", "metrics.sock");
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "metrics = unix://%s\n[pool p]\nredis = %s\n%s", metrics_path,
                  fixture.redis.unix_url, keys);
}

/* ---- asking ---- */

/* Connects and sends. The answer can be waited for; -1: refused. */
static int http_open(const struct sockaddr *address, socklen_t size, const char *request)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    if (connect(fd, address, size) < 0) {
        close(fd);
        return -1;
    }
    if (request)
        assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    return fd;
}

/* All that comes until the end, in `text`. False: not within limit_ms. */
static bool http_finish(int fd, int limit_ms)
{
    int64_t until_ms = now_ms() + limit_ms;
    size_t got = 0;

    for (;;) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        ssize_t size;

        if (poll(&poll_fd, 1, (int)(until_ms > now_ms() ? until_ms - now_ms() : 0)) != 1)
            return false;
        size = recv(fd, text + got, sizeof text - 1 - got, 0);
        if (size <= 0)
            break;
        got += (size_t)size;
    }
    text[got] = '\0';
    return true;
}

static int http_local(const char *request)
{
    struct sockaddr_un address = unix_address(metrics_path);

    return http_open((struct sockaddr *)&address, sizeof address, request);
}

/* The whole answer, in `text`. */
static void http(const char *request)
{
    int fd = http_local(request);

    assert_true(fd >= 0);
    assert_true(http_finish(fd, LIMIT_MS));
    close(fd);
}

/* `text` becomes the metrics, which must be OpenMetrics. */
static void scrape(void)
{
    const char *problem, *body;

    http("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: "
         "application/openmetrics-text;version=1.0.0\r\n\r\n");
    body = strstr(text, "\r\n\r\n");
    if (strncmp(text, "HTTP/1.1 200 ", 13) != 0 || !body)
        fail_msg("%s", text);
    assert_non_null(strstr(text, "Content-Type: application/openmetrics-text; version=1.0.0"));
    memmove(text, body + 4, strlen(body + 4) + 1);
    problem = openmetrics_problem(text);
    if (problem)
        fail_msg("%s", problem);
}

/* A series of pool p: its value now. */
static double value(const char *series)
{
    double found;

    scrape();
    found = openmetrics_value(text, series);
    if (isnan(found))
        fail_msg("there is no %s", series);
    return found;
}

/* The listener's text may be a tenth of a second old. */
#define becomes(series, expected) assert_true(eventually(value(series) == (expected), 5000))

static void ctl(const char *a, const char *b, const char *c)
{
    const char *argv[] = {
        built_program("lendisctl"), "--socket", fixture.broker.socket_path, a, b, c, NULL};
    int status = program_run(argv, text, sizeof text, LIMIT_MS);

    if (status != 0)
        fail_msg("lendisctl %s: exit status %d: %s", a, status, text);
}

/* The bucket that a time falls into is the one that the metrics say: all waits of histogram `name`
 * are at most twice and at least half as long. */
static void expect_about(const char *name, double seconds, double count)
{
    char series[128];
    double below = 0, all = 0;

    for (int bits = 10; bits <= 36; bits++) {
        double border = (double)(UINT64_C(1) << bits) / 1e9;
        const char *at;

        snprintf(series, sizeof series, "%s_bucket{pool=\"p\",le=\"", name);
        for (at = text; (at = strstr(at, series)); at++) {
            char *next;
            double found = strtod(at + strlen(series), &next);

            if (fabs(found - border) > 1e-12)
                continue;
            if (border <= seconds / 2)
                below = strtod(next + 3, NULL);
            if (border <= seconds * 2)
                all = strtod(next + 3, NULL);
        }
    }
    if (below != 0 || all != count)
        fail_msg("%g values of %s below %g s, %g below %g s", below, name, seconds / 2, all,
                 seconds * 2);
}

/* ---- known loads ---- */

static void leases_at_hand_are_hits(void **state)
{
    struct lendis_lease *lease;
    struct lendis_pool *pool;

    (void)state;
    start("size = 2\nmin_idle = 2\n");
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 2, 5000));
    pool = pool_attach(&fixture.broker, "p");
    for (int i = 0; i < 300; i++) {
        assert_int_equal(lendis_acquire(pool, 0, &lease), 0);
        assert_int_equal(lendis_release(lease), 0);
    }
    becomes("lendis_hits_total{pool=\"p\"}", 300);
    assert_true(openmetrics_value(text, "lendis_leases_total{pool=\"p\"}") == 300);
    assert_true(openmetrics_value(text, "lendis_misses_total{pool=\"p\"}") == 0);
    assert_true(openmetrics_value(text, "lendis_waits_total{pool=\"p\"}") == 0);
    assert_true(openmetrics_value(text, "lendis_connections_opened_total{pool=\"p\"}") == 2);
    assert_true(openmetrics_value(text, "lendis_connections{pool=\"p\",state=\"idle\"}") == 2);

    assert_int_equal(lendis_acquire(pool, 0, &lease), 0);
    becomes("lendis_connections{pool=\"p\",state=\"leased\"}", 1);
    assert_true(openmetrics_value(text, "lendis_connections{pool=\"p\",state=\"idle\"}") == 1);
    assert_true(openmetrics_value(text, "lendis_connections_limit{pool=\"p\"}") == 2);
    assert_true(openmetrics_value(text, "lendis_workers{pool=\"p\"}") ==
                2); /* the observer is one */
    assert_true(eventually(value("lendis_oldest_lease_seconds{pool=\"p\"}") > 0.05, 5000));
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(pool);
    /* What it counted stays when it goes. */
    becomes("lendis_workers{pool=\"p\"}", 1);
    assert_true(openmetrics_value(text, "lendis_hits_total{pool=\"p\"}") == 301);
    assert_true(openmetrics_value(text, "lendis_worker_deaths_total{pool=\"p\"}") == 0);
}

static int hold_for_100_ms(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *lease;

    (void)number;
    if (lendis_acquire(pool, 5000, &lease) != 0)
        return 1;
    processes_ready(processes);
    sleep_us(100000);
    return lendis_release(lease) == 0 ? 0 : 1;
}

static void a_wait_is_in_its_bucket(void **state)
{
    struct lendis_lease *lease;
    struct lendis_pool *pool;
    int64_t begin;
    double seconds, told;

    (void)state;
    start("size = 1\nmin_idle = 1\n");
    pool = pool_attach(&fixture.broker, "p");
    processes_start(&fixture.processes, 1, 0, hold_for_100_ms, NULL);
    processes_go(&fixture.processes);
    begin = now_ns();
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    seconds = (double)(now_ns() - begin) / 1e9;
    assert_int_equal(lendis_release(lease), 0);
    assert_true(seconds > 0.02);
    /* The holder may have waited for the first connection, just after the start. */
    assert_true(eventually(value("lendis_waits_total{pool=\"p\"}") >= 1, 5000));
    told = openmetrics_value(text, "lendis_acquire_wait_max_seconds{pool=\"p\"}");
    assert_true(fabs(told - seconds) < 0.01);
    if (openmetrics_value(text, "lendis_waits_total{pool=\"p\"}") == 1) {
        expect_about("lendis_acquire_wait_seconds", seconds, 1);
        assert_true(openmetrics_value(text, "lendis_misses_total{pool=\"p\"}") == 1);
        assert_true(openmetrics_value(text, "lendis_hits_total{pool=\"p\"}") == 1);
        assert_true(openmetrics_value(text, "lendis_leases_total{pool=\"p\"}") == 2);
    }
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    lendis_detach(pool);
}

static void a_wait_in_vain_is_a_timeout(void **state)
{
    struct lendis_lease *lease, *second;
    struct lendis_pool *pool;

    (void)state;
    start("size = 1\nmin_idle = 1\n");
    pool = pool_attach(&fixture.broker, "p");
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    assert_int_equal(lendis_acquire(pool, 50, &second), LENDIS_E_TIMEOUT);
    assert_int_equal(lendis_acquire(pool, 0, &second), LENDIS_E_BUSY);
    becomes("lendis_timeouts_total{pool=\"p\"}", 1);
    assert_true(openmetrics_value(text, "lendis_misses_total{pool=\"p\"}") >= 2);
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(pool);
}

static void long_leases_are_all_there(void **state)
{
    struct lendis_lease *lease;
    struct lendis_pool *pool;

    (void)state;
    start("size = 1\nmin_idle = 1\n");
    pool = pool_attach(&fixture.broker, "p");
    for (int i = 0; i < 5; i++) {
        redisReply *reply;

        assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
        reply = lendis_lease_command(lease, "PING");
        assert_non_null(reply);
        freeReplyObject(reply);
        sleep_us(100000);
        assert_int_equal(lendis_release(lease), 0);
    }
    becomes("lendis_lease_seconds_count{pool=\"p\"}", 5);
    /* The coarse clock may be a tick or two late. */
    assert_true(
        openmetrics_value(text, "lendis_lease_seconds_bucket{pool=\"p\",le=\"0.067108864\"}") == 0);
    assert_true(openmetrics_value(text, "lendis_lease_seconds_sum{pool=\"p\"}") > 0.45);
    lendis_detach(pool);
}

static int hold_for_ever(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *lease;

    (void)number;
    for (int i = 0; i < 10; i++)
        if (lendis_acquire(pool, 5000, &lease) != 0 || lendis_release(lease) != 0)
            return 1;
    if (lendis_acquire(pool, 5000, &lease) != 0)
        return 1;
    processes_ready(processes);
    for (;;)
        pause();
}

static void a_killed_worker_is_a_death(void **state)
{
    (void)state;
    start("size = 4\nmin_idle = 4\n");
    processes_start(&fixture.processes, 3, 0, hold_for_ever, NULL);
    processes_go(&fixture.processes);
    becomes("lendis_connections{pool=\"p\",state=\"leased\"}", 3);
    processes_signal(&fixture.processes, 1, SIGKILL);
    becomes("lendis_worker_deaths_total{pool=\"p\"}", 1);
    assert_true(
        openmetrics_value(text, "lendis_leases_revoked_total{pool=\"p\",reason=\"died\"}") == 1);
    assert_true(
        openmetrics_value(text, "lendis_leases_revoked_total{pool=\"p\",reason=\"killed\"}") == 0);
    assert_true(openmetrics_value(
                    text, "lendis_connections_closed_total{pool=\"p\",reason=\"revoked\"}") == 1);
    assert_true(openmetrics_value(
                    text, "lendis_connections_closed_total{pool=\"p\",reason=\"lost\"}") == 0);
    assert_true(openmetrics_value(text, "lendis_leases_total{pool=\"p\"}") == 33);
    assert_true(openmetrics_value(text, "lendis_workers{pool=\"p\"}") == 2);
    becomes("lendis_connections_opened_total{pool=\"p\"}", 5);
    ctl("--json", "show", "leases");
    assert_true(json_is_valid(text));
    assert_non_null(strstr(text, "\"command\": \"test_statistics\""));
}

static void failed_dials_have_reasons(void **state)
{
    (void)state;
    start("size = 1\n[pool q]\nredis = unix:///nowhere/at/all.sock\nsize = 1\n"
          "[pool r]\nredis = redis://no-such-host.invalid:1\nsize = 1\n");
    assert_true(
        eventually(value("lendis_dial_errors_total{pool=\"q\",reason=\"refused\"}") > 0, 5000));
    assert_true(
        eventually(value("lendis_dial_errors_total{pool=\"r\",reason=\"lookup\"}") > 0, 15000));
    assert_true(openmetrics_value(text, "lendis_dial_errors_total{pool=\"q\",reason=\"login\"}") ==
                0);
    assert_true(
        openmetrics_value(text, "lendis_dial_errors_total{pool=\"p\",reason=\"refused\"}") == 0);
    assert_true(openmetrics_value(text, "lendis_backend_up{pool=\"q\"}") == 0);
    assert_true(openmetrics_value(text, "lendis_backend_up{pool=\"p\"}") == 1);
}

static int talk_200_times(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct tally tally = {0};

    processes_ready(processes);
    for (unsigned long i = 0; i < 200; i++)
        talk(pool, &tally, number, i);
    return tally_failed(&tally) == 0 ? 0 : 1;
}

static void commands_and_batches_add_up(void **state)
{
    double own, handed, batches, sum;

    (void)state;
    start("size = 1\nmin_idle = 1\n");
    processes_start(&fixture.processes, 12, 0, talk_200_times, NULL);
    processes_go(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    becomes("lendis_workers{pool=\"p\"}", 0);
    own = openmetrics_value(text, "lendis_commands_total{pool=\"p\"}");
    handed = openmetrics_value(text, "lendis_handed_total{pool=\"p\"}");
    batches = openmetrics_value(text, "lendis_batches_total{pool=\"p\"}");
    sum = openmetrics_value(text, "lendis_batch_commands_sum{pool=\"p\"}");
    assert_true(own + handed == 12 * 200);
    assert_true(sum == 12 * 200);
    assert_true(openmetrics_value(text, "lendis_batch_commands_count{pool=\"p\"}") == batches);
    /* Each command that was not leased a connection at once has waited, in one of two ways. */
    assert_true(openmetrics_value(text, "lendis_command_wait_seconds_count{pool=\"p\"}") +
                    openmetrics_value(text, "lendis_acquire_wait_seconds_count{pool=\"p\"}") ==
                openmetrics_value(text, "lendis_waits_total{pool=\"p\"}"));
}

/* ---- who reports it ---- */

static void lendisctl_reports_the_same(void **state)
{
    const char *problem;

    (void)state;
    start("size = 2\nmin_idle = 2\n");
    becomes("lendis_connections{pool=\"p\",state=\"idle\"}", 2);
    ctl("metrics", NULL, NULL);
    problem = openmetrics_problem(text);
    if (problem)
        fail_msg("%s", problem);
    assert_true(openmetrics_value(text, "lendis_connections{pool=\"p\",state=\"idle\"}") == 2);
    ctl("metrics", "--format", "prometheus");
    assert_non_null(strstr(text, "# TYPE lendis_hits_total counter\n"));
    assert_null(strstr(text, "# EOF"));
    /* The broker's help is not needed. */
    lendisd_pause(&fixture.broker);
    ctl("metrics", NULL, NULL);
    assert_true(openmetrics_value(text, "lendis_connections{pool=\"p\",state=\"idle\"}") == 2);
    lendisd_continue(&fixture.broker);
}

/* What is no OpenMetrics, and what OpenMetrics leaves open and we do not. */
static void the_judge_finds_faults(void **state)
{
#define HISTOGRAM_OF(lines) "# TYPE a histogram\n# HELP a x\n" lines "a_count 3\na_sum 1\n# EOF\n"
    static const char good[] =
        HISTOGRAM_OF("a_bucket{le=\"1.0\"} 1\na_bucket{le=\"2.0\"} 3\na_bucket{le=\"+Inf\"} 3\n");
    static const char *const faults[] = {
        "# TYPE a gauge\n# HELP a x\na 1\n",
        "# TYPE a gauge\n# HELP a x\na 1\n# EOF\na 2\n",
        "# TYPE a gauge\n# HELP a x\na 1\na 1\n# EOF\n",
        "# TYPE a gauge\na 1\n# EOF\n",
        "# HELP a x\na 1\n# EOF\n",
        "# TYPE a gauge\n# TYPE a gauge\n# HELP a x\na 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a x\n# HELP a x\na 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a x\n# UNIT a seconds\na 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a x\na_total 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a x\na{b=\"1} 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a x\na one\n# EOF\n",
        "# TYPE a gauge\n# HELP a x\na  1\n# EOF\n",
        "# TYPE a gauge\n# HELP a x\na 1\n# TYPE b gauge\n# HELP b x\nb 1\na{c=\"1\"} 1\n# EOF\n",
        "# TYPE a counter\n# HELP a x\na 1\n# EOF\n",
        "# TYPE a counter\n# HELP a x\na_total -1\n# EOF\n",
        "# TYPE a_total counter\n# HELP a_total x\na_total_total 1\n# EOF\n",
        HISTOGRAM_OF("a_bucket{le=\"1.0\"} 3\n"),
        HISTOGRAM_OF("a_bucket{le=\"1.0\"} 1\na_bucket{le=\"+Inf\"} 2\n"),
        HISTOGRAM_OF("a_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 3\n"),
        HISTOGRAM_OF("a_bucket{le=\"2.0\"} 1\na_bucket{le=\"1.0\"} 2\na_bucket{le=\"+Inf\"} 3\n"),
        HISTOGRAM_OF("a_bucket{le=\"1.0\"} 3\na_bucket{le=\"2.0\"} 2\na_bucket{le=\"+Inf\"} 3\n"),
    };
#undef HISTOGRAM_OF
    static const char *const no_json[] = {"", "{", "[1e5]", "[NaN]", "[1,]", "{} {}", "[01]"};

    (void)state;
    assert_null(openmetrics_problem(good));
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (!openmetrics_problem(faults[i]))
            fail_msg("no fault is found in:\n%s", faults[i]);
    assert_true(json_is_valid("{\"a\": [1, -0.5, null, true, \"\\u0041\"]}"));
    for (size_t i = 0; i < sizeof no_json / sizeof *no_json; i++)
        if (json_is_valid(no_json[i]))
            fail_msg("taken for JSON: %s", no_json[i]);
}

/* promtool(1) of Prometheus, where there is one. */
static void promtool_finds_no_fault(void **state)
{
    char command[2 * TESTBED_PATH_SIZE + 200];
    const char *argv[] = {"sh", "-c", command, NULL};

    (void)state;
    if (system("command -v promtool >/dev/null 2>&1") != 0)
        skip();
    start("size = 2\n");
    snprintf(command, sizeof command,
             "%s --socket %s metrics --format prometheus | promtool check metrics && "
             "promtool check rules deploy/prometheus/lendis.rules.yml",
             built_program("lendisctl"), fixture.broker.socket_path);
    if (program_run(argv, text, sizeof text, LIMIT_MS) != 0)
        fail_msg("%s", text);
}

static void the_listener_speaks_http(void **state)
{
    (void)state;
    start("size = 1\n");
    http("GET /metrics HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(text, " 200 "));
    assert_non_null(strstr(text, "Content-Type: text/plain; version=0.0.4"));
    assert_non_null(strstr(text, "# TYPE lendis_leases_total counter\n"));
    http("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(strstr(text, " 200 "));
    assert_null(strstr(text, "lendis_leases"));
    http("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(strstr(text, " 404 "));
    http("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    assert_non_null(strstr(text, " 405 "));
    http("nonsense\r\n\r\n");
    assert_null(strstr(text, "lendis_leases"));
    scrape();
}

static void the_listener_is_on_loopback(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int port, reserved = reserve_port(&port), fd;

    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "metrics = 127.0.0.1:%d\n[pool p]\nredis = %s\n", port,
                  fixture.redis.unix_url);
    address.sin_port = htons((uint16_t)port);
    fd = http_open((struct sockaddr *)&address, sizeof address,
                   "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(fd >= 0 && http_finish(fd, LIMIT_MS));
    assert_true(openmetrics_has(strstr(text, "\r\n\r\n"), "lendis_backend_up"));
    close(fd);
    close(reserved);
}

/* libmicrohttpd is loaded when it is needed; a file that is none stands for one that is not
 * there. */
static void without_the_library_it_is_reported(void **state)
{
    char path[TESTBED_PATH_SIZE], directory[TESTBED_PATH_SIZE];
    FILE *file;

    (void)state;
    scratch_path(directory, "libraries");
    scratch_path(path, "libraries/libmicrohttpd.so.12");
    assert_int_equal(mkdir(directory, 0700), 0);
    file = fopen(path, "we");
    assert_non_null(file);
    fclose(file);
    redis_start(&fixture.redis);
    setenv("LD_LIBRARY_PATH", directory, 1);
    lendisd_configure(&fixture.broker, "[pool p]\nredis = %s\n", fixture.redis.unix_url);
    lendisd_launch(&fixture.broker, true); /* has no use for it */
    lendisd_stop(&fixture.broker);
    lendisd_configure(&fixture.broker, "metrics = 127.0.0.1:1\n[pool p]\nredis = %s\n",
                      fixture.redis.unix_url);
    lendisd_launch(&fixture.broker, false);
    unsetenv("LD_LIBRARY_PATH");
    assert_int_not_equal(program_wait(fixture.broker.pid, LIMIT_MS), 0);
    fixture.broker.pid = 0;
    assert_true(lendisd_logged(&fixture.broker, "metrics need libmicrohttpd"));
}

static int metrics_port;

static int http_loopback(const char *request)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((uint16_t)metrics_port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 1;

    /* As little as possible is taken from whoever sends. */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        return -1;
    }
    if (request && send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
        fprintf(stderr, "hung up on\n"); /* which is what it is there for */
    return fd;
}

enum { SILENT, HALF_A_REQUEST, HALF_CLOSED, SLOW_READER, DRIPPING, KINDS };

#define CROWD 40

/* One more of a kind of client that only takes a place. */
static int take_place(int kind)
{
    static const char ask[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char half[] = "GET /metrics HTTP/1.1\r\nHost: x\r\nX: ";
    int fd = http_loopback(kind == SILENT ? NULL : kind == SLOW_READER ? ask : half);

    if (kind == HALF_CLOSED)
        shutdown(fd, SHUT_WR);
    return fd;
}

/* Always has CROWD of them, replaces one every millisecond, and lets each drip that does. */
static int crowd(struct processes *processes, unsigned number)
{
    int fds[CROWD];

    for (int i = 0; i < CROWD; i++)
        fds[i] = take_place((int)number);
    processes_ready(processes);
    for (int i = 0; !processes_stopping(processes); i = (i + 1) % CROWD) {
        if (number == DRIPPING)
            send(fds[i], "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (number != DRIPPING || i % 8 == 0) {
            close(fds[i]);
            fds[i] = take_place((int)number);
        }
        sleep_us(1000);
    }
    return 0;
}

/* Crowds that say nothing, too little, or do not read, and never stop coming. */
static void slow_clients_delay_nobody(void **state)
{
    int reserved = reserve_port(&metrics_port), fd;
    struct lendis_pool *pool;
    int64_t begin;

    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "metrics = 127.0.0.1:%d\n[pool p]\nredis = %s\n", metrics_port,
                  fixture.redis.unix_url);
    processes_start(&fixture.processes, KINDS, 0, crowd, NULL);
    processes_go(&fixture.processes);
    for (int i = 0; i < 5; i++) {
        begin = now_ms();
        fd = http_loopback("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_true(fd >= 0 && http_finish(fd, LIMIT_MS));
        assert_non_null(strstr(text, "lendis_backend_up"));
        assert_true(now_ms() - begin < 8000); /* alone it takes one or two */
        close(fd);
        begin = now_ms();
        pool = pool_attach(&fixture.broker, "p");
        assert_true(now_ms() - begin < 1000);
        lendis_detach(pool);
    }
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    close(reserved);
}

/* Clients that only stay: they cost nothing, and go for the one that asks. */
static void silent_clients_go_for_others(void **state)
{
    int fds[CROWD];

    (void)state;
    start("size = 1\n");
    for (int i = 0; i < CROWD; i++)
        fds[i] = http_local(i % 2 ? "GET /metrics HTTP/1.1\r\nHost: x\r\nX: " : NULL);
    for (int i = 0; i < 3; i++) {
        int64_t begin = now_ms();

        scrape();
        assert_true(now_ms() - begin < 5000);
    }
    assert_true(process_cpu_ms(fixture.broker.pid, 500) < 100);
    for (int i = 0; i < CROWD; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    scrape();
}

static void the_socket_is_removed(void **state)
{
    (void)state;
    start("size = 1\n");
    scrape();
    lendisd_kill(&fixture.broker); /* leaves it behind, which the next one does not mind */
    assert_int_equal(access(metrics_path, F_OK), 0);
    lendisd_launch(&fixture.broker, true);
    scrape();
    assert_int_equal(lendisd_stop(&fixture.broker), 0);
    assert_int_equal(access(metrics_path, F_OK), -1);
}

/* ---- top ---- */

static const char leave_text[] = "\x1b[?7h\x1b[?25h\x1b[?1049l";

struct terminal {
    int fd;
    pid_t pid;
    struct termios before;
    size_t got; /* of what it wrote, in `text` */
};

static void terminal_start(struct terminal *terminal)
{
    const struct winsize size = {.ws_col = 80, .ws_row = 24};
    int other;

    *terminal = (struct terminal){0};
    assert_int_equal(openpty(&terminal->fd, &other, NULL, NULL, &size), 0);
    assert_int_equal(tcgetattr(other, &terminal->before), 0);
    terminal->pid = fork();
    assert_true(terminal->pid >= 0);
    if (terminal->pid == 0) {
        close(terminal->fd);
        login_tty(other);
        setenv("TERM", "xterm", 1);
        execl(built_program("lendisctl"), "lendisctl", "--socket", fixture.broker.socket_path,
              "top", NULL);
        _exit(127);
    }
    scratch_add_child(terminal->pid);
    close(other);
}

/* Reads on until `wanted` is in what came since this call. */
static void expect_text(struct terminal *terminal, const char *wanted)
{
    int64_t until_ms = now_ms() + 10000;

    terminal->got = 0;
    text[0] = '\0';
    while (!strstr(text, wanted)) {
        struct pollfd poll_fd = {.fd = terminal->fd, .events = POLLIN};
        ssize_t size = -1;

        if (poll(&poll_fd, 1, (int)(until_ms > now_ms() ? until_ms - now_ms() : 0)) == 1)
            size = read(terminal->fd, text + terminal->got, sizeof text - 1 - terminal->got);
        if (size <= 0)
            fail_msg("no \"%s\" in: %s", wanted, text);
        terminal->got += (size_t)size;
        text[terminal->got] = '\0';
    }
}

static void press(struct terminal *terminal, const char *keys)
{
    assert_int_equal(write(terminal->fd, keys, strlen(keys)), strlen(keys));
}

/* Every frame in `text` has 24 lines at most, and no line more than 80 characters. */
static void expect_fits(void)
{
    int column = 0, line = 0;

    for (const char *at = text; *at; at++) {
        if (strncmp(at, "\x1b[H", 3) == 0)
            line = 1;
        if (*at == '\x1b') {
            at += 1 + strcspn(at + 1, "ABCDHJKhlm");
            if (!*at)
                return;
        } else if (*at == '\r') {
            column = 0;
        } else if (*at == '\n') {
            if (++line > 24)
                fail_msg("line %d", line);
        } else if (++column > 80) {
            fail_msg("line %d, column %d: %s", line, column, at);
        }
    }
}

/* It ended as `signal` says, 0: by itself, and left the terminal as it was. */
static void expect_ended(struct terminal *terminal, int signal)
{
    struct termios after;
    int status;

    expect_text(terminal, leave_text);
    status = program_wait(terminal->pid, 5000);
    scratch_remove_child(terminal->pid);
    assert_int_equal(tcgetattr(terminal->fd, &after), 0);
    assert_int_equal(after.c_lflag, terminal->before.c_lflag);
    assert_int_equal(after.c_iflag, terminal->before.c_iflag);
    if (signal)
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == signal);
    else
        assert_int_equal(status, 0);
    close(terminal->fd);
}

static void top_draws_and_quits(void **state)
{
    struct terminal terminal;
    struct lendis_pool *pool;

    (void)state;
    start("size = 2\nmin_idle = 2\n[pool another-one]\nredis = unix:///nowhere.sock\nsize = 7\n");
    pool = pool_attach(&fixture.broker, "p");
    terminal_start(&terminal);
    expect_text(&terminal, "another-one");
    expect_text(&terminal, "another-one"); /* at the second refresh */
    expect_fits();
    press(&terminal, "w");
    expect_text(&terminal, "workers by");
    expect_text(&terminal, "test_stat");
    expect_fits();
    press(&terminal, "/nobody\r");
    expect_text(&terminal, "nothing of that kind");
    press(&terminal, "l");
    expect_text(&terminal, "leases by AGE");
    press(&terminal, "\x1b");
    sleep_us(100000); /* a key behind it would be taken for its sequence */
    press(&terminal, "h");
    expect_text(&terminal, "sort by the column");
    expect_fits();
    press(&terminal, "p");
    expect_text(&terminal, "P99 WAIT");
    press(&terminal, ">");
    expect_text(&terminal, "pools by WAITS/s");
    press(&terminal, "<<r");
    expect_text(&terminal, "pools by WAIT (least first)");
    press(&terminal, "q");
    expect_ended(&terminal, 0);
    lendis_detach(pool);
}

static void top_leaves_the_terminal_as_it_was(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGSEGV};
    const char *argv[] = {NULL, "--socket", NULL, "top", NULL};
    struct terminal terminal;

    (void)state;
    start("size = 1\n");
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        terminal_start(&terminal);
        expect_text(&terminal, "pools by");
        kill(terminal.pid, signals[i]);
        expect_ended(&terminal, signals[i]);
    }
    terminal_start(&terminal);
    expect_text(&terminal, "pools by");
    press(&terminal, "\x03"); /* ^C */
    expect_ended(&terminal, SIGINT);
    argv[0] = built_program("lendisctl");
    argv[2] = fixture.broker.socket_path;
    assert_int_equal(program_run(argv, text, sizeof text, LIMIT_MS), 1);
    assert_non_null(strstr(text, "top needs a terminal"));
}

static void top_outlives_the_broker(void **state)
{
    struct terminal terminal;

    (void)state;
    start("size = 1\n");
    terminal_start(&terminal);
    expect_text(&terminal, "pools by");
    lendisd_kill(&fixture.broker);
    expect_text(&terminal, "THE BROKER IS GONE");
    expect_fits();
    lendisd_launch(&fixture.broker, true);
    expect_text(&terminal, "leases so far");
    press(&terminal, "q");
    expect_ended(&terminal, 0);
}

/* ---- the examples ---- */

static void read_file(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, buffer, size - 1);

    if (got <= 0)
        fail_msg("%s: %s", path, strerror(errno));
    buffer[got] = '\0';
    close(fd);
}

/* Each lendis_... in `content` is the name of a series. */
static unsigned check_names(const char *path, const char *content)
{
    unsigned count = 0;

    for (const char *at = content; (at = strstr(at, "lendis_")); count++) {
        size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789_");
        char name[128];

        snprintf(name, sizeof name, "%.*s", (int)length, at);
        if (!openmetrics_has(text, name))
            fail_msg("%s: there is no metric %s", path, name);
        at += length;
    }
    return count;
}

static void the_examples_know_what_there_is(void **state)
{
    static const char dashboard[] = "deploy/grafana/lendis.json";
    static const char rules[] = "deploy/prometheus/lendis.rules.yml";
    static char content[1 << 17];

    (void)state;
    start("size = 1\n");
    scrape();
    read_file(dashboard, content, sizeof content);
    assert_true(json_is_valid(content));
    assert_true(check_names(dashboard, content) > 20);
    read_file(rules, content, sizeof content);
    assert_true(check_names(rules, content) >= 10);
}

#define TEST(name) cmocka_unit_test_teardown(name, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(leases_at_hand_are_hits),
        TEST(a_wait_is_in_its_bucket),
        TEST(a_wait_in_vain_is_a_timeout),
        TEST(long_leases_are_all_there),
        TEST(a_killed_worker_is_a_death),
        TEST(failed_dials_have_reasons),
        TEST(commands_and_batches_add_up),
        TEST(the_judge_finds_faults),
        TEST(lendisctl_reports_the_same),
        TEST(promtool_finds_no_fault),
        TEST(the_listener_speaks_http),
        TEST(the_listener_is_on_loopback),
        TEST(without_the_library_it_is_reported),
        TEST(slow_clients_delay_nobody),
        TEST(silent_clients_go_for_others),
        TEST(the_socket_is_removed),
        TEST(top_draws_and_quits),
        TEST(top_leaves_the_terminal_as_it_was),
        TEST(top_outlives_the_broker),
        TEST(the_examples_know_what_there_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
