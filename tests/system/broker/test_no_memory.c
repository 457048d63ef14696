/* SPDX-License-Identifier: MIT */
/*
 * Memory that runs out in the library: in every call, the N-th allocation fails, for N = 1, 2, ...
 * until the call has no more, alone and with all that follow. The process goes on, the call says
 * -ENOMEM or whatever it came to, nothing stays leased, and the next call works. malloc(3) and kin
 * are replaced, for the thread that asks for it.
 *
 * (A sanitizer has an allocator of its own: there is nothing to fail then.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/support/fixture.h"

#define SIZE     3
#define MOST     400 /* allocations of one call */
#define LIMIT_MS 20000
#define LARGE    60000 /* bytes: more than a reader keeps */

/* ---- failing ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define FAILS false
static unsigned long fail_at;
static volatile bool failing;
static bool fail_on;
static unsigned long allocations;
#else
#define FAILS true
static _Thread_local volatile unsigned long fail_at;
static _Thread_local volatile bool failing, fail_on;
static _Thread_local volatile unsigned long allocations;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static bool fails(void)
{
    if (!failing)
        return false;
    allocations = allocations + 1;
    if (allocations < fail_at || (allocations > fail_at && !fail_on))
        return false;
    errno = ENOMEM;
    return true;
}

/* For hiredis and libc, too: the flags of the build hide what is not said to be seen. */
#define SEEN  __attribute__((visibility("default")))

SEEN void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

SEEN void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

SEEN void *realloc(void *old, size_t size)
{
    return fails() ? NULL : __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size);
SEEN void *memalign(size_t alignment, size_t size)
{
    return fails() ? NULL : __libc_memalign(alignment, size);
}

SEEN void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}
#endif

/* ---- the fixture ---- */

static struct fixture fixture;

static int start(void **state)
{
    char *value = calloc(1, LARGE + 1);

    (void)state;
    assert_non_null(value);
    memset(value, 'x', LARGE);
    fixture.redis.tcp = true;
    redis_start(&fixture.redis);
    freeReplyObject(redis_do(&fixture.redis, "SET large %s", value));
    free(value);
    freeReplyObject(redis_do(&fixture.redis, "RPUSH list a b c d e f g"));
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\nsize = %d\nmin_idle = %d\n"
                  "[pool one]\nredis = %s\nsize = 1\nmin_idle = 1\n"
                  "[pool off]\nredis = %s\nenabled = no\nfallback = direct\nsize = 2\n"
                  "[pool r]\nredis = %s\nsize = 1\nrole = replica\n"
                  "[pool shop]\nprimary = p\nreplicas = r\n",
                  fixture.redis.unix_url, SIZE, SIZE, fixture.redis.unix_url,
                  fixture.redis.unix_url, fixture.redis.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, SIZE, LIMIT_MS));
    return 0;
}

static int end(void **state)
{
    (void)state;
    failing = false;
    fixture_end(&fixture);
    return 0;
}

/* ---- the ways: what is between begin_failing() and its end is the library's ---- */

static void begin_failing(void)
{
    failing = true;
}

static void end_failing(void)
{
    failing = false;
}

static void expect_reply(redisReply *reply)
{
    int result = lendis_pool_error(NULL, NULL);

    if (!reply && result != -ENOMEM && result != LENDIS_E_UNCERTAIN && result != LENDIS_E_DOWN)
        fail_msg("result %d: %s", result, lendis_strerror(result));
    if (reply)
        freeReplyObject(reply);
}

static void expect_result(int result)
{
    if (result != 0 && result != -ENOMEM && result != LENDIS_E_DOWN && result != LENDIS_E_UNCERTAIN)
        fail_msg("result %d: %s", result, lendis_strerror(result));
}

static void by_command(struct lendis_pool *pool)
{
    redisReply *reply;

    begin_failing();
    reply = lendis_command(pool, "SET %b %s%d", "key", (size_t)3, "value", 17);
    end_failing();
    expect_reply(reply);
}

static void by_read(struct lendis_pool *pool)
{
    redisReply *reply;

    begin_failing();
    reply = lendis_command(pool, "LRANGE list 0 -1");
    end_failing();
    if (reply)
        assert_int_equal(reply->elements, 7);
    expect_reply(reply);
}

static void by_large(struct lendis_pool *pool)
{
    redisReply *reply;

    begin_failing();
    reply = lendis_command(pool, "GET large");
    end_failing();
    if (reply)
        assert_int_equal(reply->len, LARGE);
    expect_reply(reply);
}

/* hiredis 0.14 gives a buffer up that had grown, and asserts that there is memory for another. */
static void by_read_behind_large(struct lendis_pool *pool)
{
    redisReply *reply = lendis_command(pool, "GET large");

    assert_non_null(reply);
    freeReplyObject(reply);
    by_read(pool);
}

static void by_argv(struct lendis_pool *pool)
{
    const char *words[] = {"SET", "key", "value"};
    redisReply *reply;

    begin_failing();
    reply = lendis_command_argv(pool, 3, words, NULL);
    end_failing();
    expect_reply(reply);
}

static void by_exec(struct lendis_pool *pool)
{
    static const char request[] = "*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\n";
    void *reply = NULL;
    size_t size;
    int result;

    begin_failing();
    result = lendis_exec(pool, request, sizeof request - 1, -1, &reply, &size);
    end_failing();
    expect_result(result);
    lendis_free(reply);
}

static void by_pipeline(struct lendis_pool *pool)
{
    struct lendis_pipeline *pipeline;
    redisReply *reply = NULL;

    begin_failing();
    pipeline = lendis_pipeline_new(pool);
    if (pipeline && lendis_pipeline_append(pipeline, "SET a %d", 1) == 0 &&
        lendis_pipeline_append(pipeline, "LRANGE list 0 -1") == 0)
        reply = lendis_pipeline_exec(pipeline);
    lendis_pipeline_free(pipeline);
    end_failing();
    if (reply)
        freeReplyObject(reply);
}

static void by_lease(struct lendis_pool *pool)
{
    struct lendis_lease *lease = NULL;
    redisReply *reply = NULL;
    int result;

    begin_failing();
    result = lendis_acquire(pool, 1000, &lease);
    if (result == 0) {
        reply = lendis_lease_command(lease, "GET %s", "key");
        lendis_release(lease);
    }
    end_failing();
    expect_result(result);
    if (result == 0)
        expect_reply(reply);
}

/* The program's own call of hiredis does not fail: what it does without memory is not ours. */
static void by_context(struct lendis_pool *pool)
{
    struct lendis_lease *lease = NULL;
    redisContext *context = NULL;

    begin_failing();
    if (lendis_acquire(pool, 1000, &lease) == 0)
        context = lendis_lease_context(lease);
    end_failing();
    if (context)
        freeReplyObject(redisCommand(context, "PING"));
    begin_failing();
    if (lease)
        lendis_release(lease);
    end_failing();
}

static void by_wait(struct lendis_pool *pool)
{
    struct lendis_lease *lease = NULL;
    struct lendis_wait *wait = NULL;
    int result;

    begin_failing();
    result = lendis_acquire_begin(pool, 1000, &wait);
    while (result == 0 && !lease) {
        struct pollfd polled = {.fd = lendis_acquire_fd(wait), .events = POLLIN};

        poll(&polled, 1, 100);
        result = lendis_acquire_finish(wait, &lease);
        if (result == LENDIS_E_AGAIN)
            result = 0;
    }
    if (lease)
        lendis_release(lease);
    end_failing();
    expect_result(result);
}

static void by_attach(struct lendis_pool *pool)
{
    struct lendis_pool *own = NULL;
    int result;

    (void)pool;
    begin_failing();
    result = lendis_attach(fixture.broker.socket_path, "p", NULL, &own);
    lendis_detach(own);
    end_failing();
    expect_result(result);
}

/* The child has to attach as itself. */
static void by_child(struct lendis_pool *pool)
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        redisReply *reply;

        alarm(LIMIT_MS / 1000);
        begin_failing();
        reply = lendis_command(pool, "GET key");
        end_failing();
        if (reply)
            freeReplyObject(reply);
        reply = lendis_command(pool, "GET key");
        lendis_detach(pool);
        /* The parent counts no allocations of the child: it says itself when there are no more. */
        _exit(reply ? (allocations >= fail_at ? 0 : 1) : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    allocations = WEXITSTATUS(status) == 0 ? fail_at : 0;
}

static void by_url(struct lendis_pool *pool)
{
    struct lendis_options options = {.size = sizeof options, .fallback_url = fixture.redis.tcp_url};
    struct lendis_pool *own = NULL;
    redisReply *reply = NULL;
    int result;

    (void)pool;
    begin_failing();
    result = lendis_attach("/nonexistent/lendis.sock", "p", &options, &own);
    if (result == 0)
        reply = lendis_command(own, "GET key");
    lendis_detach(own);
    end_failing();
    expect_result(result);
    if (reply)
        freeReplyObject(reply);
}

/* ---- the tests ---- */

/* A new handle each time, so that what a first use allocates is there as well. */
static void fail_each(const char *name, void (*way)(struct lendis_pool *pool))
{
    for (int on = 0; on < 2; on++) {
        unsigned long number = 0;

        do {
            struct lendis_pool *pool = pool_attach(&fixture.broker, name);
            redisReply *reply;

            assert_true(++number < MOST);
            allocations = 0;
            fail_at = number;
            fail_on = on;
            way(pool);
            reply = lendis_command(pool, "GET key");
            if (!reply)
                fail_msg("allocation %lu, and then: %s", number,
                         lendis_strerror(lendis_pool_error(pool, NULL)));
            freeReplyObject(reply);
            lendis_detach(pool);
            assert_true(pool_fills(&fixture.observer, SIZE, LIMIT_MS));
        } while (allocations >= number);
        /* There was something that could fail. */
        assert_true(number > 1);
    }
}

#define WAY(title, name, way)                                                                      \
    static void title(void **state)                                                                \
    {                                                                                              \
        (void)state;                                                                               \
        if (!FAILS)                                                                                \
            skip();                                                                                \
        fail_each(name, way);                                                                      \
    }
WAY(in_a_command, "p", by_command)
WAY(in_a_read, "p", by_read)
WAY(in_a_large_reply, "p", by_large)
WAY(behind_a_large_reply, "p", by_read_behind_large)
WAY(in_argv, "p", by_argv)
WAY(in_exec, "p", by_exec)
WAY(in_a_pipeline, "p", by_pipeline)
WAY(in_a_lease, "p", by_lease)
WAY(in_a_context, "p", by_context)
WAY(in_a_wait, "p", by_wait)
WAY(in_attach, "p", by_attach)
WAY(in_a_child, "p", by_child)
WAY(in_a_service, "shop", by_read)
WAY(in_direct, "off", by_lease)
WAY(in_direct_commands, "off", by_large)
WAY(in_a_url, "p", by_url)

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(behind_a_large_reply),
        TEST(in_a_command),
        TEST(in_a_read),
        TEST(in_a_large_reply),
        TEST(in_argv),
        TEST(in_exec),
        TEST(in_a_pipeline),
        TEST(in_a_lease),
        TEST(in_a_context),
        TEST(in_a_wait),
        TEST(in_attach),
        TEST(in_a_child),
        TEST(in_a_service),
        TEST(in_direct),
        TEST(in_direct_commands),
        TEST(in_a_url),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("no_memory", tests, NULL, NULL);
}
