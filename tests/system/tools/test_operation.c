/* SPDX-License-Identifier: MIT */
/*
 * What an operator does to a running broker with lendisctl(1), under the load of many workers: no
 * command may fail or be lost for it, unless taking leases away is what was asked for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis/wire.h"
#include "tests/support/fixture.h"

#define WORKERS    60
#define LIMIT_MS   40000
#define EXIT_LIMIT 2
#define OUTPUT     4096

static struct fixture fixture;
static char output[OUTPUT];

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

/* Two pools, "app" and "other", on one Redis. */
static void start(const char *more)
{
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "log_level = info\nmax_workers = 256\n[pool app]\nredis = %s\nsize = 6\n"
                  "min_idle = 2\nwait_timeout = 30s\ncommand_timeout = 30s\n%s\n"
                  "[pool other]\nredis = %s\nsize = 2\nmin_idle = 0\n",
                  fixture.redis.unix_url, more, fixture.redis.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "app");
}

/* Runs lendisctl with these words, NULL at their end. Returns its exit status. */
static int control(const char *word, ...)
{
    const char *argv[16] = {built_program("lendisctl"), "--socket", fixture.broker.socket_path};
    size_t count = 3;
    va_list words;

    va_start(words, word);
    for (; word && count < 15; word = va_arg(words, const char *))
        argv[count++] = word;
    va_end(words);
    return program_run(argv, output, sizeof output, LIMIT_MS);
}

#define expect_control(expected, ...)                                                              \
    do {                                                                                           \
        int control_status = control(__VA_ARGS__, NULL);                                           \
        if (control_status != (expected))                                                          \
            fail_msg("exit status %d: %s", control_status, output);                                \
    } while (0)

static void expect_said(const char *text)
{
    if (!strstr(output, text))
        fail_msg("\"%s\" is not in: %s", text, output);
}

/* ---- load ---- */

/* Commands, and every fifth turn a lease with two commands on it. */
static int work(struct processes *processes, unsigned number)
{
    struct tally *tally = processes_result(processes, number);
    struct lendis_pool *pool = pool_attach(&fixture.broker, "app");

    processes_ready(processes);
    for (unsigned long turn = 0; !processes_stopping(processes); turn++) {
        struct lendis_lease *lease;
        redisReply *reply;
        int result;

        talk(pool, tally, number, turn);
        if (turn % 5 != 0)
            continue;
        result = lendis_acquire(pool, -1, &lease);
        if (result != 0) {
            atomic_fetch_add(&tally->other, 1);
            atomic_store(&tally->other_last, result);
            continue;
        }
        for (int i = 0; i < 2; i++) {
            reply = lendis_lease_command(lease, "ECHO %u:%lu", number, turn);
            if (!reply || reply->type != REDIS_REPLY_STRING)
                atomic_fetch_add(&tally->wrong, 1);
            freeReplyObject(reply);
        }
        if (lendis_release(lease) != 0)
            atomic_fetch_add(&tally->wrong, 1);
    }
    lendis_detach(pool);
    return 0;
}

static void start_load(void)
{
    processes_start(&fixture.processes, WORKERS, sizeof(struct tally), work, NULL);
    processes_go(&fixture.processes);
}

static unsigned long work_done(void)
{
    struct tally sum;

    tally_processes(&fixture.processes, &sum);
    return atomic_load(&sum.good);
}

/* The workers go on: each has done some commands, on average. */
static void expect_progress(void)
{
    unsigned long before = work_done();

    assert_true(eventually(work_done() > before + 20 * WORKERS, 20000));
}

static void end_load(const char *title)
{
    struct tally sum;

    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    tally_processes(&fixture.processes, &sum);
    tally_print(title, &sum);
    assert_int_equal(tally_failed(&sum), 0);
    assert_int_equal(atomic_load(&sum.wrong), 0);
    assert_int_equal(atomic_load(&sum.missing), 0);
    assert_true(atomic_load(&sum.good) > WORKERS);
}

/* ---- pause and resume ---- */

static uint32_t pause_of_pool(void)
{
    struct catalog_pool pool;

    observe_pool(&fixture.observer, &pool);
    return atomic_load(&pool.pause);
}

static unsigned opened(void)
{
    struct word_count count;

    assert_true(observe_words(&fixture.observer, &count));
    return count.opened;
}

static void a_pause_under_load_loses_nothing(void **state)
{
    (void)state;
    start("");
    start_load();
    for (int round = 0; round < 5; round++) {
        unsigned long done;

        expect_progress();
        expect_control(0, "pause", "app");
        /* Nobody is on the way to Redis, and nobody goes there. */
        assert_int_equal(opened(), 0);
        assert_int_equal(pause_of_pool(), PAUSE_PAUSED);
        assert_int_equal(redis_info(&fixture.redis, "connected_clients"), 0);
        done = work_done();
        sleep_us(50000);
        /* What had its reply when the pause began is counted by its worker a little later. */
        assert_true(work_done() <= done + WORKERS);
        assert_int_equal(opened(), 0);
        assert_int_equal(redis_info(&fixture.redis, "connected_clients"), 0);
        expect_control(0, "resume", "app");
        assert_int_equal(pause_of_pool(), PAUSE_NONE);
    }
    expect_progress();
    end_load("pause");
}

static void redis_restarts_during_a_pause(void **state)
{
    (void)state;
    start("");
    start_load();
    expect_progress();
    expect_control(0, "pause");
    expect_control(0, "show", "pools");
    expect_said("paused");
    /* What the workers stored must be there when they read it. */
    freeReplyObject(redis_do(&fixture.redis, "SAVE"));
    redis_stop(&fixture.redis);
    redis_start(&fixture.redis);
    expect_control(0, "resume");
    expect_progress();
    end_load("restart during a pause");
}

static void who_waits_for_too_long_gets_a_timeout(void **state)
{
    struct lendis_pool *pool;
    struct lendis_lease *lease;
    int64_t before_ms;

    (void)state;
    start("");
    pool = pool_attach(&fixture.broker, "app");
    expect_control(0, "pause", "app");
    before_ms = now_ms();
    assert_int_equal(lendis_acquire(pool, 300, &lease), LENDIS_E_TIMEOUT);
    assert_true(now_ms() - before_ms >= 300);
    assert_int_equal(lendis_acquire(pool, 0, &lease), LENDIS_E_BUSY);
    expect_control(0, "resume", "app");
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(pool);
}

static void *wait_for_lease(void *context)
{
    struct lendis_lease *lease;
    intptr_t result = lendis_acquire(context, 20000, &lease);

    if (result == 0)
        result = lendis_release(lease);
    return (void *)result;
}

static void *wait_for_reply(void *context)
{
    redisReply *reply = lendis_command(context, "PING");
    intptr_t result = reply ? 0 : lendis_pool_error(context, NULL);

    freeReplyObject(reply);
    return (void *)result;
}

static unsigned waiting(void)
{
    struct word_count count;

    assert_true(observe_words(&fixture.observer, &count));
    return count.waiting;
}

static void a_held_lease_keeps_a_pause_waiting(void **state)
{
    struct lendis_lease *lease;
    struct lendis_pool *pool;
    pthread_t threads[2];
    redisReply *reply;
    int64_t before_ms;
    void *result;

    (void)state;
    start("");
    pool = pool_attach(&fixture.broker, "app");
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    before_ms = now_ms();
    expect_control(EXIT_LIMIT, "pause", "app", "--timeout", "200ms");
    assert_true(now_ms() - before_ms >= 200);
    expect_said("1 lease");
    expect_control(0, "show", "pools");
    expect_said("pausing");
    assert_int_equal(pthread_create(&threads[0], NULL, wait_for_lease, pool), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, wait_for_reply, pool), 0);
    assert_true(eventually(waiting() == 2, 5000));
    /* Who has a lease goes on with it. */
    reply = lendis_lease_command(lease, "PING");
    assert_non_null(reply);
    freeReplyObject(reply);
    assert_int_equal(opened(), 1);
    assert_int_equal(lendis_release(lease), 0);
    assert_true(eventually(opened() == 0, 2000));
    expect_control(0, "pause", "app");
    assert_int_equal(waiting(), 2);
    expect_control(0, "resume", "app");
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], &result);
        assert_int_equal((intptr_t)result, 0);
    }
    expect_control(0, "resume");
    expect_said("nothing was paused");
    lendis_detach(pool);
}

static void one_pool_is_paused_the_other_lends(void **state)
{
    struct lendis_pool *app, *other;
    struct lendis_lease *lease;

    (void)state;
    start("");
    app = pool_attach(&fixture.broker, "app");
    other = pool_attach(&fixture.broker, "other");
    expect_control(0, "pause", "app");
    assert_int_equal(lendis_acquire(app, 100, &lease), LENDIS_E_TIMEOUT);
    assert_int_equal(lendis_acquire(other, 5000, &lease), 0);
    assert_int_equal(lendis_release(lease), 0);
    expect_control(0, "pause");
    assert_int_equal(lendis_acquire(other, 100, &lease), LENDIS_E_TIMEOUT);
    expect_control(0, "resume", "other");
    assert_int_equal(lendis_acquire(app, 100, &lease), LENDIS_E_TIMEOUT);
    assert_int_equal(lendis_acquire(other, 5000, &lease), 0);
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(app);
    lendis_detach(other);
}

/* ---- reconnect ---- */

static uint64_t closed_by(enum close_reason reason)
{
    struct catalog_pool pool;

    observe_pool(&fixture.observer, &pool);
    return atomic_load(&pool.closed[reason]);
}

static void reconnecting_under_load_loses_nothing(void **state)
{
    uint64_t before;

    (void)state;
    start("");
    start_load();
    for (int round = 0; round < 3; round++) {
        expect_progress();
        before = closed_by(CLOSE_reconnected);
        expect_control(0, "reconnect", "app");
        expect_said("reconnected");
        assert_true(closed_by(CLOSE_reconnected) >= before + 2);
    }
    expect_progress();
    end_load("reconnect");
}

static void a_held_lease_is_not_replaced_before_it_comes_back(void **state)
{
    struct lendis_lease *lease;
    struct lendis_pool *pool;
    redisReply *reply;

    (void)state;
    start("");
    pool = pool_attach(&fixture.broker, "app");
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    expect_control(EXIT_LIMIT, "reconnect", "app", "-t", "300ms");
    expect_said("1 connection is still not replaced");
    reply = lendis_lease_command(lease, "PING");
    assert_non_null(reply);
    freeReplyObject(reply);
    assert_int_equal(lendis_release(lease), 0);
    assert_true(eventually(closed_by(CLOSE_reconnected) >= 1, 5000));
    expect_control(0, "reconnect");
    lendis_detach(pool);
}

/* ---- reload ---- */

/* Two servers: `second` for what the fixture's own is not. */
static struct redis_server second;

static int end_both(void **state)
{
    end(state);
    redis_kill(&second);
    if (second.port_fd > 0)
        close(second.port_fd);
    second = (struct redis_server){0};
    return 0;
}

static void configure(const char *url, unsigned size, const char *more)
{
    lendisd_configure(&fixture.broker,
                      "log_level = info\nmax_workers = 256\n[pool app]\nredis = %s\nsize = %u\n"
                      "min_idle = 2\nwait_timeout = 30s\ncommand_timeout = 30s\n%s\n",
                      url, size, more);
}

static uint32_t places(void)
{
    return segment_places(&fixture.observer.segment);
}

/* More connections than this are open at some time within the limit. */
static bool grows_beyond(unsigned count)
{
    return eventually(opened() > count, 10000);
}

static void a_pool_grows_and_shrinks_under_load(void **state)
{
    uint32_t small;

    (void)state;
    start("");
    configure(fixture.redis.unix_url, 3, "");
    expect_control(0, "reload");
    assert_true(eventually(places() <= 5, 10000));
    small = places();
    start_load();
    for (int round = 0; round < 3; round++) {
        expect_progress();
        configure(fixture.redis.unix_url, 24, "");
        expect_control(0, "reload");
        assert_true(places() > 24);
        /* 60 workers make use of them. */
        assert_true(grows_beyond(small));
        expect_progress();
        configure(fixture.redis.unix_url, 3, "");
        expect_control(0, "reload");
        assert_true(eventually(places() == small, 10000));
        assert_true(opened() <= small);
    }
    end_load("resize");
    assert_true(closed_by(CLOSE_surplus) > 0);
}

static void another_address_under_load(void **state)
{
    (void)state;
    start("");
    redis_start(&second);
    start_load();
    /* Each turn stores what it reads, so the two servers need not know the same. */
    for (int round = 0; round < 2; round++) {
        struct redis_server *next = round == 0 ? &second : &fixture.redis;
        struct redis_server *last = round == 0 ? &fixture.redis : &second;

        expect_progress();
        configure(next->unix_url, 6, "");
        expect_control(0, "reload");
        assert_true(eventually(redis_info(last, "connected_clients") == 0, 10000));
        expect_progress();
        assert_true(redis_info(next, "connected_clients") > 0);
    }
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    {
        struct tally sum;

        tally_processes(&fixture.processes, &sum);
        tally_print("another address", &sum);
        assert_int_equal(tally_failed(&sum), 0);
        assert_int_equal(atomic_load(&sum.wrong), 0);
    }
}

static void a_password_changes(void **state)
{
    char path[TESTBED_PATH_SIZE], more[TESTBED_PATH_SIZE + 32];
    struct lendis_pool *pool;
    redisReply *reply;
    FILE *file;

    (void)state;
    start("");
    second.password = "second secret";
    redis_start(&second);
    scratch_path(path, "password");
    file = fopen(path, "we");
    assert_non_null(file);
    fputs("second secret\n", file);
    assert_int_equal(fclose(file), 0);
    pool = pool_attach(&fixture.broker, "app");
    snprintf(more, sizeof more, "password_file = %s\n", path);
    configure(second.unix_url, 6, more);
    expect_control(0, "reload");
    assert_true(eventually(redis_info(&fixture.redis, "connected_clients") == 0, 10000));
    reply = lendis_command(pool, "SET who second");
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_STATUS);
    freeReplyObject(reply);
    reply = redis_do(&second, "GET who");
    assert_string_equal(reply->str, "second");
    freeReplyObject(reply);
    lendis_detach(pool);
}

static void an_error_leaves_everything_as_it_was(void **state)
{
    struct catalog_pool before, after;
    struct lendis_pool *pool;
    redisReply *reply;

    (void)state;
    start("");
    pool = pool_attach(&fixture.broker, "app");
    observe_pool(&fixture.observer, &before);
    configure(fixture.redis.unix_url, 7, "wait_timeout = 1s\nmin_idel = 2\n");
    expect_control(1, "reload");
    expect_said("is set twice");
    expect_said("is min_idle meant?");
    expect_said("the old one stays in force");
    assert_true(lendisd_logged(&fixture.broker, "is min_idle meant?"));
    observe_pool(&fixture.observer, &after);
    assert_int_equal(after.size, before.size);
    configure(fixture.redis.unix_url, 900, "");
    expect_control(1, "reload");
    expect_said("made room for");
    observe_pool(&fixture.observer, &after);
    assert_int_equal(after.size, before.size);
    kill(fixture.broker.pid, SIGHUP);
    assert_true(lendisd_logged(&fixture.broker, "the new configuration is not used"));
    reply = lendis_command(pool, "PING");
    assert_non_null(reply);
    freeReplyObject(reply);
    configure(fixture.redis.unix_url, 9, "");
    kill(fixture.broker.pid, SIGHUP);
    assert_true(eventually((observe_pool(&fixture.observer, &after), after.size == 9), 5000));
    lendis_detach(pool);
}

static int attach_result(const char *name)
{
    struct lendis_pool *pool;
    int result = lendis_attach(fixture.broker.socket_path, name, NULL, &pool);

    if (result == 0)
        lendis_detach(pool);
    return result;
}

static void pools_come_and_go(void **state)
{
    struct lendis_lease *lease, *second_lease;
    struct lendis_pool *other;
    char fresh[512];

    (void)state;
    start("");
    other = pool_attach(&fixture.broker, "other");
    assert_int_equal(lendis_acquire(other, 5000, &lease), 0);
    snprintf(fresh, sizeof fresh, "[pool fresh]\nredis = %s\n", fixture.redis.unix_url);
    configure(fixture.redis.unix_url, 6, fresh);
    expect_control(0, "reload");
    assert_int_equal(attach_result("fresh"), 0);
    assert_int_equal(attach_result("app"), 0);
    assert_int_equal(attach_result("other"), -ESRCH);
    expect_control(1, "pause", "other");
    /* Who was there ends what it has, and gets no more. */
    freeReplyObject(lendis_lease_command(lease, "PING"));
    assert_int_equal(lendis_acquire(other, 100, &second_lease), LENDIS_E_DISABLED);
    assert_int_equal(lendis_release(lease), 0);
    /* It comes back before its workers left: the same one. */
    snprintf(fresh, sizeof fresh, "[pool other]\nredis = %s\nsize = 3\n", fixture.redis.unix_url);
    configure(fixture.redis.unix_url, 6, fresh);
    expect_control(0, "reload");
    assert_int_equal(attach_result("fresh"), -ESRCH);
    assert_int_equal(lendis_acquire(other, 5000, &lease), 0);
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(other);
    /* Now they have left: it goes for good, and its place is taken by another. */
    for (int round = 0; round < 5; round++) {
        configure(fixture.redis.unix_url, 6, "");
        expect_control(0, "reload");
        assert_true(eventually(fixture.observer.catalog.pools[1].name[0] == 0 &&
                                   fixture.observer.catalog.pools[2].name[0] == 0,
                               5000));
        configure(fixture.redis.unix_url, 6, fresh);
        expect_control(0, "reload");
        other = pool_attach(&fixture.broker, "other");
        assert_int_equal(lendis_acquire(other, 5000, &lease), 0);
        assert_int_equal(lendis_release(lease), 0);
        lendis_detach(other);
    }
}

/* A child inherits its parent's mapping of a pool that went meanwhile, and came anew. */
static void a_forked_child_finds_the_pool_that_is_there_now(void **state)
{
    struct lendis_pool *other;
    char fresh[512];
    int pipes[2], status;
    pid_t child;

    (void)state;
    start("");
    other = pool_attach(&fixture.broker, "other");
    freeReplyObject(lendis_command(other, "PING"));
    assert_int_equal(pipe(pipes), 0);
    child = fork();
    if (child == 0) {
        char go;
        redisReply *reply;

        close(pipes[1]);
        if (read(pipes[0], &go, 1) != 1)
            _exit(1);
        reply = lendis_command(other, "PING");
        _exit(reply && reply->type == REDIS_REPLY_STATUS ? 0 : 2);
    }
    lendis_detach(other);
    configure(fixture.redis.unix_url, 6, "");
    expect_control(0, "reload");
    assert_true(eventually(fixture.observer.catalog.pools[1].name[0] == 0, 5000));
    snprintf(fresh, sizeof fresh, "[pool other]\nredis = %s\n", fixture.redis.unix_url);
    configure(fixture.redis.unix_url, 6, fresh);
    expect_control(0, "reload");
    assert_int_equal(write(pipes[1], "g", 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(pipes[0]);
    close(pipes[1]);
}

static void what_needs_a_restart_is_reported(void **state)
{
    (void)state;
    start("");
    lendisd_configure(&fixture.broker, "max_workers = 300\n[pool app]\nredis = %s\n",
                      fixture.redis.unix_url);
    expect_control(0, "reload");
    expect_said("[broker] max_workers: has changed");
    expect_control(0, "show", "config");
    expect_said("max_workers = 256");
    lendisd_configure(&fixture.broker,
                      "max_workers = 256\nmetrics = 127.0.0.1:1\n[pool app]\nredis = %s\n",
                      fixture.redis.unix_url);
    expect_control(0, "reload");
    expect_said("[broker] metrics: has changed");
}

/* The next message of the broker's to its service manager that has `text` in it. */
static void expect_notified(int fd, const char *text)
{
    char message[512];

    for (int64_t until = now_ms() + 5000; now_ms() < until;) {
        ssize_t got = recv(fd, message, sizeof message - 1, MSG_DONTWAIT);

        if (got < 0) {
            sleep_us(1000);
            continue;
        }
        message[got] = '\0';
        if (strstr(message, text))
            return;
    }
    fail_msg("the service manager did not get %s", text);
}

static void the_service_manager_is_notified(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[TESTBED_PATH_SIZE];
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)state;
    scratch_path(path, "notify");
    assert_true(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    start("");
    unsetenv("NOTIFY_SOCKET");
    expect_notified(fd, "READY=1");
    kill(fixture.broker.pid, SIGHUP);
    expect_notified(fd, "RELOADING=1\nMONOTONIC_USEC=");
    expect_notified(fd, "READY=1");
    unlink(address.sun_path);
    close(fd);
}

/* ---- set ---- */

static void keys_are_set(void **state)
{
    struct lendis_lease *lease, *second_lease;
    struct lendis_pool *pool;
    struct catalog_pool entry;
    int64_t before_ms;

    (void)state;
    start("");
    pool = pool_attach(&fixture.broker, "app");
    expect_control(0, "set", "app", "wait_timeout=200ms");
    expect_control(1, "set", "app", "min_idle=7");
    expect_said("min_idle may be at most size");
    observe_pool(&fixture.observer, &entry);
    assert_int_equal(entry.min_idle, 2);
    /* A worker that was attached before goes by it at once. */
    expect_control(0, "set", "app", "min_idle=1");
    expect_control(0, "set", "app", "size=1");
    assert_true(eventually(places() == 2, 10000));
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    before_ms = now_ms();
    assert_int_equal(lendis_acquire(pool, -1, &second_lease), LENDIS_E_TIMEOUT);
    assert_true(now_ms() - before_ms >= 200 && now_ms() - before_ms < 5000);
    assert_int_equal(lendis_release(lease), 0);
    expect_control(0, "set", "log_level=debug");
    expect_control(0, "set", "drain_timeout=1s");
    expect_control(0, "show", "config");
    expect_said("log_level = debug");
    expect_said("wait_timeout = 200ms");
    expect_control(1, "set", "max_workers=3");
    expect_said("restart the broker");
    expect_control(1, "set", "app", "redis=redis://elsewhere");
    expect_said("reload");
    expect_control(1, "set", "app", "sizes=3");
    expect_said("is size meant?");
    expect_control(1, "set", "app", "size=many");
    expect_said("lendisctl set: [pool app] size: ");
    expect_control(64, "set", "app");
    expect_control(64, "set", "app", "size");
    /* The file counts again. */
    expect_control(0, "reload");
    observe_pool(&fixture.observer, &entry);
    assert_int_equal(entry.size, 6);
    assert_int_equal(entry.wait_timeout_ms, 30000);
    lendis_detach(pool);
}

/* ---- drain ---- */

static void a_drained_pool_is_switched_off(void **state)
{
    struct lendis_lease *lease, *another;
    struct lendis_pool *pool;
    pthread_t threads[2];
    redisReply *reply;
    void *result;

    (void)state;
    start("");
    pool = pool_attach(&fixture.broker, "app");
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    expect_control(0, "pause", "other");
    expect_control(EXIT_LIMIT, "pause", "app", "-t", "0");
    assert_int_equal(pthread_create(&threads[0], NULL, wait_for_lease, pool), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, wait_for_reply, pool), 0);
    assert_true(eventually(waiting() == 2, 5000));
    expect_control(EXIT_LIMIT, "drain", "app", "-t", "100ms");
    /* Who waited is told, and who comes. */
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], &result);
        assert_int_equal((intptr_t)result, LENDIS_E_DISABLED);
    }
    assert_int_equal(lendis_acquire(pool, 5000, &another), LENDIS_E_DISABLED);
    assert_int_equal(lendis_acquire(pool, 0, &another), LENDIS_E_DISABLED);
    assert_null(lendis_command(pool, "PING"));
    assert_int_equal(lendis_pool_error(pool, NULL), LENDIS_E_DISABLED);
    expect_control(0, "show", "pools");
    expect_said("draining");
    reply = lendis_lease_command(lease, "PING");
    assert_non_null(reply);
    freeReplyObject(reply);
    assert_int_equal(lendis_release(lease), 0);
    expect_control(0, "drain", "app");
    expect_control(0, "show", "pools");
    expect_said("drained");
    expect_control(0, "resume", "app");
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(pool);
}

/* ---- kill ---- */

static int hold(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "app");
    struct lendis_lease *lease;
    int *result = processes_result(processes, number);

    if (lendis_acquire(pool, 10000, &lease) != 0)
        return 1;
    processes_ready(processes);
    while (!processes_stopping(processes))
        sleep_us(1000);
    *result = lendis_release(lease);
    lendis_detach(pool);
    return 0;
}

static int result_of(unsigned number)
{
    return *(int *)processes_result(&fixture.processes, number);
}

static uint64_t killed(void)
{
    struct catalog_pool pool;

    observe_pool(&fixture.observer, &pool);
    return atomic_load(&pool.revoked[REVOKE_killed]);
}

static void leases_are_revoked(void **state)
{
    char pid[16], index[16];
    unsigned of_first = 0;

    (void)state;
    start("");
    processes_start(&fixture.processes, 4, sizeof(int), hold, NULL);
    processes_go(&fixture.processes);
    assert_int_equal(words_in(&fixture.observer, WORD_LEASED), 4);
    snprintf(pid, sizeof pid, "%d", (int)fixture.processes.pids[1]);
    expect_control(0, "kill", "--worker", pid);
    expect_said("1 lease revoked");
    assert_int_equal(words_in(&fixture.observer, WORD_LEASED), 3);
    expect_control(0, "kill", "app", "--worker", pid);
    expect_said("0 leases revoked");
    for (uint32_t i = 0; i < fixture.observer.segment.connection_max; i++) {
        uint64_t word = atomic_load(&fixture.observer.segment.connections[i].word);

        if (word_state(word) == WORD_LEASED &&
            (int)word_owner(word) == worker_of(&fixture.observer, fixture.processes.pids[0]))
            of_first = i;
    }
    snprintf(index, sizeof index, "%u", of_first);
    expect_control(0, "kill", "app", "--connection", index);
    expect_said("1 lease revoked");
    assert_int_equal(words_in(&fixture.observer, WORD_LEASED), 2);
    expect_control(0, "kill", "app");
    expect_said("2 leases revoked");
    assert_int_equal(words_in(&fixture.observer, WORD_LEASED), 0);
    assert_int_equal(killed(), 4);
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(result_of(i), LENDIS_E_REVOKED);
    assert_true(pool_fills(&fixture.observer, 2, 10000));
}

static void what_is_to_be_killed_must_be_said(void **state)
{
    (void)state;
    start("");
    expect_control(64, "kill");
    expect_control(64, "kill", "--connection", "1");
    expect_control(64, "pause", "--connection", "1");
    expect_control(64, "kill", "app", "--connection", "x");
    expect_control(1, "kill", "app", "--connection", "1000");
    expect_said("has connections 0 to");
    expect_control(1, "kill", "--worker", "1");
    expect_said("not attached");
}

/* ---- a tool of our own ---- */

static void send_control(int fd, const struct wire_control *request)
{
    assert_int_equal(wire_send(fd, request, -1), 0);
}

static struct wire_control make_request(enum wire_verb verb, const char *pool, uint32_t timeout_ms)
{
    struct wire_control request = {
        .verb = verb, .timeout_ms = timeout_ms, .connection = WIRE_ANY, .pid = WIRE_ANY};

    wire_header(&request.header, WIRE_CONTROL, sizeof request);
    snprintf(request.pool, sizeof request.pool, "%s", pool);
    return request;
}

static int outcome_of(int fd, int limit_ms)
{
    struct wire_outcome outcome;
    int got = wire_receive(fd, &outcome, sizeof outcome, NULL, limit_ms);

    if (!wire_is(&outcome, got > 0 ? (size_t)got : 0, WIRE_OUTCOME, sizeof outcome))
        fail_msg("no outcome: %d", got);
    return outcome.result;
}

/* ---- wrong commands, wrong users ---- */

static void an_unknown_pool_brings_the_names_of_those_there_are(void **state)
{
    static const char *const commands[] = {"pause", "resume", "drain", "kill", "reconnect"};

    (void)state;
    start("");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        expect_control(1, commands[i], "apps");
        expect_said("no pool is called apps; there are: app, other");
        expect_control(64, commands[i], "app", "other", "more", "evenmore");
    }
    expect_control(64, "pauze");
    expect_control(64, "pause", "app", "--timeout", "soon");
}

static void nobody_else_may(void **state)
{
    struct wire_control request;
    int status;
    pid_t pid;

    (void)state;
    if (geteuid() != 0)
        skip();
    start("");
    scratch_share();
    assert_int_equal(chmod(fixture.broker.socket_path, 0666), 0);
    request = make_request(WIRE_PAUSE, "app", 1000);
    pid = fork();
    if (pid == 0) {
        struct wire_outcome outcome = {.result = 0};
        int fd;

        if (setgid(65534) < 0 || setuid(65534) < 0)
            _exit(99);
        fd = lendisd_connect(fixture.broker.socket_path);
        if (fd < 0 || wire_send(fd, &request, -1) != 0 ||
            wire_receive(fd, &outcome, sizeof outcome, NULL, 5000) != sizeof outcome)
            _exit(98);
        _exit(outcome.result == -EPERM && strstr(outcome.text, "only root and user 0") ? 0 : 97);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(pause_of_pool(), PAUSE_NONE);
    assert_true(lendisd_logged(&fixture.broker, "user 65534 may not control"));
}

/* ---- tools that do not behave ---- */

/* Those that leave, those that are too many, and the broker's end: nobody is left without an
 * answer. */
static void many_requests_at_once(void **state)
{
    struct wire_control request = make_request(WIRE_PAUSE, "app", 60000);
    struct lendis_lease *lease;
    struct lendis_pool *pool;
    int fds[17];

    (void)state;
    start("");
    pool = pool_attach(&fixture.broker, "app");
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    for (int i = 0; i < 17; i++) {
        fds[i] = lendisd_connect(fixture.broker.socket_path);
        assert_true(fds[i] >= 0);
        send_control(fds[i], &request);
    }
    assert_int_equal(outcome_of(fds[16], 5000), -EBUSY);
    close(fds[16]);
    for (int i = 8; i < 16; i++)
        close(fds[i]);
    /* It is not taken back because they went. */
    assert_int_equal(pause_of_pool(), PAUSE_PAUSED);
    fds[8] = lendisd_connect(fixture.broker.socket_path);
    request = make_request(WIRE_DRAIN, "app", 60000);
    send_control(fds[8], &request);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(outcome_of(fds[i], 5000), -ECANCELED);
        close(fds[i]);
    }
    kill(fixture.broker.pid, SIGTERM);
    assert_int_equal(outcome_of(fds[8], 5000), -ECANCELED);
    close(fds[8]);
    lendis_release(lease);
    assert_int_equal(lendisd_stop(&fixture.broker), 0);
    lendis_detach(pool);
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(a_pause_under_load_loses_nothing),
        TEST(redis_restarts_during_a_pause),
        TEST(who_waits_for_too_long_gets_a_timeout),
        TEST(a_held_lease_keeps_a_pause_waiting),
        TEST(one_pool_is_paused_the_other_lends),
        TEST(reconnecting_under_load_loses_nothing),
        TEST(a_held_lease_is_not_replaced_before_it_comes_back),
        TEST(a_pool_grows_and_shrinks_under_load),
        cmocka_unit_test_teardown(another_address_under_load, end_both),
        cmocka_unit_test_teardown(a_password_changes, end_both),
        TEST(an_error_leaves_everything_as_it_was),
        TEST(pools_come_and_go),
        TEST(a_forked_child_finds_the_pool_that_is_there_now),
        TEST(what_needs_a_restart_is_reported),
        TEST(the_service_manager_is_notified),
        TEST(keys_are_set),
        TEST(a_drained_pool_is_switched_off),
        TEST(leases_are_revoked),
        TEST(what_is_to_be_killed_must_be_said),
        TEST(an_unknown_pool_brings_the_names_of_those_there_are),
        TEST(nobody_else_may),
        TEST(many_requests_at_once),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("operation", tests, NULL, NULL);
}
