/* SPDX-License-Identifier: MIT */
/*
 * Threads that are cancelled (pthread_cancel(3)) at any moment in any call, with either type of
 * cancellation: no connection, place in the queue or lock goes with them. What a call gave belongs
 * to the program, whose cleanup handler frees it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tests/support/fixture.h"

#define SIZE     3
#define ROUNDS   150
#define LIMIT_MS 5000

static struct fixture fixture;

static int start(void **state)
{
    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\nsize = %d\nmin_idle = %d\n"
                  "[pool off]\nredis = %s\nenabled = no\nfallback = direct\nsize = 2\n",
                  fixture.redis.unix_url, SIZE, SIZE, fixture.redis.unix_url);
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

/* ---- who is cancelled ---- */

struct victim {
    struct lendis_pool *pool; /* of the test */
    void (*way)(struct victim *victim);
    int type;
    /* What calls gave to it. */
    struct lendis_lease *lease;
    struct lendis_wait *wait;
    struct lendis_pool *own;
    void *reply;
    atomic_bool runs;
    atomic_ulong calls;
};

/* The calls alone run with the victim's type of cancellation: malloc(3) and free(3) are not made
 * for asynchronous. */
static void begin_call(const struct victim *victim)
{
    int before;

    pthread_setcanceltype(victim->type, &before);
}

static void end_call(void)
{
    int before;

    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &before);
}

/* Of LeakSanitizer, if it is there: what this thread allocates meanwhile may be lost. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

/* Calls whose value is a reply. It is lost with a thread that is cancelled before it has it, which
 * asynchronous cancellation alone does: see liblendis(3). */
static void begin_valued_call(const struct victim *victim)
{
    if (victim->type == PTHREAD_CANCEL_ASYNCHRONOUS && __lsan_disable)
        __lsan_disable();
    begin_call(victim);
}

static void end_valued_call(const struct victim *victim)
{
    end_call();
    if (victim->type == PTHREAD_CANCEL_ASYNCHRONOUS && __lsan_enable)
        __lsan_enable();
}

static void clean_up(void *context)
{
    struct victim *victim = context;

    if (victim->lease)
        lendis_release(victim->lease);
    lendis_acquire_cancel(victim->wait);
    lendis_detach(victim->own);
    lendis_free(victim->reply);
    victim->lease = NULL;
    victim->wait = NULL;
    victim->own = NULL;
    victim->reply = NULL;
}

static void *run(void *context)
{
    struct victim *victim = context;

    pthread_cleanup_push(clean_up, victim);
    atomic_store(&victim->runs, true);
    for (;;) {
        victim->way(victim);
        atomic_fetch_add(&victim->calls, 1);
        pthread_testcancel();
    }
    pthread_cleanup_pop(0);
    return NULL;
}

/* ---- the ways ---- */

static void give_back(struct victim *victim)
{
    struct lendis_lease *lease = victim->lease;

    victim->lease = NULL;
    if (lease)
        lendis_release(lease);
}

static void acquire(struct victim *victim)
{
    begin_call(victim);
    lendis_acquire(victim->pool, 50, &victim->lease);
    end_call();
    give_back(victim);
}

static void command(struct victim *victim)
{
    redisReply *reply;

    begin_valued_call(victim);
    reply = lendis_command(victim->pool, "ECHO %s", "hello");
    end_valued_call(victim);
    if (reply)
        freeReplyObject(reply);
}

static void exec(struct victim *victim)
{
    static const char request[] = "*1\r\n$4\r\nPING\r\n";
    size_t size;

    begin_call(victim);
    lendis_exec(victim->pool, request, sizeof request - 1, -1, &victim->reply, &size);
    end_call();
    lendis_free(victim->reply);
    victim->reply = NULL;
}

/* In a transaction: what is given back is reset. */
static void lease_command(struct victim *victim)
{
    redisReply *reply;

    if (lendis_acquire(victim->pool, 50, &victim->lease) != 0)
        return;
    begin_valued_call(victim);
    reply = lendis_lease_command(victim->lease, "MULTI");
    end_valued_call(victim);
    if (reply)
        freeReplyObject(reply);
    give_back(victim);
}

static void pipeline(struct victim *victim)
{
    struct lendis_pipeline *made = lendis_pipeline_new(victim->pool);
    redisReply *reply;

    pthread_cleanup_push((void (*)(void *))lendis_pipeline_free, made);
    lendis_pipeline_append(made, "SET %s %d", "key", 1);
    lendis_pipeline_append(made, "GET %s", "key");
    begin_valued_call(victim);
    reply = lendis_pipeline_exec(made);
    end_valued_call(victim);
    if (reply)
        freeReplyObject(reply);
    pthread_cleanup_pop(1);
}

static void context(struct victim *victim)
{
    if (lendis_acquire(victim->pool, 50, &victim->lease) != 0)
        return;
    begin_call(victim);
    lendis_lease_context(victim->lease);
    end_call();
    give_back(victim);
}

static void wait_in_steps(struct victim *victim)
{
    struct lendis_wait *wait;
    struct pollfd polled;
    int result;

    begin_call(victim);
    result = lendis_acquire_begin(victim->pool, 50, &victim->wait);
    end_call();
    if (result != 0)
        return;
    do {
        polled = (struct pollfd){.fd = lendis_acquire_fd(victim->wait), .events = POLLIN};
        poll(&polled, 1, 50); /* a cancellation point of the program's */
        /* It may be gone afterwards, and with a deferred type nothing acts before we know. */
        wait = victim->wait;
        result = lendis_acquire_finish(wait, &victim->lease);
    } while (result == LENDIS_E_AGAIN);
    victim->wait = NULL;
    give_back(victim);
}

static void attach(struct victim *victim)
{
    struct lendis_pool *own;

    begin_call(victim);
    lendis_attach(fixture.broker.socket_path, "p", NULL, &victim->own);
    end_call();
    own = victim->own;
    victim->own = NULL;
    lendis_detach(own);
}

/* ---- the tests ---- */

/* Starts a victim, cancels it at some time, and waits for its end. */
static void cancel_one(struct victim *victim, int64_t after_us)
{
    struct timespec until;
    pthread_t thread;

    atomic_store(&victim->runs, false);
    assert_int_equal(pthread_create(&thread, NULL, run, victim), 0);
    assert_true(eventually(atomic_load(&victim->runs), LIMIT_MS));
    sleep_us(after_us);
    assert_int_equal(pthread_cancel(thread), 0);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LIMIT_MS / 1000;
    assert_int_equal(pthread_timedjoin_np(thread, NULL, &until), 0);
}

/* All connections can be leased, and nobody waits. */
static void expect_whole(struct lendis_pool *pool)
{
    struct lendis_lease *leases[SIZE];
    redisReply *reply;

    assert_true(pool_fills(&fixture.observer, SIZE, LIMIT_MS));
    for (int i = 0; i < SIZE; i++)
        assert_int_equal(lendis_acquire(pool, 5000, &leases[i]), 0);
    for (int i = 0; i < SIZE; i++)
        assert_int_equal(lendis_release(leases[i]), 0);
    reply = lendis_command(pool, "PING");
    assert_non_null(reply);
    assert_string_equal(reply->str, "PONG");
    freeReplyObject(reply);
    assert_int_equal(chunks_in_use(&fixture.observer), 0);
}

static void cancel_many(struct lendis_pool *pool, void (*way)(struct victim *victim), int type,
                        int rounds)
{
    struct victim victim = {.pool = pool, .way = way, .type = type};

    for (int i = 0; i < rounds; i++)
        cancel_one(&victim, rand() % 700);
    expect_whole(pool);
}

static const int types[] = {PTHREAD_CANCEL_DEFERRED, PTHREAD_CANCEL_ASYNCHRONOUS};

static void in_a_call(void (*way)(struct victim *victim))
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");

    for (int i = 0; i < 2; i++)
        cancel_many(pool, way, types[i], ROUNDS);
    lendis_detach(pool);
}

#define CALL(way)                                                                                  \
    static void in_##way(void **state)                                                             \
    {                                                                                              \
        (void)state;                                                                               \
        in_a_call(way);                                                                            \
    }
CALL(acquire)
CALL(command)
CALL(exec)
CALL(lease_command)
CALL(pipeline)
CALL(context)
CALL(wait_in_steps)
CALL(attach)

/* All connections are leased: who is cancelled stands in the queue, or has handed its command
 * over. */
static void while_it_waits(void **state)
{
    static void (*const ways[])(struct victim *) = {acquire, command, wait_in_steps};
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *leases[SIZE];

    (void)state;
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++)
        for (int type = 0; type < 2; type++) {
            struct victim victim = {.pool = pool, .way = ways[way], .type = types[type]};
            pthread_t threads[4];

            for (int i = 0; i < SIZE; i++)
                assert_int_equal(lendis_acquire(pool, 5000, &leases[i]), 0);
            for (int i = 0; i < 4; i++)
                if (way == 1) /* until a connection comes */
                    assert_int_equal(pthread_create(&threads[i], NULL, run, &victim), 0);
            if (way != 1)
                for (int i = 0; i < 10; i++)
                    cancel_one(&victim, rand() % 60000);
            for (int i = 0; i < 4 && way == 1; i++)
                assert_int_equal(pthread_cancel(threads[i]), 0);
            for (int i = 0; i < SIZE; i++)
                assert_int_equal(lendis_release(leases[i]), 0);
            for (int i = 0; i < 4 && way == 1; i++)
                assert_int_equal(pthread_join(threads[i], NULL), 0);
            expect_whole(pool);
        }
    lendis_detach(pool);
}

/* The process' own connections: two, and both can be had afterwards. */
static void on_connections_of_its_own(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "off");
    struct lendis_lease *leases[2];

    (void)state;
    for (int type = 0; type < 2; type++) {
        struct victim victim = {.pool = pool, .way = command, .type = types[type]};

        for (int i = 0; i < ROUNDS / 2; i++)
            cancel_one(&victim, rand() % 700);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(lendis_acquire(pool, 5000, &leases[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(lendis_release(leases[i]), 0);
    lendis_detach(pool);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(in_acquire),       TEST(in_command),
        TEST(in_exec),          TEST(in_lease_command),
        TEST(in_pipeline),      TEST(in_context),
        TEST(in_wait_in_steps), TEST(in_attach),
        TEST(while_it_waits),   TEST(on_connections_of_its_own),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("cancellation", tests, NULL, NULL);
}
