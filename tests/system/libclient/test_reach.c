/* SPDX-License-Identifier: MIT */
/*
 * A process that changes its root, its mount namespace or its rights after it has attached. It goes
 * on with what is open; when nothing is left and the broker cannot be reached again, its calls say
 * why at once. A broker that restarts is waited for, and one that hangs up is asked again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/support/fixture.h"

#define LIMIT_MS   20000
#define AT_ONCE_MS 1500 /* of a wait_timeout of 10 s */

static struct fixture fixture;

static int start(void **state)
{
    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\nsize = 2\nmin_idle = 2\nwait_timeout = 10s\n",
                  fixture.redis.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

static bool pings(redisReply *reply)
{
    bool good = reply && reply->str && strcmp(reply->str, "PONG") == 0;

    if (reply)
        freeReplyObject(reply);
    return good;
}

/* What the process does to itself. */
struct change {
    bool (*apply)(void);
    int expected;     /* result of calls */
    const char *says; /* in the text */
};

static bool change_root(void)
{
    static char empty[TESTBED_PATH_SIZE];

    scratch_path(empty, "empty");
    return (mkdir(empty, 0755) == 0 || errno == EEXIST) && chroot(empty) == 0 && chdir("/") == 0;
}

static bool change_mounts(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", scratch_directory(), "tmpfs", 0, NULL) == 0;
}

static bool drop_rights(void)
{
    return setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0 &&
           setresuid(65534, 65534, 65534) == 0;
}

/* The call's result, and in time. */
static bool says(int result, int64_t start_ms, const struct change *change)
{
    bool right = result == change->expected && now_ms() - start_ms < AT_ONCE_MS;

    if (!right)
        fprintf(stderr, "%d (%s) after %d ms\n", result, lendis_strerror(result),
                (int)(now_ms() - start_ms));
    return right;
}

static bool calls_say(struct lendis_pool *pool, const struct change *change)
{
    static const char request[] = "*1\r\n$4\r\nPING\r\n";
    struct lendis_lease *lease;
    struct lendis_wait *wait = NULL;
    int64_t start_ms = now_ms();
    const char *text;
    size_t size;
    void *reply;
    int result;

    if (lendis_command(pool, "PING") || !says(lendis_pool_error(pool, &text), start_ms, change) ||
        !strstr(text, change->says))
        return false;
    start_ms = now_ms();
    if (!says(lendis_acquire(pool, -1, &lease), start_ms, change) ||
        !says(lendis_exec(pool, request, sizeof request - 1, -1, &reply, &size), start_ms, change))
        return false;
    start_ms = now_ms();
    result = lendis_acquire_begin(pool, -1, &wait);
    while (result == 0 || result == LENDIS_E_AGAIN) {
        struct pollfd polled = {.fd = lendis_acquire_fd(wait), .events = POLLIN};

        poll(&polled, 1, 1000);
        result = lendis_acquire_finish(wait, &lease);
        if (result == 0 || now_ms() - start_ms > AT_ONCE_MS)
            return false;
    }
    return says(result, start_ms, change);
}

/* The parent ends broker and Redis once the worker has changed; a status for each step that
 * failed. */
static int work(struct processes *processes, unsigned number)
{
    const struct change *change = processes->context;
    struct lendis_pool *pool;

    (void)number;
    if (lendis_attach(fixture.broker.socket_path, "p", NULL, &pool) != 0 ||
        !pings(lendis_command(pool, "PING")))
        return 1;
    if (!change->apply())
        return 2;
    if (!pings(lendis_command(pool, "PING")))
        return 3;
    processes_ready(processes);
    while (!processes_stopping(processes))
        sleep_us(1000);
    return calls_say(pool, change) ? 0 : 4;
}

/* Nothing of what it has is open any more. */
static void run_change(struct change *change, bool restart)
{
    processes_start(&fixture.processes, 1, 0, work, change);
    processes_go(&fixture.processes);
    lendisd_kill(&fixture.broker);
    redis_restart(&fixture.redis);
    if (restart) {
        lendisd_launch(&fixture.broker, true);
        segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
        assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    }
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    if (processes_failures(&fixture.processes) != 0)
        fail_msg("step %d", WEXITSTATUS(fixture.processes.statuses[0]));
}

static void another_root(void **state)
{
    struct change change = {change_root, -ENOENT, "has changed its root"};

    (void)state;
    observer_close(&fixture.observer);
    fixture.observer = (struct observer){0};
    run_change(&change, true);
}

static void other_mounts(void **state)
{
    struct change change = {change_mounts, -ENOENT, "has changed its root"};

    (void)state;
    observer_close(&fixture.observer);
    fixture.observer = (struct observer){0};
    run_change(&change, true);
}

/* The scratch directory lets nobody else pass. */
static void other_rights(void **state)
{
    struct change change = {drop_rights, -EACCES, "cannot be reached again"};

    (void)state;
    observer_close(&fixture.observer);
    fixture.observer = (struct observer){0};
    run_change(&change, true);
}

/* The child of a master that attached: its first use is behind the change. */
static int first_use(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = processes->context;
    struct change change = {change_root, -ENOENT, "has changed its root"};
    int64_t start_ms;

    (void)number;
    if (!change.apply())
        return 1;
    start_ms = now_ms();
    if (lendis_command(pool, "PING"))
        return 2;
    return says(lendis_pool_error(pool, NULL), start_ms, &change) ? 0 : 3;
}

static void a_child_in_another_root(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");

    (void)state;
    assert_true(pings(lendis_command(pool, "PING")));
    processes_start(&fixture.processes, 1, 0, first_use, pool);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    if (processes_failures(&fixture.processes) != 0)
        fail_msg("step %d", WEXITSTATUS(fixture.processes.statuses[0]));
    lendis_detach(pool);
}

/* From its new root it sees the same folder: the broker's restart is a restart. */
static bool change_root_with_folder(void)
{
    char root[TESTBED_PATH_SIZE * 2], folder[TESTBED_PATH_SIZE * 4];

    snprintf(root, sizeof root, "%s/root", scratch_directory());
    snprintf(folder, sizeof folder, "%s%s", root, scratch_directory());
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return false;
    for (char *slash = strchr(folder + strlen(scratch_directory()) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, 0755) < 0 && errno != EEXIST)
            return false;
        *slash = '/';
    }
    if (mkdir(folder, 0755) < 0 && errno != EEXIST)
        return false;
    return mount(scratch_directory(), folder, NULL, MS_BIND, NULL) == 0 && chroot(root) == 0 &&
           chdir("/") == 0;
}

static int wait_for_restart(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool;

    (void)number;
    if (lendis_attach(fixture.broker.socket_path, "p", NULL, &pool) != 0 ||
        !pings(lendis_command(pool, "PING")) || !change_root_with_folder())
        return 1;
    processes_ready(processes);
    while (!processes_stopping(processes))
        sleep_us(1000);
    return pings(lendis_command(pool, "PING")) ? 0 : 2;
}

static void a_restart_seen_from_another_root(void **state)
{
    (void)state;
    observer_close(&fixture.observer);
    fixture.observer = (struct observer){0};
    processes_start(&fixture.processes, 1, 0, wait_for_restart, NULL);
    processes_go(&fixture.processes);
    lendisd_kill(&fixture.broker);
    assert_int_equal(unlink(fixture.broker.socket_path), 0);
    redis_restart(&fixture.redis);
    processes_stop(&fixture.processes);
    sleep_us(300000); /* of the wait: a failure would be at once */
    lendisd_launch(&fixture.broker, true);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    if (processes_failures(&fixture.processes) != 0)
        fail_msg("step %d", WEXITSTATUS(fixture.processes.statuses[0]));
}

/* ---- neither broker nor Redis ---- */

static int find_nobody(struct processes *processes, unsigned number)
{
    struct change nothing = {NULL, LENDIS_E_DOWN, "neither the broker"};
    struct lendis_pool *pool;
    int64_t start_ms;

    (void)number;
    if (lendis_attach(fixture.broker.socket_path, "p", NULL, &pool) != 0 ||
        !pings(lendis_command(pool, "PING")))
        return 1;
    processes_ready(processes);
    while (!processes_stopping(processes))
        sleep_us(1000);
    lendis_command(pool, "PING"); /* which may have been sent */
    start_ms = now_ms();
    for (int i = 0; i < 20; i++)
        if (!calls_say(pool, &nothing))
            return 2;
    if (now_ms() - start_ms > AT_ONCE_MS)
        return 3;
    processes_ready(processes);
    for (int i = 0; i < LIMIT_MS / 10; i++, sleep_us(10000)) {
        redisReply *reply = lendis_command(pool, "PING");

        if (reply)
            return pings(reply) ? 0 : 4;
    }
    return 5;
}

/* A socket of the process' own would be refused at once: so are calls, without their limits. When
 * both are back, all is as before. */
static void nobody_answers(void **state)
{
    (void)state;
    observer_close(&fixture.observer);
    fixture.observer = (struct observer){0};
    processes_start(&fixture.processes, 2, 0, find_nobody, NULL);
    processes_go(&fixture.processes);
    lendisd_kill(&fixture.broker);
    redis_kill(&fixture.redis);
    processes_stop(&fixture.processes);
    assert_true(eventually(atomic_load(&fixture.processes.control->ready) >= 4, LIMIT_MS));
    redis_start(&fixture.redis);
    lendisd_launch(&fixture.broker, true);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    if (processes_failures(&fixture.processes) != 0)
        fail_msg("step %d", WEXITSTATUS(fixture.processes.statuses[0]));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

/* ---- a broker that hangs up ---- */

#define HANG_UPS 4

static char door[TESTBED_PATH_SIZE];

/* A thread: hangs up on some, then the broker is behind the door. Its listener ends last: who waits
 * there is hung up on, too. */
static void *hang_up(void *listener)
{
    char other[TESTBED_PATH_SIZE];
    int count = 0, fd;

    for (; count < HANG_UPS && (fd = accept(*(int *)listener, NULL, NULL)) >= 0; count++)
        close(fd);
    scratch_path(other, "other-door");
    if (symlink(fixture.broker.socket_path, other) < 0 || rename(other, door) < 0)
        count = 0;
    close(*(int *)listener);
    *(int *)listener = count;
    return NULL;
}

/* As one does that has a crowd before its door: a HELLO that had no answer is said again. */
static void a_broker_that_hangs_up(void **state)
{
    struct lendis_options patient = {.size = sizeof patient, .attach_timeout_ms = LIMIT_MS};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct lendis_pool *pool;
    pthread_t thread;

    (void)state;
    scratch_path(door, "door");
    assert_true(strlen(door) < sizeof address.sun_path);
    strcpy(address.sun_path, door);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 16), 0);
    assert_int_equal(pthread_create(&thread, NULL, hang_up, &listener), 0);
    assert_int_equal(lendis_attach(door, "p", &patient, &pool), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(listener, HANG_UPS);
    assert_true(pings(lendis_command(pool, "PING")));
    lendis_detach(pool);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(another_root),
        TEST(other_mounts),
        TEST(other_rights),
        TEST(a_child_in_another_root),
        TEST(a_restart_seen_from_another_root),
        TEST(a_broker_that_hangs_up),
        TEST(nobody_answers),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("reach", tests, NULL, NULL);
}
