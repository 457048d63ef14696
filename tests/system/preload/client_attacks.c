/* SPDX-License-Identifier: MIT */
/* Scenarios of what programs seldom do: flags, long pipelines, half-closed and broken streams,
 * edges, children at every step. Each is the same on a connection of its own. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/system/preload/client.h"

#define PONG "+PONG\r\n"

static char ping[64];
static size_t ping_size;

static void make_ping(void)
{
    ping_size = request(ping, sizeof ping, "PING", NULL);
}

/* ---- flags ---- */

static void wait_for_all(void)
{
    char text[128], got[64];
    size_t size = request(text, sizeof text, "PING", NULL);
    struct iovec parts[2] = {{got, 3}, {got + 3, 9}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    int fd = dial();

    /* The second reply comes later than the limit of a pooled socket. */
    size += request(text + size, sizeof text - size, "BLPOP", "nothing", "0.6", NULL);
    tell(fd, text, size);
    CHECK(recv(fd, got, 12, MSG_WAITALL) == 12 && memcmp(got, PONG "*-1\r\n", 12) == 0);
    tell(fd, text, size);
    CHECK(recvmsg(fd, &message, MSG_WAITALL) == 12 && memcmp(got, PONG "*-1\r\n", 12) == 0);
    tell(fd, text, size);
    CHECK(recv(fd, got, 12, MSG_WAITALL | MSG_DONTWAIT) < 12);
    while (ioctl(fd, FIONREAD, &size) == 0 && (int)size < 5)
        CHECK(poll(NULL, 0, 5) == 0);
    CHECK(shutdown(fd, SHUT_WR) == 0);
    CHECK(recv(fd, got, sizeof got, MSG_WAITALL) > 0); /* the end comes before all has */
}

static int flags(void)
{
    struct iovec none[2] = {{ping, 0}, {ping, 0}};
    char got[64];
    int fd = dial(), number;
    struct pollfd waited = {.fd = fd, .events = POLLIN};

    make_ping();
    CHECK(read(fd, got, 0) == 0); /* it does not wait */
    CHECK(readv(fd, none, 2) == 0);
    CHECK(recv(fd, got, 1, MSG_OOB | MSG_DONTWAIT) == -1 && errno == EINVAL);
    CHECK(recv(fd, got, 1, MSG_ERRQUEUE) == -1 && errno == EAGAIN);
    for (int round = 0; round < 10; round++) {
        tell(fd, ping, ping_size);
        CHECK(poll(&waited, 1, 5000) == 1);
        for (int i = 1; i <= 7; i++)
            CHECK(recv(fd, got, (size_t)i, MSG_PEEK) == i && memcmp(got, PONG, (size_t)i) == 0);
        CHECK(ioctl(fd, FIONREAD, &number) == 0 && number == 7);
        CHECK(recv(fd, got, 3, 0) == 3);
        CHECK(recv(fd, got, sizeof got, MSG_PEEK) == 4 && memcmp(got, "NG\r\n", 4) == 0);
        CHECK(recv(fd, got, sizeof got, MSG_PEEK | MSG_TRUNC) == 4);
        memset(got, '-', sizeof got);
        CHECK(recv(fd, got, 4, MSG_TRUNC) == 4 && got[0] == '-'); /* thrown away: tcp(7) */
        CHECK(recv(fd, got, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
        tell(fd, ping, ping_size);
        CHECK(poll(&waited, 1, 5000) == 1);
        CHECK(recv(fd, NULL, 7, MSG_TRUNC) == 7);
    }
    tell(fd, ping, 5);
    CHECK(send(fd, ping + 5, ping_size - 5, MSG_MORE | MSG_NOSIGNAL) > 0);
    EXPECT(hear(fd), PONG);
    talk(fd, 2);
    wait_for_all();
    return 0;
}

/* ---- many commands, much data ---- */

/* Ten thousand commands before a reply is read; in pieces that end anywhere, each of its own. */
static int crossing(void)
{
    static char text[400000];
    size_t size = 0, at = 0, piece = 1;
    char number[16], expected[64];
    int fd = dial();

    for (int i = 0; i < 10000; i++) {
        snprintf(number, sizeof number, "%d", i);
        size += request(text + size, sizeof text - size, "ECHO", number, NULL);
    }
    for (; at < size; at += piece, piece = piece * 7 % 1009 + 1)
        tell(fd, text + at, piece < size - at ? piece : size - at);
    for (int i = 0; i < 10000; i++) {
        snprintf(number, sizeof number, "%d", i);
        snprintf(expected, sizeof expected, "$%zu\r\n%s\r\n", strlen(number), number);
        EXPECT(hear(fd), expected);
    }
    talk(fd, 2);
    return 0;
}

static void hear_value(int fd, size_t size)
{
    static char back[4000000];
    size_t have = 0;

    while (have < size) {
        ssize_t got = recv(fd, back, sizeof back < size - have ? sizeof back : size - have, 0);

        CHECK(got > 0);
        have += (size_t)got;
    }
}

/* A reply that fits no buffer, by a lease and, with the pool taken, by another's; all of it read,
 * or the connection closed in the middle. */
static int longest(void)
{
    static char value[3000000];
    int holders[4], fd = dial(), other = dial();
    char text[64];
    size_t size;

    memset(value, 'v', sizeof value);
    size = (size_t)snprintf(text, sizeof text, "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%zu\r\n",
                            sizeof value);
    tell(fd, text, size);
    tell(fd, value, sizeof value);
    tell(fd, "\r\n", 2);
    EXPECT(hear(fd), "+OK\r\n");
    for (int i = 0; i < 3; i++) {
        holders[i] = dial();
        EXPECT(ask(holders[i], "MULTI", NULL), "+OK\r\n");
    }
    size = request(text, sizeof text, "GET", "big", NULL);
    for (int i = 0; i < 3; i++) {
        tell(other, text, size); /* takes the last one, or none is left */
        tell(fd, text, size);
        hear_value(fd, sizeof value + 12);
        hear_value(other, 1000);
        if (i == 2)
            break;
        hear_value(other, sizeof value + 12 - 1000);
        talk(fd, 2);
        talk(other, 2);
    }
    close(other);
    for (int i = 0; i < 3; i++)
        EXPECT(ask(holders[i], "EXEC", NULL), "*0\r\n");
    talk(fd, 5);
    EXPECT(ask(fd, "DEL", "big", NULL), ":1\r\n");
    return 0;
}

/* ---- broken streams ---- */

static int half_closes(void)
{
    char text[256];
    size_t size;
    int fd = dial();

    make_ping();
    tell(fd, ping, ping_size);
    CHECK(shutdown(fd, SHUT_WR) == 0);
    EXPECT(hear(fd), PONG);
    EXPECT(hear(fd), "EOF");
    CHECK(send(fd, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
    fd = dial();
    for (int i = 0, at = 0; i < 3; i++)
        at += (int)(size = request(text + at, sizeof text - (size_t)at, "ECHO", "x", NULL));
    tell(fd, text, 3 * size);
    EXPECT(hear(fd), "$1\r\nx\r\n");
    CHECK(shutdown(fd, SHUT_WR) == 0);
    EXPECT(hear(fd), "$1\r\nx\r\n");
    EXPECT(hear(fd), "$1\r\nx\r\n");
    EXPECT(hear(fd), "EOF");
    EXPECT(hear(fd), "EOF");
    fd = dial();
    talk(fd, 1);
    CHECK(shutdown(fd, SHUT_WR) == 0);
    EXPECT(hear(fd), "EOF");
    fd = dial();
    tell(fd, ping, ping_size - 3); /* half a command */
    CHECK(shutdown(fd, SHUT_WR) == 0);
    EXPECT(hear(fd), "EOF");
    fd = dial();
    talk(fd, 3);
    return 0;
}

static int garbage(void)
{
    static const char *const texts[] = {"*x\r\n", "*1\r\n:4\r\nPING\r\n", "*2\r\n$-5\r\n",
                                        "*1\r\n$9999999999\r\n", "*99999999999\r\n"};
    char bytes[256];
    int fd;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        fd = dial();
        if (i % 2 == 0)
            talk(fd, 1);
        tell(fd, texts[i], strlen(texts[i]));
        CHECK(strncmp(hear(fd), "-ERR Protocol error", 19) == 0);
        EXPECT(hear(fd), "EOF");
        close(fd);
    }
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)(i * 37 + 11);
    bytes[0] = 0;
    fd = dial();
    tell(fd, bytes, sizeof bytes);
    close(fd);
    /* Behind a command that is well. */
    fd = dial();
    make_ping();
    memcpy(bytes, ping, ping_size);
    memcpy(bytes + ping_size, "*x\r\n", 4);
    tell(fd, bytes, ping_size + 4);
    EXPECT(hear(fd), PONG);
    CHECK(strncmp(hear(fd), "-ERR Protocol error", 19) == 0);
    EXPECT(hear(fd), "EOF");
    fd = dial();
    talk(fd, 3);
    return 0;
}

/* ---- polling ---- */

/* Among few descriptors and among many, some of which are nothing. */
static int polled(void)
{
    static const nfds_t counts[] = {1, 2, 64, 65, 500};
    static struct pollfd fds[500];
    struct timespec limit = {.tv_sec = 5}, none = {0};
    int fd = dial(), idle = dial(), ends[2];

    make_ping();
    talk(idle, 1);
    CHECK(pipe(ends) == 0);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        nfds_t last = counts[i] - 1;

        for (nfds_t at = 0; at < last; at++)
            fds[at] = (struct pollfd){.fd = at % 3 == 0   ? idle
                                            : at % 3 == 1 ? ends[0]
                                                          : -1,
                                      .events = POLLIN};
        fds[last] = (struct pollfd){.fd = fd, .events = POLLIN | POLLPRI};
        for (int round = 0; round < 5; round++) {
            CHECK(poll(fds, counts[i], 0) == 0);
            tell(fd, ping, ping_size);
            CHECK(ppoll(fds, counts[i], &limit, NULL) == 1);
            CHECK(fds[last].revents == POLLIN && fds[last].fd == fd);
            EXPECT(hear(fd), PONG);
            CHECK(ppoll(fds, counts[i], &none, NULL) == 0 && fds[last].revents == 0);
        }
    }
    return 0;
}

/* ---- edges ---- */

/* Until there is nothing left. Results: bytes. */
static size_t drain(int fd)
{
    char got[5];
    size_t all = 0;
    ssize_t size;

    while ((size = recv(fd, got, sizeof got, 0)) > 0)
        all += (size_t)size;
    CHECK(size < 0 && errno == EAGAIN);
    return all;
}

/* Registered once, for both directions, edge-triggered, before the connection is made. */
static int edges(void)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC), fd = dial_with(SOCK_NONBLOCK), other;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
    int copy;

    make_ping();
    event.data.u64 = 77;
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    CHECK(epoll_wait(epoll, &event, 1, 5000) == 1 && event.events == EPOLLOUT);
    for (int round = 0; round < 50; round++) {
        size_t have = 0;

        CHECK(drain(fd) == 0);
        CHECK(send(fd, ping, ping_size, 0) == (ssize_t)ping_size);
        if (round % 3 == 0)
            CHECK(send(fd, ping, ping_size, 0) == (ssize_t)ping_size);
        while (have < (round % 3 == 0 ? 14 : 7)) {
            CHECK(epoll_wait(epoll, &event, 1, 5000) == 1 && event.data.u64 == 77);
            CHECK(!(event.events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)));
            if (event.events & EPOLLIN)
                have += drain(fd);
        }
    }
    /* A connection that is closed has left the set, whatever it was about. */
    event.events = EPOLLIN | EPOLLOUT;
    CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0);
    CHECK(send(fd, ping, ping_size, 0) == (ssize_t)ping_size);
    close(fd);
    CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
    other = dial_with(SOCK_NONBLOCK);
    CHECK(other == fd);
    event = (struct epoll_event){.events = EPOLLOUT};
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, other, &event) == 0);
    close(other);
    CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
    /* One-shot: nothing before it is armed again. */
    fd = dial_with(SOCK_NONBLOCK);
    event = (struct epoll_event){.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 78};
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    CHECK(send(fd, ping, ping_size, 0) == (ssize_t)ping_size);
    CHECK(epoll_wait(epoll, &event, 1, 5000) == 1 && event.data.u64 == 78);
    CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
    CHECK(drain(fd) == 7);
    event = (struct epoll_event){.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 79};
    CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0);
    CHECK(send(fd, ping, ping_size, 0) == (ssize_t)ping_size);
    CHECK(epoll_wait(epoll, &event, 1, 5000) == 1 && event.data.u64 == 79);
    copy = dup(fd); /* with a reply owed */
    CHECK(drain(copy) == 7);
    return 0;
}

static int resp3(void)
{
    int fd = dial(), other = dial();

    CHECK(ask(fd, "HELLO", "3", NULL)[0] == '%');
    EXPECT(ask(fd, "CLIENT", "TRACKING", "ON", NULL), "+OK\r\n");
    EXPECT(ask(fd, "SET", "r3", "1", NULL), "+OK\r\n");
    EXPECT(ask(fd, "GET", "r3", NULL), "$1\r\n1\r\n");
    EXPECT(ask(other, "SET", "r3", "2", NULL), "+OK\r\n");
    EXPECT(hear(fd), ">2\r\n$10\r\ninvalidate\r\n*1\r\n$2\r\nr3\r\n");
    EXPECT(ask(fd, "GET", "none", NULL), "_\r\n");
    EXPECT(ask(fd, "HGETALL", "none", NULL), "%0\r\n");
    EXPECT(ask(other, "HGETALL", "none", NULL), "*0\r\n");
    CHECK(ask(fd, "HELLO", "2", NULL)[0] == '*');
    EXPECT(ask(fd, "GET", "none", NULL), "$-1\r\n");
    EXPECT(ask(other, "GET", "r3", NULL), "$1\r\n2\r\n");
    EXPECT(ask(other, "DEL", "r3", NULL), ":1\r\n");
    return 0;
}

/* ---- children at every step ---- */

enum { CLOSES, USES, EXECUTES, DIES, CHILDREN };

static void be_child(int kind, int fd)
{
    const char *reply;

    alarm(20);
    switch (kind) {
    case CLOSES:
        close(fd);
        _exit(0);
    case USES:
        signal(SIGPIPE, SIG_IGN);
        reply = ask(fd, "ECHO", "child", NULL);
        _exit(strcmp(reply, "$5\r\nchild\r\n") == 0 || strcmp(reply, "EOF") == 0 ? 0 : 1);
    case EXECUTES:
        execl("/bin/true", "true", NULL);
        _exit(127);
    default:
        kill(getpid(), SIGKILL);
    }
}

static void fork_one(int kind, int fd)
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        be_child(kind, fd);
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK(kind == DIES ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The parent goes on where it was, whatever a child did with what it has inherited. */
static int forks_everywhere(void)
{
    char text[128], got[16];
    size_t size = request(text, sizeof text, "ECHO", "parent", NULL);

    for (int kind = 0; kind < CHILDREN; kind++) {
        int fd = dial();

        fork_one(kind, fd);
        for (size_t cut = 1; cut < size; cut += 5) {
            tell(fd, text, cut);
            fork_one(kind, fd);
            tell(fd, text + cut, size - cut);
            fork_one(kind, fd);
            CHECK(recv(fd, got, 3, MSG_WAITALL) == 3);
            fork_one(kind, fd);
            CHECK(recv(fd, got, 9, MSG_WAITALL) == 9 && memcmp(got, "\nparent\r\n", 9) == 0);
            fork_one(kind, fd);
        }
        EXPECT(ask(fd, "MULTI", NULL), "+OK\r\n");
        fork_one(kind, fd);
        EXPECT(ask(fd, "EXEC", NULL), "*0\r\n");
        EXPECT(ask(fd, "CLIENT", "SETNAME", "parent", NULL), "+OK\r\n");
        tell(fd, text, size); /* behind an answer of ours, if that is not read yet */
        fork_one(kind, fd);
        EXPECT(hear(fd), "$6\r\nparent\r\n");
        EXPECT(ask(fd, "CLIENT", "GETNAME", NULL), "$6\r\nparent\r\n");
    }
    return 0;
}

const struct scenario attack_scenarios[] = {
    {"flags", flags},
    {"crossing", crossing},
    {"longest", longest},
    {"half_closes", half_closes},
    {"garbage", garbage},
    {"polled", polled},
    {"edges", edges},
    {"resp3", resp3},
    {"forks_everywhere", forks_everywhere},
    {NULL, NULL},
};
