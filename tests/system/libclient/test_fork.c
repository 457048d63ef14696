/* SPDX-License-Identifier: MIT */
/*
 * A child of a fork in the midst of attaching has no descriptor of its parent's attachment left
 * once it has used the handle. calloc(3) is replaced by one that forks at its N-th call: attaching
 * calls it between any two steps at which descriptors come, so that the child finds what a fork by
 * another thread would have left it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/support/failing_malloc.h"
#include "tests/support/fixture.h"

/* More than attaching has. */
#define FORKS_MAX 64
/* It has so many at least: the handle's attachment, the area of mailboxes, two tables. */
#define FORKS_LEAST 4

static struct fixture fixture;
static struct lendis_pool *pool;
static int descriptors; /* before the handle was used */

/* Exit status of a child: how many descriptors it has too many. */
#define CHILD_FAILED 100

static unsigned until_fork; /* 0: no fork */
static pid_t child;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__GLIBC__)
static _Noreturn void be_child(void)
{
    redisReply *reply = lendis_command(pool, "PING");
    int left;

    if (!reply || reply->type != REDIS_REPLY_STATUS)
        _exit(CHILD_FAILED);
    freeReplyObject(reply);
    lendis_detach(pool);
    left = count_fds(getpid()) - descriptors;
    _exit(left < 0 ? CHILD_FAILED : left);
}

void *__libc_calloc(size_t count, size_t size);

void *calloc(size_t count, size_t size)
{
    if (until_fork > 0 && --until_fork == 0) {
        child = fork();
        if (child == 0)
            be_child();
    }
    return __libc_calloc(count, size);
}
#endif

static int end(void **state)
{
    (void)state;
    until_fork = 0;
    fixture_end(&fixture);
    return 0;
}

static void expect_nothing_left(unsigned number)
{
    int status;

    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) == CHILD_FAILED)
        fail_msg("fork %u: wait status %x", number, (unsigned)status);
    if (WEXITSTATUS(status) != 0)
        fail_msg("fork %u: the child has %d descriptors too many", number, WEXITSTATUS(status));
}

/* Attaches a new handle by using it, with a fork at allocation `number`. False: it has not so
 * many. */
static bool attach_and_fork(unsigned number)
{
    const struct lendis_options lazy = {.size = sizeof lazy, .flags = LENDIS_LAZY};
    redisReply *reply;
    bool forked;

    assert_int_equal(lendis_attach(fixture.broker.socket_path, "p", &lazy, &pool), 0);
    descriptors = count_fds(getpid());
    until_fork = number;
    reply = lendis_command(pool, "PING");
    forked = until_fork == 0;
    until_fork = 0;
    assert_non_null(reply);
    freeReplyObject(reply);
    lendis_detach(pool);
    return forked;
}

static void nothing_is_left_of_an_attachment_in_the_making(void **state)
{
    unsigned number = 1;

    (void)state;
    if (!FAILING_MALLOC_WORKS)
        skip();
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = 4\nmin_idle = 4\n",
                  fixture.redis.unix_url);
    for (; number < FORKS_MAX && attach_and_fork(number); number++)
        expect_nothing_left(number);
    assert_in_range(number, FORKS_LEAST + 1, FORKS_MAX - 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(nothing_is_left_of_an_attachment_in_the_making, end),
    };

    return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
