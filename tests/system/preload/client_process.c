/* SPDX-License-Identifier: MIT */
/* Scenarios of several processes: children of all kinds, descriptors that are copied and closed. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/system/preload/client.h"

extern char **environ;

/* Parent and child go on with their own connections, and with the one that both have. */
static int forks(void)
{
    int fd = dial();
    pid_t pid;

    talk(fd, 3);
    pid = fork();
    if (pid == 0) {
        int own = dial();

        talk(own, 50);
        talk(fd, 50);
        exit(0);
    }
    talk(fd, 50);
    CHECK(child_status(pid) == 0);
    talk(fd, 3);
    return 0;
}

/* More processes than there are connections. */
static int herds(void)
{
    pid_t pids[16];

    for (int i = 0; i < 16; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            talk(dial(), 300);
            exit(0);
        }
    }
    for (int i = 0; i < 16; i++)
        CHECK(child_status(pids[i]) == 0);
    return 0;
}

/* A transaction is the parent's. */
static int forks_in_multi(void)
{
    int fd = dial();
    pid_t pid;

    EXPECT(ask(fd, "SET", "f", "1", NULL), "+OK\r\n");
    EXPECT(ask(fd, "MULTI", NULL), "+OK\r\n");
    EXPECT(ask(fd, "INCR", "f", NULL), "+QUEUED\r\n");
    pid = fork();
    if (pid == 0) {
        const char *reply = ask(fd, "INCR", "f", NULL);

        CHECK(strcmp(reply, "EOF") == 0);
        close(fd);
        fd = dial();
        talk(fd, 5);
        exit(0);
    }
    CHECK(child_status(pid) == 0);
    EXPECT(ask(fd, "EXEC", NULL), "*1\r\n:2\r\n");
    return 0;
}

/* A reply that is owed is the parent's. */
static int forks_while_owed(void)
{
    char text[64];
    size_t size = request(text, sizeof text, "BLPOP", "empty", "0.5", NULL);
    int fd = dial();
    pid_t pid;

    tell(fd, text, size);
    pid = fork();
    if (pid == 0) {
        EXPECT(hear(fd), "EOF");
        exit(0);
    }
    CHECK(child_status(pid) == 0);
    EXPECT(hear(fd), "*-1\r\n");
    talk(fd, 5);
    return 0;
}

/* Children that share the memory close and copy descriptors. */
static int vforks(void)
{
    char *arguments[] = {"true", NULL};
    int fd = dial(), before = errno;
    posix_spawn_file_actions_t actions;
    pid_t pid;

    talk(fd, 3);
    for (int i = 0; i < 3; i++) {
        pid = vfork();
        if (pid == 0) {
            close(fd);
            dup2(2, fd);
            close_range(3, ~0u, 0);
            execve("/bin/true", arguments, environ);
            _exit(127);
        }
        CHECK(child_status(pid) == 0);
        talk(fd, 3);
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclose(&actions, fd);
    CHECK(posix_spawn(&pid, "/bin/true", &actions, NULL, arguments, environ) == 0);
    CHECK(child_status(pid) == 0);
    talk(fd, 3);
    errno = before;
    return 0;
}

/* Nothing of a virtual connection is there for a program that is executed. */
static int executes(void)
{
    char command[128];
    int fd = dial(), plain = open("/dev/null", O_RDONLY);

    talk(fd, 1);
    CHECK(!(fcntl(fd, F_GETFD) & FD_CLOEXEC));
    CHECK(fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    CHECK(fcntl(fd, F_SETFD, 0) == 0 && fcntl(fd, F_GETFD) == 0);
    snprintf(command, sizeof command, "test -e /proc/self/fd/%d && test ! -e /proc/self/fd/%d",
             plain, fd);
    CHECK(system(command) == 0);
    talk(fd, 1);
    return 0;
}

/* All descriptors are closed, as programs do that become daemons, and files take their numbers. */
static int closes_all(void)
{
    char path[] = "/tmp/lendis-preload-XXXXXX";
    int fd = dial(), other = dial(), file;
    struct stat stat;

    talk(fd, 2);
    CHECK(close_range(3, ~0u, 0) == 0);
    CHECK(send(fd, "x", 1, 0) == -1 && errno == EBADF);
    for (int i = 0; i < 40; i++)
        CHECK((file = open("/dev/null", O_RDWR)) >= 3 && file < 200);
    file = mkstemp(path);
    unlink(path);
    CHECK(file >= 0);
    fd = dial();
    talk(fd, 20);
    CHECK(fstat(file, &stat) == 0 && stat.st_size == 0);
    for (int i = 3; i < 1024; i++)
        close(i);
    fd = dial();
    talk(fd, 20);
    closefrom(3);
    fd = dial();
    talk(fd, 20);
    (void)other;
    return 0;
}

/* Closed without our knowing, and another file has its number. */
static int closes_behind(void)
{
    struct timeval soon = {0};
    int fd = dial(), ends[2];
    fd_set reads;
    char text[8];

    find_raw();
    talk(fd, 1);
    CHECK(raw(SYS_close, fd) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && ends[0] == fd);
    CHECK(write(ends[0], "hello", 5) == 5);
    CHECK(read(ends[1], text, sizeof text) == 5 && memcmp(text, "hello", 5) == 0);
    CHECK(write(ends[1], "you", 3) == 3);
    CHECK(read(ends[0], text, sizeof text) == 3 && memcmp(text, "you", 3) == 0);
    /* With a session that is kept, and while it is waited for. */
    fd = dial();
    EXPECT(ask(fd, "MULTI", NULL), "+OK\r\n");
    CHECK(raw(SYS_close, fd) == 0);
    CHECK(dup(ends[0]) == fd);
    CHECK(write(fd, "hello", 5) == 5);
    CHECK(read(ends[1], text, sizeof text) == 5 && memcmp(text, "hello", 5) == 0);
    close(fd);
    fd = dial();
    EXPECT(ask(fd, "MULTI", NULL), "+OK\r\n");
    CHECK(raw(SYS_close, fd) == 0);
    CHECK(dup(ends[0]) == fd);
    FD_ZERO(&reads);
    FD_SET(fd, &reads);
    CHECK(select(fd + 1, &reads, NULL, NULL, &soon) == 0);
    CHECK(write(ends[1], "you", 3) == 3);
    CHECK(select(fd + 1, (FD_SET(fd, &reads), &reads), NULL, NULL, &soon) == 1);
    CHECK(write(fd, "hello", 5) == 5);
    CHECK(read(fd, text, sizeof text) == 3 && memcmp(text, "you", 3) == 0);
    CHECK(read(ends[1], text, sizeof text) == 5);
    close(fd);
    fd = dial();
    talk(fd, 5);
    CHECK(raw(SYS_close, fd) == 0);
    CHECK(dup(ends[0]) == fd);
    CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    CHECK(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
    CHECK(recv(fd, text, 1, 0) == -1 && errno == EAGAIN);
    return 0;
}

static int copies(void)
{
    int fd = dial(), copy, other, second = dial();

    talk(fd, 2);
    EXPECT(ask(fd, "CLIENT", "SETNAME", "copied", NULL), "+OK\r\n");
    copy = dup(fd);
    CHECK(copy > fd);
    EXPECT(ask(copy, "PING", NULL), "+PONG\r\n");
    EXPECT(ask(fd, "CLIENT", "GETNAME", NULL), "$6\r\ncopied\r\n");
    close(fd);
    talk(copy, 5);
    other = fcntl(second, F_DUPFD_CLOEXEC, 100);
    CHECK(other >= 100);
    talk(other, 5);
    talk(second, 5);
    fd = dial();
    talk(fd, 2);
    CHECK(dup2(2, fd) == fd);
    CHECK(send(fd, "x", 1, 0) == -1 && errno == ENOTSOCK);
    fd = dial();
    EXPECT(ask(fd, "MULTI", NULL), "+OK\r\n");
    copy = dup(fd);
    EXPECT(ask(copy, "EXEC", NULL), "*0\r\n");
    talk(fd, 2);
    return 0;
}

/* To another process that knows nothing of it, by the program's own socket. */
static int passes(void)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.room};
    int ends[2], fd = dial();
    pid_t pid;

    talk(fd, 2);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    pid = fork();
    if (pid == 0) {
        char byte;

        close(fd);
        part.iov_base = &byte;
        CHECK(recvmsg(ends[1], &message, 0) == 1);
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
        talk(fd, 10);
        exit(0);
    }
    control.header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    CHECK(sendmsg(ends[0], &message, 0) == 1);
    close(fd);
    CHECK(child_status(pid) == 0);
    return 0;
}

/* Becomes a daemon as programs do, and goes on. */
static int daemonises(void)
{
    int fd = dial(), ends[2];
    char byte = 0;

    talk(fd, 2);
    CHECK(pipe(ends) == 0);
    if (fork() == 0) {
        setsid();
        if (fork() != 0)
            _exit(0);
        close(0);
        close(1);
        close(fd);
        fd = dial();
        CHECK(fd == 0);
        talk(fd, 10);
        CHECK(write(ends[1], "y", 1) == 1);
        exit(0);
    }
    close(ends[1]);
    CHECK(read(ends[0], &byte, 1) == 1 && byte == 'y');
    return 0;
}

/* A few files at most: ours must not be in the way, and have lower numbers. */
static int few_descriptors(void)
{
    struct rlimit limit = {40, 40};
    int fd;

    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    fd = dial();
    talk(fd, 20);
    return 0;
}

/* The environment goes, as in the workers of php-fpm, before anything is connected. */
static int clears_environment(void)
{
    char *port = strdup(getenv("REDIS_PORT"));

    CHECK(clearenv() == 0);
    setenv("REDIS_PORT", port, 1);
    free(port);
    talk(dial(), 20);
    return 0;
}

/* Is killed at step $STEP: the test looks for what it leaves behind. */
static int dies(void)
{
    char text[64], byte;
    size_t size = request(text, sizeof text, "BLPOP", "empty", "60", NULL);
    int fd = dial(), step = atoi(getenv("STEP"));
    struct epoll_event event = {.events = EPOLLIN};
    fd_set reads;

    talk(fd, 1);
    switch (step) {
    case 1:
        tell(fd, text, size - 3);
        break;
    case 2:
        tell(fd, text, size);
        break;
    case 3:
        EXPECT(ask(fd, "MULTI", NULL), "+OK\r\n");
        break;
    case 4:
        size = request(text, sizeof text, "PING", NULL);
        tell(fd, text, size);
        FD_ZERO(&reads);
        FD_SET(fd, &reads);
        CHECK(select(fd + 1, &reads, NULL, NULL, NULL) == 1);
        break;
    case 5:
        size = request(text, sizeof text, "PING", NULL);
        tell(fd, text, size);
        CHECK(recv(fd, &byte, 1, 0) == 1);
        break;
    case 6:
        CHECK(epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, fd, &event) == 0);
        tell(fd, text, size);
        break;
    }
    raise(SIGKILL);
    return 0;
}

const struct scenario process_scenarios[] = {
    {"forks", forks},
    {"herds", herds},
    {"forks_in_multi", forks_in_multi},
    {"forks_while_owed", forks_while_owed},
    {"vforks", vforks},
    {"executes", executes},
    {"closes_all", closes_all},
    {"closes_behind", closes_behind},
    {"copies", copies},
    {"passes", passes},
    {"daemonises", daemonises},
    {"few_descriptors", few_descriptors},
    {"clears_environment", clears_environment},
    {"dies", dies},
    {NULL, NULL},
};
