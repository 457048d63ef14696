/* SPDX-License-Identifier: MIT */
/*
 * Commands on a lease in steps that do not wait: begin, poll, finish, cancel, with each of their
 * results; what they leave behind on the connection; and that a reply which nobody fetched is
 * nobody's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/support/fixture.h"

#define VALUE_SIZE ((size_t)8 << 20)

static struct fixture fixture;
static struct lendis_pool *pool;
static struct lendis_lease *lease;

static int start(void **state)
{
    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "[pool one]\nredis = %s\nsize = 1\nmin_idle = 1\n",
                  fixture.redis.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "one");
    pool = pool_attach(&fixture.broker, "one");
    assert_int_equal(lendis_acquire(pool, 10000, &lease), 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    lendis_detach(pool);
    pool = NULL;
    fixture_end(&fixture);
    return 0;
}

/* ---- an event loop ---- */

static struct lendis_call *begin(const char *request, int timeout_ms)
{
    struct lendis_call *call = NULL;
    int result = lendis_call_begin(lease, request, strlen(request), timeout_ms, &call);

    if (result != 0)
        fail_msg("begin: %s", lendis_strerror(result));
    return call;
}

/* Polls until it ends, for 20 s at most. Results: as finish. */
static int poll_on(struct lendis_call *call, char **reply, size_t *size, bool *sent_later)
{
    int64_t until_ms = now_ms() + 20000;
    void *bytes = NULL;
    int result = LENDIS_E_AGAIN;

    while (result == LENDIS_E_AGAIN && now_ms() < until_ms) {
        int timeout_ms;
        struct pollfd fd = {.fd = lendis_call_poll(call, &fd.events, &timeout_ms)};

        assert_true(fd.fd >= 0);
        if (sent_later)
            *sent_later |= (fd.events & POLLOUT) != 0;
        poll(&fd, 1, timeout_ms < 0 || timeout_ms > 1000 ? 1000 : timeout_ms);
        result = lendis_call_finish(call, &bytes, size);
    }
    *reply = result == 0 ? bytes : NULL;
    return result;
}

static void expect(const char *request, const char *expected)
{
    char *reply;
    size_t size;

    assert_int_equal(poll_on(begin(request, -1), &reply, &size, NULL), 0);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(reply, expected, size);
    lendis_free(reply);
}

static int result_of(struct lendis_call *call)
{
    char *reply;
    size_t size;
    int result = poll_on(call, &reply, &size, NULL);

    lendis_free(reply);
    return result;
}

static void lease_again(void)
{
    assert_int_equal(lendis_acquire(pool, 10000, &lease), 0);
}

static long long client_id(void)
{
    redisReply *reply = lendis_lease_command(lease, "CLIENT ID");
    long long id;

    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    id = reply->integer;
    freeReplyObject(reply);
    return id;
}

/* ---- answered ---- */

static void test_commands(void **state)
{
    (void)state;
    expect("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n", "+OK\r\n");
    expect("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "$1\r\nv\r\n");
    expect("*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n",
           "+PONG\r\n$1\r\nv\r\n+PONG\r\n");
    expect("*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n", "-ERR value is not an integer or out of range\r\n");
    assert_int_equal(lendis_release(lease), 0);
}

/* More than the socket takes at once, both ways. */
static void test_large(void **state)
{
    char *request = malloc(VALUE_SIZE + 64), *reply;
    struct lendis_call *call = NULL;
    bool sent_later = false;
    size_t size;
    int head;

    (void)state;
    assert_non_null(request);
    head = sprintf(request, "*3\r\n$3\r\nSET\r\n$1\r\nl\r\n$%zu\r\n", VALUE_SIZE);
    memset(request + head, 'x', VALUE_SIZE);
    memcpy(request + head + VALUE_SIZE, "\r\n", 2);
    assert_int_equal(lendis_call_begin(lease, request, (size_t)head + VALUE_SIZE + 2, -1, &call),
                     0);
    assert_int_equal(poll_on(call, &reply, &size, &sent_later), 0);
    assert_true(sent_later);
    assert_memory_equal(reply, "+OK\r\n", 5);
    lendis_free(reply);
    call = begin("*2\r\n$3\r\nGET\r\n$1\r\nl\r\n", -1);
    assert_int_equal(poll_on(call, &reply, &size, NULL), 0);
    assert_int_equal(size, VALUE_SIZE + 10 + 2);
    assert_memory_equal(reply + 10, request + head, VALUE_SIZE);
    lendis_free(reply);
    free(request);
    expect("*1\r\n$4\r\nPING\r\n", "+PONG\r\n");
    assert_int_equal(lendis_release(lease), 0);
}

/* What blocks has no limit of the pool's, and is answered when it is. */
static void test_blocks(void **state)
{
    struct lendis_call *call = begin("*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n0\r\n", -1);
    int timeout_ms;
    short events;
    char *reply;
    size_t size;

    (void)state;
    assert_true(lendis_call_poll(call, &events, &timeout_ms) >= 0);
    assert_int_equal(timeout_ms, -1);
    freeReplyObject(redis_do(&fixture.redis, "RPUSH q v"));
    assert_int_equal(poll_on(call, &reply, &size, NULL), 0);
    assert_int_equal(size, strlen("*2\r\n$1\r\nq\r\n$1\r\nv\r\n"));
    lendis_free(reply);
    assert_int_equal(lendis_release(lease), 0);
}

/* ---- what is left ---- */

/* A lease that is left clean needs no reset; one inside MULTI is reset, and not given as it is. */
static void test_session(void **state)
{
    long long id = client_id();

    (void)state;
    expect("*2\r\n$5\r\nWATCH\r\n$1\r\nk\r\n", "+OK\r\n");
    expect("*1\r\n$5\r\nMULTI\r\n", "+OK\r\n");
    expect("*1\r\n$4\r\nEXEC\r\n", "*0\r\n");
    assert_int_equal(lendis_release(lease), 0);
    assert_int_equal(words_in(&fixture.observer, WORD_IDLE), 1);
    lease_again();
    assert_int_equal(client_id(), id);
    expect("*1\r\n$5\r\nMULTI\r\n", "+OK\r\n");
    assert_int_equal(lendis_release(lease), 0);
    lease_again();
    expect("*1\r\n$4\r\nPING\r\n", "+PONG\r\n");
    assert_int_equal(lendis_release(lease), 0);
}

/* The reply of a call that was given up is nobody's: the next has another connection. */
static void test_cancel(void **state)
{
    long long id = client_id();

    (void)state;
    for (int i = 0; i < 20; i++) {
        lendis_call_cancel(begin("*2\r\n$4\r\nECHO\r\n$6\r\nsecret\r\n", -1));
        assert_int_equal(lendis_release(lease), 0);
        lease_again();
        expect("*1\r\n$4\r\nPING\r\n", "+PONG\r\n");
        assert_true(client_id() != id);
        id = client_id();
    }
    lendis_call_cancel(NULL);
    assert_int_equal(lendis_release(lease), 0);
}

/* Given back in the middle: the same, and the call can only be cancelled. */
static void test_given_back_in_the_middle(void **state)
{
    long long id = client_id();
    struct lendis_call *call = begin("*2\r\n$4\r\nECHO\r\n$6\r\nsecret\r\n", -1);
    void *reply;
    size_t size;

    (void)state;
    assert_int_equal(lendis_release(lease), 0);
    assert_int_equal(lendis_call_finish(call, &reply, &size), -EINVAL);
    lease_again();
    assert_true(client_id() != id);
    assert_int_equal(lendis_call_finish(call, &reply, &size), -EINVAL);
    lendis_call_cancel(call);
    expect("*1\r\n$4\r\nPING\r\n", "+PONG\r\n");
    assert_int_equal(lendis_release(lease), 0);
}

/* ---- not answered ---- */

static void test_time_limits(void **state)
{
    int64_t before_ms = now_ms();

    (void)state;
    kill(fixture.redis.pid, SIGSTOP);
    assert_int_equal(result_of(begin("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", 60)), LENDIS_E_TIMEOUT);
    assert_in_range(now_ms() - before_ms, 60, 5000);
    kill(fixture.redis.pid, SIGCONT);
    assert_int_equal(lendis_release(lease), 0);
    lease_again();
    kill(fixture.redis.pid, SIGSTOP);
    assert_int_equal(result_of(begin("*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n", 60)), LENDIS_E_UNCERTAIN);
    kill(fixture.redis.pid, SIGCONT);
    assert_int_equal(lendis_release(lease), 0);
}

/* The connection ends under it, and before it. */
static void test_connection_lost(void **state)
{
    struct lendis_call *call = begin("*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n0\r\n", -1);
    int result;

    (void)state;
    freeReplyObject(redis_do(&fixture.redis, "CLIENT KILL TYPE normal SKIPME yes"));
    assert_int_equal(result_of(call), LENDIS_E_UNCERTAIN);
    call = NULL;
    result = lendis_call_begin(lease, "*1\r\n$4\r\nPING\r\n", 14, -1, &call);
    assert_true(result == LENDIS_E_DOWN || result == LENDIS_E_REVOKED);
    assert_null(call);
    lendis_release(lease);
    lease_again();
    freeReplyObject(redis_do(&fixture.redis, "CLIENT KILL TYPE normal SKIPME yes"));
    result = lendis_call_begin(lease, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", 20, -1, &call);
    if (result == 0)
        result = result_of(call);
    assert_true(result == LENDIS_E_DOWN || result == LENDIS_E_REVOKED);
    lendis_release(lease);
}

static int kind_of(const char *request)
{
    return lendis_classify(lease, request, strlen(request));
}

static void test_kinds(void **state)
{
    (void)state;
    assert_int_equal(kind_of("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"), LENDIS_REQUEST_READS);
    assert_int_equal(kind_of("*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n"), 0);
    assert_int_equal(kind_of("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n"), 0);
    assert_int_equal(kind_of("*3\r\n$5\r\nBLPOP\r\n$1\r\nk\r\n$1\r\n0\r\n"), LENDIS_REQUEST_ALONE);
    assert_int_equal(kind_of("*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nEXEC\r\n"), LENDIS_REQUEST_ALONE);
    assert_int_equal(kind_of("*1\r\n$5\r\nMULTI\r\n"), LENDIS_REQUEST_ALONE | LENDIS_REQUEST_LEASE);
    assert_int_equal(kind_of("*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n"),
                     LENDIS_REQUEST_ALONE | LENDIS_REQUEST_LEASE);
    assert_int_equal(kind_of("*2\r\n$3\r\nGET\r\n$1\r\nk\r"), -EINVAL);
    assert_int_equal(kind_of("PING\r\n"), -EINVAL);
    assert_int_equal(lendis_classify(NULL, "*1\r\n$4\r\nPING\r\n", 14), -EINVAL);
    assert_int_equal(lendis_release(lease), 0);
}

static void test_wrong_arguments(void **state)
{
    struct lendis_call *call = NULL;
    int timeout_ms;
    short events;
    void *reply;
    size_t size;

    (void)state;
    assert_int_equal(lendis_call_begin(NULL, "*1\r\n$4\r\nPING\r\n", 14, -1, &call), -EINVAL);
    assert_int_equal(lendis_call_begin(lease, NULL, 14, -1, &call), -EINVAL);
    assert_int_equal(lendis_call_begin(lease, "PING\r\n", 6, -1, &call), -EINVAL);
    assert_int_equal(lendis_call_begin(lease, "*1\r\n$4\r\nPI", 10, -1, &call), -EINVAL);
    assert_int_equal(lendis_call_begin(lease, "*1\r\n$4\r\nPING\r\n", 14, -2, &call), -EINVAL);
    assert_null(call);
    assert_int_equal(lendis_call_poll(NULL, &events, &timeout_ms), -EINVAL);
    assert_int_equal(lendis_call_finish(NULL, &reply, &size), -EINVAL);
    expect("*1\r\n$4\r\nPING\r\n", "+PONG\r\n");
    assert_int_equal(lendis_release(lease), 0);
}

/* A child's handle knows nothing of its parent's calls. */
static void test_fork(void **state)
{
    struct lendis_call *call = begin("*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n", -1);
    int status, timeout_ms;
    short events;
    char *reply;
    void *none;
    size_t size;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        bool good = lendis_call_poll(call, &events, &timeout_ms) == -EINVAL &&
                    lendis_call_finish(call, &none, &size) == -EINVAL;

        lendis_call_cancel(call);
        _exit(good ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(poll_on(call, &reply, &size, NULL), 0);
    assert_memory_equal(reply, "$2\r\nhi\r\n", 8);
    lendis_free(reply);
    assert_int_equal(lendis_release(lease), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commands, start, end),
        cmocka_unit_test_setup_teardown(test_large, start, end),
        cmocka_unit_test_setup_teardown(test_blocks, start, end),
        cmocka_unit_test_setup_teardown(test_session, start, end),
        cmocka_unit_test_setup_teardown(test_cancel, start, end),
        cmocka_unit_test_setup_teardown(test_given_back_in_the_middle, start, end),
        cmocka_unit_test_setup_teardown(test_time_limits, start, end),
        cmocka_unit_test_setup_teardown(test_connection_lost, start, end),
        cmocka_unit_test_setup_teardown(test_kinds, start, end),
        cmocka_unit_test_setup_teardown(test_wrong_arguments, start, end),
        cmocka_unit_test_setup_teardown(test_fork, start, end),
    };

    return cmocka_run_group_tests_name("call", tests, NULL, NULL);
}
