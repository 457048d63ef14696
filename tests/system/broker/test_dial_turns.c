/* SPDX-License-Identifier: MIT */
/*
 * Servers that accept connections and never answer, as a stopped process does: other pools open
 * theirs as if these were not there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "tests/support/fixture.h"

#define LIMIT_MS 20000
#define SIZE     16u
#define NODES    3u
/* A turn ends after 250 ms, and a dial takes its time; connect_timeout is 5 s. */
#define PROMPT_MS 1500

static struct fixture fixture;
static struct redis_server nodes[NODES];

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    for (size_t i = 0; i < NODES; i++) {
        redis_kill(&nodes[i]);
        nodes[i] = (struct redis_server){0};
    }
    return 0;
}

static unsigned dials_under_way(void)
{
    return words_in(&fixture.observer, WORD_OPENING);
}

/* All leases of `pool` end in a time-out, and their connections in a dial. */
static void lose_all(struct lendis_pool *pool)
{
    struct lendis_lease *leases[SIZE];

    for (size_t i = 0; i < SIZE; i++)
        assert_int_equal(lendis_acquire(pool, LIMIT_MS, &leases[i]), 0);
    redis_pause(&fixture.redis);
    for (size_t i = 0; i < SIZE; i++)
        assert_null(lendis_lease_command(leases[i], "PING"));
    /* Together, so that many dials are due at once. */
    for (size_t i = 0; i < SIZE; i++)
        lendis_release(leases[i]);
}

static void expect_prompt_first_lease(const char *name)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, name);
    struct lendis_lease *lease;
    int64_t before_ms = now_ms(), took_ms;

    assert_int_equal(lendis_acquire(pool, LIMIT_MS, &lease), 0);
    took_ms = now_ms() - before_ms;
    fprintf(stderr, "first lease of %s: %lld ms\n", name, (long long)took_ms);
    assert_in_range(took_ms, 0, PROMPT_MS);
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(pool);
}

/* A pool that was well, of a server that is stopped now, opens all its connections anew. */
static void a_stopped_server_has_its_share_of_turns(void **state)
{
    struct lendis_pool *pool;

    (void)state;
    redis_start(&fixture.redis);
    redis_start(&nodes[0]);
    lendisd_start(&fixture.broker,
                  "dial_concurrency = 4\n"
                  "[pool stopped]\nredis = %s\nsize = %u\nmin_idle = %u\ncommand_timeout = 50ms\n"
                  "[pool same]\nredis = %s\nsize = 4\nmin_idle = 0\n"
                  "[pool well]\nredis = %s\nsize = 4\nmin_idle = 0\n",
                  fixture.redis.unix_url, SIZE, SIZE, fixture.redis.unix_url, nodes[0].unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "stopped");
    assert_true(pool_fills(&fixture.observer, SIZE, LIMIT_MS));
    pool = pool_attach(&fixture.broker, "stopped");
    lose_all(pool);
    assert_true(eventually(dials_under_way() > 0, LIMIT_MS));
    expect_prompt_first_lease("well");
    assert_true(dials_under_way() > 0);
    redis_continue(&fixture.redis);
    assert_true(pool_fills(&fixture.observer, SIZE, LIMIT_MS));
    lendis_detach(pool);
}

/* More servers than turns, none of which answers. */
static void more_stopped_servers_than_turns(void **state)
{
    (void)state;
    for (size_t i = 0; i < NODES; i++)
        redis_start(&nodes[i]);
    redis_start(&fixture.redis);
    for (size_t i = 0; i < NODES; i++)
        redis_pause(&nodes[i]);
    lendisd_start(&fixture.broker,
                  "dial_concurrency = 2\n"
                  "[pool a]\nredis = %s\nsize = 4\nmin_idle = 4\n"
                  "[pool b]\nredis = %s\nsize = 4\nmin_idle = 4\n"
                  "[pool c]\nredis = %s\nsize = 4\nmin_idle = 4\n"
                  "[pool well]\nredis = %s\nsize = 4\nmin_idle = 0\n",
                  nodes[0].unix_url, nodes[1].unix_url, nodes[2].unix_url, fixture.redis.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "c");
    expect_prompt_first_lease("well");
    for (size_t i = 0; i < NODES; i++)
        redis_continue(&nodes[i]);
    assert_true(pool_fills(&fixture.observer, 4, LIMIT_MS));
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(a_stopped_server_has_its_share_of_turns),
        TEST(more_stopped_servers_than_turns),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("dial_turns", tests, NULL, NULL);
}
