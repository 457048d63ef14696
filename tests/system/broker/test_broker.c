/* SPDX-License-Identifier: MIT */
/*
 * The broker's own life: killed and started again under load, stopped, drained, started twice,
 * idle; its command line. I9: a dead or stopped broker costs no command on the connections that
 * workers have fetched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "tests/support/fixture.h"

#define WORKERS     24
#define CONNECTIONS 4

static struct fixture fixture;

static int start(void **state)
{
    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "drain_timeout = 8s\n[pool p]\nredis = %s\nsize = %d\nmin_idle = %d\n",
                  fixture.redis.unix_url, CONNECTIONS, CONNECTIONS);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

static struct lendis_lease *lease_of(struct lendis_pool *pool)
{
    struct lendis_lease *lease = NULL;
    int result = lendis_acquire(pool, 10000, &lease);

    if (result != 0)
        fail_msg("acquire: %s", lendis_strerror(result));
    return lease;
}

static void expect_pong(redisReply *reply)
{
    if (!reply)
        fail_msg("no reply: %s", lendis_strerror(lendis_pool_error(NULL, NULL)));
    assert_int_equal(reply->type, REDIS_REPLY_STATUS);
    assert_string_equal(reply->str, "PONG");
    freeReplyObject(reply);
}

/* ---- workers under load ---- */

/* Leases all connections at once, so that their descriptors are here; one worker at a time. */
static bool fetch_all(struct lendis_pool *pool)
{
    struct lendis_lease *leases[CONNECTIONS];
    int lock = open(scratch_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool all = lock >= 0 && flock(lock, LOCK_EX) == 0;
    int got = 0;

    while (all && got < CONNECTIONS && lendis_acquire(pool, 10000, &leases[got]) == 0)
        got++;
    all = got == CONNECTIONS;
    while (got > 0)
        lendis_release(leases[--got]);
    close(lock);
    return all;
}

struct work {
    struct tally tally;
    atomic_uint fetched; /* what processes_control.go was when it fetched all connections */
};

static int work(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct work *mine = processes_result(processes, number);

    processes_ready(processes);
    for (unsigned long turn = 0; !processes_stopping(processes); turn++) {
        unsigned go = atomic_load(&processes->control->go);

        if (atomic_load(&mine->fetched) != go) {
            if (!fetch_all(pool))
                return 1;
            atomic_store(&mine->fetched, go);
        }
        talk(pool, &mine->tally, number, turn);
    }
    lendis_detach(pool);
    return 0;
}

static bool all_have_fetched(void)
{
    for (unsigned i = 0; i < WORKERS; i++)
        if (atomic_load(&((struct work *)processes_result(&fixture.processes, i))->fetched) !=
            atomic_load(&fixture.processes.control->go))
            return false;
    return true;
}

/* From here on no worker needs the broker. */
static void make_all_fetch(void)
{
    atomic_fetch_add(&fixture.processes.control->go, 1);
    assert_true(eventually(all_have_fetched(), 20000));
}

static void start_work(void)
{
    processes_start(&fixture.processes, WORKERS, sizeof(struct work), work, NULL);
    processes_go(&fixture.processes);
    make_all_fetch();
}

static unsigned long good_of(unsigned number)
{
    return atomic_load(&((struct work *)processes_result(&fixture.processes, number))->tally.good);
}

/* True as soon as each worker has done `more` commands since `before` was taken. */
static bool all_went_on(const unsigned long *before, unsigned long more)
{
    for (unsigned i = 0; i < WORKERS; i++)
        if (good_of(i) < before[i] + more)
            return false;
    return true;
}

static void expect_progress_of_all(int limit_ms)
{
    unsigned long before[WORKERS];

    for (unsigned i = 0; i < WORKERS; i++)
        before[i] = good_of(i);
    assert_true(eventually(all_went_on(before, 30), limit_ms));
}

static void expect_no_failures(const char *when)
{
    struct tally tally;

    tally_processes(&fixture.processes, &tally);
    tally_print(when, &tally);
    assert_int_equal(tally_failed(&tally), 0);
    assert_int_equal(tally.wrong, 0);
    assert_int_equal(tally.missing, 0);
}

static void end_work(void)
{
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 20000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
}

/* ---- killed ---- */

static void a_killed_broker_costs_no_command(void **state)
{
    (void)state;
    start_work();
    for (int round = 0; round < 3; round++) {
        make_all_fetch();
        lendisd_kill(&fixture.broker);
        for (int i = 0; i < 3; i++)
            expect_progress_of_all(20000);
        expect_no_failures("while the broker is dead");

        lendisd_launch(&fixture.broker, true);
        segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
        assert_true(eventually(workers_attached(&fixture.observer) == 1 + WORKERS, 2000));
        expect_progress_of_all(20000);
        expect_no_failures("and after its restart");
        /* Those of the old broker are closed, by its workers. */
        assert_true(
            eventually(redis_info(&fixture.redis, "connected_clients") <= CONNECTIONS, 5000));
        observer_close(&fixture.observer);
    }
    end_work();
}

/* With a call or two a handle goes over to the new broker, and lets the old connections go. */
static bool pings(struct lendis_pool *pool)
{
    expect_pong(lendis_command(pool, "PING"));
    return true;
}

static int wait_for_lease(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *lease;
    int result;

    (void)number;
    processes_ready(processes);
    result = lendis_acquire(pool, 15000, &lease);
    if (result == 0)
        result = lendis_release(lease);
    lendis_detach(pool);
    return result;
}

/* Those who wait when the broker dies are served by the next one, though what they waited for is
 * still held. */
static void waiters_go_over_to_a_new_broker(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *leases[CONNECTIONS];
    struct word_count count;

    (void)state;
    for (int i = 0; i < CONNECTIONS; i++)
        leases[i] = lease_of(pool);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    processes_start(&fixture.processes, 6, 0, wait_for_lease, NULL);
    processes_go(&fixture.processes);
    assert_true(eventually(observe_words(&fixture.observer, &count) && count.waiting == 6, 10000));
    lendisd_restart(&fixture.broker);
    assert_true(processes_wait(&fixture.processes, 8000));
    assert_int_equal(processes_failures(&fixture.processes), 0);

    /* What was held all the time works, and goes with its last holder. */
    for (int i = 0; i < CONNECTIONS; i++) {
        expect_pong(lendis_lease_command(leases[i], "PING"));
        assert_int_equal(lendis_release(leases[i]), 0);
    }
    assert_true(eventually(
        pings(pool) && redis_info(&fixture.redis, "connected_clients") <= CONNECTIONS, 5000));
    lendis_detach(pool);
}

/* A worker that has fetched nothing yet cannot go on; it says so when its time is up, and no sooner
 * harms anyone. */
static void who_has_fetched_nothing_waits_for_a_broker(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *lease;
    int64_t before_ms = now_ms();
    int result;

    (void)state;
    lendisd_kill(&fixture.broker);
    result = lendis_acquire(pool, 300, &lease);
    assert_true(result == LENDIS_E_DOWN || result == LENDIS_E_TIMEOUT);
    assert_in_range(now_ms() - before_ms, 300, 5000);
    lendisd_launch(&fixture.broker, true);
    assert_int_equal(lendis_acquire(pool, 10000, &lease), 0);
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(pool);
}

/* ---- stopped ---- */

static void a_stopped_broker_costs_no_command(void **state)
{
    (void)state;
    start_work();
    expect_progress_of_all(20000);
    lendisd_pause(&fixture.broker);
    for (int i = 0; i < 3; i++)
        expect_progress_of_all(20000);
    expect_no_failures("while the broker is stopped");
    lendisd_continue(&fixture.broker);
    expect_progress_of_all(20000);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_int_equal(workers_attached(&fixture.observer), 1 + WORKERS);
    end_work();
    expect_no_failures("afterwards");
    assert_true(pool_fills(&fixture.observer, CONNECTIONS, 5000));
}

/* ---- drained ---- */

static void expect_gone(const char *path)
{
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(errno, ENOENT);
}

static void draining_waits_for_leases(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *lease = lease_of(pool);

    (void)state;
    assert_int_equal(kill(fixture.broker.pid, SIGTERM), 0);
    assert_int_equal(program_wait(fixture.broker.pid, 500), -1);
    expect_pong(lendis_lease_command(lease, "PING"));
    assert_int_equal(lendis_release(lease), 0);
    assert_int_equal(program_wait(fixture.broker.pid, 5000), 0);
    fixture.broker.pid = 0;
    expect_gone(fixture.broker.socket_path);
    assert_true(eventually(redis_info(&fixture.redis, "connected_clients") == 0, 5000));

    /* And the handle finds the next one. */
    lendisd_launch(&fixture.broker, true);
    expect_pong(lendis_command(pool, "PING"));
    lendis_detach(pool);
}

static void draining_has_an_end(void **state)
{
    struct lendis_pool *pool;
    struct lendis_lease *lease;
    redisReply *reply;
    int64_t before_ms;

    (void)state;
    lendisd_kill(&fixture.broker);
    lendisd_start(&fixture.broker, "drain_timeout = 300ms\n[pool p]\nredis = %s\nsize = 2\n",
                  fixture.redis.unix_url);
    pool = pool_attach(&fixture.broker, "p");
    lease = lease_of(pool);
    before_ms = now_ms();
    assert_int_equal(kill(fixture.broker.pid, SIGTERM), 0);
    assert_int_equal(program_wait(fixture.broker.pid, 5000), 0);
    fixture.broker.pid = 0;
    assert_true(now_ms() - before_ms >= 290);
    expect_gone(fixture.broker.socket_path);
    /* The lease was revoked: shutdown(2). */
    reply = lendis_lease_command(lease, "PING");
    assert_null(reply);
    assert_int_equal(lendis_pool_error(pool, NULL), LENDIS_E_REVOKED);
    assert_int_equal(lendis_release(lease), LENDIS_E_REVOKED);
    lendis_detach(pool);
}

static void a_second_signal_ends_the_draining(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");

    (void)state;
    lease_of(pool);
    assert_int_equal(kill(fixture.broker.pid, SIGTERM), 0);
    assert_int_equal(program_wait(fixture.broker.pid, 300), -1);
    assert_int_equal(kill(fixture.broker.pid, SIGINT), 0);
    assert_int_equal(program_wait(fixture.broker.pid, 3000), 0);
    fixture.broker.pid = 0;
    expect_gone(fixture.broker.socket_path);
    lendis_detach(pool);
}

static void draining_under_load_and_restarting(void **state)
{
    (void)state;
    start_work();
    expect_progress_of_all(20000);
    assert_int_equal(lendisd_stop(&fixture.broker), 0);
    lendisd_launch(&fixture.broker, true);
    expect_progress_of_all(20000);
    end_work();
    expect_no_failures("drained and started again");
}

/* ---- its socket ---- */

static const char *lendisd_program(void)
{
    const char *program = getenv("LENDISD");

    return program && *program ? program : built_program("lendisd");
}

/* Runs lendisd to its end; its exit status and what it said. */
static int run(char *output, size_t size, const char *config, const char *option)
{
    const char *argv[] = {lendisd_program(), "--config", config, option, NULL};

    return program_run(argv, output, size, 20000);
}

static void a_second_broker_refuses_to_start(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    char output[4096];

    (void)state;
    assert_int_not_equal(run(output, sizeof output, fixture.broker.config_path, NULL), 0);
    assert_non_null(strstr(output, fixture.broker.socket_path));
    assert_non_null(strstr(output, "another process listens"));
    assert_int_equal(access(fixture.broker.socket_path, F_OK), 0);
    expect_pong(lendis_command(pool, "PING"));
    lendis_detach(pool);
    pool = pool_attach(&fixture.broker, "p");
    lendis_detach(pool);
}

static void a_stale_socket_is_replaced(void **state)
{
    struct lendis_pool *pool;

    (void)state;
    lendisd_kill(&fixture.broker);
    assert_int_equal(access(fixture.broker.socket_path, F_OK), 0);
    lendisd_launch(&fixture.broker, true);
    pool = pool_attach(&fixture.broker, "p");
    expect_pong(lendis_command(pool, "PING"));
    lendis_detach(pool);
}

static void what_is_no_socket_is_left_alone(void **state)
{
    char output[4096], path[TESTBED_PATH_SIZE];
    struct stat stat_of;
    FILE *file;

    (void)state;
    scratch_path(path, "precious");
    file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file, "data\n");
    fclose(file);
    lendisd_kill(&fixture.broker);
    unlink(fixture.broker.socket_path);
    assert_int_equal(rename(path, fixture.broker.socket_path), 0);
    assert_int_not_equal(run(output, sizeof output, fixture.broker.config_path, NULL), 0);
    assert_non_null(strstr(output, fixture.broker.socket_path));
    assert_int_equal(stat(fixture.broker.socket_path, &stat_of), 0);
    assert_int_equal(stat_of.st_size, 5);
}

static void the_socket_is_for_its_group(void **state)
{
    struct stat stat_of;

    (void)state;
    assert_int_equal(stat(fixture.broker.socket_path, &stat_of), 0);
    assert_true(S_ISSOCK(stat_of.st_mode));
    assert_int_equal(stat_of.st_mode & 0777, 0660);
}

/* ---- the command line ---- */

static void options_that_only_print(void **state)
{
    const char *version[] = {lendisd_program(), "--version", NULL};
    const char *help[] = {lendisd_program(), "--help", NULL};
    const char *wrong[] = {lendisd_program(), "--wrong", NULL};
    const char *extra[] = {lendisd_program(), "extra", NULL};
    char output[8192];

    (void)state;
    assert_int_equal(program_run(version, output, sizeof output, 20000), 0);
    assert_string_equal(output, "lendisd " LENDIS_VERSION "\n");
    assert_int_equal(program_run(help, output, sizeof output, 20000), 0);
    assert_non_null(strstr(output, "--check-config"));
    assert_non_null(strstr(output, "--print-config"));
    assert_int_equal(program_run(wrong, output, sizeof output, 20000), 64);
    assert_non_null(strstr(output, "--wrong"));
    assert_int_equal(program_run(extra, output, sizeof output, 20000), 64);
    assert_non_null(strstr(output, "extra"));
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void expect_complaint(const char *config, const char *place)
{
    char path[TESTBED_PATH_SIZE], output[8192];

    scratch_path(path, "bad.conf");
    write_text(path, config);
    assert_int_equal(run(output, sizeof output, path, "--check-config"), 78);
    if (!strstr(output, path) || !strstr(output, place))
        fail_msg("no \"%s\" in: %s", place, output);
    /* It does not start with it either. */
    assert_int_equal(run(output, sizeof output, path, NULL), 78);
    assert_non_null(strstr(output, place));
    assert_int_equal(run(output, sizeof output, path, "--print-config"), 78);
}

static void mistakes_are_found_with_their_place(void **state)
{
    char path[TESTBED_PATH_SIZE], output[8192];

    (void)state;
    expect_complaint("[pool p]\nredis = unix:///r\nsise = 4\n", "bad.conf:3:");
    expect_complaint("[pool p]\nredis = unix:///r\nsize = four\n", "bad.conf:3:");
    expect_complaint("[pool p]\nredis = unix:///r\nwait_timeout = 5\n", "bad.conf:3:");
    expect_complaint("[pool p]\n\nsize = 4\n", "redis");
    expect_complaint("[pool p]\nredis = redis://u:secret@h:1/0\n", "bad.conf:2:");
    expect_complaint("[poole p]\nredis = unix:///r\n", "bad.conf:1:");
    expect_complaint("[broker]\n", "pool");
    expect_complaint("[pool p]\nredis = unix:///r\npassword_file = /nonexistent/secret\n",
                     "bad.conf:3:");
    scratch_path(path, "missing.conf");
    assert_int_equal(run(output, sizeof output, path, "--check-config"), 78);
    assert_non_null(strstr(output, path));
}

static void the_configuration_in_effect(void **state)
{
    char path[TESTBED_PATH_SIZE], secret[TESTBED_PATH_SIZE], text[1024], output[8192];

    (void)state;
    scratch_path(secret, "secret");
    write_text(secret, "hunter2\n");
    scratch_path(path, "good.conf");
    snprintf(text, sizeof text,
             "[broker]\nsocket = %s\n[pool web]\nredis = redis://db.example:6380/3\n"
             "username = me\npassword_file = %s\nsize = 4\n",
             fixture.broker.socket_path, secret);
    write_text(path, text);
    assert_int_equal(run(output, sizeof output, path, "--check-config"), 0);

    assert_int_equal(setenv("LENDIS_POOL_WEB_SIZE", "20", 1), 0);
    assert_int_equal(run(output, sizeof output, path, "--print-config"), 0);
    unsetenv("LENDIS_POOL_WEB_SIZE");
    assert_non_null(strstr(output, "redis = redis://db.example:6380/3"));
    assert_non_null(strstr(output, "size = 20"));
    assert_non_null(strstr(output, secret));
    assert_null(strstr(output, "hunter2"));
    /* What it prints it also reads. */
    scratch_path(path, "printed.conf");
    write_text(path, output);
    assert_int_equal(run(output, sizeof output, path, "--check-config"), 0);

    assert_int_equal(setenv("LENDIS_POOL_WEB_SISE", "20", 1), 0);
    assert_int_equal(run(output, sizeof output, path, "--check-config"), 78);
    unsetenv("LENDIS_POOL_WEB_SISE");
    assert_non_null(strstr(output, "LENDIS_POOL_WEB_SISE"));
}

/* ---- doing nothing ---- */

static int stay(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");

    talk(pool, processes_result(processes, number), number, 0);
    processes_ready(processes);
    while (!processes_stopping(processes))
        sleep_us(10000);
    lendis_detach(pool);
    return 0;
}

static bool is_idle_for_a_second(pid_t pid)
{
    struct process_use before, after;

    if (!process_use(pid, &before))
        return false;
    sleep_us(1000000);
    if (!process_use(pid, &after))
        return false;
    return before.ticks == after.ticks && before.switches == after.switches;
}

static long size_of_log(void)
{
    struct stat stat_of;

    return stat(fixture.broker.log_path, &stat_of) == 0 ? (long)stat_of.st_size : -1;
}

static void an_idle_broker_does_nothing(void **state)
{
    (void)state;
    processes_start(&fixture.processes, 10, sizeof(struct tally), stay, NULL);
    processes_go(&fixture.processes);
    /* The first second may see it come to rest. */
    assert_true(is_idle_for_a_second(fixture.broker.pid) ||
                is_idle_for_a_second(fixture.broker.pid));
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 10000));
}

/* Whether everybody's work went on while the broker slept all the time. */
static bool sleeps_while_all_work(void)
{
    struct process_use before, after;

    assert_true(process_use(fixture.broker.pid, &before));
    expect_progress_of_all(20000);
    sleep_us(500000);
    assert_true(process_use(fixture.broker.pid, &after));
    return after.switches == before.switches;
}

/*
 * The broker takes no part in leases, so load does not wake it. (Timers of the dials, 250 ms, are
 * waited out first: sd-event wakes once for one that was switched off.) A worker that waits for a
 * processor so long that it doubts its lender rings once; load alone would do it in each period.
 */
static void a_broker_under_load_does_nothing(void **state)
{
    bool slept = false;
    long logged;

    (void)state;
    start_work();
    expect_progress_of_all(20000);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    sleep_us(500000);
    logged = size_of_log();
    for (int period = 0; period < 5 && !slept; period++)
        slept = sleeps_while_all_work();
    assert_true(slept);
    assert_int_equal(size_of_log(), logged);
    end_work();
    expect_no_failures("load");
}

/* ---- deaths ---- */

static int hold_and_wait(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *lease;

    (void)number;
    if (lendis_acquire(pool, 10000, &lease) != 0)
        return 1;
    processes_ready(processes);
    for (;;)
        sleep_us(1000000);
}

static void the_leases_of_the_dead_come_back(void **state)
{
    int64_t worst_ms = 0, before_ms, took_ms;

    (void)state;
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    for (int round = 0; round < 10; round++) {
        processes_start(&fixture.processes, CONNECTIONS, 0, hold_and_wait, NULL);
        processes_go(&fixture.processes);
        assert_int_equal(words_in(&fixture.observer, WORD_LEASED), CONNECTIONS);
        before_ms = now_ms();
        for (unsigned i = 0; i < CONNECTIONS; i++)
            processes_signal(&fixture.processes, i, SIGKILL);
        assert_true(eventually(words_in(&fixture.observer, WORD_LEASED) == 0, 5000));
        took_ms = now_ms() - before_ms;
        worst_ms = took_ms > worst_ms ? took_ms : worst_ms;
        assert_true(pool_fills(&fixture.observer, CONNECTIONS, 5000));
        processes_end(&fixture.processes);
    }
    fprintf(stderr, "taken back after %lld ms at worst\n", (long long)worst_ms);
    assert_true(worst_ms < 1000); /* 100 ms on a machine that has nothing else to do */
}

int main(int argc, char **argv)
{
#define RUNNING(test) cmocka_unit_test_setup_teardown(test, start, end)
    const struct CMUnitTest tests[] = {
        RUNNING(a_killed_broker_costs_no_command),
        RUNNING(waiters_go_over_to_a_new_broker),
        RUNNING(who_has_fetched_nothing_waits_for_a_broker),
        RUNNING(a_stopped_broker_costs_no_command),
        RUNNING(draining_waits_for_leases),
        RUNNING(draining_has_an_end),
        RUNNING(a_second_signal_ends_the_draining),
        RUNNING(draining_under_load_and_restarting),
        RUNNING(a_second_broker_refuses_to_start),
        RUNNING(a_stale_socket_is_replaced),
        RUNNING(what_is_no_socket_is_left_alone),
        RUNNING(the_socket_is_for_its_group),
        cmocka_unit_test_teardown(options_that_only_print, end),
        cmocka_unit_test_teardown(mistakes_are_found_with_their_place, end),
        RUNNING(the_configuration_in_effect),
        RUNNING(an_idle_broker_does_nothing),
        RUNNING(a_broker_under_load_does_nothing),
        RUNNING(the_leases_of_the_dead_come_back),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("broker", tests, NULL, NULL);
}
