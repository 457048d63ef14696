/* SPDX-License-Identifier: MIT */
/*
 * Slow is not stopped: a combiner has another's write, sent, and does not go on. One that is
 * stopped or frozen loses its connection after the pool's stall_timeout, and the write is
 * uncertain. One that waits for a processor, or for Redis, keeps it, however long that takes, also
 * when its clock is another one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "broker/testbed/internal.h"
#include "libclient/pool.h"
#include "lendis/mailbox.h"
#include "tests/support/fixture.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80 /* <linux/sched.h>, Linux 5.6 */
#endif

#define LIMIT_MS 20000
#define STALL_MS 600
/* Several times what a stopped one gets. */
#define LONG_MS 2000

static struct fixture fixture;
static pid_t hog;
static int time_namespace = -1, ahead_namespace = -1;
static unsigned ahead; /* 1 + the worker that is to be in ahead_namespace */
static char frozen[128];

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return done;
}

static void thaw(void)
{
    char path[160];

    if (!frozen[0])
        return;
    snprintf(path, sizeof path, "%s/cgroup.freeze", frozen);
    write_file(path, "0");
    snprintf(path, sizeof path, "%s/freezer.state", frozen);
    write_file(path, "THAWED");
}

static int end(void **state)
{
    (void)state;
    if (hog > 0) {
        kill(hog, SIGKILL);
        waitpid(hog, NULL, 0);
    }
    hog = 0;
    thaw();
    fixture_end(&fixture);
    if (frozen[0])
        assert_true(eventually(rmdir(frozen) == 0, LIMIT_MS));
    frozen[0] = '\0';
    if (time_namespace >= 0)
        close(time_namespace);
    if (ahead_namespace >= 0)
        close(ahead_namespace);
    time_namespace = ahead_namespace = -1;
    ahead = 0;
    return 0;
}

static void start_broker(void)
{
    lendisd_start(&fixture.broker,
                  "log_level = info\n[pool p]\nredis = %s\nsize = 1\nmin_idle = 1\n"
                  "stall_timeout = %dms\n",
                  fixture.redis.unix_url, STALL_MS);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 1, LIMIT_MS));
}

static void start(void)
{
    redis_start(&fixture.redis);
    start_broker();
}

/* ---- a combiner and the owner of a command that it has ---- */

enum { COMBINER, OWNER };

struct writer {
    atomic_bool go;
    atomic_bool done;
    int result;
};

static bool vanishes; /* the combiner's thread, in the middle of its call */

static void end_thread(int number)
{
    (void)number;
    syscall(SYS_exit, 0); /* nothing of it is cleaned up, and its process lives on */
}

static void *live_on(void *unused)
{
    sleep_us(INT64_C(1000) * LIMIT_MS * 10);
    return unused;
}

static int run_writer(struct processes *processes, unsigned number)
{
    struct writer *writer = processes_result(processes, number);
    struct lendis_pool *pool;
    redisReply *reply;
    pthread_t thread;

    if (vanishes && (signal(SIGUSR1, end_thread) == SIG_ERR ||
                     pthread_create(&thread, NULL, live_on, NULL) != 0))
        return 3;
    if (number + 1 == ahead && setns(ahead_namespace, CLONE_NEWTIME) != 0)
        return 2;
    pool = pool_attach(&fixture.broker, "p");
    processes_ready(processes);
    while (!atomic_load(&writer->go))
        sleep_us(200);
    reply = lendis_command(pool, "INCR written");
    writer->result = reply ? 0 : lendis_pool_error(pool, NULL);
    if (reply)
        freeReplyObject(reply);
    atomic_store(&writer->done, true);
    while (!processes_stopping(processes))
        sleep_us(1000);
    lendis_detach(pool);
    return 0;
}

static struct writer *writer_of(unsigned number)
{
    return processes_result(&fixture.processes, number);
}

static enum mail_state mail_of(unsigned number)
{
    int slot = worker_of(&fixture.observer, fixture.processes.pids[number]);

    assert_true(slot >= 0);
    return mail_state(shm_load_relaxed(&fixture.observer.segment.slots[slot].mail));
}

static void queue_up(unsigned number, unsigned place)
{
    struct word_count count;

    atomic_store(&writer_of(number)->go, true);
    assert_true(
        eventually((observe_words(&fixture.observer, &count), count.waiting == place), LIMIT_MS));
}

/* Both workers' commands are sent, by the first, and Redis does not answer. */
static void send_both(void)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *lease;

    processes_start(&fixture.processes, 2, sizeof(struct writer), run_writer, NULL);
    processes_go(&fixture.processes);
    assert_int_equal(lendis_acquire(pool, LIMIT_MS, &lease), 0);
    queue_up(COMBINER, 1);
    queue_up(OWNER, 2);
    redis_pause(&fixture.redis);
    assert_int_equal(lendis_release(lease), 0);
    assert_true(eventually(
        mail_of(OWNER) == MAIL_TAKEN &&
            mail_was_sent(
                &fixture.observer.segment,
                shm_load(&fixture.observer.segment
                              .slots[worker_of(&fixture.observer, fixture.processes.pids[OWNER])]
                              .mail)),
        LIMIT_MS));
    lendis_detach(pool);
}

static unsigned revoked(void)
{
    struct catalog_pool pool;

    observe_pool(&fixture.observer, &pool);
    return (unsigned)CATALOG_SUM(pool.revoked);
}

static void expect_result(unsigned number, int result)
{
    assert_true(eventually(atomic_load(&writer_of(number)->done), LIMIT_MS));
    if (writer_of(number)->result != result)
        fail_msg("worker %u: %s instead of %s", number, lendis_strerror(writer_of(number)->result),
                 lendis_strerror(result));
}

static void expect_taken(const char *why)
{
    assert_true(eventually(revoked() == 1, LIMIT_MS));
    assert_true(lendisd_logged(&fixture.broker, why));
    expect_result(OWNER, LENDIS_E_UNCERTAIN);
}

static void expect_kept(void)
{
    assert_int_equal(revoked(), 0);
    expect_result(COMBINER, 0);
    expect_result(OWNER, 0);
    assert_int_equal(revoked(), 0);
}

/* ---- stopped ---- */

static void one_that_is_stopped(void **state)
{
    int64_t stopped_ms;

    (void)state;
    start();
    send_both();
    processes_signal(&fixture.processes, COMBINER, SIGSTOP);
    stopped_ms = now_ms();
    expect_taken("and is stopped");
    /* As it may have beaten right before. */
    assert_true(now_ms() - stopped_ms >= STALL_MS - CONNECTION_RECEIVE_MS);
    processes_signal(&fixture.processes, COMBINER, SIGCONT);
    redis_continue(&fixture.redis);
    expect_result(COMBINER, LENDIS_E_UNCERTAIN);
}

static void one_whose_thread_is_gone(void **state)
{
    (void)state;
    start();
    vanishes = true;
    send_both();
    vanishes = false;
    processes_signal(&fixture.processes, COMBINER, SIGUSR1); /* to its first thread */
    expect_taken("and is stopped");
    redis_continue(&fixture.redis);
    assert_true(pool_fills(&fixture.observer, 1, LIMIT_MS));
}

/* Puts the combiner into a new cgroup below `parent` and freezes that. False: there is no such
 * hierarchy here. */
static bool freeze(const char *parent, const char *file, const char *text)
{
    char path[160], pid[16];

    snprintf(frozen, sizeof frozen, "%s/lendis-test-%d", parent, (int)getpid());
    if (mkdir(frozen, 0755) != 0) {
        frozen[0] = '\0';
        return false;
    }
    snprintf(path, sizeof path, "%s/%s", frozen, file);
    if (access(path, W_OK) != 0) {
        rmdir(frozen);
        frozen[0] = '\0';
        return false;
    }
    send_both();
    snprintf(pid, sizeof pid, "%d", (int)fixture.processes.pids[COMBINER]);
    snprintf(path, sizeof path, "%s/cgroup.procs", frozen);
    assert_true(write_file(path, pid));
    snprintf(path, sizeof path, "%s/%s", frozen, file);
    assert_true(write_file(path, text));
    return true;
}

static void expect_frozen(bool done)
{
    if (!done) {
        print_message("# no cgroup can be made here: skipped\n");
        skip();
    }
    expect_taken("and is frozen");
    thaw();
    redis_continue(&fixture.redis);
    expect_result(COMBINER, LENDIS_E_UNCERTAIN);
}

static void one_that_is_frozen(void **state)
{
    (void)state;
    start();
    expect_frozen(freeze("/sys/fs/cgroup", "cgroup.freeze", "1") ||
                  freeze("/sys/fs/cgroup/unified", "cgroup.freeze", "1"));
}

static void one_that_is_frozen_by_the_older_freezer(void **state)
{
    (void)state;
    start();
    expect_frozen(freeze("/sys/fs/cgroup/freezer", "freezer.state", "FROZEN"));
}

/* ---- slow ---- */

static void one_that_waits_for_redis(void **state)
{
    (void)state;
    start();
    send_both();
    sleep_us(LONG_MS * 1000);
    redis_continue(&fixture.redis);
    expect_kept();
}

static void pin(pid_t pid, int processor)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    assert_int_equal(sched_setaffinity(pid, sizeof set, &set), 0);
}

static int any_processor(void)
{
    cpu_set_t set;
    int processor = 0;

    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    while (!CPU_ISSET(processor, &set))
        processor++;
    return processor;
}

/* Takes a processor all for itself, but for what the kernel keeps for others, a twentieth of a
 * second (sched(7)). */
static void start_hog(int processor)
{
    const struct sched_param least = {.sched_priority = 1};
    pid_t parent = getpid();

    hog = fork();
    assert_true(hog >= 0);
    if (hog == 0) {
        die_with(parent);
        for (volatile unsigned long i = 0;; i++)
            ;
    }
    pin(hog, processor);
    if (sched_setscheduler(hog, SCHED_FIFO, &least) != 0) {
        print_message("# no realtime process can be made here: %s: skipped\n", strerror(errno));
        skip();
    }
}

/* Waits until the combiner has shown nothing for so long. */
static void await_silence(int ms)
{
    uint64_t beat = 0, seen;
    int64_t since_ms = now_ms(), until_ms = since_ms + LIMIT_MS;

    while (now_ms() - since_ms < ms && now_ms() < until_ms) {
        seen = shm_load_relaxed(&fixture.observer.segment.connections[0].beat);
        if (seen != beat)
            since_ms = now_ms();
        beat = seen;
        sleep_us(5000);
    }
    assert_true(now_ms() - since_ms >= ms);
}

/* It was taken for stopped, and the other's write was uncertain. */
static void one_that_waits_for_a_processor(void **state)
{
    int processor = any_processor();

    (void)state;
    start();
    send_both();
    pin(fixture.processes.pids[COMBINER], processor);
    start_hog(processor);
    for (int i = 0; i < 2; i++)
        await_silence(STALL_MS + STALL_MS / 2);
    redis_continue(&fixture.redis);
    kill(hog, SIGKILL);
    expect_kept();
}

/* ---- other clocks ---- */

/* What this process forks from now on has a clock that is some days ahead; its own comes back with
 * clocks_back(). */
static void clocks_ahead(void)
{
    time_namespace = open("/proc/self/ns/time", O_RDONLY | O_CLOEXEC);
    if (time_namespace < 0 || unshare(CLONE_NEWTIME) != 0) {
        print_message("# no time namespace can be made here: %s: skipped\n", strerror(errno));
        skip();
    }
    assert_true(
        write_file("/proc/self/timens_offsets", "monotonic 1000000 0\nboottime 1000000 0\n"));
}

static void clocks_back(void)
{
    assert_int_equal(setns(time_namespace, CLONE_NEWTIME), 0);
}

/* Worker `number` alone is in the time namespace for children of this process. */
static void choose_clock(unsigned number)
{
    ahead = 1 + number;
    ahead_namespace = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
    assert_true(ahead_namespace >= 0);
}

/* The combiner's beat looked old to everybody else: it was revoked at once. */
static void a_combiner_whose_clock_is_behind(void **state)
{
    (void)state;
    redis_start(&fixture.redis);
    clocks_ahead();
    start_broker();
    choose_clock(OWNER);
    clocks_back();
    send_both();
    sleep_us(LONG_MS * 1000);
    redis_continue(&fixture.redis);
    expect_kept();
}

/* Its beat looked new for ever: when it stopped, nobody ever said so. */
static void a_stopped_combiner_whose_clock_is_ahead(void **state)
{
    (void)state;
    start();
    clocks_ahead();
    choose_clock(COMBINER);
    clocks_back();
    send_both();
    processes_signal(&fixture.processes, COMBINER, SIGSTOP);
    expect_taken("and is stopped");
    processes_signal(&fixture.processes, COMBINER, SIGCONT);
    redis_continue(&fixture.redis);
    expect_result(COMBINER, LENDIS_E_UNCERTAIN);
}

/* ---- one that gave its connection back, and was stopped before it rang ---- */

#define WAITERS 50u

/* The connection is given back as UNCLEAN or RETURNED, and the broker hears nothing. */
static struct lendis_lease *give_back_silently(struct lendis_pool *pool, bool unclean)
{
    struct lendis_lease *lease;
    shm_u64 *word;

    assert_int_equal(lendis_acquire(pool, LIMIT_MS, &lease), 0);
    word = &lease->attachment->segment.connections[lease->index].word;
    assert_true(unclean ? word_return_unclean(word, lease->word) : word_return(word, lease->word));
    return lease;
}

static void get_by_lease(struct lendis_pool *pool)
{
    struct lendis_lease *lease;

    assert_int_equal(lendis_acquire(pool, 2000, &lease), 0);
    lendis_release(lease);
}

static void get_by_command(struct lendis_pool *pool)
{
    static const char ping[] = "*1\r\n$4\r\nPING\r\n";
    void *reply = NULL;
    size_t size;

    assert_int_equal(lendis_exec(pool, ping, sizeof ping - 1, 2000, &reply, &size), 0);
    lendis_free(reply);
}

static void get_by_poll(struct lendis_pool *pool)
{
    struct lendis_lease *lease;
    struct lendis_wait *wait;
    struct pollfd poll_fd = {.events = POLLIN};
    int result;

    assert_int_equal(lendis_acquire_begin(pool, 2000, &wait), 0);
    poll_fd.fd = lendis_acquire_fd(wait);
    while ((result = lendis_acquire_finish(wait, &lease)) == LENDIS_E_AGAIN)
        poll(&poll_fd, 1, LIMIT_MS);
    assert_int_equal(result, 0);
    lendis_release(lease);
}

static void get_without_waiting(struct lendis_pool *pool)
{
    struct lendis_lease *lease;

    assert_true(eventually(lendis_acquire(pool, 0, &lease) == 0, 2000));
    lendis_release(lease);
}

/* Nobody got it until the stopped one ran on. */
static void what_was_given_back_is_had(void **state)
{
    void (*const ways[])(struct lendis_pool *) = {get_by_lease, get_by_command, get_by_poll,
                                                  get_without_waiting};

    (void)state;
    start();
    for (unsigned i = 0; i < 2 * sizeof ways / sizeof *ways; i++) {
        struct lendis_pool *stopped = pool_attach(&fixture.broker, "p");
        struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
        struct lendis_lease *lease = give_back_silently(stopped, i % 2);

        ways[i / 2](pool);
        assert_int_equal(lendis_release(lease), LENDIS_E_REVOKED);
        lendis_detach(pool);
        lendis_detach(stopped);
        assert_true(pool_fills(&fixture.observer, 1, LIMIT_MS));
    }
}

static int run_waiter(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *lease;
    int result;

    (void)number;
    processes_ready(processes);
    result = lendis_acquire(pool, 1000, &lease);
    return result == LENDIS_E_TIMEOUT ? 0 : 1;
}

/* A broker that does not come: the doorbell counts who rings. */
static void many_do_not_ring_as_often(void **state)
{
    struct lendis_pool *stopped;
    struct lendis_lease *lease;
    uint64_t rings = 0;
    int doorbell;

    (void)state;
    start();
    stopped = pool_attach(&fixture.broker, "p");
    processes_start(&fixture.processes, WAITERS, 8, run_waiter, NULL);
    assert_true(eventually(atomic_load(&fixture.processes.control->ready) == WAITERS, LIMIT_MS));
    lease = give_back_silently(stopped, false);
    lendisd_pause(&fixture.broker);
    doorbell = lease->attachment->doorbell;
    (void)!read(doorbell, &rings, sizeof rings);
    rings = 0;
    processes_go(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    assert_int_equal(read(doorbell, &rings, sizeof rings), sizeof rings);
    print_message("# %u waited for a second: %ju rings\n", WAITERS, (uintmax_t)rings);
    assert_true(rings >= 1 && rings <= WAITERS);
    lendisd_continue(&fixture.broker);
    lendis_release(lease);
    lendis_detach(stopped);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, end)
    const struct CMUnitTest tests[] = {
        TEST(one_that_is_stopped),
        TEST(one_whose_thread_is_gone),
        TEST(one_that_is_frozen),
        TEST(one_that_is_frozen_by_the_older_freezer),
        TEST(one_that_waits_for_redis),
        TEST(one_that_waits_for_a_processor),
        TEST(a_combiner_whose_clock_is_behind),
        TEST(a_stopped_combiner_whose_clock_is_ahead),
        TEST(what_was_given_back_is_had),
        TEST(many_do_not_ring_as_often),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
