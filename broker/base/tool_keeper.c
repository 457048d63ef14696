/* SPDX-License-Identifier: MIT */
/* Keeping a program: see tool_keeper.h. */
#include "broker/base/tool_keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Of both outputs together: more is not what prints a password. */
#define PRINTED_MAX   (256u * 1024u)
#define LINE_MAX_SIZE 200u
#define LINES_MAX     20u
/* What was killed is waited for so long; a program in a system call that hangs may never end. */
#define REAP_MS 1000
/* Descriptors of a program, unless it raises its limit: select(2) has no more. */
#define DESCRIPTORS 1024u

/* The keeper's own descriptors: these, and the three standard ones, which are /dev/null. */
#define SOCKET 3

struct keeper {
    int output, errors; /* pipes; -1: closed */
    pid_t program;
    int process; /* its pidfd */
    int64_t until_ms;
    uint32_t printed; /* bytes of both */
    bool whole;       /* the line is: what follows it is read and thrown away */
    bool too_long;
    uint32_t lines;
    uint32_t line_size;
    char line[LINE_MAX_SIZE];
    struct tool_message answer; /* its line, as it comes */
};

/* The only one, and only in the child: on no stack that would be dumped or swapped. */
static struct keeper keeper;

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* ---- to the broker ---- */

static void send_message(const struct tool_message *message)
{
    size_t size = offsetof(struct tool_message, bytes) + message->size;

    while (send(SOCKET, message, size, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

static void send_line(void)
{
    static struct tool_message message;

    message.news = TOOL_LINE;
    message.size = keeper.line_size;
    memcpy(message.bytes, keeper.line, keeper.line_size);
    if (keeper.line_size > 0 && keeper.lines++ < LINES_MAX)
        send_message(&message);
    keeper.line_size = 0;
}

/* ---- what it prints ---- */

static void take_errors(const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\n')
            send_line();
        else if (keeper.line_size < sizeof keeper.line)
            keeper.line[keeper.line_size++] = data[i];
    }
}

static void take_output(const char *data, size_t size)
{
    const char *end = memchr(data, '\n', size);
    size_t here = end ? (size_t)(end - data) : size;

    if (keeper.whole)
        return;
    if (here > sizeof keeper.answer.bytes - keeper.answer.size) {
        keeper.too_long = true;
        here = sizeof keeper.answer.bytes - keeper.answer.size;
    }
    memcpy(keeper.answer.bytes + keeper.answer.size, data, here);
    keeper.answer.size += (uint32_t)here;
    keeper.whole = end != NULL;
}

/* Reads once, without waiting. False: there is nothing, or no more. */
static bool read_pipe(int *pipe, void (*take)(const char *data, size_t size))
{
    static char data[4096];
    ssize_t got = *pipe < 0 ? 0 : read(*pipe, data, sizeof data);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0) {
        if (*pipe >= 0)
            close(*pipe);
        *pipe = -1;
        return false;
    }
    take(data, (size_t)got);
    explicit_bzero(data, (size_t)got);
    keeper.printed += (uint32_t)got;
    return true;
}

static bool is_too_much(void)
{
    return keeper.too_long || keeper.printed > PRINTED_MAX;
}

/* All that is there; a child of the program may keep a pipe open for ever, and write. */
static void drain(void)
{
    while (!is_too_much() && read_pipe(&keeper.output, take_output))
        ;
    while (!is_too_much() && read_pipe(&keeper.errors, take_errors))
        ;
    send_line();
}

/* ---- its end ---- */

/* Kills what is a child of ours by now: the program, and what has lost its parent. */
static void kill_children(void)
{
    char text[1024];
    int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);

    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = '\0';
    for (char *at = text; *at;) {
        long child = strtol(at, &at, 10);

        if (child > 1)
            kill((pid_t)child, SIGKILL);
        at += *at == ' ';
    }
}

/* Ends everything that is left of it. Each one that is reaped may leave us children of its own. */
static void end_all(void)
{
    static const struct timespec moment = {.tv_nsec = 1000000};
    int64_t until_ms = now_ms() + REAP_MS;
    pid_t ended;

    if (keeper.program > 0)
        kill(-keeper.program, SIGKILL); /* its session */
    do {
        kill_children();
        ended = waitpid(-1, NULL, WNOHANG);
        if (ended == 0)
            nanosleep(&moment, NULL);
    } while ((ended >= 0 || errno == EINTR) && now_ms() < until_ms);
}

static void finish(enum tool_news news, int value) __attribute__((noreturn));
static void finish(enum tool_news news, int value)
{
    end_all();
    keeper.answer.news = news;
    keeper.answer.value = value;
    if (news != TOOL_PRINTED)
        keeper.answer.size = 0;
    send_message(&keeper.answer);
    explicit_bzero(&keeper, sizeof keeper);
    _exit(0);
}

/* The program has ended. */
static void conclude(void)
{
    int status = 0;

    drain();
    if (waitpid(keeper.program, &status, 0) < 0)
        finish(TOOL_FAILED, errno);
    if (WIFSIGNALED(status))
        finish(TOOL_KILLED, WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        finish(TOOL_EXITED, WEXITSTATUS(status));
    if (is_too_much())
        finish(TOOL_LONG, 0);
    if (keeper.answer.size > 0 && keeper.answer.bytes[keeper.answer.size - 1] == '\r')
        keeper.answer.size--;
    finish(keeper.answer.size > 0 ? TOOL_PRINTED : TOOL_EMPTY, 0);
}

/* ---- its beginning ---- */

static void execute(const struct tool_order *order, int output, int errors, int failure)
    __attribute__((noreturn));
static void execute(const struct tool_order *order, int output, int errors, int failure)
{
    struct rlimit limit;
    sigset_t none;
    int error;

    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    limit = (struct rlimit){0, 0}; /* it has the secret, too */
    setrlimit(RLIMIT_CORE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > DESCRIPTORS) {
        limit.rlim_cur = DESCRIPTORS;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (chdir("/") == 0 && dup2(output, STDOUT_FILENO) >= 0 && dup2(errors, STDERR_FILENO) >= 0)
        execve(order->words[0], order->words, order->environment);
    error = errno;
    (void)!write(failure, &error, sizeof error);
    _exit(127);
}

/* Both ends are closed on exec; ours does not wait. */
static bool make_pipe(int ends[2])
{
    return pipe2(ends, O_CLOEXEC) == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0;
}

/* Returns when it is running, or not. */
static void start(const struct tool_order *order, int failure[2])
{
    int output[2], errors[2];

    if (!make_pipe(output) || !make_pipe(errors) || !make_pipe(failure))
        finish(TOOL_FAILED, errno);
    keeper.program = fork();
    if (keeper.program < 0)
        finish(TOOL_FAILED, errno);
    if (keeper.program == 0)
        execute(order, output[1], errors[1], failure[1]);
    close(output[1]);
    close(errors[1]);
    close(failure[1]);
    keeper.output = output[0];
    keeper.errors = errors[0];
    keeper.process = (int)syscall(SYS_pidfd_open, keeper.program, 0);
    if (keeper.process < 0)
        finish(TOOL_FAILED, errno);
}

static void prepare(int socket)
{
    sigset_t all;
    int null;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGCHLD, SIG_DFL);
    prctl(PR_SET_NAME, "lendisd-keeper");
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    mlock(&keeper, sizeof keeper);
    if (socket != SOCKET)
        dup2(socket, SOCKET);
    fcntl(SOCKET, F_SETFD, FD_CLOEXEC);
    close_range(SOCKET + 1, ~0u, 0);
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd < SOCKET; fd++)
        dup2(null, fd);
    if (null > SOCKET)
        close(null);
}

/* Whether it could not be executed. */
static void check_failure(int failure)
{
    int error;

    if (read(failure, &error, sizeof error) == sizeof error)
        finish(TOOL_NOT_THERE, error);
}

void tool_keep(int socket, const struct tool_order *order)
{
    int failure[2];

    prepare(socket);
    keeper = (struct keeper){.output = -1, .errors = -1, .process = -1};
    keeper.until_ms = now_ms() + order->limit_ms;
    start(order, failure);
    for (;;) {
        struct pollfd polled[] = {{.fd = SOCKET},
                                  {.fd = keeper.process, .events = POLLIN},
                                  {.fd = keeper.output, .events = POLLIN},
                                  {.fd = keeper.errors, .events = POLLIN}};
        int64_t left_ms = keeper.until_ms - now_ms();

        if (left_ms <= 0)
            finish(TOOL_LATE, 0);
        if (poll(polled, sizeof polled / sizeof *polled, (int)left_ms) < 0)
            continue;
        if (polled[0].revents) { /* the broker wants no answer any more, or is gone */
            end_all();
            _exit(0);
        }
        read_pipe(&keeper.output, take_output);
        read_pipe(&keeper.errors, take_errors);
        if (is_too_much())
            finish(TOOL_LONG, 0);
        if (polled[1].revents) {
            check_failure(failure[0]);
            conclude();
        }
    }
}
