/* SPDX-License-Identifier: MIT */
/*
 * Nothing is allocated per command on the fast path: malloc(3) and its kin are replaced by ones
 * that count, for the thread that asks for it. What lendis_exec() returns is the caller's, and so
 * the one allocation that there is; without it, with a sink of the test's own, there is none at
 * all.
 *
 * (A sanitizer has an allocator of its own: there is nothing to count then.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "libclient/pool.h"
#include "libclient/exec.h"
#include "tests/support/fixture.h"

#define CALLS    1000u
#define OTHERS   8u
#define LIMIT_MS 20000

/* ---- counting ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define COUNTS false
static volatile unsigned long allocations;
static volatile bool counting;
#else
#define COUNTS true
/* The compiler knows that malloc() changes no variable of ours. */
static _Thread_local volatile unsigned long allocations;
static _Thread_local volatile bool counting;

/* glibc's own, under the names that it exports for replacements: malloc(3), "Replacing malloc" in
 * its manual. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
    allocations = allocations + counting;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations = allocations + counting;
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    allocations = allocations + counting;
    return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
    allocations = allocations + counting;
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}
#endif

/* ---- calls ---- */

static struct fixture fixture;

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

static const char get[] = "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";
static const char got[] = "$5\r\nvalue\r\n";

struct taken {
    char bytes[64];
    size_t size;
};

static int take(void *context, const char *data, size_t size)
{
    struct taken *taken = context;

    if (size > sizeof taken->bytes - taken->size)
        return -1;
    memcpy(taken->bytes + taken->size, data, size);
    taken->size += size;
    return 0;
}

static void restart(void *context)
{
    ((struct taken *)context)->size = 0;
}

static bool is_value(const void *reply, size_t size)
{
    return size == sizeof got - 1 && memcmp(reply, got, size) == 0;
}

/* A way to run the command; false: no or a wrong reply. */
typedef bool (*way)(struct lendis_pool *pool);

static bool by_exec(struct lendis_pool *pool)
{
    void *reply = NULL;
    size_t size = 0;
    bool right;

    counting = true;
    right = lendis_exec(pool, get, sizeof get - 1, -1, &reply, &size) == 0;
    counting = false;
    right = right && is_value(reply, size);
    lendis_free(reply);
    return right;
}

/* lendis_exec() without the buffer that it returns. */
static bool by_sink(struct lendis_pool *pool)
{
    struct taken taken = {.size = 0};
    struct reply_sink sink = {take, restart, &taken, NULL};
    bool right;

    counting = true;
    right = exec_command(pool, get, sizeof get - 1, -1, &sink) == 0;
    counting = false;
    return right && is_value(taken.bytes, taken.size);
}

static uint64_t waits(const struct lendis_pool *pool)
{
    uint32_t worker = atomic_load(&pool->local->current)->worker;

    return shm_load_relaxed(&fixture.observer.segment.workers[worker].counters[COUNTER_waits]);
}

/* Runs the command until it has waited `wanted` times; how often it ran. */
static unsigned run(struct lendis_pool *pool, way call, uint64_t wanted)
{
    int64_t until_ms = now_ms() + LIMIT_MS;
    uint64_t before = waits(pool);
    unsigned calls = 0;

    for (; calls < CALLS || waits(pool) - before < wanted; calls++) {
        assert_true(call(pool));
        if (now_ms() > until_ms)
            fail_msg("only %u calls, %u of which waited", calls, (unsigned)(waits(pool) - before));
    }
    return calls;
}

static void expect_none(struct lendis_pool *pool, uint64_t wanted)
{
    unsigned calls;

    /* The first ones bring descriptors and the receive buffer. */
    run(pool, by_exec, wanted / 10);
    allocations = 0;
    run(pool, by_sink, wanted);
    assert_int_equal(allocations, 0);
    calls = run(pool, by_exec, wanted);
    assert_int_equal(allocations, calls);
}

static struct lendis_pool *start(unsigned size)
{
    if (!COUNTS)
        skip();
    redis_start(&fixture.redis);
    freeReplyObject(redis_do(&fixture.redis, "SET key value"));
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = %u\nmin_idle = %u\n",
                  fixture.redis.unix_url, size, size);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, size, LIMIT_MS));
    return pool_attach(&fixture.broker, "p");
}

/* ---- the tests ---- */

static void counters_count(void **state)
{
    void *volatile block;

    (void)state;
    if (!COUNTS)
        skip();
    allocations = 0;
    counting = true;
    block = malloc(1);
    block = realloc(block, 100000);
    free(block);
    block = calloc(1, 1);
    free(block);
    counting = false;
    block = malloc(1);
    free(block);
    assert_int_equal(allocations, 3);
}

static void nothing_for_a_command_on_an_idle_connection(void **state)
{
    struct lendis_pool *pool = start(2);

    (void)state;
    expect_none(pool, 0);
    assert_int_equal(waits(pool), 0);
    lendis_detach(pool);
}

static int run_other(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");

    (void)number;
    processes_ready(processes);
    while (!processes_stopping(processes))
        if (!by_sink(pool))
            return 1;
    lendis_detach(pool);
    return 0;
}

/* Others keep the only connection busy: our commands go with theirs, and theirs with ours. */
static void nothing_for_a_command_that_is_handed_over(void **state)
{
    struct lendis_pool *pool = start(1);
    uint64_t handed;

    (void)state;
    processes_start(&fixture.processes, OTHERS, 0, run_other, NULL);
    processes_go(&fixture.processes);
    handed = pool_counter(&fixture.observer, COUNTER_handed);
    expect_none(pool, CALLS);
    assert_true(pool_counter(&fixture.observer, COUNTER_handed) - handed >= CALLS);
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    lendis_detach(pool);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, NULL, end)

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(counters_count),
        TEST(nothing_for_a_command_on_an_idle_connection),
        TEST(nothing_for_a_command_that_is_handed_over),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("allocations", tests, NULL, NULL);
}
