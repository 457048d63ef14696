/* SPDX-License-Identifier: MIT */
/* What a process is doing, of real ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "broker/base/process.h"
#include "broker/testbed/internal.h"
#include "tests/support/support.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80 /* <linux/sched.h>, Linux 5.6 */
#endif

#define LIMIT_MS 10000

static pid_t child;
static int pidfd = -1;

/* Its runtime does not let a forked child go on as these children are to. */
static void skip_under_tsan(void)
{
#ifdef __SANITIZE_THREAD__
    skip();
#endif
}

static void make_child(void (*run)(void))
{
    pid_t parent = getpid();

    skip_under_tsan();
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        die_with(parent);
        run();
        _exit(0);
    }
    pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    if (pidfd < 0 && errno == ENOSYS)
        skip(); /* valgrind 3.19 does not know pidfd_open(2) */
    assert_true(pidfd >= 0);
}

static int end(void **state)
{
    (void)state;
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        close(pidfd);
    }
    child = 0;
    return 0;
}

static struct process_view view_of(pid_t thread)
{
    struct process_view view;

    process_inspect(pidfd, child, thread, &view);
    return view;
}

static void spin(void)
{
    for (volatile unsigned long i = 0;; i++)
        ;
}

static void sleep_on(void)
{
    for (;;)
        pause();
}

static void one_that_runs(void **state)
{
    uint64_t ran_ns;

    (void)state;
    make_child(spin);
    assert_true(eventually(view_of(0).ran_ns > 0, LIMIT_MS));
    assert_int_equal(view_of(0).state, PROCESS_RUNNABLE);
    ran_ns = view_of(0).ran_ns;
    assert_true(eventually(view_of(0).ran_ns > ran_ns, LIMIT_MS));
}

static void one_that_sleeps(void **state)
{
    uint64_t ran_ns;

    (void)state;
    make_child(sleep_on);
    assert_true(eventually(view_of(0).state == PROCESS_ASLEEP, LIMIT_MS));
    ran_ns = view_of(0).ran_ns;
    sleep_us(20000);
    assert_int_equal(view_of(0).ran_ns, ran_ns);
    assert_false(process_is_frozen(child));
}

static void one_that_is_stopped(void **state)
{
    (void)state;
    make_child(spin);
    kill(child, SIGSTOP);
    assert_true(eventually(view_of(0).state == PROCESS_STOPPED, LIMIT_MS));
    kill(child, SIGCONT);
    assert_true(eventually(view_of(0).state == PROCESS_RUNNABLE, LIMIT_MS));
}

/* Also before it is reaped, and when its number is another's: what counts is the pidfd. */
static void one_that_has_ended(void **state)
{
    struct process_view view;

    (void)state;
    make_child(sleep_on);
    kill(child, SIGKILL);
    assert_true(eventually(view_of(0).state == PROCESS_STOPPED, LIMIT_MS));
    process_inspect(pidfd, getpid(), 0, &view);
    assert_int_equal(view.state, PROCESS_STOPPED);
}

static void one_that_cannot_be_seen(void **state)
{
    struct process_view view;

    (void)state;
    make_child(sleep_on);
    process_inspect(-1, child, 0, &view);
    assert_int_equal(view.state, PROCESS_UNSEEN);
    process_inspect(pidfd, 0, 0, &view);
    assert_int_equal(view.state, PROCESS_UNSEEN);
}

static void *spin_in_thread(void *context)
{
    (void)context;
    spin();
    return NULL;
}

static void sleep_beside_a_thread(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, spin_in_thread, NULL) != 0)
        _exit(1);
    sleep_on();
}

/* Which of several threads is meant has to be known; but a signal stops all. */
static void one_of_two_threads(void **state)
{
    (void)state;
    make_child(sleep_beside_a_thread);
    assert_true(eventually(
        view_of(child).state == PROCESS_ASLEEP && view_of(0).state == PROCESS_UNSEEN, LIMIT_MS));
    assert_int_equal(view_of(getpid()).state, PROCESS_UNSEEN);
    kill(child, SIGSTOP);
    assert_true(eventually(view_of(0).state == PROCESS_STOPPED, LIMIT_MS));
    assert_int_equal(view_of(child).state, PROCESS_STOPPED);
}

static void when_it_began(void **state)
{
    uint64_t began;

    (void)state;
    make_child(sleep_on);
    began = process_started(child);
    assert_true(began > 0);
    assert_true(process_started(getpid()) <= began);
    assert_true(process_started_alike(began, began + 1));
    assert_true(process_started_alike(began, 0));
    assert_false(process_started_alike(began, began + 2));
}

/* A broker in a time namespace took living workers for others that had got their numbers. */
static void when_it_began_by_another_clock(void **state)
{
    static const char offsets[] = "monotonic 1000000 0\nboottime 1000000 5000001\n";
    int own = open("/proc/self/ns/time", O_RDONLY | O_CLOEXEC), fd, status;
    uint64_t began = process_started(getpid());
    pid_t other;

    (void)state;
    if (own < 0 || unshare(CLONE_NEWTIME) != 0)
        skip();
    fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, offsets, sizeof offsets - 1), sizeof offsets - 1);
    close(fd);
    other = fork();
    assert_true(other >= 0);
    if (other == 0)
        _exit(process_started_alike(process_started(getppid()), began) ? 0 : 1);
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(setns(own, CLONE_NEWTIME), 0);
    close(own);
    assert_int_equal(status, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, end)
    const struct CMUnitTest tests[] = {
        TEST(one_that_runs),           TEST(one_that_sleeps),
        TEST(one_that_is_stopped),     TEST(one_that_has_ended),
        TEST(one_that_cannot_be_seen), TEST(one_of_two_threads),
        TEST(when_it_began),           TEST(when_it_began_by_another_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
