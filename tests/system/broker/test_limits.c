/* SPDX-License-Identifier: MIT */
/*
 * Full tables and exhausted resources on either side: whoever comes too late gets a clear result at
 * once or within its time limit, everyone else goes on, and when there is room again all works
 * again. (I8; shared memory is memfds, so /dev/shm and its size do not matter.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "tests/support/fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LITTLE_MEMORY_IS_FATAL 1 /* a sanitizer ends the process when it gets none */
#else
#define LITTLE_MEMORY_IS_FATAL 0
#endif

static struct fixture fixture;

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

static void start_fixture(const char *broker_keys)
{
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "%s[pool p]\nredis = %s\nsize = 4\nmin_idle = 4\n", broker_keys,
                  fixture.redis.unix_url);
}

static int attach(struct lendis_pool **pool)
{
    return lendis_attach(fixture.broker.socket_path, "p", NULL, pool);
}

static void expect_works(struct lendis_pool *pool)
{
    redisReply *reply = lendis_command(pool, "ECHO mine");

    if (!reply)
        fail_msg("no reply: %s", lendis_strerror(lendis_pool_error(pool, NULL)));
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    assert_string_equal(reply->str, "mine");
    freeReplyObject(reply);
}

/* ---- the worker table ---- */

/* Each handle that attached is a worker of its own. */
static void the_worker_table_is_full(void **state)
{
    struct lendis_pool *pools[5], *one_more = NULL;
    int64_t before_ms;

    (void)state;
    start_fixture("max_workers = 5\n");
    for (int i = 0; i < 5; i++)
        assert_int_equal(attach(&pools[i]), 0);
    for (int round = 0; round < 3; round++) {
        before_ms = now_ms();
        for (int i = 0; i < 20; i++)
            assert_int_equal(attach(&one_more), LENDIS_E_BUSY);
        assert_true(now_ms() - before_ms < 5000);
        for (int i = 0; i < 5; i++)
            expect_works(pools[i]);
        lendis_detach(pools[round]);
        assert_true(eventually(attach(&pools[round]) == 0, 5000));
        expect_works(pools[round]);
    }
    assert_true(lendisd_logged(&fixture.broker, "max_workers"));
    for (int i = 0; i < 5; i++)
        lendis_detach(pools[i]);
}

static int child_of_a_full_table(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = processes->context;
    struct lendis_lease *lease;

    (void)number;
    if (lendis_acquire(pool, 0, &lease) != LENDIS_E_BUSY)
        return 1;
    processes_ready(processes);
    /* The parent leaves; its place is for us. */
    return !eventually(lendis_acquire(pool, 100, &lease) == 0, 10000) || lendis_release(lease) != 0;
}

/* A handle from before fork has no place when the table is full, and gets one when there is one. */
static void the_table_is_full_for_a_child(void **state)
{
    struct lendis_pool *pool;

    (void)state;
    start_fixture("max_workers = 1\n");
    assert_int_equal(attach(&pool), 0);
    expect_works(pool);
    processes_start(&fixture.processes, 1, 0, child_of_a_full_table, pool);
    processes_go(&fixture.processes);
    expect_works(pool);
    lendis_detach(pool);
    assert_true(processes_wait(&fixture.processes, 20000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
}

/* ---- the wait queue ---- */

/* One worker has a wait slot of its own and shares 64 more: segment.h. */
#define WAITERS 70
#define SLOTS   65

struct waiting {
    pthread_t id;
    struct lendis_pool *pool;
    int result;
    int64_t took_ms;
};

static void *wait_in_vain(void *context)
{
    struct waiting *waiting = context;
    int64_t before_ms = now_ms();
    struct lendis_lease *lease;

    waiting->result = lendis_acquire(waiting->pool, 1500, &lease);
    waiting->took_ms = now_ms() - before_ms;
    return NULL;
}

static void the_wait_queue_is_full(void **state)
{
    static struct waiting waiting[WAITERS];
    struct lendis_lease *leases[4];
    struct word_count count;
    unsigned busy = 0, timed_out = 0;
    struct lendis_pool *pool;

    (void)state;
    start_fixture("max_workers = 3\n");
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_int_equal(fixture.observer.segment.slot_max, 3 + SLOTS - 1);
    assert_int_equal(attach(&pool), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(lendis_acquire(pool, 5000, &leases[i]), 0);
    for (int i = 0; i < WAITERS; i++) {
        waiting[i].pool = pool;
        assert_int_equal(pthread_create(&waiting[i].id, NULL, wait_in_vain, &waiting[i]), 0);
    }
    for (int i = 0; i < WAITERS; i++)
        pthread_join(waiting[i].id, NULL);
    for (int i = 0; i < WAITERS; i++) {
        busy += waiting[i].result == LENDIS_E_BUSY;
        timed_out += waiting[i].result == LENDIS_E_TIMEOUT;
        if (waiting[i].result == LENDIS_E_BUSY)
            assert_true(waiting[i].took_ms < 1400);
    }
    /* All were there at the same time, unless one started when another's time was up. */
    assert_int_equal(busy + timed_out, WAITERS);
    assert_in_range(busy, 1, WAITERS - SLOTS);
    for (int i = 0; i < 4; i++)
        assert_int_equal(lendis_release(leases[i]), 0);
    expect_works(pool);
    assert_true(observe_words(&fixture.observer, &count));
    assert_int_equal(count.waiting, 0);
    assert_true(pool_fills(&fixture.observer, 4, 5000));
    lendis_detach(pool);
}

/* ---- descriptors of the broker ---- */

static void limit_broker(rlim_t descriptors)
{
    struct rlimit limit;

    assert_int_equal(prlimit(fixture.broker.pid, RLIMIT_NOFILE, NULL, &limit), 0);
    limit.rlim_cur = descriptors ? descriptors : limit.rlim_max;
    assert_int_equal(prlimit(fixture.broker.pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

static bool is_clear(int result)
{
    return result == LENDIS_E_BUSY || result == LENDIS_E_DOWN || result == LENDIS_E_TIMEOUT ||
           result == -ECONNREFUSED;
}

static void the_broker_has_no_descriptors_left(void **state)
{
    struct lendis_pool *pool, *more[64];
    unsigned got, clear = 0;
    int result = 0;

    (void)state;
    start_fixture("");
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 4, 10000));
    assert_int_equal(attach(&pool), 0);
    expect_works(pool);

    /* A worker takes two: some find room, then nobody. */
    limit_broker((rlim_t)count_fds(fixture.broker.pid) + 7);
    for (got = 0; got < 64 && (result = attach(&more[got])) == 0; got++)
        expect_works(more[got]);
    assert_in_range(got, 1, 8);
    fprintf(stderr, "%u more workers, then: %s\n", got, lendis_strerror(result));
    for (int i = 0; i < 10; i++) {
        struct lendis_pool *none;
        int64_t before_ms = now_ms();

        result = attach(&none);
        clear += is_clear(result);
        assert_true(now_ms() - before_ms < 5000);
        expect_works(pool);
        expect_works(more[0]);
    }
    assert_int_equal(clear, 10);
    assert_true(process_cpu_ms(fixture.broker.pid, 1000) < 200);
    assert_true(lendisd_logged(&fixture.broker, "open files"));

    /* A connection that is lost cannot be replaced now, and is when there is room. */
    freeReplyObject(redis_do(&fixture.redis, "CLIENT KILL TYPE normal SKIPME yes"));
    limit_broker(0);
    assert_true(eventually(attach(&more[got]) == 0, 10000));
    expect_works(more[got]);
    assert_true(pool_fills(&fixture.observer, 4, 15000));
    for (unsigned i = 0; i <= got; i++)
        lendis_detach(more[i]);
    lendis_detach(pool);
}

/* It cannot dial: says so, does not spin, and goes on when it can. */
static void the_broker_cannot_open_connections(void **state)
{
    struct catalog_pool entry;
    struct lendis_lease *lease;
    struct lendis_pool *pool;

    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = 4\nmin_idle = 1\n",
                  fixture.redis.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 1, 10000));
    assert_int_equal(attach(&pool), 0);
    expect_works(pool);
    limit_broker((rlim_t)count_fds(fixture.broker.pid));
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    {
        struct lendis_lease *second;
        int result = lendis_acquire(pool, 500, &second);

        assert_true(result == LENDIS_E_TIMEOUT || result == LENDIS_E_DOWN);
    }
    observe_pool(&fixture.observer, &entry);
    assert_true(CATALOG_SUM(entry.dial_errors) > 0);
    assert_non_null(strstr(entry.last_error, "open files"));
    assert_true(process_cpu_ms(fixture.broker.pid, 1000) < 200);
    assert_int_equal(lendis_release(lease), 0);
    expect_works(pool);
    limit_broker(0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(lendis_acquire(pool, 15000, &lease), 0);
    lendis_detach(pool);
}

/* ---- descriptors of a worker ---- */

static void limit_self(rlim_t descriptors)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = descriptors ? descriptors : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* The lowest number that is free: with it as the limit not one more can be opened. */
static rlim_t lowest_free(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    close(fd);
    return (rlim_t)fd;
}

static int worker_without_descriptors(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool, *other = NULL;
    struct lendis_lease *lease;
    redisReply *reply;
    int before, result;

    (void)processes;
    (void)number;
    limit_self(lowest_free());
    if (attach(&other) != -EMFILE)
        return 1;
    limit_self(0);
    if (attach(&pool) != 0)
        return 2;
    before = count_fds(getpid());
    limit_self(lowest_free());
    for (int i = 0; i < 20; i++)
        if (lendis_acquire(pool, 1000, &lease) != -EMFILE)
            return 3;
    if (lendis_command(pool, "PING") || lendis_pool_error(pool, NULL) != -EMFILE)
        return 4;
    limit_self(0);
    if (count_fds(getpid()) != before)
        return 5;
    result = lendis_acquire(pool, 5000, &lease);
    if (result != 0)
        return 6;
    reply = lendis_lease_command(lease, "ECHO mine");
    if (!reply || strcmp(reply->str, "mine") != 0)
        return 7;
    freeReplyObject(reply);
    return lendis_release(lease);
}

static void a_worker_has_no_descriptors_left(void **state)
{
    struct lendis_pool *pool;

    (void)state;
    start_fixture("");
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_int_equal(attach(&pool), 0);
    for (int round = 0; round < 3; round++) {
        processes_start(&fixture.processes, 2, 0, worker_without_descriptors, NULL);
        while (!processes_wait(&fixture.processes, 0))
            expect_works(pool);
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(WEXITSTATUS(fixture.processes.statuses[i]), 0);
        assert_int_equal(processes_failures(&fixture.processes), 0);
        processes_end(&fixture.processes);
        /* Its connections went back clean. */
        assert_true(pool_fills(&fixture.observer, 4, 5000));
    }
    lendis_detach(pool);
}

/* ---- memory ---- */

static rlim_t address_space(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (!file || fscanf(file, "%llu", &pages) != 1)
        return 0;
    fclose(file);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void limit_memory(rlim_t bytes)
{
    struct rlimit limit;

    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = bytes ? bytes : limit.rlim_max;
    setrlimit(RLIMIT_AS, &limit);
}

/* Attaches with more and more memory, until it is enough. */
static int worker_without_memory(struct processes *processes, unsigned number)
{
    unsigned *failures = processes_result(processes, number);
    int before = count_fds(getpid()), result = -ENOMEM;
    struct lendis_pool *pool = NULL;

    for (rlim_t more = 0; more < (rlim_t)64 << 20; more += 32768) {
        limit_memory(address_space() + more);
        result = attach(&pool);
        limit_memory(0);
        if (result == 0)
            break;
        if (result != -ENOMEM)
            return 1;
        if (count_fds(getpid()) != before)
            return 2;
        ++*failures;
    }
    if (result != 0 || *failures == 0)
        return 3;
    lendis_detach(pool);
    if (count_fds(getpid()) != before)
        return 4;
    return 0;
}

static void a_worker_has_no_memory_left(void **state)
{
    struct lendis_pool *pool;
    int descriptors;

    (void)state;
    if (LITTLE_MEMORY_IS_FATAL)
        skip();
    start_fixture("");
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 4, 10000));
    assert_int_equal(attach(&pool), 0);
    descriptors = count_fds(fixture.broker.pid);
    processes_start(&fixture.processes, 2, sizeof(unsigned), worker_without_memory, NULL);
    assert_true(processes_wait(&fixture.processes, 20000));
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(WEXITSTATUS(fixture.processes.statuses[i]), 0);
    fprintf(stderr, "%u attempts without enough memory\n",
            *(unsigned *)processes_result(&fixture.processes, 0));
    expect_works(pool);
    assert_true(eventually(count_fds(fixture.broker.pid) == descriptors, 5000));
    lendis_detach(pool);
}

/* With each limit it either says what is wrong and exits, or it works: never a signal, never
 * silence. */
static void the_broker_has_no_memory_left(void **state)
{
    static const unsigned limits[] = {1000,  4000,  6000,  8000,  9000,  10000, 10500, 11000, 11500,
                                      12000, 12500, 13000, 14000, 15000, 16000, 20000, 40000};
    const char *named = getenv("LENDISD");
    char command[512], output[4096];
    unsigned refused = 0;

    (void)state;
    if (LITTLE_MEMORY_IS_FATAL)
        skip();
    redis_start(&fixture.redis);
    lendisd_configure(&fixture.broker, "max_workers = 8192\n[pool p]\nredis = %s\nsize = 64\n",
                      fixture.redis.unix_url);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        const char *argv[] = {"sh", "-c", command, NULL};
        int status;

        snprintf(command, sizeof command, "ulimit -v %u; exec timeout -s TERM 0.3 %s --config %s",
                 limits[i], named && *named ? named : built_program("lendisd"),
                 fixture.broker.config_path);
        status = program_run(argv, output, sizeof output, 20000);
        if (status == 124) {
            assert_non_null(strstr(output, "lends at"));
            continue;
        }
        refused++;
        if (status == 0 || status >= 128 || strlen(output) == 0)
            fail_msg("%u KiB: status %d: %s", limits[i], status, output);
        assert_int_equal(access(fixture.broker.socket_path, F_OK), -1);
    }
    assert_true(refused > 0);
    lendisd_launch(&fixture.broker, true);
    assert_int_equal(lendisd_stop(&fixture.broker), 0);
}

/* Neither a full nor a missing /dev/shm concerns anybody: in a mount namespace where it is gone. */
static void dev_shm_is_not_needed(void **state)
{
    const char *named = getenv("LENDISD");
    const char *probe[] = {"unshare", "-m",         "mount", "-t",       "tmpfs",
                           "-o",      "ro,size=4k", "none",  "/dev/shm", NULL};
    char command[512], output[1024];
    const char *argv[] = {"unshare", "-m", "sh", "-c", command, NULL};
    struct lendis_pool *pool;

    (void)state;
    if (geteuid() != 0 || program_run(probe, output, sizeof output, 10000) != 0)
        skip(); /* mount namespaces are root's, where they are allowed at all */
    redis_start(&fixture.redis);
    lendisd_configure(&fixture.broker, "[pool p]\nredis = %s\n", fixture.redis.unix_url);
    snprintf(command, sizeof command,
             "mount -t tmpfs -o ro,size=4k none /dev/shm && exec %s --config %s",
             named && *named ? named : built_program("lendisd"), fixture.broker.config_path);
    fixture.broker.pid = program_start(argv, fixture.broker.log_path, 0);
    assert_true(eventually(attach(&pool) == 0, 10000));
    expect_works(pool);
    lendis_detach(pool);
    assert_int_equal(lendisd_stop(&fixture.broker), 0);
}

/* ---- nothing piles up ---- */

static void attaching_and_detaching_leaves_nothing(void **state)
{
    struct smaps before, after;
    struct lendis_pool *pool;
    int descriptors, own;

    (void)state;
    start_fixture("");
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 4, 10000));
    for (int i = 0; i < 50; i++) {
        assert_int_equal(attach(&pool), 0);
        expect_works(pool);
        lendis_detach(pool);
    }
    assert_true(eventually(workers_attached(&fixture.observer) == 1, 5000));
    sleep_us(50000);
    descriptors = count_fds(fixture.broker.pid);
    own = count_fds(getpid());
    assert_true(process_memory(fixture.broker.pid, &before));
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(attach(&pool), 0);
        if (i % 10 == 0)
            expect_works(pool);
        lendis_detach(pool);
    }
    assert_true(eventually(workers_attached(&fixture.observer) == 1, 5000));
    if (!eventually(count_fds(fixture.broker.pid) == descriptors, 5000)) {
        print_fds(fixture.broker.pid);
        fail_msg("%d descriptors instead of %d", count_fds(fixture.broker.pid), descriptors);
    }
    assert_int_equal(count_fds(getpid()), own);
    assert_true(process_memory(fixture.broker.pid, &after));
    fprintf(stderr, "the broker's memory: %.0f KiB before, %.0f KiB after\n", before.uss / 1024,
            after.uss / 1024);
    /* A sanitizer keeps freed memory for a while. */
    if (!LITTLE_MEMORY_IS_FATAL)
        assert_true(after.uss <= before.uss + 256 * 1024);
    assert_true(pool_fills(&fixture.observer, 4, 5000));
}

static int come_and_go(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool;

    for (int i = 0; i < 60; i++) {
        if (attach(&pool) != 0)
            return 1;
        if (!talk(pool, processes_result(processes, number), number, (unsigned long)i * 3))
            return 2;
        lendis_detach(pool);
    }
    return 0;
}

static void many_come_and_go_at_once(void **state)
{
    int descriptors;

    (void)state;
    start_fixture("");
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 4, 10000));
    descriptors = count_fds(fixture.broker.pid);
    processes_start(&fixture.processes, 10, sizeof(struct tally), come_and_go, NULL);
    assert_true(processes_wait(&fixture.processes, 30000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    assert_true(eventually(workers_attached(&fixture.observer) == 1, 5000));
    assert_true(pool_fills(&fixture.observer, 4, 5000));
    assert_true(eventually(count_fds(fixture.broker.pid) == descriptors, 5000));
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(the_worker_table_is_full),
        TEST(the_table_is_full_for_a_child),
        TEST(the_wait_queue_is_full),
        TEST(the_broker_has_no_descriptors_left),
        TEST(the_broker_cannot_open_connections),
        TEST(a_worker_has_no_descriptors_left),
        TEST(a_worker_has_no_memory_left),
        TEST(the_broker_has_no_memory_left),
        TEST(dev_shm_is_not_needed),
        TEST(attaching_and_detaching_leaves_nothing),
        TEST(many_come_and_go_at_once),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
