/* SPDX-License-Identifier: MIT */
/*
 * lendis-bench at work, for fractions of a second: every variant on both transports does its work
 * without an error and with as many connections as it should, what is missing or wrong is named,
 * and what it prints can be read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/support/judge.h"
#include "tests/support/support.h"

#define OUTPUT_SIZE    400000
#define ARGUMENTS_MAX  32
#define BENCH_LIMIT_MS 90000

static char output[OUTPUT_SIZE];

/* Runs it with these arguments; returns the exit status. */
static int bench(const char *first, ...)
{
    const char *argv[ARGUMENTS_MAX] = {built_program("lendis-bench"), first};
    size_t count = 2;
    va_list arguments;

    va_start(arguments, first);
    while (count < ARGUMENTS_MAX - 1 && (argv[count] = va_arg(arguments, const char *)))
        count++;
    va_end(arguments);
    return program_run(argv, output, sizeof output, BENCH_LIMIT_MS);
}

/* A figure of the first round in what --csv printed; -1: there is none. */
static double figure(const char *row, const char *transport, const char *variant, const char *name)
{
    char begin[200];
    const char *at;

    snprintf(begin, sizeof begin, "%s,%s,%s,1,%s,", row, transport, variant, name);
    at = strstr(output, begin);
    return at ? atof(at + strlen(begin)) : -1;
}

static void assert_said(const char *text)
{
    if (!strstr(output, text))
        fail_msg("'%s' is not in what it said: %s", text, output);
}

/* How many connections Redis has of 3 workers. */
static const struct {
    const char *variant;
    double connections;
} all[] = {
    {"direct", 3},    {"lendis:2", 2},  {"exec:2", 2},
    {"lease:2", 2},   {"acquire:2", 2}, {"transaction:2", 2},
    {"twemproxy", 1}, {"haproxy", 3},   {"direct-transaction", 3},
};
#define ALL                                                                                        \
    "direct,lendis:2,exec:2,lease:2,acquire:2,transaction:2,twemproxy,haproxy,direct-transaction"

static void every_variant_works(void **state)
{
    static const char *const transports[] = {"tcp", "unix"};

    (void)state;
    assert_int_equal(bench("--workers=3", "--variants=" ALL, "--seconds=0.3", "--ramp=0.05",
                           "--rounds=1", "--mix=20", "--value=100", "--transport=tcp,unix", "--csv",
                           NULL),
                     0);
    for (size_t i = 0; i < 2 * sizeof all / sizeof *all; i++) {
        const char *transport = transports[i % 2], *variant = all[i / 2].variant;
        char left_out[64];

        snprintf(left_out, sizeof left_out, "%s is not installed", variant);
        if (strstr(output, left_out))
            continue;
        if (figure("custom", transport, variant, "ops") < 3)
            fail_msg("%s on %s did nothing: %s", variant, transport, output);
        assert_true(figure("custom", transport, variant, "errors") == 0);
        assert_true(figure("custom", transport, variant, "wrong") == 0);
        assert_true(figure("custom", transport, variant, "hung") == 0);
        assert_true(figure("custom", transport, variant, "connections") == all[i / 2].connections);
        assert_true(figure("custom", transport, variant, "p50_us") > 0);
        assert_true(figure("custom", transport, variant, "cpu_s_per_mop") > 0);
    }
}

/* The roles that have a part in it have used processor time, and no others. */
static void processor_time_is_split(void **state)
{
    (void)state;
    assert_int_equal(bench("--workers=3", "--variants=direct,twemproxy,lendis:1", "--seconds=0.3",
                           "--ramp=0.05", "--rounds=1", "--csv", NULL),
                     0);
    assert_true(figure("custom", "tcp", "direct", "workers_s_per_mop") > 0);
    assert_true(figure("custom", "tcp", "direct", "redis_s_per_mop") > 0);
    assert_true(figure("custom", "tcp", "direct", "proxy_s_per_mop") == 0);
    assert_true(figure("custom", "tcp", "direct", "broker_s_per_mop") == 0);
    assert_true(figure("custom", "tcp", "lendis:1", "proxy_s_per_mop") == 0);
    if (!strstr(output, "twemproxy is not installed"))
        assert_true(figure("custom", "tcp", "twemproxy", "proxy_s_per_mop") > 0);
}

static void an_open_loop_keeps_its_rate(void **state)
{
    (void)state;
    assert_int_equal(bench("--workers=4", "--variants=direct,lendis:2", "--rate=400", "--seconds=1",
                           "--rounds=1", "--csv", NULL),
                     0);
    assert_true(figure("custom", "tcp", "lendis:2", "rate") == 400);
    /* Poisson: four standard deviations around 400 in a second. */
    assert_in_range((unsigned)figure("custom", "tcp", "lendis:2", "ops_per_s"), 320, 480);
}

/* Each command takes a round trip and more, on whichever way it goes. */
static void distance_is_felt(void **state)
{
    static const char *const variants[] = {"direct", "lendis:1"};

    (void)state;
    assert_int_equal(bench("--workers=3", "--variants=direct,lendis:1", "--rtt=20ms",
                           "--seconds=0.5", "--ramp=0.05", "--rounds=1", "--csv", NULL),
                     0);
    for (size_t i = 0; i < 2; i++) {
        assert_true(figure("custom", "tcp", variants[i], "rtt_us") == 20000);
        assert_true(figure("custom", "tcp", variants[i], "ops") > 3);
        /* Quantiles are off by a sixty-fourth. */
        assert_true(figure("custom", "tcp", variants[i], "p50_us") > 20000 * 63.0 / 64);
        assert_true(figure("custom", "tcp", variants[i], "wrong") == 0);
    }
    assert_int_equal(bench("--rtt=1ms", "--transport=tcp,unix", NULL), EX_USAGE);
    assert_int_equal(bench("--rtt=1ms", "--variants=direct:unix", NULL), EX_USAGE);
}

static void wake_ups_are_measured_beside_it(void **state)
{
    double limit;

    (void)state;
    assert_int_equal(bench("--workers=40", "--variants=lendis:2", "--seconds=0.3", "--ramp=0.05",
                           "--rounds=1", "--csv", NULL),
                     0);
    limit = figure("custom", "tcp", "lendis:2", "wake_limit");
    assert_true(limit > 40);
    assert_true(figure("custom", "tcp", "lendis:2", "of_limit") >
                0.99 * figure("custom", "tcp", "lendis:2", "ops_per_s") / limit);
}

static void leases_are_measured_beside_commands(void **state)
{
    (void)state;
    assert_int_equal(bench("--workers=4", "--leasers=2", "--hold=1ms", "--variants=lendis:2",
                           "--seconds=0.3", "--rounds=1", "--csv", NULL),
                     0);
    assert_true(figure("custom", "tcp", "lendis:2", "leases_per_s") > 10);
    assert_true(figure("custom", "tcp", "lendis:2", "ops") > 10);
    assert_true(figure("custom", "tcp", "lendis:2", "errors") == 0);
}

/* So that a machine that drifts touches all alike. */
static void rounds_are_interleaved(void **state)
{
    (void)state;
    assert_int_equal(
        bench("--workers=1", "--seconds=0.05", "--ramp=0", "--rounds=2", "--awake", "--csv", NULL),
        0);
    assert_true(strstr(output, ",direct,1,ops,") < strstr(output, ",lendis:4,1,ops,"));
    assert_true(strstr(output, ",lendis:4,1,ops,") < strstr(output, ",lendis:4,2,ops,"));
    assert_non_null(strstr(output, ",lendis:4,2,ops,"));
    assert_true(strstr(output, ",lendis:4,2,ops,") < strstr(output, ",direct,2,ops,"));
}

/* A broker with sanitizers takes more memory than one may. */
static void a_missed_target_fails_when_asked(void **state)
{
    char broker[4096];

    (void)state;
    snprintf(broker, sizeof broker, "%s", built_program("asan/lendisd"));
    if (access(broker, X_OK) != 0)
        skip();
    setenv("LENDISD", broker, 1);
    assert_int_equal(bench("--rows=idle", NULL), 0);
    assert_said("MISS  [idle] private memory of the broker, KiB");
    assert_int_equal(bench("--rows=idle", "--strict", NULL), 1);
    unsetenv("LENDISD");
    assert_said("MISS  [idle] private memory of the broker, KiB");
}

static void json_and_a_picture(void **state)
{
    char path[TESTBED_PATH_SIZE], option[TESTBED_PATH_SIZE + 8];

    (void)state;
    scratch_path(path, "bench.svg");
    snprintf(option, sizeof option, "--plot=%s", path);
    /* Bars of one row, then curves over two. */
    assert_int_equal(
        bench("--workers=1", "--seconds=0.05", "--ramp=0.05", "--rounds=1", option, NULL), 0);
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(bench("--workers=1,2", "--seconds=0.05", "--ramp=0.05", "--rounds=2", "--json",
                           option, NULL),
                     0);
    assert_true(json_is_valid(output));
    assert_said("\"row\": \"1_workers\", \"transport\": \"tcp\", \"variant\": \"lendis:4\"");
    assert_said("\"row\": \"2_workers\"");
    assert_said("\"medians\": {");
    assert_said("\"p999_us\": ");
    assert_int_equal(access(path, R_OK), 0);
}

static void tables_are_for_people(void **state)
{
    (void)state;
    assert_int_equal(bench("--workers=2", "--think=1ms", "--seconds=0.1", "--rounds=2", NULL), 0);
    assert_said(
        "[custom] tcp: 2 workers, GET, 3-byte values, 1.00 ms think time; 2 rounds of 0.1 s");
    assert_said("TIMES THE FIRST");
    assert_said("processors; Linux ");
}

/* Another build is as good as this one when it is the same. */
static void two_builds_can_be_compared(void **state)
{
    char folder[4096], variants[4200];

    (void)state;
    snprintf(folder, sizeof folder, "%s", built_program("."));
    snprintf(variants, sizeof variants, "--variants=lendis:2,lendis:2@%s", folder);
    if (strlen(folder) > 50)
        skip();
    assert_int_equal(bench(variants, "--workers=2", "--seconds=0.05", "--rounds=1", "--csv", NULL),
                     0);
    snprintf(variants, sizeof variants, "lendis:2@%s", folder);
    assert_true(figure("custom", "tcp", variants, "ops") > 0);
}

static void a_missing_proxy_is_named(void **state)
{
    (void)state;
    setenv("NUTCRACKER", "/nonexistent/nutcracker", 1);
    assert_int_equal(bench("--variants=direct,twemproxy", "--workers=1", "--seconds=0.05",
                           "--rounds=1", "--csv", NULL),
                     0);
    unsetenv("NUTCRACKER");
    assert_said("twemproxy is not installed (Debian: nutcracker): left out");
    assert_true(figure("custom", "tcp", "direct", "ops") > 0);
    assert_true(figure("custom", "tcp", "twemproxy", "ops") < 0);
}

static void storms_are_seen_at_redis(void **state)
{
    (void)state;
    assert_int_equal(bench("--rows=storm,restart", "--rounds=1", "--csv", NULL), 0);
    /* One who asks whether Redis is up may be among them. */
    assert_in_range((int)figure("storm", "tcp", "direct", "peak_connections"), 500, 502);
    assert_in_range((int)figure("storm", "tcp", "lendis:16", "peak_connections"), 16, 18);
    assert_true(figure("storm", "tcp", "direct", "failed") == 0);
    assert_true(figure("storm", "tcp", "lendis:16", "failed") == 0);
    assert_true(figure("storm", "tcp", "direct", "peak_accepts_per_s") > 100);
    assert_in_range((int)figure("restart", "tcp", "direct", "peak_connections"), 500, 502);
    assert_in_range((int)figure("restart", "tcp", "lendis:16", "peak_connections"), 1, 18);
    assert_true(figure("restart", "tcp", "direct", "failed") > 0);
    assert_true(figure("restart", "tcp", "lendis:16", "all_served_ms") > 0);
}

static void the_parts_report_their_figures(void **state)
{
    (void)state;
    assert_int_equal(bench("--rows=memory,lease,idle", "--csv", NULL), 0);
    assert_true(figure("lease", "", "", "lease_median_ns") > 0);
    assert_true(figure("lease", "", "", "lease_limit_median_ns") > 0);
    assert_true(figure("lease", "", "", "two_swaps_median_ns") > 0);
    assert_true(figure("lease", "", "", "lease_per_two_swaps") > 1);
    assert_true(figure("lease", "", "", "lease_limit_per_two_swaps") > 1);
    assert_true(figure("lease", "", "", "locked_median_ns") > 0);
    assert_true(figure("lease", "", "", "lendis_16_64_ns") > 0);
    assert_true(figure("lease", "", "", "locked_16_64_ns") > 0);
    assert_true(figure("lease", "", "", "broker_16_64_ns") > 0);
    assert_true(figure("memory", "", "", "shared_connection") == 128);
    assert_true(figure("idle", "", "", "connections") == 64);
    assert_true(figure("idle", "", "", "private_kib") > 0);
}

static void what_is_wrong_is_said(void **state)
{
    static const struct {
        const char *option, *said;
    } cases[] = {
        {"--rows=201", "no such row, see --list-rows: 201"},
        {"--variants=envoy", "there are direct, lendis"},
        {"--variants=direct@/nonexistent", "/nonexistent/lendis-bench"},
        {"--transport=udp", "--transport is tcp, unix, tls or a list of them: udp"},
        {"--workers=0", "--workers is a number from 1 to 10000, or a list of them: 0"},
        {"--think=5min", "--think is a time up to 100s, as in 5ms: 5min"},
        {"--think-kind=normal", "--think-kind is exponential or fixed: normal"},
        {"--value=2", "--value is a size from 3 to 64MiB, as in 16KiB: 2"},
        {"--mix=101", "--mix is a percentage, 0 to 100: 101"},
        {"--mix=1.5", "--mix is a percentage, 0 to 100: 1.5"},
        {"--rate=0", "--rate is a number of commands per second from 1: 0"},
        {"--leasers=200", "--leasers has to be less than --workers: 200"},
        {"--seconds=0", "--seconds is from 0.01 to 3600: 0"},
        {"--rounds=0", "--rounds is a number from 1 to 100: 0"},
        {"--quiet=no", "--quiet is a number of processors, as in 0.3: no"},
        {"--pool-set=size", "not a line of a configuration, key=value: size"},
        {"--plot=bench.pdf", "ends in .svg or .png"},
        {"--plot=/nonexistent/bench.svg", "No such file or directory"},
        {"bench", "unexpected argument: bench"},
        {"--what", "unrecognized option '--what'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (bench(cases[i].option, NULL) != EX_USAGE)
            fail_msg("%s: %s", cases[i].option, output);
        assert_said(cases[i].said);
    }
    assert_int_equal(bench("--rows=200", "--workers=3", NULL), EX_USAGE);
    assert_said("--rows and the description of one load exclude each other");
    assert_int_equal(bench("--rate=5", "--think=1ms", NULL), EX_USAGE);
    assert_said("--rate and --think exclude each other");
}

/* A reply that is not what was stored is no success: here there is nothing at all. */
static void wrong_replies_are_found(void **state)
{
    struct redis_server redis = {.tcp = true};
    char url[80];

    (void)state;
    redis_start(&redis);
    snprintf(url, sizeof url, "--url=%s", redis.tcp_url);
    assert_int_equal(bench("load", "--mode=direct", url, "--no-fill", "--seconds=0.05", NULL), 2);
    assert_said("GET key:000 got");
    assert_int_equal(
        bench("load", "--mode=direct", url, "--seconds=0.05", "--ramp=0", "--tsv", NULL), 0);
    assert_said("mode\tworkers\t");
    redis_stop(&redis);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant_works),
        cmocka_unit_test(processor_time_is_split),
        cmocka_unit_test(an_open_loop_keeps_its_rate),
        cmocka_unit_test(distance_is_felt),
        cmocka_unit_test(wake_ups_are_measured_beside_it),
        cmocka_unit_test(leases_are_measured_beside_commands),
        cmocka_unit_test(rounds_are_interleaved),
        cmocka_unit_test(a_missed_target_fails_when_asked),
        cmocka_unit_test(json_and_a_picture),
        cmocka_unit_test(tables_are_for_people),
        cmocka_unit_test(two_builds_can_be_compared),
        cmocka_unit_test(a_missing_proxy_is_named),
        cmocka_unit_test(storms_are_seen_at_redis),
        cmocka_unit_test(the_parts_report_their_figures),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(wrong_replies_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
