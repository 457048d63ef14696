/* SPDX-License-Identifier: MIT */
/* Timers: which of two settings counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"

#define LATER_US UINT64_C(60000000)

static struct {
    sd_event *event;
    sd_event_source *timer;
    uint32_t calls;
} world;

static int on_time(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    assert_ptr_equal(context, &world);
    world.calls++;
    return 0;
}

static int setup(void **state)
{
    (void)state;
    world.calls = 0;
    assert_true(sd_event_new(&world.event) >= 0);
    assert_int_equal(timer_new(world.event, &world.timer, on_time, &world), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sd_event_source_disable_unref(world.timer);
    sd_event_unref(world.event);
    return 0;
}

static uint64_t set_to(void)
{
    uint64_t at_us;

    assert_true(sd_event_source_get_time(world.timer, &at_us) >= 0);
    return at_us;
}

static void is_off_until_it_is_set(void **state)
{
    (void)state;
    assert_false(timer_is_on(world.timer));
    assert_int_equal(timer_set(world.timer, 0), 0);
    assert_true(timer_is_on(world.timer));
    assert_true(sd_event_run(world.event, LATER_US) > 0);
    assert_int_equal(world.calls, 1);
    assert_false(timer_is_on(world.timer));
}

static void counts_from_now(void **state)
{
    uint64_t before_us = clock_us();

    (void)state;
    timer_set(world.timer, LATER_US);
    assert_in_range(set_to(), before_us + LATER_US, clock_us() + LATER_US);
}

static void the_last_setting_counts(void **state)
{
    (void)state;
    timer_set(world.timer, LATER_US);
    timer_set(world.timer, 2 * LATER_US);
    assert_true(set_to() > clock_us() + LATER_US);
}

static void ensuring_leaves_one_that_is_on_alone(void **state)
{
    uint64_t at_us;

    (void)state;
    timer_ensure(world.timer, LATER_US);
    at_us = set_to();
    timer_ensure(world.timer, 0);
    timer_ensure(world.timer, 2 * LATER_US);
    assert_int_equal(set_to(), at_us);
    timer_stop(world.timer);
    timer_ensure(world.timer, 2 * LATER_US);
    assert_true(set_to() > at_us);
}

static void ensuring_a_moment_brings_it_forward_only(void **state)
{
    uint64_t at_us = clock_us() + LATER_US;

    (void)state;
    timer_ensure_at(world.timer, at_us);
    timer_ensure_at(world.timer, at_us + 1);
    assert_int_equal(set_to(), at_us);
    timer_ensure_at(world.timer, at_us - 1);
    assert_int_equal(set_to(), at_us - 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(is_off_until_it_is_set),
        TEST(counts_from_now),
        TEST(the_last_setting_counts),
        TEST(ensuring_leaves_one_that_is_on_alone),
        TEST(ensuring_a_moment_brings_it_forward_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
