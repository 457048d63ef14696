/* SPDX-License-Identifier: MIT */
/*
 * What lendis-bench computes, without measuring: percentiles, the accounting of closed and open
 * loops under a clock of the test's own, medians, ratios, and what it reads from people and files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/bench/cpu.h"
#include "broker/bench/figures.h"
#include "broker/bench/machine.h"
#include "broker/bench/pace.h"
#include "broker/bench/units.h"
#include "broker/bench/variant.h"

#define MS INT64_C(1000000)

static void assert_near(double value, double expected, double share)
{
    if (!(fabs(value - expected) <= fabs(expected) * share))
        fail_msg("%g is not %g, within %g", value, expected, share);
}

/* ---- percentiles ---- */

static void percentiles_are_off_by_a_64th_at_most(void **state)
{
    static struct histogram histogram;

    (void)state;
    memset(&histogram, 0, sizeof histogram);
    for (unsigned us = 1; us <= 100000; us++)
        histogram_add(&histogram, us * 1000);
    assert_near(histogram_quantile(&histogram, 0.5), 50000e3, 1.0 / 64);
    assert_near(histogram_quantile(&histogram, 0.99), 99000e3, 1.0 / 64);
    assert_near(histogram_quantile(&histogram, 0.999), 99900e3, 1.0 / 64);
    assert_int_equal(histogram.max_ns, 100000000);
    assert_true(histogram_quantile(&histogram, 1) <= 100000e3);
    assert_near((double)histogram.sum_ns / (double)histogram.total, 50000.5e3, 1e-9);
}

static void every_bucket_holds_its_own_middle(void **state)
{
    (void)state;
    for (unsigned bucket = 1; bucket < HISTOGRAM_BUCKETS; bucket++)
        assert_int_equal(histogram_bucket((uint64_t)histogram_value(bucket)), bucket);
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void merged_histograms_are_one(void **state)
{
    static struct histogram one, other;

    (void)state;
    memset(&one, 0, sizeof one);
    memset(&other, 0, sizeof other);
    for (unsigned i = 0; i < 90; i++)
        histogram_add(&one, 100);
    for (unsigned i = 0; i < 10; i++)
        histogram_add(&other, 5000);
    histogram_merge(&one, &other);
    assert_int_equal(one.total, 100);
    assert_near(histogram_quantile(&one, 0.9), 100, 0.01);
    assert_near(histogram_quantile(&one, 0.91), 5000, 1.0 / 64);
    assert_int_equal(one.max_ns, 5000);
}

/* ---- loops ---- */

/* A worker whose commands take 1 ms but for one, begun at stall_ns or later, that takes stalled_ns.
 * The clock is a number. */
struct fake {
    int64_t now_ns, stall_ns, stalled_ns;
    struct window window;
    struct tally tally;
};

static void run(struct fake *fake, struct pace *pace)
{
    uint64_t random = 1;

    pace_start(pace, fake->now_ns, &random);
    for (;;) {
        int64_t at_ns = pace_next(pace, fake->now_ns, &random), begin_ns;

        if (at_ns > fake->now_ns && at_ns < fake->window.until_ns)
            fake->now_ns = at_ns;
        if (at_ns >= fake->window.until_ns || fake->now_ns >= fake->window.until_ns) {
            if (pace->open)
                tally_rest(&fake->tally, &fake->window, pace, at_ns, fake->now_ns, &random);
            return;
        }
        begin_ns = pace->open ? at_ns : fake->now_ns;
        if (fake->stalled_ns && fake->now_ns >= fake->stall_ns) {
            fake->now_ns += fake->stalled_ns;
            fake->stalled_ns = 0;
        } else {
            fake->now_ns += MS;
        }
        tally_add(&fake->tally, &fake->window, begin_ns, fake->now_ns);
    }
}

/* 1 s, of which the first 100 ms are not measured, with a stall of 200 ms in the middle. */
static struct fake stalled(void)
{
    return (struct fake){.stall_ns = 500 * MS,
                         .stalled_ns = 200 * MS,
                         .window = {.from_ns = 100 * MS, .until_ns = 1000 * MS}};
}

static void a_closed_loop_sees_a_stall_once(void **state)
{
    struct pace pace = {.kind = PACE_FIXED, .mean_ns = 4 * MS};
    static struct fake fake;

    (void)state;
    fake = stalled();
    run(&fake, &pace);
    /* Every 5 ms, 700 ms of them: 140 and the one that stalled. */
    assert_in_range(fake.tally.latencies.total, 139, 142);
    assert_int_equal(fake.tally.latencies.max_ns, 200 * MS);
    assert_near(histogram_quantile(&fake.tally.latencies, 0.99), MS, 1.0 / 64);
    assert_int_equal(fake.tally.unserved, 0);
}

/* Commands are due every 5 ms also while nothing goes: 40 of them see the stall, the first all of
 * it. */
static void an_open_loop_sees_it_with_all_that_were_due(void **state)
{
    struct pace pace = {.kind = PACE_FIXED, .open = true, .mean_ns = 5 * MS};
    static struct fake fake;
    uint64_t late = 0;

    (void)state;
    fake = stalled();
    run(&fake, &pace);
    assert_in_range(fake.tally.latencies.total, 179, 181); /* 900 ms / 5 ms */
    for (unsigned i = histogram_bucket(2 * MS); i < HISTOGRAM_BUCKETS; i++)
        late += fake.tally.latencies.counts[i];
    /* The stall's 40, and those behind them until the backlog is worked off: 1 ms each, 5 ms
     * apart. */
    assert_in_range(late, 45, 52);
    assert_int_equal(fake.tally.latencies.max_ns, 200 * MS);
    assert_near(histogram_quantile(&fake.tally.latencies, 0.9), 130 * MS, 0.2);
    assert_int_equal(fake.tally.unserved, 0);
}

static void an_open_loop_counts_what_it_did_not_get_to(void **state)
{
    struct pace pace = {.kind = PACE_FIXED, .open = true, .mean_ns = MS / 2.0};
    static struct fake fake;

    (void)state;
    fake = (struct fake){.window = {.from_ns = 0, .until_ns = 1000 * MS}};
    run(&fake, &pace);
    /* Twice as much is due as it can do: half is never begun, and has waited for half a second at
     * most. */
    assert_in_range(fake.tally.ops, 998, 1001);
    assert_in_range(fake.tally.unserved, 998, 1002);
    assert_in_range(fake.tally.latencies.total, 1998, 2001);
    assert_near((double)fake.tally.latencies.max_ns, 500.0 * MS, 0.01);
    assert_near(histogram_quantile(&fake.tally.latencies, 0.5), 250.0 * MS, 0.05);
}

static void pauses_have_their_mean(void **state)
{
    struct pace pace = {.kind = PACE_EXPONENTIAL, .mean_ns = 5 * MS};
    uint64_t random = 7;
    double sum = 0;

    (void)state;
    for (unsigned i = 0; i < 100000; i++)
        sum += (double)pace_draw(&pace, &random);
    assert_near(sum / 100000, 5 * MS, 0.02);
}

/* ---- figures ---- */

static const struct series direct = {"200", "tcp", "direct"}, lendis = {"200", "tcp", "lendis:4"};
static struct figures figures;

static int begin(void **state)
{
    (void)state;
    free(figures.list);
    figures = (struct figures){0};
    return 0;
}

static void medians(void **state)
{
    double odd[] = {9, 1, 5}, even[] = {4, 1, 3, 2}, many[101];

    (void)state;
    for (unsigned i = 0; i <= 100; i++)
        many[i] = 100 - i;
    assert_true(median_of(odd, 3) == 5);
    assert_true(median_of(even, 4) == 2.5);
    assert_true(median_of(NULL, 0) == 0);
    assert_true(quantile_of(many, 101, 0.9) == 90);
}

static void ratios_are_of_rounds_side_by_side(void **state)
{
    /* The machine is twice as fast in the second round; the ratio is 3 in each. */
    static const double base[] = {100, 200, 110}, other[] = {300, 600, 330};
    struct ratio ratio;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        figures_add(&figures, direct, i + 1, "ops_per_s", base[i]);
        figures_add(&figures, lendis, i + 1, "ops_per_s", other[i]);
    }
    figures_add(&figures, lendis, 4, "ops_per_s", 1000); /* alone: nothing to compare with */
    ratio = figures_ratio(&figures, lendis, "ops_per_s", direct, "ops_per_s");
    assert_near(ratio.median, 3, 1e-9);
    assert_near(ratio.least, 3, 1e-9);
    assert_near(ratio.most, 3, 1e-9);
    assert_true(figures_median(&figures, direct, "ops_per_s") == 110);
    assert_true(figures_least(&figures, direct, "ops_per_s") == 100);
    assert_true(figures_most(&figures, direct, "ops_per_s") == 200);
    assert_near(figures_spread(&figures, direct, "ops_per_s"), 100.0 / 110, 1e-9);
    assert_int_equal(figures_rounds(&figures, lendis), 4);
    assert_true(isnan(figures_median(&figures, direct, "p50_us")));
    assert_true(isnan(figures_ratio(&figures, direct, "p50_us", lendis, "p50_us").median));
}

static void figures_are_read_from_two_lines(void **state)
{
    static const char text[] = "mode\tops\tp50_us\tmax_us\nlendis\t12\t0.50\t7\nmore";

    (void)state;
    assert_true(figures_parse(&figures, direct, 2, text));
    assert_int_equal(figures.count, 3); /* the mode is no number */
    assert_true(figures_get(&figures, direct, 2, "p50_us") == 0.5);
    assert_true(figures_get(&figures, direct, 2, "max_us") == 7);
    assert_true(isnan(figures_get(&figures, direct, 1, "max_us")));
    assert_false(figures_parse(&figures, direct, 1, "mode\tops"));
    assert_false(figures_parse(&figures, direct, 1, "mode\tops\nlendis\n"));
    assert_false(figures_parse(&figures, direct, 1, ""));
}

/* ---- what people write ---- */

static void units(void **state)
{
    double number;

    (void)state;
    assert_true(units_parse_us("5ms", &number) && number == 5000);
    assert_true(units_parse_us("1.5s", &number) && number == 1.5e6);
    assert_true(units_parse_us("250us", &number) && number == 250);
    assert_true(units_parse_us("7", &number) && number == 7);
    assert_false(units_parse_us("5min", &number));
    assert_false(units_parse_us("", &number));
    assert_false(units_parse_us("-1ms", &number));
    assert_true(units_parse_bytes("16KiB", &number) && number == 16384);
    assert_true(units_parse_bytes("2MiB", &number) && number == 2097152);
    assert_false(units_parse_bytes("1KB", &number));
    assert_false(units_parse_number("12x", &number));
    assert_false(units_parse_number("inf", &number));
    assert_string_equal(units_grouped(1234567), "1,234,567");
    assert_string_equal(units_grouped(999), "999");
    assert_string_equal(units_time(12.34), "12.3 us");
    assert_string_equal(units_time(1234), "1.23 ms");
}

static void variants(void **state)
{
    struct variant variant;
    char problem[300];

    (void)state;
    assert_true(variant_parse("direct", &variant, problem, sizeof problem));
    assert_int_equal(variant.mode, CLIENT_DIRECT);
    assert_string_equal(variant.transport, "");
    assert_null(variant.build);
    assert_true(variant_parse("lease:16:unix@/tmp/a:b", &variant, problem, sizeof problem));
    assert_int_equal(variant.mode, CLIENT_LEASE);
    assert_int_equal(variant.size, 16);
    assert_string_equal(variant.transport, "unix");
    assert_string_equal(variant.build, "/tmp/a:b");
    assert_true(variant_parse("haproxy:unix", &variant, problem, sizeof problem));
    assert_int_equal(variant.proxy, PROXY_HAPROXY);
    assert_true(variant_parse("direct-transaction", &variant, problem, sizeof problem));
    assert_int_equal(variant.mode, CLIENT_DIRECT_TRANSACTION);

    assert_false(variant_parse("envoy", &variant, problem, sizeof problem));
    assert_non_null(strstr(problem, "there are direct, lendis"));
    assert_false(variant_parse("lendis:0", &variant, problem, sizeof problem));
    assert_false(variant_parse("lendis:4.5", &variant, problem, sizeof problem));
    assert_false(variant_parse("lendis:udp", &variant, problem, sizeof problem));
    assert_non_null(strstr(problem, "udp is neither tcp, unix, tls nor"));
    assert_false(variant_parse("", &variant, problem, sizeof problem));
}

/* ---- what files say ---- */

static void proc_stat(void **state)
{
    double ticks;

    (void)state;
    /* Linux 2.6.33 and later; 2.6.11, without steal; and what is none. */
    assert_true(cpu_parse_stat("cpu  100 20 30 4000 500 6 7 800 90 10", &ticks));
    assert_true(ticks == 163); /* not idle, not waiting for a disk, not stolen, guests once */
    assert_true(cpu_parse_stat("cpu  1 2 3 4 5 6 7", &ticks) && ticks == 19);
    assert_false(cpu_parse_stat("cpu0 1 2 3 4 5 6 7", &ticks));
    assert_false(cpu_parse_stat("intr 1 2 3", &ticks));
}

static void proc_cpuinfo(void **state)
{
    char model[64];

    (void)state;
    assert_true(machine_parse_model("processor\t: 0\nvendor_id\t: AuthenticAMD\n"
                                    "model\t\t: 1\nmodel name\t: AMD EPYC 7763\nstepping\t: 1\n",
                                    model, sizeof model));
    assert_string_equal(model, "AMD EPYC 7763");
    assert_true(machine_parse_model("processor\t: 0\nCPU part\t: 0xd0c\n", model, sizeof model));
    assert_string_equal(model, "0xd0c");
    assert_false(machine_parse_model("", model, sizeof model));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_off_by_a_64th_at_most),
        cmocka_unit_test(every_bucket_holds_its_own_middle),
        cmocka_unit_test(merged_histograms_are_one),
        cmocka_unit_test(a_closed_loop_sees_a_stall_once),
        cmocka_unit_test(an_open_loop_sees_it_with_all_that_were_due),
        cmocka_unit_test(an_open_loop_counts_what_it_did_not_get_to),
        cmocka_unit_test(pauses_have_their_mean),
        cmocka_unit_test(medians),
        cmocka_unit_test_setup(ratios_are_of_rounds_side_by_side, begin),
        cmocka_unit_test_setup(figures_are_read_from_two_lines, begin),
        cmocka_unit_test(units),
        cmocka_unit_test(variants),
        cmocka_unit_test(proc_stat),
        cmocka_unit_test(proc_cpuinfo),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
