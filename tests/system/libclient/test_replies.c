/* SPDX-License-Identifier: MIT */
/*
 * I4: nobody gets another's reply, whatever a server does that does not keep to the protocol. The
 * pool has one connection, so that the next command would get what the last one left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lendis_hiredis.h"
#include "tests/support/fixture.h"

static struct fixture fixture;
static struct lendis_pool *leaver, *next; /* two workers of the pool */

static int end(void **state)
{
    (void)state;
    lendis_detach(leaver);
    lendis_detach(next);
    leaver = next = NULL;
    fixture_end(&fixture);
    return 0;
}

static unsigned long closed_so_far(void)
{
    struct catalog_pool pool;

    observe_pool(&fixture.observer, &pool);
    return CATALOG_SUM(pool.closed);
}

static int start_fake(void **state)
{
    (void)state;
    fake_start(&fixture.fake, FAKE_ANSWER);
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\nsize = 1\nmin_idle = 1\n"
                  "command_timeout = 1s\nwait_timeout = 10s\n",
                  fixture.fake.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    leaver = pool_attach(&fixture.broker, "p");
    next = pool_attach(&fixture.broker, "p");
    assert_true(pool_fills(&fixture.observer, 1, 10000));
    return 0;
}

/* ECHO key yields "key", unless the fake misbehaves: then anything but another's reply. */
static bool gets_own(struct lendis_pool *pool, const char *key)
{
    redisReply *reply = lendis_command(pool, "ECHO %s", key); /* not repeated, as GET would be */
    bool own = reply && reply->type == REDIS_REPLY_STRING && strcmp(reply->str, key) == 0;

    if (reply && !own)
        fail_msg("%s instead of %s", reply->str, key);
    if (!reply)
        fprintf(stderr, "%.20s: %s\n", key, lendis_strerror(lendis_pool_error(pool, NULL)));
    if (reply)
        freeReplyObject(reply);
    return own;
}

static void misbehave_and_go_on(enum fake_action action)
{
    char key[32];

    for (int round = 0; round < 3; round++) {
        unsigned long before = closed_so_far();

        atomic_store(&fixture.fake.control->command, action);
        snprintf(key, sizeof key, "bad-%d-%d", action, round);
        gets_own(leaver, key);
        atomic_store(&fixture.fake.control->command, FAKE_ANSWER);
        snprintf(key, sizeof key, "good-%d-%d", action, round);
        assert_true(gets_own(next, key));
        assert_true(closed_so_far() > before);
    }
}

static void two_replies_to_one_command(void **state)
{
    (void)state;
    misbehave_and_go_on(FAKE_TWICE);
}

/* The first reply just fills what is read at once, the second is still in the socket. */
static void two_replies_on_a_boundary(void **state)
{
    char *key = malloc(16400);
    unsigned long before = closed_so_far();

    (void)state;
    assert_non_null(key);
    for (size_t size = 16384 - 12; size < 16384 - 8; size++) {
        memset(key, 'k', size);
        key[size] = '\0';
        atomic_store(&fixture.fake.control->command, FAKE_TWICE);
        gets_own(leaver, key);
        atomic_store(&fixture.fake.control->command, FAKE_ANSWER);
        assert_true(gets_own(next, "own"));
        assert_int_equal(closed_so_far(), ++before);
    }
    free(key);
}

/* The second reply comes when the connection has been given back: before the next one's command, or
 * together with its reply. */
static void a_second_reply_that_is_late(void **state)
{
    char key[32];

    (void)state;
    for (int round = 0; round < 10; round++) {
        atomic_store(&fixture.fake.control->command, FAKE_LATE_TWICE);
        snprintf(key, sizeof key, "bad-%d", round);
        assert_true(gets_own(leaver, key));
        atomic_store(&fixture.fake.control->command, FAKE_ANSWER);
        if (round % 2 == 0)
            sleep_us(40000);
        snprintf(key, sizeof key, "good-%d", round);
        gets_own(next, key);
        assert_true(gets_own(next, "own"));
        assert_true(gets_own(leaver, "own"));
    }
}

static void garbage(void **state)
{
    (void)state;
    misbehave_and_go_on(FAKE_GARBAGE);
}

static void a_reply_that_ends_midway(void **state)
{
    (void)state;
    misbehave_and_go_on(FAKE_CLOSE_MIDWAY);
}

static void no_reply_but_the_end(void **state)
{
    (void)state;
    misbehave_and_go_on(FAKE_CLOSE);
}

static void a_reply_that_stalls(void **state)
{
    (void)state;
    misbehave_and_go_on(FAKE_STALL);
}

/* ---- all at once ---- */

static const enum fake_action actions[] = {FAKE_TWICE,        FAKE_GARBAGE, FAKE_CLOSE,
                                           FAKE_CLOSE_MIDWAY, FAKE_RESET,   FAKE_TRICKLE};
#define ACTIONS (sizeof actions / sizeof *actions)

static int talk_until_stopped(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, processes->context);
    struct tally *tally = processes_result(processes, number);

    processes_ready(processes);
    /* Turns 0, 3, 6, ...: ECHO, whose reply names the worker and the turn. */
    for (unsigned long turn = 0; !processes_stopping(processes); turn += 3)
        talk(pool, tally, number, turn);
    lendis_detach(pool);
    return 0;
}

static unsigned long good_so_far(void)
{
    struct tally tally;

    tally_processes(&fixture.processes, &tally);
    return tally.good;
}

static void misbehave_under_load(enum fake_action action, char *pool)
{
    struct tally tally;

    processes_start(&fixture.processes, 8, sizeof tally, talk_until_stopped, pool);
    processes_go(&fixture.processes);
    for (int round = 0; round < 3; round++) {
        struct fake_control *control = fixture.fake.control;
        unsigned commands = atomic_load(&control->commands);
        unsigned long before;

        /* In the middle of a batch, and more than once. */
        atomic_store(&control->answer_first, 20);
        atomic_store(&control->command, action);
        assert_true(eventually(atomic_load(&control->commands) > commands + 24, 15000));
        atomic_store(&control->command, FAKE_ANSWER);
        before = good_so_far();
        assert_true(eventually(good_so_far() > before + 20, 15000));
    }
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 20000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    tally_processes(&fixture.processes, &tally);
    tally_print(pool, &tally);
    assert_int_equal(tally.wrong, 0);
    assert_int_equal(tally.other, 0);
    assert_true(action == FAKE_TRICKLE ? tally_failed(&tally) == 0 : tally.uncertain > 0);
    processes_end(&fixture.processes);
}

/* A pool for each: one whose server keeps closing connections is dialled ever more slowly. */
static void nobody_gets_anothers_reply(void **state)
{
    char config[ACTIONS * 256], pool[16];
    size_t used = 0;

    (void)state;
    fake_start(&fixture.fake, FAKE_ANSWER);
    for (size_t i = 0; i < ACTIONS; i++)
        used += (size_t)snprintf(config + used, sizeof config - used,
                                 "[pool p%zu]\nredis = %s\nsize = 3\nmin_idle = 3\n"
                                 "wait_timeout = 20s\n",
                                 i, fixture.fake.tcp_url);
    lendisd_start(&fixture.broker, "%s", config);
    for (size_t i = 0; i < ACTIONS; i++) {
        snprintf(pool, sizeof pool, "p%zu", i);
        misbehave_under_load(actions[i], pool);
    }
}

int main(int argc, char **argv)
{
#define FAKE(test) cmocka_unit_test_setup_teardown(test, start_fake, end)
    const struct CMUnitTest tests[] = {
        FAKE(two_replies_to_one_command),
        FAKE(two_replies_on_a_boundary),
        FAKE(a_second_reply_that_is_late),
        FAKE(garbage),
        FAKE(a_reply_that_ends_midway),
        FAKE(no_reply_but_the_end),
        FAKE(a_reply_that_stalls),
        cmocka_unit_test_teardown(nobody_gets_anothers_reply, end),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("replies", tests, NULL, NULL);
}
