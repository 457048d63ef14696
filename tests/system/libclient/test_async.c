/* SPDX-License-Identifier: MIT */
/*
 * Acquiring in steps that do not wait: begin, poll, finish, cancel, with each of their results;
 * their place in the queue among threads that sleep; what wakes them, with and without a broker;
 * death, fork and detach in the middle; and the example that has an event loop and hiredis'
 * asynchronous API.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis/waiter.h"
#include "tests/support/fixture.h"

static struct fixture fixture;

static int start(void **state)
{
    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "[pool one]\nredis = %s\nsize = 1\nmin_idle = 1\n"
                  "[pool few]\nredis = %s\nsize = 3\nmin_idle = 3\n",
                  fixture.redis.unix_url, fixture.redis.unix_url);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

static struct lendis_wait *begin(struct lendis_pool *pool, int timeout_ms)
{
    struct lendis_wait *wait = NULL;
    int result = lendis_acquire_begin(pool, timeout_ms, &wait);

    if (result != 0)
        fail_msg("begin: %s", lendis_strerror(result));
    assert_non_null(wait);
    return wait;
}

/* Begins one that has to wait. */
static struct lendis_wait *begin_waiting(struct lendis_pool *pool, int timeout_ms)
{
    struct lendis_wait *wait = begin(pool, timeout_ms);
    struct lendis_lease *lease;

    assert_int_equal(lendis_acquire_finish(wait, &lease), LENDIS_E_AGAIN);
    return wait;
}

/* What an event loop does, up to limit_ms. *polls (may be NULL) counts. Results: as finish. */
static int poll_on(struct lendis_wait *wait, int limit_ms, struct lendis_lease **lease, int *polls)
{
    int64_t until_ms = now_ms() + limit_ms;
    int result = LENDIS_E_AGAIN;

    while (result == LENDIS_E_AGAIN && now_ms() < until_ms) {
        struct pollfd fd = {.fd = lendis_acquire_fd(wait), .events = POLLIN};

        if (poll(&fd, 1, limit_ms) == 1)
            result = lendis_acquire_finish(wait, lease);
        if (polls)
            ++*polls;
    }
    return result;
}

static struct lendis_lease *lease_one(struct lendis_pool *pool)
{
    struct lendis_lease *lease = NULL;

    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    return lease;
}

static bool ping(struct lendis_lease *lease)
{
    redisReply *reply = lendis_lease_command(lease, "PING");
    bool good = reply && strcmp(reply->str, "PONG") == 0;

    if (reply)
        freeReplyObject(reply);
    return good;
}

/* ---- each result ---- */

static void test_at_once(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "few");
    struct lendis_lease *lease;
    struct lendis_wait *wait;

    (void)state;
    lendis_release(lease_one(pool));
    wait = begin(pool, -1);
    assert_int_equal(lendis_acquire_finish(wait, &lease), 0);
    assert_true(ping(lease));
    assert_int_equal(lendis_release(lease), 0);
    /* A loop that polls before it asks is not left waiting. */
    wait = begin(pool, 1000);
    assert_int_equal(poll_on(wait, 1000, &lease, NULL), 0);
    assert_true(ping(lease));
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(pool);
}

static void test_waits_and_gets_it(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_lease *held = lease_one(pool), *lease = NULL;
    struct lendis_wait *wait = begin_waiting(pool, 5000);

    (void)state;
    assert_int_equal(lendis_release(held), 0);
    assert_int_equal(poll_on(wait, 5000, &lease, NULL), 0);
    assert_true(ping(lease));
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(pool);
}

static void test_time_limits(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_lease *held = lease_one(pool), *lease;
    struct lendis_wait *wait = NULL;
    int64_t before_ms = now_ms();

    (void)state;
    assert_int_equal(lendis_acquire_begin(pool, 0, &wait), LENDIS_E_BUSY);
    assert_null(wait);
    wait = begin_waiting(pool, 60);
    assert_int_equal(poll_on(wait, 5000, &lease, NULL), LENDIS_E_TIMEOUT);
    assert_in_range(now_ms() - before_ms, 60, 2000);
    assert_true(ping(held));
    assert_int_equal(lendis_release(held), 0);
    lendis_detach(pool);
}

static void test_wrong_arguments(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_lease *lease;
    struct lendis_wait *wait;

    (void)state;
    assert_int_equal(lendis_acquire_begin(NULL, 0, &wait), -EINVAL);
    assert_int_equal(lendis_acquire_begin(pool, -2, &wait), -EINVAL);
    assert_int_equal(lendis_acquire_begin(pool, -1, NULL), -EINVAL);
    assert_int_equal(lendis_acquire_finish(NULL, &lease), -EINVAL);
    assert_int_equal(lendis_acquire_fd(NULL), -EINVAL);
    lendis_acquire_cancel(NULL);
    wait = begin(pool, -1);
    assert_int_equal(lendis_acquire_finish(wait, NULL), -EINVAL);
    assert_int_equal(poll_on(wait, 5000, &lease, NULL), 0);
    lendis_release(lease);
    lendis_detach(pool);
}

static void test_redis_down(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_lease *lease;
    struct lendis_wait *wait;
    int result;

    (void)state;
    lendis_release(lease_one(pool));
    redis_kill(&fixture.redis);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "one");
    assert_true(eventually(words_in(&fixture.observer, WORD_IDLE) == 0, 5000));
    result = lendis_acquire_begin(pool, 200, &wait);
    if (result == 0)
        result = poll_on(wait, 5000, &lease, NULL);
    assert_int_equal(result, LENDIS_E_DOWN);
    /* Comes back while one waits. */
    wait = begin(pool, 20000);
    redis_start(&fixture.redis);
    assert_int_equal(poll_on(wait, 20000, &lease, NULL), 0);
    assert_true(ping(lease));
    assert_int_equal(lendis_release(lease), 0);
    observer_close(&fixture.observer);
    fixture.observer = (struct observer){0};
    lendis_detach(pool);
}

/* ---- the queue ---- */

static int sleep_for_lease(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_lease *lease;
    redisReply *reply;
    int result;

    (void)number;
    processes_ready(processes);
    result = lendis_acquire(pool, 10000, &lease);
    if (result != 0)
        return 2;
    reply = lendis_lease_command(lease, "RPUSH order sleeper");
    freeReplyObject(reply);
    lendis_release(lease);
    lendis_detach(pool);
    return 0;
}

static unsigned waiting(void)
{
    struct word_count count;

    return observe_words(&fixture.observer, &count) ? count.waiting : 0;
}

/* First come, first served, whoever waits how: poller, sleeper, poller. */
static void test_order(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_lease *held = lease_one(pool), *lease;
    struct lendis_wait *first, *last;
    redisReply *reply;

    (void)state;
    segment_observe(&fixture.observer, fixture.broker.socket_path, "one");
    first = begin_waiting(pool, 10000);
    processes_start(&fixture.processes, 1, 0, sleep_for_lease, NULL);
    processes_go(&fixture.processes);
    assert_true(eventually(waiting() == 2, 5000));
    last = begin_waiting(pool, 10000);
    assert_int_equal(lendis_release(held), 0);
    assert_int_equal(poll_on(first, 5000, &lease, NULL), 0);
    freeReplyObject(lendis_lease_command(lease, "RPUSH order first"));
    assert_int_equal(lendis_acquire_finish(last, &held), LENDIS_E_AGAIN);
    lendis_release(lease);
    assert_int_equal(poll_on(last, 5000, &lease, NULL), 0);
    freeReplyObject(lendis_lease_command(lease, "RPUSH order last"));
    lendis_release(lease);
    assert_true(processes_wait(&fixture.processes, 5000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    reply = redis_do(&fixture.redis, "LRANGE order 0 -1");
    assert_int_equal(reply->elements, 3);
    assert_string_equal(reply->element[0]->str, "first");
    assert_string_equal(reply->element[1]->str, "sleeper");
    assert_string_equal(reply->element[2]->str, "last");
    freeReplyObject(reply);
    lendis_detach(pool);
}

static void test_cancel(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_lease *held = lease_one(pool), *lease;
    struct lendis_wait *first = begin_waiting(pool, 5000), *second = begin_waiting(pool, 5000);
    int fds;

    (void)state;
    segment_observe(&fixture.observer, fixture.broker.socket_path, "one");
    fds = count_fds(getpid());
    lendis_acquire_cancel(first);
    assert_int_equal(count_fds(getpid()), fds - 2);
    assert_int_equal(waiting(), 1);
    lendis_release(held);
    assert_int_equal(poll_on(second, 5000, &held, NULL), 0);
    /* After it was handed over, and before anybody asked: it goes on to the next. */
    first = begin_waiting(pool, 5000);
    second = begin_waiting(pool, 5000);
    lendis_release(held);
    lendis_acquire_cancel(first);
    assert_int_equal(poll_on(second, 5000, &held, NULL), 0);
    lendis_release(held);
    /* One that has its lease already gives it back. */
    lendis_acquire_cancel(begin(pool, 5000));
    assert_true(pool_fills(&fixture.observer, 1, 1000));
    assert_int_equal(lendis_acquire(pool, 0, &lease), 0);
    lendis_release(lease);
    lendis_detach(pool);
}

/* ---- what wakes ---- */

#define CHAIN 24u

/*
 * A chain of waiters, each of which is told by the one before it. Left to their patience, which
 * grows with their place, each would need WAITER_PATIENCE_NS at least. Returns the time that all
 * needed.
 */
static int64_t run_chain(struct lendis_pool *pool, struct lendis_pool *giver)
{
    struct lendis_wait *waits[CHAIN];
    struct lendis_lease *lease = lease_one(giver);
    int64_t start_ns;

    for (unsigned i = 0; i < CHAIN; i++)
        waits[i] = begin_waiting(pool, 20000);
    start_ns = now_ns();
    for (unsigned i = 0; i < CHAIN; i++) {
        lendis_release(lease);
        assert_int_equal(poll_on(waits[i], 5000, &lease, NULL), 0);
    }
    lendis_release(lease);
    return now_ns() - start_ns;
}

/* A third of what patience would take. The host may be busy: any of ten turns will do. */
static bool chain_is_told(struct lendis_pool *pool, struct lendis_pool *giver)
{
    for (int turn = 0; turn < 10; turn++)
        if (run_chain(pool, giver) < CHAIN * WAITER_PATIENCE_NS / 3)
            return true;
    return false;
}

static void test_told_by_workers(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");

    (void)state;
    assert_true(chain_is_told(pool, pool));
    lendis_detach(pool);
}

static void test_told_without_broker(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");

    (void)state;
    run_chain(pool, pool);
    lendisd_kill(&fixture.broker);
    assert_true(chain_is_told(pool, pool));
    lendis_detach(pool);
}

static int give_on_demand(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_lease *lease;
    int result = lendis_acquire(pool, 5000, &lease);
    atomic_long *released_ns = processes_result(processes, number);

    processes_ready(processes);
    atomic_store(released_ns, now_ns());
    if (result == 0)
        result = lendis_release(lease);
    lendis_detach(pool);
    return result;
}

/* Who gives has no poll wake-up: the broker sends it. The one that waits is made patient by fifty
 * places that are given up. */
static bool told_by_broker_once(struct lendis_pool *pool)
{
    struct lendis_wait *before[50], *wait;
    struct lendis_lease *lease = NULL;
    int polls = 0;
    bool told;

    processes_start(&fixture.processes, 1, sizeof(atomic_long), give_on_demand, NULL);
    assert_true(eventually(atomic_load(&fixture.processes.control->ready) == 1, 5000));
    for (int i = 0; i < 50; i++)
        before[i] = begin_waiting(pool, 20000);
    wait = begin_waiting(pool, 20000);
    for (int i = 0; i < 50; i++)
        lendis_acquire_cancel(before[i]);
    processes_go(&fixture.processes);
    assert_int_equal(poll_on(wait, 5000, &lease, &polls), 0);
    told = now_ns() - atomic_load((atomic_long *)processes_result(&fixture.processes, 0)) <
           20 * WAITER_PATIENCE_NS;
    lendis_release(lease);
    assert_true(processes_wait(&fixture.processes, 5000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    processes_end(&fixture.processes);
    return told;
}

static void test_told_through_the_broker(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    bool told = false;

    (void)state;
    for (int turn = 0; turn < 10 && !told; turn++)
        told = told_by_broker_once(pool);
    assert_true(told);
    lendis_detach(pool);
}

/* The broker has a connection for one that waits. */
static void test_told_by_the_broker(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_lease *held = lease_one(pool), *lease;
    struct lendis_wait *wait = begin_waiting(pool, 10000);

    (void)state;
    lendis_discard(held);
    assert_int_equal(poll_on(wait, 10000, &lease, NULL), 0);
    assert_true(ping(lease));
    lendis_release(lease);
    lendis_detach(pool);
}

/* ---- the broker's restart ---- */

static void test_new_broker(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_lease *held = lease_one(pool), *lease;
    struct lendis_wait *wait = begin_waiting(pool, 20000);

    (void)state;
    lendisd_restart(&fixture.broker);
    /* The new broker has a connection of its own for it. */
    assert_int_equal(poll_on(wait, 20000, &lease, NULL), 0);
    assert_true(ping(lease));
    assert_int_equal(lendis_release(lease), 0);
    lendis_discard(held);
    lendis_detach(pool);
}

/* ---- death, fork, detach ---- */

static int wait_for_ever(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_wait *wait;

    (void)number;
    if (lendis_acquire_begin(pool, 60000, &wait) != 0)
        return 1;
    processes_ready(processes);
    pause();
    return 2;
}

/* A poller that is killed in the queue, or with the connection handed to it, keeps nobody
 * waiting. */
static void test_killed(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_lease *held = lease_one(pool), *lease;
    struct lendis_wait *wait;

    (void)state;
    processes_start(&fixture.processes, 2, 0, wait_for_ever, NULL);
    assert_true(eventually(atomic_load(&fixture.processes.control->ready) == 2, 5000));
    wait = begin_waiting(pool, 10000);
    processes_signal(&fixture.processes, 0, SIGKILL);
    assert_int_not_equal(processes_wait_one(&fixture.processes, 0, 5000), -1);
    lendis_release(held); /* to the second, which never comes for it */
    processes_signal(&fixture.processes, 1, SIGKILL);
    assert_int_equal(poll_on(wait, 5000, &lease, NULL), 0);
    assert_true(ping(lease));
    lendis_release(lease);
    lendis_detach(pool);
}

static void test_fork(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_lease *held = lease_one(pool), *lease;
    struct lendis_wait *wait = begin_waiting(pool, 10000);
    pid_t child = fork();
    int status;

    (void)state;
    if (child == 0) {
        struct lendis_wait *own;
        int result =
            lendis_acquire_finish(wait, &lease) != -EINVAL || lendis_acquire_fd(wait) != -EINVAL;

        result |= lendis_acquire_begin(pool, 5000, &own) != 0 ? 2 : 0;
        result |= lendis_acquire_finish(wait, &lease) != -EINVAL ? 4 : 0;
        lendis_acquire_cancel(wait);
        /* Behind the parent's, which has it for a while. */
        result |= poll_on(own, 5000, &lease, NULL) != 0 ? 8 : 0;
        result |= ping(lease) ? 0 : 16;
        lendis_release(lease);
        lendis_detach(pool);
        _exit(result);
    }
    segment_observe(&fixture.observer, fixture.broker.socket_path, "one");
    assert_true(eventually(waiting() == 2, 5000));
    lendis_release(held);
    assert_int_equal(poll_on(wait, 5000, &lease, NULL), 0);
    assert_true(ping(lease));
    lendis_release(lease);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    lendis_detach(pool);
}

static void test_detach(void **state)
{
    int fds = count_fds(getpid());
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_lease *held = lease_one(pool);
    struct lendis_wait *wait;

    (void)state;
    segment_observe(&fixture.observer, fixture.broker.socket_path, "one");
    begin_waiting(pool, 5000);
    begin_waiting(pool, 5000);
    lendis_release(held); /* the first has it, and nobody asks */
    wait = begin(pool, 5000);
    assert_true(lendis_acquire_fd(wait) >= 0);
    lendis_detach(pool);
    assert_true(pool_fills(&fixture.observer, 1, 2000));
    observer_close(&fixture.observer);
    fixture.observer = (struct observer){0};
    assert_int_equal(count_fds(getpid()), fds);
}

/* ---- a real loop ---- */

#define LOOP_JOBS  40u
#define LOOP_TURNS 25u

struct loop_job {
    struct lendis_wait *wait;
    unsigned turn;
};

static bool job_works(struct lendis_lease *lease, unsigned process, unsigned job, unsigned turn)
{
    redisReply *reply;
    char text[64];
    bool good;

    snprintf(text, sizeof text, "%u-%u-%u", process, job, turn);
    reply = lendis_lease_command(lease, "ECHO %s", text);
    good = reply && strcmp(reply->str, text) == 0;
    freeReplyObject(reply);
    return lendis_release(lease) == 0 && good;
}

/* Several processes with an epoll loop each, and many waits in each loop, on three connections. */
static int run_loop(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "few");
    struct loop_job jobs[LOOP_JOBS] = {0};
    int loop = epoll_create1(EPOLL_CLOEXEC);
    unsigned left = LOOP_JOBS;

    processes_ready(processes);
    for (unsigned i = 0; i < LOOP_JOBS; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};

        if (lendis_acquire_begin(pool, 20000, &jobs[i].wait) != 0 ||
            epoll_ctl(loop, EPOLL_CTL_ADD, lendis_acquire_fd(jobs[i].wait), &event) < 0)
            return 1;
    }
    while (left > 0) {
        struct epoll_event event;
        struct lendis_lease *lease;
        struct loop_job *job;
        int result;

        if (epoll_wait(loop, &event, 1, 20000) != 1)
            return 2;
        job = &jobs[event.data.u32];
        result = lendis_acquire_finish(job->wait, &lease);
        if (result == LENDIS_E_AGAIN)
            continue;
        if (result != 0 || !job_works(lease, number, event.data.u32, job->turn))
            return 3;
        if (++job->turn == LOOP_TURNS) {
            left--;
            continue;
        }
        if (lendis_acquire_begin(pool, 20000, &job->wait) != 0 ||
            epoll_ctl(loop, EPOLL_CTL_ADD, lendis_acquire_fd(job->wait), &event) < 0)
            return 4;
    }
    lendis_detach(pool);
    return 0;
}

static void test_loops(void **state)
{
    (void)state;
    segment_observe(&fixture.observer, fixture.broker.socket_path, "few");
    processes_start(&fixture.processes, 4, 0, run_loop, NULL);
    processes_go(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 60000));
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(fixture.processes.statuses[i], 0);
    assert_true(pool_fills(&fixture.observer, 3, 2000));
    assert_true(pool_counter(&fixture.observer, COUNTER_leases) >= 4 * LOOP_JOBS * LOOP_TURNS);
}

static void test_example(void **state)
{
    const char *const argv[] = {built_program("examples/async"), "few", "100", NULL};
    char output[1024];
    redisReply *reply;

    (void)state;
    assert_int_equal(setenv("LENDIS_SOCKET", fixture.broker.socket_path, 1), 0);
    assert_int_equal(program_run(argv, output, sizeof output, 30000), 0);
    unsetenv("LENDIS_SOCKET");
    assert_string_equal(output, "100 visits, 0 jobs failed\n");
    reply = redis_do(&fixture.redis, "GET visits");
    assert_string_equal(reply->str, "100");
    freeReplyObject(reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_at_once, start, end),
        cmocka_unit_test_setup_teardown(test_waits_and_gets_it, start, end),
        cmocka_unit_test_setup_teardown(test_time_limits, start, end),
        cmocka_unit_test_setup_teardown(test_wrong_arguments, start, end),
        cmocka_unit_test_setup_teardown(test_redis_down, start, end),
        cmocka_unit_test_setup_teardown(test_order, start, end),
        cmocka_unit_test_setup_teardown(test_cancel, start, end),
        cmocka_unit_test_setup_teardown(test_told_by_workers, start, end),
        cmocka_unit_test_setup_teardown(test_told_without_broker, start, end),
        cmocka_unit_test_setup_teardown(test_told_through_the_broker, start, end),
        cmocka_unit_test_setup_teardown(test_told_by_the_broker, start, end),
        cmocka_unit_test_setup_teardown(test_new_broker, start, end),
        cmocka_unit_test_setup_teardown(test_killed, start, end),
        cmocka_unit_test_setup_teardown(test_fork, start, end),
        cmocka_unit_test_setup_teardown(test_detach, start, end),
        cmocka_unit_test_setup_teardown(test_loops, start, end),
        cmocka_unit_test_setup_teardown(test_example, start, end),
    };

    return cmocka_run_group_tests_name("async", tests, NULL, NULL);
}
