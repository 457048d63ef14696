/* SPDX-License-Identifier: MIT */
/*
 * What a pool allows its users: how long a lease may last (lease_timeout, leak_warn_after), how
 * many leases and workers one user may have (per_uid_leases, per_uid_workers), and who may use it
 * by name (allow_users, allow_groups).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis/wire.h"
#include "lendis_hiredis.h"
#include "libclient/pool.h"
#include "tests/support/fixture.h"

/* Of each Debian: base-passwd. */
#define DAEMON 1
#define NOBODY 65534

static struct fixture fixture;
static char **program_arguments;

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

static void start_fixture(const char *keys)
{
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\n%s", fixture.redis.unix_url, keys);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
}

static uint64_t revoked(enum revoke_reason reason)
{
    struct catalog_pool pool;

    observe_pool(&fixture.observer, &pool);
    return shm_load_relaxed(&pool.revoked[reason]);
}

static unsigned logged_times(const char *text)
{
    static char log[1 << 20];
    FILE *file = fopen(fixture.broker.log_path, "re");
    size_t got = file ? fread(log, 1, sizeof log - 1, file) : 0;
    unsigned times = 0;

    if (file)
        fclose(file);
    log[got] = '\0';
    for (const char *at = log; (at = strstr(at, text)); at++)
        times++;
    return times;
}

static bool works(struct lendis_pool *pool)
{
    struct tally tally = {0};

    return talk(pool, &tally, 1, 0);
}

/* ---- lease_timeout ---- */

static void a_lease_held_too_long_is_revoked(void **state)
{
    struct lendis_lease *lease, *other;
    struct lendis_pool *pool;
    int64_t before_ms, took_ms;

    (void)state;
    start_fixture("size = 2\nmin_idle = 2\nlease_timeout = 1s\n");
    pool = pool_attach(&fixture.broker, "p");
    assert_true(pool_fills(&fixture.observer, 2, 10000));
    for (int round = 0; round < 3; round++) {
        sleep_us(137000 * round); /* wherever the broker is between two scans */
        before_ms = now_ms();
        assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
        assert_true(eventually(words_in(&fixture.observer, WORD_LEASED) == 0, 5000));
        took_ms = now_ms() - before_ms;
        fprintf(stderr, "revoked after %jd ms\n", (intmax_t)took_ms);
        assert_in_range(took_ms, 980, 1090);
        /* Its place is for others at once, and its holder finds out. */
        assert_int_equal(lendis_acquire(pool, 5000, &other), 0);
        assert_int_equal(lendis_release(other), 0);
        assert_null(lendis_lease_command(lease, "SET key value"));
        assert_int_equal(lendis_pool_error(pool, NULL), LENDIS_E_REVOKED);
        assert_int_equal(lendis_release(lease), LENDIS_E_REVOKED);
        assert_true(works(pool));
        assert_int_equal(revoked(REVOKE_lease_timeout), 1 + round);
    }
    assert_true(lendisd_logged(&fixture.broker, "lease_timeout is 1000 ms"));
    assert_true(pool_fills(&fixture.observer, 2, 5000));
    lendis_detach(pool);
}

static int block_for_ever(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *lease;
    int64_t before_ms = now_ms();

    (void)processes;
    if (number == 0) /* no lease that the program knows of */
        return lendis_command(pool, "BLPOP nothing 0") || now_ms() - before_ms > 2000;
    if (number == 1) {
        redisContext *context;

        if (lendis_acquire(pool, 5000, &lease) != 0)
            return 1;
        context = lendis_lease_context(lease);
        redisAppendCommand(context, "SUBSCRIBE channel");
        for (void *reply; redisGetReply(context, &reply) == REDIS_OK;)
            freeReplyObject(reply);
        return lendis_release(lease) != LENDIS_E_REVOKED || now_ms() - before_ms > 2000;
    }
    if (lendis_acquire(pool, 5000, &lease) != 0)
        return 1;
    raise(SIGSTOP);
    return lendis_release(lease) != LENDIS_E_REVOKED || !works(pool);
}

/* Whatever the holder does meanwhile. */
static void waiting_in_any_way_is_holding(void **state)
{
    (void)state;
    start_fixture("size = 3\nmin_idle = 3\nlease_timeout = 600ms\n");
    assert_true(pool_fills(&fixture.observer, 3, 10000));
    processes_start(&fixture.processes, 3, 0, block_for_ever, NULL);
    assert_true(eventually(words_in(&fixture.observer, WORD_LEASED) == 3, 5000));
    assert_true(eventually(revoked(REVOKE_lease_timeout) == 3, 2000));
    assert_true(pool_fills(&fixture.observer, 3, 5000));
    processes_signal(&fixture.processes, 2, SIGCONT);
    assert_true(processes_wait(&fixture.processes, 10000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
}

static int talk_until_stopped(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");

    for (unsigned long turn = 0; !processes_stopping(processes); turn++)
        talk(pool, processes_result(processes, number), number, turn);
    lendis_detach(pool);
    return 0;
}

static int lease_until_stopped(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    unsigned long *leases = processes_result(processes, number);

    while (!processes_stopping(processes)) {
        struct lendis_lease *lease;

        if (lendis_acquire(pool, 5000, &lease) != 0)
            return 1;
        sleep_us(5000); /* so that it is not free when the broker looks */
        if (lendis_release(lease) != 0)
            return 2;
        ++*leases;
    }
    return 0;
}

/* One worker that leases the only connection over and over: the word is the same at almost each
 * look. Then several that pass it on among each other, always in use. */
static void leases_that_follow_each_other_are_not_one(void **state)
{
    struct tally sum;

    (void)state;
    start_fixture("size = 1\nlease_timeout = 500ms\nleak_warn_after = 400ms\n");
    processes_start(&fixture.processes, 1, sizeof(unsigned long), lease_until_stopped, NULL);
    sleep_us(2500000);
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 10000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    assert_true(*(unsigned long *)processes_result(&fixture.processes, 0) > 100);
    processes_end(&fixture.processes);

    processes_start(&fixture.processes, 6, sizeof(struct tally), talk_until_stopped, NULL);
    sleep_us(2500000);
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 10000));
    tally_processes(&fixture.processes, &sum);
    tally_print("handed on", &sum);
    assert_int_equal(tally_failed(&sum), 0);
    assert_true(sum.good > 1000);
    assert_int_equal(revoked(REVOKE_lease_timeout), 0);
    assert_int_equal(logged_times("has been held for"), 0);
}

static void *lie(void *context)
{
    struct connection *connection = context;

    for (;;) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        shm_store_relaxed(&connection->leased_ms,
                          (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
        pthread_testcancel();
        sleep_us(1000);
    }
    return NULL;
}

/* What a holder says of the beginning of its lease is believed as far as the broker could not know
 * better. */
static void a_holder_that_lies_gains_little(void **state)
{
    struct lendis_lease *lease;
    struct lendis_pool *pool;
    int64_t before_ms, took_ms;
    pthread_t liar;

    (void)state;
    start_fixture("size = 1\nlease_timeout = 1s\n");
    pool = pool_attach(&fixture.broker, "p");
    before_ms = now_ms();
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    assert_int_equal(
        pthread_create(&liar, NULL, lie, &lease->attachment->segment.connections[lease->index]), 0);
    assert_true(eventually(revoked(REVOKE_lease_timeout) == 1, 5000));
    took_ms = now_ms() - before_ms;
    assert_int_equal(pthread_cancel(liar), 0);
    pthread_join(liar, NULL);
    assert_in_range(took_ms, 980, 1250);
    assert_int_equal(lendis_release(lease), LENDIS_E_REVOKED);
    lendis_detach(pool);
}

/* Without workers there is nothing to look for; with them, ten scans for each limit. */
static void scanning_costs_nothing_without_need(void **state)
{
    struct process_use before, after;

    (void)state;
    start_fixture("size = 2\nmin_idle = 2\nlease_timeout = 100ms\n");
    assert_true(pool_fills(&fixture.observer, 2, 10000));
    sleep_us(300000);
    assert_true(process_use(fixture.broker.pid, &before));
    sleep_us(1000000);
    assert_true(process_use(fixture.broker.pid, &after));
    assert_in_range(after.switches - before.switches, 20, 130);

    observer_close(&fixture.observer);
    sleep_us(300000);
    assert_true(process_use(fixture.broker.pid, &before));
    sleep_us(1000000);
    assert_true(process_use(fixture.broker.pid, &after));
    assert_in_range(after.switches - before.switches, 0, 5);
}

/* ---- leak_warn_after ---- */

static int hold_under_a_false_name(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *lease;

    (void)number;
    memset(program_arguments[0], 'x', strlen(program_arguments[0]));
    memcpy(program_arguments[0], "\x1b[2J\n<3>\x9b", 9);
    if (lendis_acquire(pool, 5000, &lease) != 0)
        return 1;
    while (!processes_stopping(processes))
        sleep_us(1000);
    return lendis_release(lease) != 0;
}

static void a_leak_is_reported_once(void **state)
{
    char who[64];

    (void)state;
    start_fixture("size = 2\nleak_warn_after = 300ms\n");
    processes_start(&fixture.processes, 1, 0, hold_under_a_false_name, NULL);
    assert_true(eventually(words_in(&fixture.observer, WORD_LEASED) == 1, 5000));
    sleep_us(100000);
    assert_int_equal(logged_times("has been held for"), 0);
    assert_true(eventually(logged_times("has been held for") == 1, 2000));
    sleep_us(700000);
    assert_int_equal(logged_times("has been held for"), 1);
    snprintf(who, sizeof who, "by process %d of user %u: ?[2J?<3>?xx",
             (int)fixture.processes.pids[0], (unsigned)getuid());
    assert_int_equal(logged_times(who), 1);
    assert_int_equal(logged_times("pool p: connection 0 has been held for 0.3 s"), 1);
    assert_int_equal(logged_times("\x1b"), 0);
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 5000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    assert_int_equal(revoked(REVOKE_lease_timeout), 0);
}

/* Each is reported for itself, but not without end. */
static void many_leaks_are_reported_in_short(void **state)
{
    struct lendis_lease *leases[8];
    struct lendis_pool *pool;

    (void)state;
    start_fixture("size = 8\nmin_idle = 8\nleak_warn_after = 200ms\nlease_timeout = 900ms\n");
    pool = pool_attach(&fixture.broker, "p");
    assert_true(pool_fills(&fixture.observer, 8, 10000));
    for (int i = 0; i < 8; i++)
        assert_int_equal(lendis_acquire(pool, 5000, &leases[i]), 0);
    assert_true(eventually(revoked(REVOKE_lease_timeout) == 8, 5000));
    /* The broker does not wait until a line is written. */
    assert_true(eventually(logged_times("which has held it for") == 5, 2000));
    assert_int_equal(logged_times("has been held for"), 5);
    lendis_detach(pool);
}

/* ---- per_uid_workers ---- */

/* Becomes somebody else, and still goes with the test, which that would end: prctl(2). */
static bool become(uid_t uid)
{
    gid_t gid = uid;

    return setgroups(1, &gid) == 0 && setgid(gid) == 0 && setuid(uid) == 0 &&
           prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
}

/* lendis_attach() by another user, in a process of its own. */
static int attach_as(uid_t uid, const char *pool_name)
{
    struct lendis_pool *pool;
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        if (!become(uid))
            _exit(100);
        status = lendis_attach(fixture.broker.socket_path, pool_name, NULL, &pool);
        _exit(status < 0 ? 128 - status : status);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    status = WEXITSTATUS(status);
    return status > 128 ? 128 - status : status;
}

static void open_to_all_users(void)
{
    scratch_share();
    assert_int_equal(chmod(fixture.broker.socket_path, 0666), 0);
    assert_int_equal(chmod(fixture.redis.socket_path, 0666), 0);
}

/* What the broker says to one that it refuses. */
static void expect_refusal(const char *text)
{
    int socket = lendisd_connect(fixture.broker.socket_path);
    struct wire_hello hello = {.pool = "p"};
    struct wire_welcome answer;

    assert_true(socket >= 0);
    wire_header(&hello.header, WIRE_HELLO, sizeof hello);
    assert_int_equal(wire_send(socket, &hello, -1), 0);
    assert_int_equal(wire_receive(socket, &answer, sizeof answer, NULL, 5000), sizeof answer);
    assert_int_equal(answer.result, LENDIS_E_BUSY);
    assert_string_equal(answer.text, text);
    close(socket);
}

static void a_user_has_so_many_workers(void **state)
{
    struct lendis_pool *pools[2], *none;
    char text[128];

    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\nper_uid_workers = 2\n"
                  "[pool q]\nredis = %s\n",
                  fixture.redis.unix_url, fixture.redis.unix_url);
    for (int i = 0; i < 2; i++)
        pools[i] = pool_attach(&fixture.broker, "p");
    for (int i = 0; i < 20; i++)
        assert_int_equal(lendis_attach(fixture.broker.socket_path, "p", NULL, &none),
                         LENDIS_E_BUSY);
    snprintf(text, sizeof text,
             "2 processes of user %u use pool p, and no more may: see per_uid_workers",
             (unsigned)getuid());
    expect_refusal(text);
    assert_true(lendisd_logged(&fixture.broker, "per_uid_workers = 2"));
    lendis_detach(pool_attach(&fixture.broker, "q")); /* another pool, another count */
    for (int i = 0; i < 2; i++)
        assert_true(works(pools[i]));
    if (geteuid() == 0) {
        open_to_all_users();
        assert_int_equal(attach_as(NOBODY, "p"), 0);
    }
    lendis_detach(pools[0]);
    assert_true(
        eventually(lendis_attach(fixture.broker.socket_path, "p", NULL, &pools[0]) == 0, 5000));
    for (int i = 0; i < 2; i++)
        lendis_detach(pools[i]);
}

/* ---- per_uid_leases ---- */

static int lease_as_nobody(struct processes *processes, unsigned number)
{
    struct lendis_lease *leases[3], *none;
    struct lendis_pool *pool;

    (void)number;
    if (!become(NOBODY))
        return 1;
    pool = pool_attach(&fixture.broker, "p");
    for (int i = 0; i < 2; i++)
        if (lendis_acquire(pool, 1000, &leases[i]) != 0)
            return 2;
    if (lendis_acquire(pool, 0, &none) != LENDIS_E_BUSY)
        return 3;
    processes_ready(processes);
    for (int i = 0; i < 2; i++)
        if (lendis_release(leases[i]) != 0)
            return 4;
    return 0;
}

static void a_user_has_so_many_leases(void **state)
{
    struct lendis_pool *pool, *other;
    struct lendis_lease *leases[2], *none;
    struct lendis_wait *wait;
    int64_t before_ms;
    int result;

    (void)state;
    start_fixture("size = 4\nmin_idle = 4\nper_uid_leases = 2\n");
    assert_true(pool_fills(&fixture.observer, 4, 10000));
    pool = pool_attach(&fixture.broker, "p");
    other = pool_attach(&fixture.broker, "p"); /* another worker of the same user */
    assert_int_equal(lendis_acquire(pool, 1000, &leases[0]), 0);
    assert_int_equal(lendis_acquire(other, 1000, &leases[1]), 0);
    assert_int_equal(lendis_acquire(pool, 0, &none), LENDIS_E_BUSY);
    before_ms = now_ms();
    assert_int_equal(lendis_acquire(other, 200, &none), LENDIS_E_TIMEOUT);
    assert_in_range(now_ms() - before_ms, 195, 1000);
    {
        void *reply;
        size_t size;

        before_ms = now_ms();
        assert_int_equal(lendis_exec(pool, "*1\r\n$4\r\nPING\r\n", 14, 200, &reply, &size),
                         LENDIS_E_TIMEOUT);
        assert_in_range(now_ms() - before_ms, 195, 1000);
    }
    assert_true(pool_counter(&fixture.observer, COUNTER_timeouts) >= 2);
    assert_int_equal(lendis_acquire_begin(other, 5000, &wait), 0);
    assert_int_equal(lendis_acquire_finish(wait, &none), LENDIS_E_AGAIN);
    if (geteuid() == 0) {
        open_to_all_users();
        processes_start(&fixture.processes, 1, 0, lease_as_nobody, NULL);
        processes_go(&fixture.processes);
        assert_true(processes_wait(&fixture.processes, 5000));
        assert_int_equal(processes_failures(&fixture.processes), 0);
    }
    assert_int_equal(lendis_acquire_finish(wait, &none), LENDIS_E_AGAIN);
    assert_int_equal(lendis_release(leases[0]), 0);
    for (int i = 0;
         (result = lendis_acquire_finish(wait, &leases[0])) == LENDIS_E_AGAIN && i < 1000; i++) {
        struct pollfd ready = {.fd = lendis_acquire_fd(wait), .events = POLLIN};

        assert_int_equal(poll(&ready, 1, 1000), 1);
    }
    assert_int_equal(result, 0);
    assert_int_equal(lendis_release(leases[0]), 0);
    assert_true(works(other));
    assert_int_equal(lendis_acquire(other, 1000, &leases[0]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(lendis_release(leases[i]), 0);
    /* For longer than the broker takes to see what is too much: nothing was taken from those in
     * their right. */
    assert_int_equal(revoked(REVOKE_user_limit), 0);
    assert_true(pool_fills(&fixture.observer, 4, 5000));
    lendis_detach(pool);
    lendis_detach(other);
}

static atomic_uint *inside, *most_inside;

/* Leases and commands by turns; a lease is held for a moment, and all who hold one are counted. */
static int contend(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct tally *tally = processes_result(processes, number);

    for (unsigned long turn = 0; !processes_stopping(processes); turn++) {
        struct lendis_lease *lease;
        unsigned now;

        if (!talk(pool, tally, number, turn) || lendis_acquire(pool, 10000, &lease) != 0)
            return 1;
        now = atomic_fetch_add(inside, 1) + 1;
        for (unsigned most = atomic_load(most_inside); now > most;)
            if (atomic_compare_exchange_weak(most_inside, &most, now))
                break;
        sleep_us(200);
        atomic_fetch_sub(inside, 1);
        if (lendis_release(lease) != 0)
            return 2;
    }
    lendis_detach(pool);
    return 0;
}

/* However many come at once; and one that dies takes no share with it. */
static void never_more_than_the_share(void **state)
{
    struct tally sum;

    (void)state;
    inside = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(inside, MAP_FAILED);
    most_inside = inside + 1;
    start_fixture("size = 8\nmin_idle = 8\nper_uid_leases = 3\n");
    assert_true(pool_fills(&fixture.observer, 8, 10000));
    processes_start(&fixture.processes, 10, sizeof(struct tally), contend, NULL);
    for (int i = 0; i < 2500; i++) {
        struct word_count count;

        sleep_us(1000);
        assert_true(observe_words(&fixture.observer, &count));
    }
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 20000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    tally_processes(&fixture.processes, &sum);
    tally_print("within the share", &sum);
    assert_int_equal(tally_failed(&sum), 0);
    assert_in_range(atomic_load(most_inside), 2, 3);
    assert_int_equal(revoked(REVOKE_user_limit), 0);
    processes_end(&fixture.processes);

    processes_start(&fixture.processes, 3, 0, block_for_ever, NULL); /* BLPOP, SUBSCRIBE, SIGSTOP */
    assert_true(eventually(words_in(&fixture.observer, WORD_LEASED) == 3, 5000));
    processes_end(&fixture.processes);
    assert_true(pool_fills(&fixture.observer, 5, 5000));
    {
        struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
        struct lendis_lease *leases[3];

        for (int i = 0; i < 3; i++)
            assert_int_equal(lendis_acquire(pool, 1000, &leases[i]), 0);
        lendis_detach(pool);
    }
    munmap(inside, 4096);
}

/* A worker that takes words without asking. */
static void more_than_the_share_is_revoked(void **state)
{
    struct attachment *attachment;
    struct lendis_lease *first;
    struct lendis_pool *pool;
    uint64_t word;

    (void)state;
    start_fixture("size = 6\nmin_idle = 6\nper_uid_leases = 2\n");
    pool = pool_attach(&fixture.broker, "p");
    assert_true(pool_fills(&fixture.observer, 6, 10000));
    assert_int_equal(lendis_acquire(pool, 1000, &first), 0);
    sleep_us(100000);
    attachment = first->attachment;
    for (uint32_t i = 0; i < attachment->segment.connection_max; i++)
        word_lease(&attachment->segment.connections[i].word, attachment->worker, &word);
    assert_int_equal(leased_by(&fixture.observer, attachment->worker), 6);
    assert_true(eventually(revoked(REVOKE_user_limit) == 4, 5000));
    assert_int_equal(leased_by(&fixture.observer, attachment->worker), 2);
    /* What it had by right is not what was taken. */
    assert_int_equal(lendis_release(first), 0);
    assert_true(lendisd_logged(&fixture.broker, "per_uid_leases = 2"));
    lendis_detach(pool);
    assert_true(pool_fills(&fixture.observer, 6, 5000));
}

/* A limit that is lowered takes nothing from those who kept to the one before; but holds from then
 * on. */
static void a_lower_share_drops_no_lease(void **state)
{
    struct lendis_lease *leases[4], *none;
    struct catalog_pool entry;
    struct lendis_pool *pool;

    (void)state;
    start_fixture("size = 4\nmin_idle = 4\n");
    assert_true(pool_fills(&fixture.observer, 4, 10000));
    pool = pool_attach(&fixture.broker, "p");
    for (int i = 0; i < 4; i++)
        assert_int_equal(lendis_acquire(pool, 1000, &leases[i]), 0);
    lendisd_configure(&fixture.broker,
                      "[pool p]\nredis = %s\nsize = 4\nmin_idle = 4\nper_uid_leases = 2\n",
                      fixture.redis.unix_url);
    assert_int_equal(kill(fixture.broker.pid, SIGHUP), 0);
    assert_true(eventually(
        (observe_pool(&fixture.observer, &entry), shm_load32(&entry.per_uid_leases) == 2), 5000));
    sleep_us(1600000); /* three scans */
    assert_int_equal(revoked(REVOKE_user_limit), 0);
    assert_int_equal(lendis_release(leases[3]), 0);
    assert_int_equal(lendis_release(leases[2]), 0);
    assert_int_equal(lendis_acquire(pool, 0, &none), LENDIS_E_BUSY);
    assert_int_equal(lendis_release(leases[1]), 0);
    assert_int_equal(lendis_acquire(pool, 1000, &leases[1]), 0);
    assert_int_equal(lendis_acquire(pool, 0, &none), LENDIS_E_BUSY);
    for (int i = 0; i < 2; i++)
        assert_int_equal(lendis_release(leases[i]), 0);
    lendis_detach(pool);
}

/* ---- allow_users and allow_groups ---- */

static void names_are_as_good_as_numbers(void **state)
{
    const char *url;

    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can become others */
    scratch_share();
    redis_start(&fixture.redis);
    url = fixture.redis.unix_url;
    lendisd_start(&fixture.broker,
                  "[pool user]\nredis = %s\nallow_users = nobody\n"
                  "[pool group]\nredis = %s\nallow_groups = daemon\n"
                  "[pool both]\nredis = %s\nallow_users = nobody\nallow_uids = 0\n"
                  "[pool mixed]\nredis = %s\nallow_groups = daemon\nallow_uids = 0\n",
                  url, url, url, url);
    assert_int_equal(chmod(fixture.broker.socket_path, 0666), 0);
    assert_int_equal(attach_as(NOBODY, "user"), 0);
    assert_int_equal(attach_as(DAEMON, "user"), LENDIS_E_DENIED);
    assert_int_equal(attach_as(0, "user"), LENDIS_E_DENIED);
    assert_int_equal(attach_as(DAEMON, "group"), 0);
    assert_int_equal(attach_as(NOBODY, "group"), LENDIS_E_DENIED);
    assert_int_equal(attach_as(NOBODY, "both"), 0);
    assert_int_equal(attach_as(0, "both"), 0);
    assert_int_equal(attach_as(DAEMON, "both"), LENDIS_E_DENIED);
    assert_int_equal(attach_as(DAEMON, "mixed"), 0);
    assert_int_equal(attach_as(0, "mixed"), 0);
    assert_int_equal(attach_as(NOBODY, "mixed"), LENDIS_E_DENIED);
}

/* ---- those who connect and say nothing ---- */

#define CROWD 400

static int connect_and_be_silent(struct processes *processes, unsigned number)
{
    (void)number;
    if (!become(NOBODY))
        return 1;
    for (int i = 0; i < CROWD; i++)
        if (lendisd_connect(fixture.broker.socket_path) < 0)
            return 2;
    processes_ready(processes);
    for (;;)
        pause();
}

/* They are in nobody's way. */
static void a_silent_crowd_delays_no_other_user(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can become others */
    start_fixture("size = 1\n");
    open_to_all_users();
    processes_start(&fixture.processes, 1, 0, connect_and_be_silent, NULL);
    processes_go(&fixture.processes);
    for (int i = 0; i < 3; i++) {
        int64_t before_ms = now_ms();

        lendis_detach(pool_attach(&fixture.broker, "p"));
        fprintf(stderr, "attached behind the crowd after %jd ms\n",
                (intmax_t)(now_ms() - before_ms));
        assert_in_range(now_ms() - before_ms, 0, 400);
    }
    assert_true(lendisd_logged(&fixture.broker, "lends at"));
    processes_signal(&fixture.processes, 0, SIGKILL);
    processes_wait_one(&fixture.processes, 0, 5000);
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(a_lease_held_too_long_is_revoked),
        TEST(waiting_in_any_way_is_holding),
        TEST(leases_that_follow_each_other_are_not_one),
        TEST(a_holder_that_lies_gains_little),
        TEST(scanning_costs_nothing_without_need),
        TEST(a_leak_is_reported_once),
        TEST(many_leaks_are_reported_in_short),
        TEST(a_user_has_so_many_workers),
        TEST(a_user_has_so_many_leases),
        TEST(never_more_than_the_share),
        TEST(more_than_the_share_is_revoked),
        TEST(a_lower_share_drops_no_lease),
        TEST(names_are_as_good_as_numbers),
        TEST(a_silent_crowd_delays_no_other_user),
    };

    program_arguments = argv;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("leases", tests, NULL, NULL);
}
