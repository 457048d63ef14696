/* SPDX-License-Identifier: MIT */
/*
 * How many connections there are and how they are kept: replacement for age and use without a dip
 * in capacity, idle ones that go, checks, the reserve, the pace of dialling, failing fast, the
 * order of lending and the limit of waiters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "tests/support/fixture.h"

#define LEASES_MAX 16

static struct fixture fixture;

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

/* A real Redis, and a pool "p" of it with these keys, observed. */
static void start_pool(const char *keys)
{
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\n%s", fixture.redis.unix_url, keys);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
}

static uint64_t closed_for(enum close_reason reason)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return shm_load_relaxed(&entry.closed[reason]);
}

static uint64_t dials_failed(void)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return CATALOG_SUM(entry.dial_errors);
}

/* Open now, as the broker counts. */
static uint64_t still_open(void)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return shm_load_relaxed(&entry.counters[BROKER_COUNTER_opened]) - CATALOG_SUM(entry.closed);
}

static unsigned opened_words(void)
{
    struct word_count count;

    assert_true(observe_words(&fixture.observer, &count));
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

/* ---- waiting threads ---- */

struct waiting {
    pthread_t id;
    struct lendis_pool *pool;
    int64_t took_ms;
    int result;
    bool command;
    int patience_ms; /* of an acquire; 0: a second */
};

static void *wait_in_vain(void *context)
{
    struct waiting *waiting = context;
    struct lendis_lease *lease;
    int64_t before_ms = now_ms();

    if (waiting->command) {
        assert_null(lendis_command(waiting->pool, "PING"));
        waiting->result = lendis_pool_error(waiting->pool, NULL);
    } else {
        waiting->result = lendis_acquire(
            waiting->pool, waiting->patience_ms ? waiting->patience_ms : 1000, &lease);
    }
    waiting->took_ms = now_ms() - before_ms;
    return NULL;
}

/* ---- replacement ---- */

struct load {
    unsigned pause_us;
};

static int work(struct processes *processes, unsigned number)
{
    const struct load *load = processes->context;
    struct tally *tally = processes_result(processes, number);
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");

    processes_ready(processes);
    for (unsigned long turn = 0; !processes_stopping(processes); turn++) {
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
        uint64_t word = shm_load_relaxed(&fixture.observer.segment.connections[i].word);
        enum word_state state = word_state(word);
        bool serves = state == WORD_IDLE || state == WORD_LEASED || state == WORD_PASSED ||
                      state == WORD_TRANSFERRED;

        signature[i] = word_generation(word) << 1 | serves;
        count += serves;
    }
    return count;
}

/* The fewest that could be used at any time within `ms`. */
static unsigned fewest_usable(int ms)
{
    unsigned places = segment_places(&fixture.observer.segment), fewest = UINT32_MAX;
    uint64_t first[LENDIS_MAX_CONNECTIONS], second[LENDIS_MAX_CONNECTIONS];

    for (int64_t until = now_ms() + ms; now_ms() < until;) {
        unsigned count = usable(first, places);

        /* Places are inspected one after the other: what two scans agree on was so at once. */
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

    assert_true(processes_wait(&fixture.processes, 20000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    tally_processes(&fixture.processes, &sum);
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
    assert_true(pool_fills(&fixture.observer, 4, 10000));
    for (size_t i = 0; i < sizeof loads / sizeof *loads; i++) {
        uint64_t before = closed_for(CLOSE_lifetime);
        unsigned fewest;

        load = loads[i];
        processes_start(&fixture.processes, 40, sizeof(struct tally), work, &load);
        processes_go(&fixture.processes);
        fewest = fewest_usable(2500);
        processes_stop(&fixture.processes);
        expect_all_good("replaced under load", 40);
        processes_end(&fixture.processes);
        fprintf(stderr, "%llu replaced, never fewer than %u usable\n",
                (unsigned long long)(closed_for(CLOSE_lifetime) - before), fewest);
        assert_int_equal(fewest, 4);
        assert_true(closed_for(CLOSE_lifetime) - before >= 16);
    }
    /* The old ones do not pile up, at Redis neither: the four, and one that is on its way. */
    assert_in_range(redis_info(&fixture.redis, "connected_clients"), 4, 5);
    assert_int_equal(closed_for(CLOSE_lost), 0);
}

static void idle_connections_are_replaced_one_by_one(void **state)
{
    unsigned fewest;

    (void)state;
    start_pool("size = 8\nmin_idle = 8\nmax_lifetime = 300ms\nlifetime_jitter = 0\n");
    assert_true(pool_fills(&fixture.observer, 8, 10000));
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
    assert_true(pool_fills(&fixture.observer, 1, 10000));
    pool = pool_attach(&fixture.broker, "p");
    assert_int_equal(lendis_acquire(pool, 1000, &old), 0);
    id = integer_on(old, "CLIENT ID");
    assert_true(eventually(words_in(&fixture.observer, WORD_IDLE) == 1, 3000));
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
    assert_true(pool_fills(&fixture.observer, 1, 10000));
    pool = pool_attach(&fixture.broker, "p");
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
    fake_start(&fixture.fake, FAKE_ANSWER);
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\nsize = 2\nmin_idle = 2\nmax_lifetime = 1s\n",
                  fixture.fake.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 2, 10000));
    atomic_store(&fixture.fake.control->refuse, 1);
    pool = pool_attach(&fixture.broker, "p");
    assert_true(eventually(dials_failed() >= 3, 10000));
    for (int i = 0; i < 20; i++)
        expect_works(pool);
    assert_int_equal(words_in(&fixture.observer, WORD_IDLE), 2);
    assert_int_equal(closed_for(CLOSE_lifetime), 0);
    atomic_store(&fixture.fake.control->refuse, 0);
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
    pool = pool_attach(&fixture.broker, "p");
    acquire_all(pool, leases, 6);
    sleep_us(900000);
    /* Held ones are not idle, however long. */
    assert_true(opened_words() >= 6);
    release_all(leases, 6);
    assert_true(eventually(opened_words() == 2, 3000));
    assert_true(closed_for(CLOSE_idle) >= 4);
    assert_true(process_use(fixture.broker.pid, &before));
    sleep_us(1500000);
    assert_true(process_use(fixture.broker.pid, &after));
    assert_int_equal(opened_words(), 2);
    assert_true(pool_is_full(&fixture.observer, 2));
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
    pool = pool_attach(&fixture.broker, "p");
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

/* ---- the reserve ---- */

static void *hold_for_a_while(void *context)
{
    struct waiting *waiting = context;
    struct lendis_lease *lease;
    int64_t before_ms = now_ms();

    waiting->result = lendis_acquire(waiting->pool, 5000, &lease);
    waiting->took_ms = now_ms() - before_ms;
    if (waiting->result == 0) {
        sleep_us(1000000);
        lendis_release(lease);
    }
    return NULL;
}

static void the_reserve_is_for_those_who_have_waited(void **state)
{
    struct lendis_lease *leases[LEASES_MAX];
    struct waiting waiting[3];
    struct lendis_pool *pool;
    struct load load = {.pause_us = 0};

    (void)state;
    start_pool("size = 2\nmin_idle = 1\nreserve_size = 2\nreserve_after = 300ms\n");
    pool = pool_attach(&fixture.broker, "p");
    for (int round = 0; round < 2; round++) {
        acquire_all(pool, leases, 2);
        for (int i = 0; i < 3; i++) {
            waiting[i] = (struct waiting){.pool = pool};
            assert_int_equal(pthread_create(&waiting[i].id, NULL, hold_for_a_while, &waiting[i]),
                             0);
        }
        sleep_us(200000);
        assert_int_equal(opened_words(), 2);
        assert_true(eventually(words_in(&fixture.observer, WORD_LEASED) == 4, 3000));
        for (int i = 0; i < 3; i++) {
            pthread_join(waiting[i].id, NULL);
            assert_int_equal(waiting[i].result, 0);
            assert_in_range(waiting[i].took_ms, 290, 2500);
        }
        release_all(leases, 2);
        /* Idle ones go, down to size. */
        assert_true(eventually(opened_words() <= 2, 5000));
        assert_in_range(closed_for(CLOSE_surplus), 2 * (unsigned)round + 1,
                        2 * (unsigned)round + 2);
    }
    /* A crowd that waits for a moment only has no need of it. */
    processes_start(&fixture.processes, 20, sizeof(struct tally), work, &load);
    processes_go(&fixture.processes);
    sleep_us(1000000);
    assert_int_equal(opened_words(), 2);
    processes_stop(&fixture.processes);
    expect_all_good("without the reserve", 20);
    lendis_detach(pool);
}

/* ---- checks ---- */

static uint64_t checked(void)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return shm_load_relaxed(&entry.counters[BROKER_COUNTER_checks]);
}

/* They take turns, so that there is always one to be had, and cost nobody anything. */
static void idle_connections_are_checked(void **state)
{
    struct lendis_pool *pool;
    unsigned fewest = UINT32_MAX;
    uint64_t before;

    (void)state;
    start_pool("size = 4\nmin_idle = 4\ncheck_interval = 400ms\n");
    assert_true(pool_fills(&fixture.observer, 4, 10000));
    pool = pool_attach(&fixture.broker, "p");
    before = checked();
    for (int64_t until = now_ms() + 2000; now_ms() < until;) {
        unsigned idle = words_in(&fixture.observer, WORD_IDLE);

        fewest = idle < fewest ? idle : fewest;
        sched_yield();
    }
    /* Four of them, 300 to 400 ms apart. */
    assert_in_range(checked() - before, 12, 28);
    assert_true(fewest >= 2);
    assert_int_equal(closed_for(CLOSE_check), 0);
    /* What is in use is known to live. */
    before = checked();
    for (int i = 0; i < 200; i++) {
        struct lendis_lease *leases[4];

        acquire_all(pool, leases, 4);
        release_all(leases, 4);
        sleep_us(5000);
    }
    assert_in_range(checked() - before, 0, 4);
    lendis_detach(pool);
}

/* The server's end is there and says nothing, so that nobody but a check can know. */
static void a_check_finds_a_stalled_server(void **state)
{
    struct lendis_pool *pool;
    unsigned accepted;

    (void)state;
    fake_start(&fixture.fake, FAKE_ANSWER);
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\nsize = 2\nmin_idle = 2\ncheck_interval = 300ms\n"
                  "check_timeout = 200ms\nconnect_timeout = 1s\n",
                  fixture.fake.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 2, 10000));
    assert_true(eventually(checked() >= 2, 3000));
    accepted = atomic_load(&fixture.fake.control->accepted);
    atomic_store(&fixture.fake.control->handshake, FAKE_SILENT);
    assert_true(eventually(closed_for(CLOSE_check) == 2, 5000));
    atomic_store(&fixture.fake.control->handshake, FAKE_ANSWER);
    assert_true(pool_fills(&fixture.observer, 2, 10000));
    assert_true(atomic_load(&fixture.fake.control->accepted) >= accepted + 2);
    pool = pool_attach(&fixture.broker, "p");
    expect_works(pool);
    lendis_detach(pool);
}

static void a_check_finds_a_wrong_answer(void **state)
{
    (void)state;
    fake_start(&fixture.fake, FAKE_ANSWER);
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\nsize = 1\nmin_idle = 1\ncheck_interval = 200ms\n",
                  fixture.fake.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 1, 10000));
    atomic_store(&fixture.fake.control->handshake, FAKE_TWICE);
    assert_true(eventually(closed_for(CLOSE_check) >= 1, 3000));
    atomic_store(&fixture.fake.control->handshake, FAKE_ANSWER);
    assert_true(pool_fills(&fixture.observer, 1, 10000));
}

/* ---- failing fast ---- */

static void nobody_waits_for_a_server_that_is_gone(void **state)
{
    struct waiting waiting[6];
    struct lendis_pool *pool;
    struct lendis_lease *lease;
    const char *text;
    int64_t before_ms;

    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\nsize = 2\nfail_fast_after = 8\nwait_timeout = 20s\n"
                  "dial_backoff_max = 200ms\n",
                  fixture.redis.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    pool = pool_attach(&fixture.broker, "p");
    expect_works(pool);
    redis_kill(&fixture.redis);
    assert_true(eventually(opened_words() == 0, 2000));
    before_ms = now_ms();
    /* Those who wait are woken as soon as it is so. */
    for (int i = 0; i < 6; i++) {
        waiting[i] = (struct waiting){.pool = pool, .command = i % 2, .patience_ms = 20000};
        assert_int_equal(pthread_create(&waiting[i].id, NULL, wait_in_vain, &waiting[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(waiting[i].id, NULL);
        assert_int_equal(waiting[i].result, LENDIS_E_DOWN);
    }
    fprintf(stderr, "they waited for %lld ms\n", (long long)(now_ms() - before_ms));
    assert_in_range(now_ms() - before_ms, 40, 5000);
    assert_true(dials_failed() >= 8);
    /* Who comes now does not wait at all. */
    before_ms = now_ms();
    for (int i = 0; i < 50; i++) {
        assert_int_equal(lendis_acquire(pool, 5000, &lease), LENDIS_E_DOWN);
        assert_null(lendis_command(pool, "PING"));
        assert_int_equal(lendis_pool_error(pool, &text), LENDIS_E_DOWN);
    }
    assert_true(now_ms() - before_ms < 5000); /* one that waits does so for that long */
    assert_string_equal(text, "Redis cannot be reached: Connection refused");
    /* The probes go on, and the first success ends it. */
    assert_true(eventually(dials_failed() >= 14, 5000));
    redis_restart(&fixture.redis);
    assert_true(pool_fills(&fixture.observer, 1, 5000));
    expect_works(pool);
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(pool);
}

static void without_fail_fast_they_wait(void **state)
{
    struct lendis_pool *pool;
    struct lendis_lease *lease;
    int64_t before_ms;

    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\nsize = 2\nfail_fast_after = 0\ndial_backoff_max = 50ms\n",
                  fixture.redis.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    pool = pool_attach(&fixture.broker, "p");
    expect_works(pool);
    redis_kill(&fixture.redis);
    assert_true(eventually(dials_failed() >= 20, 10000));
    before_ms = now_ms();
    assert_int_equal(lendis_acquire(pool, 700, &lease), LENDIS_E_DOWN);
    assert_in_range(now_ms() - before_ms, 690, 3000);
    lendis_detach(pool);
}

/* ---- how they are lent ---- */

/* How many connections `count` commands of one worker, one after the other, are spread over; *most
 * and *fewest of them on one. */
static unsigned spread(struct lendis_pool *pool, int count, int *fewest, int *most)
{
    long long ids[LEASES_MAX];
    int uses[LEASES_MAX] = {0};
    unsigned found = 0;

    for (int i = 0; i < count; i++) {
        redisReply *reply = lendis_command(pool, "CLIENT ID");
        unsigned at = 0;

        assert_non_null(reply);
        while (at < found && ids[at] != reply->integer)
            at++;
        assert_true(at < LEASES_MAX);
        ids[at] = reply->integer;
        uses[at]++;
        found += at == found;
        freeReplyObject(reply);
    }
    *fewest = *most = uses[0];
    for (unsigned i = 0; i < found; i++) {
        *fewest = uses[i] < *fewest ? uses[i] : *fewest;
        *most = uses[i] > *most ? uses[i] : *most;
    }
    return found;
}

static void in_turns(void **state)
{
    struct lendis_pool *pools[2];
    int fewest, most;

    (void)state;
    start_pool("size = 5\nmin_idle = 5\norder = round_robin\n");
    assert_true(pool_fills(&fixture.observer, 5, 10000));
    for (int i = 0; i < 2; i++) {
        pools[i] = pool_attach(&fixture.broker, "p");
        assert_int_equal(spread(pools[i], 50, &fewest, &most), 5);
        assert_int_equal(fewest, 10);
        assert_int_equal(most, 10);
    }
    lendis_detach(pools[0]);
    lendis_detach(pools[1]);
}

static void the_last_used_first(void **state)
{
    struct lendis_pool *pool;
    int fewest, most;

    (void)state;
    start_pool("size = 5\nmin_idle = 5\n");
    assert_true(pool_fills(&fixture.observer, 5, 10000));
    pool = pool_attach(&fixture.broker, "p");
    assert_int_equal(spread(pool, 50, &fewest, &most), 1);
    lendis_detach(pool);
}

/* Works on a connection of its own, the one that it leased last, as long as it sticks to that. */
static int work_apart(struct processes *processes, unsigned number)
{
    struct tally *tally = processes_result(processes, number);
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *leases[LEASES_MAX];
    unsigned count = 2 * number + 2;

    sleep_us(200000 * number);
    for (unsigned i = 0; i < count; i++)
        if (lendis_acquire(pool, 5000, &leases[i]) != 0)
            return 1;
    for (unsigned i = 0; i < count; i++)
        if (lendis_release(leases[i]) != 0)
            return 2;
    processes_ready(processes);
    for (unsigned long turn = 0; !processes_stopping(processes); turn++) {
        talk(pool, tally, number, turn);
        sleep_us(15000 + 2700 * number); /* not all at the same time, again and again */
    }
    lendis_detach(pool);
    return 0;
}

/* Each has another one that it used last; nevertheless they leave most alone before long. */
static void a_pool_shrinks_while_all_of_its_workers_use_it(void **state)
{
    (void)state;
    start_pool("size = 8\nmin_idle = 1\nmax_idle_time = 1s\n");
    processes_start(&fixture.processes, 4, sizeof(struct tally), work_apart, NULL);
    processes_go(&fixture.processes);
    assert_int_equal(opened_words(), 8);
    assert_true(eventually(opened_words() <= 2, 10000));
    processes_stop(&fixture.processes);
    expect_all_good("shrinking", 4);
}

/* The broker would notice a dead connection at once: so it is stopped. */
static void check_on_lease(const char *keys, bool checked)
{
    struct lendis_lease *lease;
    struct lendis_pool *pool;
    int result;

    start_pool(keys);
    assert_true(pool_fills(&fixture.observer, 1, 10000));
    pool = pool_attach(&fixture.broker, "p");
    expect_works(pool);
    lendisd_pause(&fixture.broker);
    freeReplyObject(redis_do(&fixture.redis, "CLIENT KILL TYPE normal SKIPME yes"));
    sleep_us(50000);
    result = lendis_acquire(pool, 200, &lease);
    lendisd_continue(&fixture.broker);
    if (checked) {
        assert_int_equal(result, LENDIS_E_TIMEOUT);
    } else {
        assert_int_equal(result, 0);
        assert_null(lendis_lease_command(lease, "PING"));
        lendis_release(lease);
    }
    assert_true(pool_fills(&fixture.observer, 1, 10000));
    expect_works(pool);
    lendis_detach(pool);
}

static void dead_connections_are_not_lent(void **state)
{
    (void)state;
    check_on_lease("size = 1\nmin_idle = 1\n", true);
}

static void without_a_check_dead_connections_are_lent(void **state)
{
    (void)state;
    check_on_lease("size = 1\nmin_idle = 1\ncheck_on_lease = no\n", false);
}

/* ---- waiting ---- */

static void so_many_wait_and_no_more(void **state)
{
    struct waiting waiting[8];
    unsigned busy = 0, timed_out = 0;
    struct lendis_lease *lease;
    struct lendis_pool *pool;

    (void)state;
    start_pool("size = 1\nmin_idle = 1\nwait_queue = 3\nwait_timeout = 1s\n");
    assert_true(pool_fills(&fixture.observer, 1, 10000));
    pool = pool_attach(&fixture.broker, "p");
    for (int round = 0; round < 2; round++) {
        assert_int_equal(lendis_acquire(pool, 1000, &lease), 0);
        for (int i = 0; i < 8; i++) {
            waiting[i] = (struct waiting){.pool = pool, .command = i % 2};
            assert_int_equal(pthread_create(&waiting[i].id, NULL, wait_in_vain, &waiting[i]), 0);
        }
        busy = timed_out = 0;
        for (int i = 0; i < 8; i++) {
            pthread_join(waiting[i].id, NULL);
            busy += waiting[i].result == LENDIS_E_BUSY && waiting[i].took_ms < 800;
            timed_out += waiting[i].result == LENDIS_E_TIMEOUT && waiting[i].took_ms >= 990;
        }
        assert_int_equal(timed_out, 3);
        assert_int_equal(busy, 5);
        assert_int_equal(lendis_release(lease), 0);
        expect_works(pool);
    }
    lendis_detach(pool);
}

/* Who asked for it gave up before it was there. */
static void an_abandoned_dial_serves_the_next_waiter(void **state)
{
    struct waiting waiting = {.command = false};
    struct lendis_pool *pool;
    struct catalog_pool entry;
    redisReply *reply;

    (void)state;
    start_pool("size = 1\nmin_idle = 0\nconnect_timeout = 20s\nwait_timeout = 10s\n");
    pool = pool_attach(&fixture.broker, "p");
    redis_pause(&fixture.redis);
    waiting.pool = pool;
    wait_in_vain(&waiting);
    assert_int_equal(waiting.result, LENDIS_E_TIMEOUT);
    assert_int_equal(words_in(&fixture.observer, WORD_OPENING), 1);
    redis_continue(&fixture.redis);
    reply = lendis_command(pool, "PING");
    assert_non_null(reply);
    freeReplyObject(reply);
    observe_pool(&fixture.observer, &entry);
    assert_int_equal(shm_load_relaxed(&entry.counters[BROKER_COUNTER_opened]), 1);
    assert_int_equal(dials_failed(), 0);
    lendis_detach(pool);
}

/* ---- dialling ---- */

static void dials_keep_their_pace(void **state)
{
    int64_t began_ms, took_ms;
    struct catalog_pool entry;

    (void)state;
    redis_start(&fixture.redis);
    began_ms = now_ms();
    lendisd_start(
        &fixture.broker,
        "dial_rate = 10\ndial_concurrency = 2\n[pool p]\nredis = %s\nsize = 8\nmin_idle = 8\n"
        "[pool q]\nredis = %s\nsize = 8\nmin_idle = 8\n",
        fixture.redis.unix_url, fixture.redis.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    do {
        unsigned opened = 0;

        took_ms = now_ms() - began_ms;
        for (uint32_t i = 0; i < 2; i++) {
            assert_int_equal(catalog_read_pool(&fixture.observer.catalog, i, &entry), 0);
            opened += (unsigned)shm_load_relaxed(&entry.counters[BROKER_COUNTER_opened]);
        }
        /* A burst of two, then ten a second, for both pools together. */
        assert_true(opened <= 3 + took_ms / 100);
        if (opened == 16)
            break;
        sleep_us(10000);
    } while (took_ms < 10000);
    fprintf(stderr, "16 connections at 10 a second: %lld ms\n", (long long)took_ms);
    assert_in_range(took_ms, 1390, 6000);
}

static void backoff_is_bounded(void **state)
{
    uint64_t before, failed;

    (void)state;
    fake_start(&fixture.fake, FAKE_ANSWER);
    atomic_store(&fixture.fake.control->refuse, 1);
    lendisd_start(
        &fixture.broker,
        "[pool p]\nredis = %s\nsize = 2\ndial_backoff_min = 20ms\ndial_backoff_max = 60ms\n",
        fixture.fake.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    sleep_us(300000);
    before = dials_failed();
    sleep_us(3000000);
    failed = dials_failed() - before;
    fprintf(stderr, "%llu dials in 3 s\n", (unsigned long long)failed);
    /* 10 to 60 ms apart, 35 on average; with the defaults there would be six or so. */
    assert_in_range(failed, 40, 300);
}

/* ---- the connections themselves ---- */

static int option_of(int fd, int level, int option)
{
    socklen_t size = sizeof(int);
    int value = -1;

    assert_int_equal(getsockopt(fd, level, option, &value, &size), 0);
    return value;
}

static void keepalive_is_set(void **state)
{
    static const struct {
        const char *name;
        int on, idle, gap;
    } expected[] = {{"none", 0, 0, 0}, {"usual", 1, 60, 15}, {"short", 1, 9, 2}};

    (void)state;
    fixture.redis.tcp = true;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "[pool none]\nredis = %s\ntcp_keepalive = 0\n[pool usual]\nredis = %s\n"
                  "[pool short]\nredis = %s\ntcp_keepalive = 8500ms\n",
                  fixture.redis.tcp_url, fixture.redis.tcp_url, fixture.redis.tcp_url);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct lendis_pool *pool = pool_attach(&fixture.broker, expected[i].name);
        struct lendis_lease *lease;
        int fd;

        assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
        fd = lendis_lease_fd(lease);
        assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), expected[i].on);
        assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
        if (expected[i].on) {
            assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), expected[i].idle);
            assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), expected[i].gap);
        }
        assert_int_equal(lendis_release(lease), 0);
        lendis_detach(pool);
    }
}

static bool is_named(const char *name)
{
    redisReply *reply = redis_do(&fixture.redis, "CLIENT LIST");
    char text[64];
    bool found;

    snprintf(text, sizeof text, " name=%s ", name);
    found = strstr(reply->str, text) && !strstr(reply->str, "shop");
    freeReplyObject(reply);
    return found;
}

static void connections_have_a_name(void **state)
{
    struct lendis_pool *pool;
    redisReply *reply;

    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\nclient_name = shop:web-1\n[pool plain]\nredis = %s\n",
                  fixture.redis.unix_url, fixture.redis.unix_url);
    pool = pool_attach(&fixture.broker, "p");
    reply = lendis_command(pool, "CLIENT LIST");
    assert_non_null(reply);
    assert_non_null(strstr(reply->str, " name=shop:web-1 "));
    assert_non_null(strstr(reply->str, " name=lendis-plain "));
    freeReplyObject(reply);
    lendisd_configure(&fixture.broker,
                      "[pool p]\nredis = %s\nclient_name = market\n[pool plain]\nredis = %s\n",
                      fixture.redis.unix_url, fixture.redis.unix_url);
    assert_int_equal(kill(fixture.broker.pid, SIGHUP), 0);
    assert_true(eventually(is_named("market"), 5000));
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
        TEST(the_reserve_is_for_those_who_have_waited),
        TEST(idle_connections_are_checked),
        TEST(a_check_finds_a_stalled_server),
        TEST(a_check_finds_a_wrong_answer),
        TEST(nobody_waits_for_a_server_that_is_gone),
        TEST(without_fail_fast_they_wait),
        TEST(in_turns),
        TEST(the_last_used_first),
        TEST(a_pool_shrinks_while_all_of_its_workers_use_it),
        TEST(dead_connections_are_not_lent),
        TEST(without_a_check_dead_connections_are_lent),
        TEST(so_many_wait_and_no_more),
        TEST(an_abandoned_dial_serves_the_next_waiter),
        TEST(dials_keep_their_pace),
        TEST(backoff_is_bounded),
        TEST(keepalive_is_set),
        TEST(connections_have_a_name),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("upkeep", tests, NULL, NULL);
}
