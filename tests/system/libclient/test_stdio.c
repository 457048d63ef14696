/* SPDX-License-Identifier: MIT */
/*
 * A process that closed some of 0, 1 and 2, as daemons do, and prints by habit. No descriptor of
 * the library's is ever one of these: each way in which it gets descriptors is gone, and meanwhile
 * a thread writes to the closed numbers and reads from them all the time, which never succeeds.
 * (fuzz/wire has what a broker may send.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/support/fixture.h"

#define ROUNDS   20
#define LIMIT_MS 20000

static struct fixture fixture;
static char secret_path[TESTBED_PATH_SIZE];

static int start(void **state)
{
    FILE *file;

    (void)state;
    scratch_path(secret_path, "secret");
    file = fopen(secret_path, "we");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    fputs("secret", file);
    assert_int_equal(fclose(file), 0);
    fixture.redis.password = "secret";
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\npassword_file = %s\nsize = 3\nmin_idle = 3\n"
                  "[pool one]\nredis = %s\npassword_file = %s\nsize = 1\nmin_idle = 1\n"
                  "[pool off]\nredis = %s\npassword_file = %s\nenabled = no\nfallback = direct\n"
                  "[pool r]\nredis = %s\npassword_file = %s\nsize = 1\nrole = replica\n"
                  "[pool shop]\nprimary = p\nreplicas = r\n",
                  fixture.redis.unix_url, secret_path, fixture.redis.unix_url, secret_path,
                  fixture.redis.unix_url, secret_path, fixture.redis.unix_url, secret_path);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

/* ---- the program beside it ---- */

struct found {
    atomic_bool over;
    atomic_ulong tries;
    atomic_ulong taken; /* tries that hit a descriptor */
    atomic_int step;    /* the last one that was begun */
};

struct habit {
    struct found *found;
    unsigned closed; /* a bit for each number */
};

static void *print_by_habit(void *context)
{
    static const char text[] = "SET victim overwritten\r\n";
    const struct habit *habit = context;
    char byte;

    while (!atomic_load(&habit->found->over)) {
        for (int fd = 0; fd < 3; fd++)
            if ((habit->closed >> fd & 1) && (write(fd, text, sizeof text - 1) >= 0 ||
                                              errno != EBADF || read(fd, &byte, 1) >= 0))
                atomic_fetch_add(&habit->found->taken, 1);
        atomic_fetch_add(&habit->found->tries, 1);
    }
    return NULL;
}

/* ---- the ways ---- */

static bool pings(redisReply *reply)
{
    bool good = reply && reply->str && strcmp(reply->str, "PONG") == 0;

    if (reply)
        freeReplyObject(reply);
    return good;
}

static bool attach_and_lease(void)
{
    struct lendis_lease *leases[3];
    struct lendis_pool *pool;
    bool good = true;

    if (lendis_attach(fixture.broker.socket_path, "p", NULL, &pool) != 0)
        return false;
    for (int i = 0; i < 3; i++)
        if (lendis_acquire(pool, 5000, &leases[i]) != 0)
            return false;
    for (int i = 0; i < 3; i++) {
        good = good && pings(lendis_lease_command(leases[i], "PING")) &&
               (i > 0 || pings(redisCommand(lendis_lease_context(leases[i]), "PING")));
        lendis_release(leases[i]);
    }
    lendis_detach(pool);
    return good;
}

/* What a wait polls, and poll wake-ups. */
static bool wait_polling(void)
{
    struct lendis_lease *held, *lease;
    struct lendis_pool *pool;
    struct lendis_wait *wait;
    struct pollfd polled = {.events = POLLIN};
    int result;

    if (lendis_attach(fixture.broker.socket_path, "one", NULL, &pool) != 0 ||
        lendis_acquire(pool, 5000, &held) != 0 || lendis_acquire_begin(pool, 5000, &wait) != 0)
        return false;
    lendis_release(held);
    do {
        polled.fd = lendis_acquire_fd(wait);
        poll(&polled, 1, 5000);
        result = lendis_acquire_finish(wait, &lease);
    } while (result == LENDIS_E_AGAIN);
    if (result == 0)
        lendis_release(lease);
    lendis_detach(pool);
    return result == 0;
}

static bool by_direct(void)
{
    struct lendis_pool *pool;
    bool good;

    if (lendis_attach(fixture.broker.socket_path, "off", NULL, &pool) != 0)
        return false;
    good = pings(lendis_command(pool, "PING"));
    lendis_detach(pool);
    return good;
}

static bool by_url(void)
{
    struct lendis_options options = {
        .size = sizeof options,
        .fallback_url = fixture.redis.unix_url,
        .fallback_password_file = secret_path,
    };
    struct lendis_pool *pool;
    bool good;

    if (lendis_attach("/nonexistent/lendis.sock", "p", &options, &pool) != 0)
        return false;
    good = pings(lendis_command(pool, "PING"));
    lendis_detach(pool);
    return good;
}

static bool by_service(void)
{
    struct lendis_pool *pool;
    bool good;

    if (lendis_attach(fixture.broker.socket_path, "shop", NULL, &pool) != 0)
        return false;
    good = pings(lendis_command(pool, "PING"));
    freeReplyObject(lendis_command(pool, "GET key"));
    lendis_detach(pool);
    return good;
}

/* A child becomes a worker of its own. */
static bool by_fork(void)
{
    struct lendis_pool *pool;
    int status;
    pid_t child;

    if (lendis_attach(fixture.broker.socket_path, "p", NULL, &pool) != 0 ||
        !pings(lendis_command(pool, "PING")))
        return false;
    child = fork();
    if (child == 0) {
        /* A socket of ours would be closed on exec; what the parent never closed is not. */
        bool good = pings(lendis_command(pool, "PING"));

        for (int fd = 0; fd < 3; fd++)
            good = good && (fcntl(fd, F_GETFD) < 0 || !(fcntl(fd, F_GETFD) & FD_CLOEXEC));
        lendis_detach(pool);
        _exit(good ? 0 : 1);
    }
    lendis_detach(pool);
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static bool (*const ways[])(void) = {attach_and_lease, wait_polling, by_direct,
                                     by_url,           by_service,   by_fork};

/* Which of the numbers the program closed are somebody's. */
static bool low_ones_are_closed(unsigned closed)
{
    for (int fd = 0; fd < 3; fd++)
        if ((closed >> fd & 1) && fcntl(fd, F_GETFD) >= 0)
            return false;
    return true;
}

static int run_without(struct processes *processes, unsigned number)
{
    struct found *found = processes_result(processes, number);
    struct habit habit = {found, *(const unsigned *)processes->context};
    int failed = 0;
    pthread_t thread;

    for (int fd = 0; fd < 3; fd++)
        if (habit.closed >> fd & 1)
            close(fd);
    if (pthread_create(&thread, NULL, print_by_habit, &habit) != 0)
        return 1;
    for (int round = 0; round < ROUNDS && !failed; round++)
        for (size_t i = 0; i < sizeof ways / sizeof *ways && !failed; i++) {
            atomic_store(&found->step, (int)i);
            failed = !ways[i]() ? 2 : !low_ones_are_closed(habit.closed) ? 3 : 0;
        }
    atomic_store(&found->over, true);
    pthread_join(thread, NULL);
    return failed;
}

static void run_closed(unsigned closed)
{
    const struct found *found;
    redisReply *reply;

    freeReplyObject(redis_do(&fixture.redis, "SET victim precious"));
    processes_start(&fixture.processes, 1, sizeof *found, run_without, &closed);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    found = processes_result(&fixture.processes, 0);
    if (processes_failures(&fixture.processes) != 0)
        fail_msg("way %d: status %d", found->step, WEXITSTATUS(fixture.processes.statuses[0]));
    assert_true(found->tries > ROUNDS);
    assert_int_equal(found->taken, 0);
    processes_end(&fixture.processes);
    reply = redis_do(&fixture.redis, "GET victim");
    assert_string_equal(reply->str, "precious");
    freeReplyObject(reply);
}

static void without_stderr(void **state)
{
    (void)state;
    run_closed(4);
}

static void without_stdin(void **state)
{
    (void)state;
    run_closed(1);
}

static void without_any(void **state)
{
    (void)state;
    run_closed(7);
}

/* ---- a broker that comes back ---- */

static int use_two_brokers(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool;

    (void)number;
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    if (lendis_attach(fixture.broker.socket_path, "p", NULL, &pool) != 0 ||
        !pings(lendis_command(pool, "PING")))
        return 1;
    processes_ready(processes);
    while (!processes_stopping(processes))
        if (!pings(lendis_command(pool, "PING")) || !low_ones_are_closed(7))
            return 2;
    lendis_detach(pool);
    return 0;
}

static void reattaching(void **state)
{
    (void)state;
    processes_start(&fixture.processes, 1, 0, use_two_brokers, NULL);
    processes_go(&fixture.processes);
    lendisd_restart(&fixture.broker);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(eventually(worker_of(&fixture.observer, fixture.processes.pids[0]) >= 0, LIMIT_MS));
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    assert_int_equal(processes_failures(&fixture.processes), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(without_stderr),
        TEST(without_stdin),
        TEST(without_any),
        TEST(reattaching),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("stdio", tests, NULL, NULL);
}
