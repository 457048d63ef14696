/* SPDX-License-Identifier: MIT */
/*
 * Log lines when standard error is not read: nobody waits, what finds no room is counted, and the
 * count is written when there is room again. One case for each kind of file that standard error can
 * be; each in a process of its own, whose standard error it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/base/log.h"
#include "broker/base/log_writer.h"

#define LINES 3000u /* about 300 KiB: more than the buffer and a pipe or a socket hold */
/* All of them: 3000 times some microseconds, on the busiest machine. */
#define PATIENCE_MS 10000u
#define FOREVER_MS  30000

static struct log_limit fresh;

static void log_one(unsigned number)
{
    fresh = (struct log_limit){0};
    log_limited(&fresh, LOG_LEVEL_NOTICE, "line %u of a text that is a hundred bytes long: %060u",
                number, number);
}

/* Logs more than there is room for, reports that by a byte, waits for one and logs again. */
static void log_without_a_reader(int error, int wake)
{
    uint64_t began_ms = clock_ms();
    char byte = 'x';

    dup2(error, STDERR_FILENO);
    close(error);
    signal(SIGPIPE, SIG_DFL); /* one that came would end the process */
    for (unsigned i = 0; i < LINES; i++)
        log_one(i);
    if (clock_ms() - began_ms > PATIENCE_MS)
        _exit(10);
    if (log_writer_flush(50))
        _exit(12);
    if (write(wake, &byte, 1) != 1 || read(wake, &byte, 1) != 1)
        _exit(13);
    if (!log_writer_flush(FOREVER_MS))
        _exit(14);
    log_one(LINES);
    _exit(log_writer_flush(FOREVER_MS) && log_writer_dropped() == 0 ? 0 : 15);
}

/* What is read from `fd` until its other side is closed: whole lines, and how many are reported to
 * be missing. */
static void count_lines(int fd, unsigned *lines, unsigned *dropped, unsigned *last)
{
    FILE *file = fdopen(fd, "r");
    char text[2048];

    *lines = *dropped = *last = 0;
    while (fgets(text, sizeof text, file)) {
        unsigned number;

        if (sscanf(text, "<4>%u log line", &number) == 1)
            *dropped += number;
        else if (sscanf(text, "<5>line %u of a text", &number) == 1 && strlen(text) > 100)
            (*lines)++, *last = number;
        else
            fail_msg("a torn line: %s", text);
    }
    fclose(file);
}

/* `error` is the child's, `reader` ours; `before_reading` gets it going again. */
static void expect_bounded(int error, int reader, void (*before_reading)(int fd))
{
    unsigned lines, dropped, last;
    int wake[2], status;
    char byte;
    pid_t child;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wake), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(reader);
        close(wake[0]);
        alarm(60);
        log_without_a_reader(error, wake[1]);
    }
    close(error);
    close(wake[1]);
    if (read(wake[0], &byte, 1) == 1) {
        if (before_reading)
            before_reading(reader);
        assert_int_equal(write(wake[0], "x", 1), 1);
    }
    count_lines(reader, &lines, &dropped, &last);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(dropped > 0);
    assert_int_equal(lines + dropped, LINES + 1);
    assert_int_equal(last, LINES);
    close(wake[0]);
}

static void a_pipe_that_nobody_reads(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    expect_bounded(ends[1], ends[0], NULL);
}

/* Whoever shares it has made it non-blocking: no line is lost for that, and it stays so. */
static void a_pipe_that_another_made_non_blocking(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    expect_bounded(ends[1], ends[0], NULL);
}

/* journald's. */
static void a_socket_that_nobody_reads(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    expect_bounded(ends[1], ends[0], NULL);
}

static void go_on(int terminal)
{
    tcflow(terminal, TCOON);
}

/* Ctrl-S. The master reads what the slave's side has written; a terminal's end is EIO, which ends
 * the reading as well. */
static void a_terminal_that_is_stopped(void **state)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;
    struct termios raw;

    (void)state;
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(slave >= 0 && tcgetattr(slave, &raw) == 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(slave, TCSANOW, &raw), 0);
    expect_bounded(slave, master, go_on);
}

/* The flags of the open file description are not ours alone. */
static void the_description_stays_as_it_is(void **state)
{
    int ends[2], status;
    pid_t child;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        log_one(1);
        _exit(!log_writer_flush(FOREVER_MS));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
    close(ends[0]);
    close(ends[1]);
}

/* Nobody can read it ever again: that ends nobody. */
static void a_reader_that_is_gone(void **state)
{
    int ends[2], status;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        if (pipe2(ends, O_CLOEXEC) != 0 || dup2(ends[1], STDERR_FILENO) < 0)
            _exit(1);
        close(ends[0]);
        signal(SIGPIPE, SIG_DFL);
        for (unsigned i = 0; i < 10; i++)
            log_one(i);
        _exit(!log_writer_flush(FOREVER_MS) || log_writer_dropped() != 10);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void log_again(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        log_line(LOG_LEVEL_NOTICE, "the same again");
}

/* No call is without a limit, that of log_line() included. */
static void every_call_has_a_limit(void **state)
{
    unsigned lines = 0;
    int ends[2], status;
    char text[256];
    pid_t child;
    FILE *file;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        log_again(10 * LOG_LINE_BURST);
        _exit(!log_writer_flush(FOREVER_MS));
    }
    close(ends[1]);
    file = fdopen(ends[0], "r");
    while (fgets(text, sizeof text, file))
        lines++;
    fclose(file);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_in_range(lines, LOG_LINE_BURST, 2 * LOG_LINE_BURST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipe_that_nobody_reads),
        cmocka_unit_test(a_pipe_that_another_made_non_blocking),
        cmocka_unit_test(a_socket_that_nobody_reads),
        cmocka_unit_test(a_terminal_that_is_stopped),
        cmocka_unit_test(the_description_stays_as_it_is),
        cmocka_unit_test(a_reader_that_is_gone),
        cmocka_unit_test(every_call_has_a_limit),
    };

    alarm(120);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
