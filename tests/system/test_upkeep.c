/* SPDX-License-Identifier: MIT */
/*
 * How many connections there are and how they are kept: replacement for age and use without a dip in
 * capacity, idle ones that go, checks, the reserve, the pace of dialling, failing fast, the order of
 * lending and the limit of waiters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "tests/support/site.h"

#define LEASES_MAX 16

static struct site site;

static int end(void **state)
{
    (void)state;
    site_end(&site);
    return 0;
}

/* A real Redis, and a pool "p" of it with these keys, observed. */
static void start_pool(const char *keys)
{
    redis_start(&site.redis);
    lendisd_start(&site.broker, "[pool p]\nredis = %s\n%s", site.redis.unix_url, keys);
    segment_observe(&site.observer, site.broker.socket_path, "p");
}

static uint64_t closed_for(enum close_reason reason)
{
    struct catalog_pool entry;

    observe_pool(&site.observer, &entry);
    return shm_load_relaxed(&entry.closed[reason]);
}

static uint64_t dials_failed(void)
{
    struct catalog_pool entry;

    observe_pool(&site.observer, &entry);
    return CATALOG_SUM(entry.dial_errors);
}

/* Open now, as the broker counts. */
static uint64_t still_open(void)
{
    struct catalog_pool entry;

    observe_pool(&site.observer, &entry);
    return shm_load_relaxed(&entry.counters[BROKER_COUNTER_opened]) - CATALOG_SUM(entry.closed);
}

static unsigned opened_words(void)
{
    struct word_count count;

    assert_true(observe_words(&site.observer, &count));
    return count.opened;
}

static void expect_works(struct lendis_pool *pool)
{
    redisReply *reply = lendis_command(pool, "ECHO mine");

    if (!reply)
        fail_msg("no reply: %s", lendis_strerror(lendis_pool_error(pool, NULL)));
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    assert_string_equal(reply->str, "mine");
    freeReplyObject(reply);
}

static long long integer_on(struct lendis_lease *lease, const char *command)
{
    redisReply *reply = lendis_lease_command(lease, command);
    long long number;

    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    number = reply->integer;
    freeReplyObject(reply);
    return number;
}

static void acquire_all(struct lendis_pool *pool, struct lendis_lease **leases, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(lendis_acquire(pool, 5000, &leases[i]), 0);
}

static void release_all(struct lendis_lease **leases, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(lendis_release(leases[i]), 0);
}

/* ---- replacement ---- */

struct load {
    unsigned pause_us;
};

static int work(struct crew *crew, unsigned number)
{
    const struct load *load = crew->context;
    struct tally *tally = crew_result(crew, number);
    struct lendis_pool *pool = pool_attach(&site.broker, "p");

    crew_ready(crew);
    for (unsigned long turn = 0; !crew_stopping(crew); turn++) {
        talk(pool, tally, number, turn);
        if (load->pause_us)
            sleep_us(load->pause_us);
    }
    lendis_detach(pool);
    return 0;
}

/* Places whose connection can be or is being used, and which generations these are. */
static unsigned usable(uint64_t signature[], unsigned places)
{
    unsigned count = 0;

    for (unsigned i = 0; i < places; i++) {
        uint64_t word = shm_load_relaxed(&site.observer.segment.connections[i].word);
        enum word_state state = word_state(word);
        bool serves = state == WORD_IDLE || state == WORD_LEASED || state == WORD_HANDED ||
                      state == WORD_CARRIED;

        signature[i] = word_generation(word) << 1 | serves;
        count += serves;
    }
    return count;
}

/* The fewest that could be used at any time within `ms`. */
static unsigned fewest_usable(int ms)
{
    unsigned places = site.observer.segment.connection_max, fewest = UINT32_MAX;
    uint64_t first[LENDIS_MAX_CONNECTIONS], second[LENDIS_MAX_CONNECTIONS];

    for (int64_t until = now_ms() + ms; now_ms() < until;) {
        unsigned count = usable(first, places);

        /* Places are looked at one after the other: what two looks agree on was so at once. */
        if (count == usable(second, places) && memcmp(first, second, places * sizeof *first) == 0 &&
            count < fewest)
            fewest = count;
        sched_yield();
    }
    return fewest;
}

static void expect_all_good(const char *title, int workers)
{
    struct tally sum;

    assert_true(crew_wait(&site.crew, 20000));
    assert_int_equal(crew_failures(&site.crew), 0);
    tally_crew(&site.crew, &sum);
    tally_print(title, &sum);
    assert_true(sum.good > (unsigned)workers);
    assert_int_equal(tally_failed(&sum), 0);
    assert_int_equal(sum.wrong + sum.missing, 0);
}

static void old_connections_are_replaced_under_load(void **state)
{
    static const struct load loads[] = {{.pause_us = 0}, {.pause_us = 2000}};
    struct load load;

    (void)state;
    start_pool("size = 4\nmin_idle = 4\nmax_lifetime = 200ms\nlifetime_jitter = 50\n");
    assert_true(pool_fills(&site.observer, 4, 10000));
    for (size_t i = 0; i < sizeof loads / sizeof *loads; i++) {
        uint64_t before = closed_for(CLOSE_lifetime);
        unsigned fewest;

        load = loads[i];
        crew_start(&site.crew, 40, sizeof(struct tally), work, &load);
        crew_go(&site.crew);
        fewest = fewest_usable(2500);
        crew_stop(&site.crew);
        expect_all_good("replaced under load", 40);
        crew_end(&site.crew);
        fprintf(stderr, "%llu replaced, never fewer than %u usable\n",
                (unsigned long long)(closed_for(CLOSE_lifetime) - before), fewest);
        assert_int_equal(fewest, 4);
        assert_true(closed_for(CLOSE_lifetime) - before >= 16);
    }
    /* The old ones do not pile up, at Redis neither: the four, and one that is on its way. */
    assert_in_range(redis_info(&site.redis, "connected_clients"), 4, 5);
    assert_int_equal(closed_for(CLOSE_lost), 0);
}

static void idle_connections_are_replaced_one_by_one(void **state)
{
    unsigned fewest;

    (void)state;
    start_pool("size = 8\nmin_idle = 8\nmax_lifetime = 300ms\nlifetime_jitter = 0\n");
    assert_true(pool_fills(&site.observer, 8, 10000));
    fewest = fewest_usable(1500);
    assert_int_equal(fewest, 8);
    assert_in_range(closed_for(CLOSE_lifetime), 16, 48);
    assert_true(still_open() <= 9);
}

/* The holder keeps it, others get its successor, and it goes when it is given back. */
static void a_leased_connection_retires_when_it_comes_back(void **state)
{
    struct lendis_lease *old, *other;
    struct lendis_pool *pool;
    long long id;

    (void)state;
    start_pool("size = 1\nmin_idle = 1\nmax_lifetime = 300ms\n");
    assert_true(pool_fills(&site.observer, 1, 10000));
    pool = pool_attach(&site.broker, "p");
    assert_int_equal(lendis_acquire(pool, 1000, &old), 0);
    id = integer_on(old, "CLIENT ID");
    assert_true(eventually(words_in(&site.observer, WORD_IDLE) == 1, 3000));
    assert_int_equal(closed_for(CLOSE_lifetime), 0);
    assert_int_equal(lendis_acquire(pool, 1000, &other), 0);
    assert_true(integer_on(other, "CLIENT ID") != id);
    assert_int_equal(integer_on(old, "CLIENT ID"), id);
    assert_int_equal(lendis_release(other), 0);
    assert_int_equal(lendis_release(old), 0);
    assert_true(eventually(closed_for(CLOSE_lifetime) >= 1, 1000));
    assert_int_equal(closed_for(CLOSE_returned), 0);
    expect_works(pool);
    lendis_detach(pool);
}

static void used_up_connections_are_replaced(void **state)
{
    long long last = 0;
    unsigned changes = 0, uses = 0, most = 0;
    struct lendis_pool *pool;

    (void)state;
    start_pool("size = 1\nmin_idle = 1\nmax_uses = 10\n");
    assert_true(pool_fills(&site.observer, 1, 10000));
    pool = pool_attach(&site.broker, "p");
    for (int i = 0; i < 200; i++) {
        redisReply *reply = lendis_command(pool, "CLIENT ID");

        assert_non_null(reply);
        assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
        uses = reply->integer == last ? uses + 1 : 1;
        changes += reply->integer != last;
        last = reply->integer;
        most = uses > most ? uses : most;
        freeReplyObject(reply);
        sleep_us(2000);
    }
    fprintf(stderr, "%u connections for 200 commands, at most %u on one\n", changes, most);
    assert_in_range(changes, 10, 21);
    assert_true(most >= 10);
    assert_true(closed_for(CLOSE_uses) >= changes - 1);
    assert_int_equal(closed_for(CLOSE_returned), 0);
    lendis_detach(pool);
}

/* An old connection is better than none. */
static void nothing_retires_while_redis_cannot_be_dialled(void **state)
{
    struct lendis_pool *pool;

    (void)state;
    fake_start(&site.fake, FAKE_ANSWER);
    lendisd_start(&site.broker, "[pool p]\nredis = %s\nsize = 2\nmin_idle = 2\nmax_lifetime = 1s\n",
                  site.fake.unix_url);
    segment_observe(&site.observer, site.broker.socket_path, "p");
    assert_true(pool_fills(&site.observer, 2, 10000));
    atomic_store(&site.fake.control->refuse, 1);
    pool = pool_attach(&site.broker, "p");
    assert_true(eventually(dials_failed() >= 3, 10000));
    for (int i = 0; i < 20; i++)
        expect_works(pool);
    assert_int_equal(words_in(&site.observer, WORD_IDLE), 2);
    assert_int_equal(closed_for(CLOSE_lifetime), 0);
    atomic_store(&site.fake.control->refuse, 0);
    assert_true(eventually(closed_for(CLOSE_lifetime) >= 2, 15000));
    expect_works(pool);
    lendis_detach(pool);
}

/* ---- idle ones ---- */

static void idle_connections_go_down_to_min_idle(void **state)
{
    struct lendis_lease *leases[LEASES_MAX];
    struct lendis_pool *pool;
    struct process_use before, after;

    (void)state;
    start_pool("size = 8\nmin_idle = 2\nmax_idle_time = 700ms\n");
    pool = pool_attach(&site.broker, "p");
    acquire_all(pool, leases, 6);
    sleep_us(900000);
    /* Held ones are not idle, however long. */
    assert_true(opened_words() >= 6);
    release_all(leases, 6);
    assert_true(eventually(opened_words() == 2, 3000));
    assert_true(closed_for(CLOSE_idle) >= 4);
    assert_true(process_use(site.broker.pid, &before));
    sleep_us(1500000);
    assert_true(process_use(site.broker.pid, &after));
    assert_int_equal(opened_words(), 2);
    assert_true(pool_is_full(&site.observer, 2));
    assert_in_range(after.switches - before.switches, 0, 3); /* nothing is due: nobody wakes up */
    acquire_all(pool, leases, 8);
    release_all(leases, 8);
    lendis_detach(pool);
}

static void idle_connections_beyond_max_idle_go(void **state)
{
    struct lendis_lease *leases[LEASES_MAX];
    struct lendis_pool *pool;

    (void)state;
    start_pool("size = 8\nmin_idle = 0\nmax_idle = 3\nmax_idle_time = 0\n");
    pool = pool_attach(&site.broker, "p");
    for (int round = 0; round < 2; round++) {
        acquire_all(pool, leases, 7);
        /* Idle ones are what is limited, not those that are out. */
        sleep_us(1200000);
        assert_true(opened_words() >= 7);
        release_all(leases, 7);
        assert_true(eventually(opened_words() == 3, 4000));
        sleep_us(1200000);
        assert_int_equal(opened_words(), 3);
    }
    assert_true(closed_for(CLOSE_surplus) >= 8);
    lendis_detach(pool);
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(old_connections_are_replaced_under_load),
        TEST(idle_connections_are_replaced_one_by_one),
        TEST(a_leased_connection_retires_when_it_comes_back),
        TEST(used_up_connections_are_replaced),
        TEST(nothing_retires_while_redis_cannot_be_dialled),
        TEST(idle_connections_go_down_to_min_idle),
        TEST(idle_connections_beyond_max_idle_go),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("upkeep", tests, NULL, NULL);
}
