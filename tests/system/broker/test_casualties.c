/* SPDX-License-Identifier: MIT */
/*
 * Commands that cost their connection: a reply that is larger than Redis sends, an argument that is
 * larger than it reads. Such a command is not sent again and again, the log says whose it was, and
 * those who did nothing of the kind are served on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "tests/support/fixture.h"

#define INNOCENTS 10

static struct fixture fixture;

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

/* Replies of more than 1 MB end the connection, and there is a list that is as large. */
static void start(bool tcp, const char *more)
{
    static const char *const arguments[] = {"--client-output-buffer-limit", "normal 1mb 0 0", NULL};

    fixture.redis.tcp = tcp;
    fixture.redis.arguments = arguments;
    redis_start(&fixture.redis);
    freeReplyObject(
        redis_do(&fixture.redis, "EVAL %s 0",
                 "for i = 1, 3000 do redis.call('RPUSH', 'list', string.rep('x', 1000)) end"));
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\n%s",
                  tcp ? fixture.redis.tcp_url : fixture.redis.unix_url, more);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
}

static int result_of(struct lendis_pool *pool, redisReply *reply)
{
    if (!reply)
        return lendis_pool_error(pool, NULL);
    freeReplyObject(reply);
    return 0;
}

static struct catalog_pool entry(void)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return entry;
}

static uint64_t lost(void)
{
    struct catalog_pool found = entry();

    return shm_load_relaxed(&found.closed[CLOSE_lost]);
}

static uint64_t casualties(void)
{
    struct catalog_pool found = entry();

    return shm_load_relaxed(&found.counters[BROKER_COUNTER_casualties]);
}

/* ---- one command alone ---- */

static void expect_one_connection_for_each(bool tcp)
{
    struct lendis_pool *pool;
    char line[128];

    start(tcp, "size = 2\nmin_idle = 2\n");
    assert_true(pool_fills(&fixture.observer, 2, 10000));
    pool = pool_attach(&fixture.broker, "p");
    for (unsigned round = 1; round <= 6; round++) {
        assert_int_equal(result_of(pool, lendis_command(pool, "LRANGE list 0 -1")),
                         LENDIS_E_UNCERTAIN);
        assert_true(eventually(lost() == round && casualties() == round, 5000));
        assert_int_equal(result_of(pool, lendis_command(pool, "LLEN list")), 0);
    }
    snprintf(line, sizeof line, "while Redis answered LRANGE of process %d;", getpid());
    assert_true(lendisd_logged(&fixture.broker, line));
    lendis_detach(pool);
}

static void a_reply_that_is_too_large(void **state)
{
    (void)state;
    expect_one_connection_for_each(false);
}

static void a_reply_that_is_too_large_over_tcp(void **state)
{
    (void)state;
    expect_one_connection_for_each(true);
}

/* Of a pipeline the command is named at which it came to its end; on a lease as well. */
static void in_a_pipeline_on_a_lease(void **state)
{
    struct lendis_lease *lease;
    struct lendis_pool *pool;

    (void)state;
    start(false, "size = 2\n");
    pool = pool_attach(&fixture.broker, "p");
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    assert_int_equal(result_of(pool, lendis_lease_command(lease, "LRANGE list 0 -1")),
                     LENDIS_E_UNCERTAIN);
    lendis_release(lease);
    assert_true(lendisd_logged(&fixture.broker, "answered LRANGE of"));
    lendis_detach(pool);
}

/* Redis says what is wrong and ends the connection while the argument is still on its way: the
 * caller gets its words, and the connection is the only one. */
static void an_argument_that_is_too_large(void **state)
{
    static const char *const arguments[] = {"--proto-max-bulk-len", "1mb", NULL};
    size_t size = 8 << 20;
    char *value = calloc(1, size);
    const char *words[] = {"SET", "key", value};
    const size_t sizes[] = {3, 3, size};
    struct catalog_pool after;
    struct lendis_pool *pool;
    redisReply *reply;

    (void)state;
    assert_non_null(value);
    fixture.redis.arguments = arguments;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = 2\nmin_idle = 2\n",
                  fixture.redis.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 2, 10000));
    pool = pool_attach(&fixture.broker, "p");
    reply = lendis_command_argv(pool, 3, words, sizes);
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_ERROR);
    assert_non_null(strstr(reply->str, "Protocol error"));
    freeReplyObject(reply);
    assert_int_equal(result_of(pool, lendis_command(pool, "GET key")), 0);
    assert_true(pool_fills(&fixture.observer, 2, 10000));
    after = entry();
    assert_int_equal(shm_load_relaxed(&after.counters[BROKER_COUNTER_opened]), 3);
    lendis_detach(pool);
    free(value);
}

/* ---- among others ---- */

struct innocent {
    struct tally tally;
    atomic_ulong reads_failed;
};

static int read_and_write(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct innocent *innocent = processes_result(processes, number);

    processes_ready(processes);
    for (unsigned long turn = 0; !processes_stopping(processes); turn++) {
        talk(pool, &innocent->tally, number, turn);
        if (result_of(pool, lendis_command(pool, "LLEN list")) != 0)
            atomic_fetch_add(&innocent->reads_failed, 1);
    }
    lendis_detach(pool);
    return 0;
}

/* One process asks for too much, forty times; ten others go on, for the longest wait is far from
 * what a pool that does not dial any more would cost. */
static void the_innocent(void **state)
{
    struct lendis_pool *pool;
    struct tally tally;
    unsigned long reads_failed = 0;

    (void)state;
    start(false, "size = 2\nmin_idle = 2\n");
    pool = pool_attach(&fixture.broker, "p");
    processes_start(&fixture.processes, INNOCENTS, sizeof(struct innocent), read_and_write, NULL);
    processes_go(&fixture.processes);
    for (int round = 0; round < 40; round++)
        assert_int_not_equal(result_of(pool, lendis_command(pool, "LRANGE list 0 -1")), 0);
    assert_in_range(lost(), 40, 80 + 1); /* with others once, then alone */
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 20000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    for (unsigned i = 0; i < INNOCENTS; i++)
        reads_failed += ((struct innocent *)processes_result(&fixture.processes, i))->reads_failed;
    tally_processes(&fixture.processes, &tally);
    tally_print("beside forty replies that were too large", &tally);
    assert_int_equal(reads_failed, 0);
    assert_int_equal(tally.wrong, 0);
    assert_int_equal(tally.down, 0);
    assert_int_equal(tally.timeout, 0);
    assert_true(tally.worst_us < 2000000);
    assert_true(lendisd_silent_about(&fixture.broker, "answered LLEN"));
    lendis_detach(pool);
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(a_reply_that_is_too_large),
        TEST(a_reply_that_is_too_large_over_tcp),
        TEST(in_a_pipeline_on_a_lease),
        TEST(an_argument_that_is_too_large),
        TEST(the_innocent),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("casualties", tests, NULL, NULL);
}
