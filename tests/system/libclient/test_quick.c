/* SPDX-License-Identifier: MIT */
/*
 * The quick way of a lease (libclient/quick_lease.h): what it does without, and that it is a lease
 * like any other. The clock and the switches of cancellation are counted in the library's place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "libclient/pool.h"
#include "tests/support/fixture.h"

#define SIZE     4
#define LEASES   6400
#define LIMIT_MS 10000

static struct fixture fixture;
static atomic_uint clock_readings, switches;

/* ---- in place of libc's ---- */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    atomic_fetch_add(&clock_readings, clock == CLOCK_MONOTONIC);
    return (int)syscall(SYS_clock_gettime, clock, now);
}

/* Nobody is cancelled here. */
int pthread_setcancelstate(int state, int *before)
{
    (void)state;
    atomic_fetch_add(&switches, 1);
    *before = PTHREAD_CANCEL_ENABLE;
    return 0;
}

/* ---- a pool, and threads ---- */

static int start(void **state)
{
    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = %d\nmin_idle = %d\n",
                  fixture.redis.unix_url, SIZE, SIZE);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, SIZE, LIMIT_MS));
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

static void lease_often(struct lendis_pool *pool, unsigned count, int timeout_ms)
{
    for (unsigned i = 0; i < count; i++) {
        struct lendis_lease *lease;

        assert_int_equal(lendis_acquire(pool, timeout_ms, &lease), 0);
        assert_int_equal(lendis_release(lease), 0);
    }
}

static void *wait_for_end(void *context)
{
    while (!atomic_load((atomic_bool *)context))
        sleep_us(1000);
    return NULL;
}

/* ---- the tests ---- */

/* But for the leases that are timed (LEASE_SAMPLE) it knows the time well enough. */
static void a_limit_that_nobody_waits_for_reads_no_clock(void **state)
{
    static const int limits[] = {1000, 0, -1};
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");

    (void)state;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        lease_often(pool, 100, limits[i]);
        atomic_store(&clock_readings, 0);
        lease_often(pool, LEASES, limits[i]);
        /* Two for each timed one, and some for leases that a busy machine made rest. */
        assert_in_range(atomic_load(&clock_readings), 1, 3 * LEASES / LEASE_SAMPLE);
    }
    lendis_detach(pool);
}

static void cancellation_is_not_switched(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    atomic_bool over = false;
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_end, &over), 0);
    lease_often(pool, 100, 1000);
    atomic_store(&switches, 0);
    lease_often(pool, LEASES, 1000);
    assert_in_range(atomic_load(&switches), 0, LEASES / 20);
    atomic_store(&over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    lendis_detach(pool);
}

/* Descriptors of this test are below this. */
#define DESCRIPTORS 1024

static struct {
    struct lendis_pool *pool;
    atomic_uint begun, wrong, empty_handed, leases;
    atomic_uint held[DESCRIPTORS];
} contest;

/* Holds leases and gives them back, with many others. Whose a descriptor is, is known. */
static void *contend(void *context)
{
    (void)context;
    atomic_fetch_add(&contest.begun, 1);
    for (unsigned i = 0; i < LEASES; i++) {
        struct lendis_lease *lease;
        int fd;

        if (lendis_acquire(contest.pool, i % 2 ? LIMIT_MS : 0, &lease) != 0) {
            atomic_fetch_add(&contest.empty_handed, 1);
            continue;
        }
        fd = lease->fd;
        if (fd < 0 || fd >= DESCRIPTORS || atomic_exchange(&contest.held[fd], 1) != 0)
            atomic_fetch_add(&contest.wrong, 1);
        else
            atomic_store(&contest.held[fd], 0);
        if (lendis_release(lease) != 0)
            atomic_fetch_add(&contest.wrong, 1);
        atomic_fetch_add(&contest.leases, 1);
    }
    return NULL;
}

/* The struct of a lease is used again while the one before ends: by no two at a time. */
static void threads_never_share_one(void **state)
{
    pthread_t threads[2 * SIZE];

    (void)state;
    contest.pool = pool_attach(&fixture.broker, "p");
    for (int i = 0; i < 2 * SIZE; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, contend, NULL), 0);
    for (int i = 0; i < 2 * SIZE; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&contest.begun), 2 * SIZE);
    assert_int_equal(atomic_load(&contest.wrong), 0);
    /* Those that waited have all got one. */
    assert_in_range(atomic_load(&contest.leases), SIZE * LEASES, 2 * SIZE * LEASES);
    assert_int_equal(pool_counter(&fixture.observer, COUNTER_leases), atomic_load(&contest.leases));
    assert_true(eventually(words_in(&fixture.observer, WORD_IDLE) == SIZE, LIMIT_MS));
    lendis_detach(contest.pool);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_limit_that_nobody_waits_for_reads_no_clock),
        TEST(cancellation_is_not_switched),
        TEST(threads_never_share_one),
    };

    return cmocka_run_group_tests_name("quick", tests, NULL, NULL);
}
