/* SPDX-License-Identifier: MIT */
/* Scenarios of one process: bytes, sessions, and what a socket does beside them. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "tests/system/preload/client.h"

static int commands(void)
{
    int fd = dial();

    EXPECT(ask(fd, "PING", NULL), "+PONG\r\n");
    talk(fd, 200);
    EXPECT(ask(fd, "NOSUCH", "x", NULL),
           "-ERR unknown command 'NOSUCH', with args beginning with: 'x' \r\n");
    EXPECT(ask(fd, "PING", NULL), "+PONG\r\n");
    CHECK(close(fd) == 0);
    return 0;
}

/* Requests and replies cut at every byte. */
static int bytes(void)
{
    char text[256], reply[64];
    size_t size = request(text, sizeof text, "ECHO", "0123456789", NULL);
    int fd = dial();

    for (size_t cut = 1; cut < size; cut++) {
        tell(fd, text, cut);
        tell(fd, text + cut, size - cut);
        EXPECT(hear(fd), "$10\r\n0123456789\r\n");
    }
    for (size_t i = 0; i < size; i++)
        tell(fd, text + i, 1);
    for (size_t i = 0; i < 17; i++)
        CHECK(recv(fd, reply + i, 1, 0) == 1);
    CHECK(memcmp(reply, "$10\r\n0123456789\r\n", 17) == 0);
    CHECK(recv(fd, reply, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    return 0;
}

/* write and read, writev and readv, sendmsg and recvmsg, sendto and recvfrom. */
static int calls(void)
{
    char text[64], head[5], tail[64];
    size_t size = request(text, sizeof text, "ECHO", "abcdef", NULL);
    struct iovec out[2] = {{text, 7}, {text + 7, size - 7}}, in[2] = {{head, 4}, {tail, 8}};
    struct msghdr message = {.msg_iov = out, .msg_iovlen = 2};
    struct sockaddr_in from;
    socklen_t from_size = sizeof from;
    int fd = dial();

    CHECK(write(fd, text, size) == (ssize_t)size);
    CHECK(read(fd, tail, sizeof tail) == 12);
    CHECK(writev(fd, out, 2) == (ssize_t)size);
    CHECK(readv(fd, in, 2) == 12 && memcmp(head, "$6\r\n", 4) == 0);
    CHECK(memcmp(tail, "abcdef\r\n", 8) == 0);
    CHECK(sendmsg(fd, &message, 0) == (ssize_t)size);
    message.msg_iov = in;
    CHECK(recvmsg(fd, &message, 0) == 12);
    CHECK(sendto(fd, text, size, 0, NULL, 0) == (ssize_t)size);
    CHECK(recvfrom(fd, tail, 64, 0, (struct sockaddr *)&from, &from_size) == 12);
    CHECK(memcmp(tail, "$6\r\nabcdef\r\n", 12) == 0);
    return 0;
}

static int large(void)
{
    static char value[3000000], back[sizeof value + 64];
    char text[64];
    size_t size, have = 0;
    int fd = dial();

    memset(value, 'v', sizeof value);
    size = (size_t)snprintf(text, sizeof text, "*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$%zu\r\n",
                            sizeof value);
    tell(fd, text, size);
    tell(fd, value, sizeof value);
    tell(fd, "\r\n", 2);
    EXPECT(hear(fd), "+OK\r\n");
    size = request(text, sizeof text, "GET", "large", NULL);
    tell(fd, text, size);
    while (have < sizeof value + 12) {
        ssize_t got = recv(fd, back + have, sizeof back - have, 0);

        CHECK(got > 0);
        have += (size_t)got;
    }
    CHECK(have == sizeof value + 12 && memcmp(back + 10, value, sizeof value) == 0);
    EXPECT(ask(fd, "DEL", "large", NULL), ":1\r\n");
    return 0;
}

static int pipelines(void)
{
    static char text[200000];
    char expected[32];
    size_t size = 0;
    int fd = dial();

    for (int round = 0; round < 3; round++, size = 0) {
        for (int i = 0; i < 3000; i++) {
            snprintf(expected, sizeof expected, "%d", i);
            size += request(text + size, sizeof text - size, "ECHO", expected, NULL);
        }
        tell(fd, text, size);
        for (int i = 0; i < 3000; i++) {
            snprintf(expected, sizeof expected, "%d", i);
            EXPECT(hear(fd) + 4, (strcat(expected, "\r\n"), expected));
        }
    }
    return 0;
}

static int transactions(void)
{
    int fd = dial(), other = dial();

    EXPECT(ask(fd, "SET", "t", "1", NULL), "+OK\r\n");
    EXPECT(ask(fd, "WATCH", "t", NULL), "+OK\r\n");
    EXPECT(ask(other, "SET", "t", "2", NULL), "+OK\r\n");
    EXPECT(ask(fd, "MULTI", NULL), "+OK\r\n");
    EXPECT(ask(fd, "INCR", "t", NULL), "+QUEUED\r\n");
    EXPECT(ask(other, "GET", "t", NULL), "$1\r\n2\r\n");
    EXPECT(ask(fd, "EXEC", NULL), "*-1\r\n");
    EXPECT(ask(fd, "MULTI", NULL), "+OK\r\n");
    EXPECT(ask(fd, "INCR", "t", NULL), "+QUEUED\r\n");
    EXPECT(ask(fd, "EXEC", NULL), "*1\r\n:3\r\n");
    EXPECT(ask(fd, "EXEC", NULL), "-ERR EXEC without MULTI\r\n");
    EXPECT(ask(fd, "MULTI", NULL), "+OK\r\n");
    EXPECT(ask(fd, "DISCARD", NULL), "+OK\r\n");
    EXPECT(ask(fd, "PING", NULL), "+PONG\r\n");
    /* What is left open goes with the connection. */
    EXPECT(ask(fd, "MULTI", NULL), "+OK\r\n");
    close(fd);
    for (int i = 0; i < 20; i++)
        EXPECT(ask(other, "INCRBY", "t", "0", NULL), ":3\r\n");
    return 0;
}

/* A connection that asks who it is stays who it is. */
static int identities(void)
{
    int fd = dial(), other = dial();
    char id[64];

    EXPECT(ask(fd, "CLIENT", "SETNAME", "somebody", NULL), "+OK\r\n");
    talk(fd, 2);
    snprintf(id, sizeof id, "%s", ask(fd, "CLIENT", "ID", NULL));
    CHECK(strstr(ask(fd, "CLIENT", "LIST", NULL), " name=somebody "));
    for (int i = 0; i < 5; i++) {
        talk(other, 2);
        talk(fd, 2);
        EXPECT(ask(fd, "CLIENT", "ID", NULL), id);
        CHECK(strstr(ask(fd, "CLIENT", "INFO", NULL), " name=somebody "));
    }
    return 0;
}

static int sessions(void)
{
    int fd = dial(), other = dial();

    EXPECT(ask(fd, "CLIENT", "GETNAME", NULL), "$-1\r\n");
    EXPECT(ask(fd, "CLIENT", "SETNAME", "joe", NULL), "+OK\r\n");
    EXPECT(ask(fd, "CLIENT", "GETNAME", NULL), "$3\r\njoe\r\n");
    EXPECT(ask(other, "CLIENT", "GETNAME", NULL), "$-1\r\n");
    EXPECT(ask(fd, "CLIENT", "SETNAME", "a b", NULL),
           "-ERR Client names cannot contain spaces, newlines or special characters.\r\n");
    EXPECT(ask(fd, "SELECT", "0", NULL), "+OK\r\n");
    EXPECT(ask(fd, "SET", "where", "zero", NULL), "+OK\r\n");
    EXPECT(ask(fd, "SELECT", "99", NULL), "-ERR DB index is out of range\r\n");
    EXPECT(ask(fd, "GET", "where", NULL), "$4\r\nzero\r\n");
    EXPECT(ask(fd, "SELECT", "1", NULL), "+OK\r\n");
    EXPECT(ask(fd, "SET", "where", "one", NULL), "+OK\r\n");
    EXPECT(ask(other, "GET", "where", NULL), "$4\r\nzero\r\n");
    EXPECT(ask(fd, "GET", "where", NULL), "$3\r\none\r\n");
    EXPECT(ask(fd, "SELECT", "5", NULL), "+OK\r\n"); /* no pool has it */
    EXPECT(ask(fd, "GET", "where", NULL), "$-1\r\n");
    EXPECT(ask(fd, "CLIENT", "GETNAME", NULL), "$3\r\njoe\r\n");
    EXPECT(ask(other, "GET", "where", NULL), "$4\r\nzero\r\n");
    EXPECT(ask(other, "RESET", NULL), "+RESET\r\n");
    EXPECT(ask(other, "GET", "where", NULL), "$4\r\nzero\r\n");
    EXPECT(ask(other, "QUIT", NULL), "+OK\r\n");
    EXPECT(hear(other), "EOF");
    return 0;
}

/* Answers of both kinds behind each other, none read before all is sent. */
static int mixed(void)
{
    char text[1024];
    size_t size;
    int fd = dial();

    size = request(text, sizeof text, "CLIENT", "SETNAME", "mix", NULL);
    size += request(text + size, sizeof text - size, "SELECT", "1", NULL);
    size += request(text + size, sizeof text - size, "SET", "m", "one", NULL);
    size += request(text + size, sizeof text - size, "CLIENT", "GETNAME", NULL);
    size += request(text + size, sizeof text - size, "GET", "m", NULL);
    tell(fd, text, size);
    EXPECT(hear(fd), "+OK\r\n");
    EXPECT(hear(fd), "+OK\r\n");
    EXPECT(hear(fd), "+OK\r\n");
    EXPECT(hear(fd), "$3\r\nmix\r\n");
    EXPECT(hear(fd), "$3\r\none\r\n");
    for (int i = 0; i < 2; i++) {
        size = request(text, sizeof text, "CLIENT", "GETNAME", NULL);
        tell(fd, text, size);
        size = request(text, sizeof text, "GET", "m", NULL);
        tell(fd, text, size - 5);
        tell(fd, text + size - 5, 5);
        EXPECT(hear(fd), "$3\r\nmix\r\n");
        EXPECT(hear(fd), "$3\r\none\r\n");
    }
    size = request(text, sizeof text, "SELECT", "0", NULL);
    size += request(text + size, sizeof text - size, "MULTI", NULL);
    size += request(text + size, sizeof text - size, "EXEC", NULL);
    tell(fd, text, size);
    EXPECT(hear(fd), "+OK\r\n");
    EXPECT(hear(fd), "+OK\r\n");
    EXPECT(hear(fd), "*0\r\n");
    EXPECT(ask(fd, "GET", "m", NULL), "$-1\r\n");
    return 0;
}

static int subscriptions(void)
{
    int fd = dial(), other = dial();

    EXPECT(ask(fd, "SUBSCRIBE", "news", NULL), "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    EXPECT(ask(other, "PUBLISH", "news", "hi", NULL), ":1\r\n");
    EXPECT(hear(fd), "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n");
    EXPECT(ask(fd, "UNSUBSCRIBE", NULL), "*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:0\r\n");
    EXPECT(ask(fd, "PING", NULL), "+PONG\r\n");
    EXPECT(ask(fd, "BLPOP", "empty", "0.3", NULL), "*-1\r\n");
    EXPECT(ask(other, "BLPOP", "empty", "0.6", NULL), "*-1\r\n"); /* beyond the pooled limit */
    EXPECT(ask(other, "PING", NULL), "+PONG\r\n");
    /* RESP3. */
    fd = dial();
    CHECK(ask(fd, "HELLO", "3", NULL)[0] == '%');
    EXPECT(ask(fd, "GET", "none", NULL), "_\r\n");
    fd = dial();
    CHECK(ask(fd, "HELLO", NULL)[0] == '*');
    CHECK(ask(fd, "HELLO", "2", NULL)[0] == '*');
    EXPECT(ask(fd, "GET", "none", NULL), "$-1\r\n");
    return 0;
}

static int inline_commands(void)
{
    int fd = dial();

    tell(fd, "PING\r\n", 6);
    EXPECT(hear(fd), "+PONG\r\n");
    EXPECT(ask(fd, "PING", NULL), "+PONG\r\n");
    return 0;
}

static int nonblocking(void)
{
    char text[64], reply[64];
    size_t size = request(text, sizeof text, "PING", NULL);
    int fd = dial(), on = 1;
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN | POLLOUT};

    CHECK(ioctl(fd, FIONBIO, &on) == 0);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    for (int i = 0; i < 50; i++) {
        CHECK(recv(fd, reply, sizeof reply, 0) == -1 && errno == EAGAIN);
        CHECK(poll(&poll_fd, 1, 1000) == 1 && poll_fd.revents == POLLOUT);
        CHECK(send(fd, text, size, 0) == (ssize_t)size);
        poll_fd.events = POLLIN;
        CHECK(poll(&poll_fd, 1, 5000) == 1 && poll_fd.revents == POLLIN);
        poll_fd.events = POLLIN | POLLOUT;
        CHECK(recv(fd, reply, 1, MSG_PEEK) == 1 && reply[0] == '+');
        CHECK(recv(fd, reply, 1, MSG_PEEK) == 1 && reply[0] == '+');
        CHECK(ioctl(fd, FIONREAD, &on) == 0 && on == 7);
        CHECK(recv(fd, reply, sizeof reply, 0) == 7);
    }
    CHECK(fcntl(fd, F_SETFL, 0) == 0 && !(fcntl(fd, F_GETFL) & O_NONBLOCK));
    talk(fd, 3);
    return 0;
}

static int options(void)
{
    struct timeval limit = {.tv_usec = 300000}, back = {0};
    struct sockaddr_in address;
    socklen_t size = sizeof back;
    struct timespec begin, end;
    int fd = dial(), value = 1;
    char byte;

    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &back, &size) == 0 && back.tv_usec == 300000);
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof value) == 0);
    size = sizeof value;
    value = 0;
    CHECK(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &size) == 0 && value == 1);
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size) == 0 && value == 0);
    size = sizeof address;
    CHECK(getpeername(fd, (struct sockaddr *)&address, &size) == 0);
    CHECK(size == sizeof address && address.sin_family == AF_INET &&
          ntohs(address.sin_port) == atoi(getenv("REDIS_PORT")));
    size = sizeof address;
    CHECK(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    CHECK(address.sin_family == AF_INET);
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == -1);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    CHECK(recv(fd, &byte, 1, 0) == -1 && errno == EAGAIN);
    clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK((end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000 >= 290);
    /* A reply that takes longer. */
    EXPECT(ask(fd, "BLPOP", "empty", "2", NULL), "ERRNO 11");
    close(fd);
    fd = dial();
    CHECK(shutdown(fd, SHUT_RDWR) == 0);
    CHECK(recv(fd, &byte, 1, 0) == 0);
    CHECK(send(fd, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
    fd = dial();
    errno = 77;
    talk(fd, 1);
    CHECK(errno == 77);
    return 0;
}

/* An idle connection shows nothing of what others do on the pooled one that it had last. */
static int rests(void)
{
    struct timeval soon = {0};
    char text[64], byte;
    size_t size = request(text, sizeof text, "PING", NULL);
    int fd = dial(), other = dial(), number;

    for (int i = 0; i < 20; i++) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        fd_set reads;

        talk(fd, 1);
        tell(other, text, size);
        poll_fd.fd = other;
        CHECK(poll(&poll_fd, 1, 5000) == 1); /* the reply is there, for the other one */
        if (i % 4 == 0) {
            CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
            CHECK(recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == -1 && errno == EAGAIN);
            CHECK(ioctl(fd, FIONREAD, &number) == 0 && number == 0);
        } else if (i % 4 == 1) {
            FD_ZERO(&reads);
            FD_SET(fd, &reads);
            CHECK(select(fd + 1, &reads, NULL, NULL, &soon) == 0);
        } else if (i % 4 == 2) {
            poll_fd.fd = fd;
            CHECK(poll(&poll_fd, 1, 0) == 0);
        } else {
            soon.tv_usec = 20000;
            CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon) == 0);
            CHECK(recv(fd, &byte, 1, 0) == -1 && errno == EAGAIN);
            soon.tv_usec = 0;
            CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon) == 0);
        }
        EXPECT(hear(other), "+PONG\r\n");
        if (i % 5 == 4) {
            close(fd); /* a new one has not been polled yet */
            fd = dial();
        }
    }
    return 0;
}

static void epoll_turn(int epoll, int fd, const char *command, size_t size)
{
    struct epoll_event event;
    char reply[64];

    CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
    CHECK(send(fd, command, size, 0) == (ssize_t)size);
    CHECK(epoll_wait(epoll, &event, 1, 5000) == 1);
    CHECK(event.data.fd == fd && event.events == EPOLLIN);
    CHECK(recv(fd, reply, sizeof reply, 0) == 7);
    CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
}

static int epolls(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    char text[64];
    size_t size = request(text, sizeof text, "PING", NULL);
    int epoll = epoll_create1(EPOLL_CLOEXEC), fd = dial_with(SOCK_NONBLOCK), other = dial();

    event.data.fd = fd;
    CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == -1 && errno == ENOENT);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == -1 && errno == EEXIST);
    for (int i = 0; i < 20; i++) {
        epoll_turn(epoll, fd, text, size);
        /* What others do on the same pooled connection is not seen. */
        talk(other, 1);
        CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
        CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == -1 && errno == EEXIST);
    }
    event = (struct epoll_event){.events = EPOLLOUT, .data.fd = fd};
    CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0);
    CHECK(epoll_wait(epoll, &event, 1, 1000) == 1 && event.events == EPOLLOUT);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL) == 0);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL) == -1 && errno == ENOENT);
    CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
    return 0;
}

/* More of them in one loop than there are connections: nobody waits for itself. */
static int crowd(void)
{
    char text[64];
    size_t size = request(text, sizeof text, "PING", NULL);
    int epoll = epoll_create1(EPOLL_CLOEXEC), fds[20];
    struct epoll_event event = {.events = EPOLLIN};

    for (int i = 0; i < 20; i++) {
        fds[i] = event.data.fd = dial_with(SOCK_NONBLOCK);
        CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event) == 0);
    }
    for (int i = 0; i < 20; i++)
        tell(fds[i], text, size);
    for (int i = 0; i < 20; i++)
        EXPECT((fcntl(fds[i], F_SETFL, 0), hear(fds[i])), "+PONG\r\n");
    return 0;
}

/* All connections are taken: commands are handed over, or wait a little. */
static int busy(void)
{
    int holders[8], fd = dial();

    for (int i = 0; i < 8; i++) {
        holders[i] = dial();
        EXPECT(ask(holders[i], "MULTI", NULL), "+OK\r\n");
    }
    talk(fd, 20);
    for (int i = 0; i < 8; i++)
        EXPECT(ask(holders[i], "EXEC", NULL), "*0\r\n");
    talk(fd, 20);
    return 0;
}

static void *talk_in_thread(void *context)
{
    int fd = dial();

    (void)context;
    talk(fd, 300);
    close(fd);
    return NULL;
}

static void *listen_in_thread(void *context)
{
    int fd = *(int *)context;

    for (int i = 0; i < 100; i++)
        if (strcmp(hear(fd), "+PONG\r\n") != 0)
            return (void *)1;
    return NULL;
}

static int threads(void)
{
    char text[64];
    size_t size = request(text, sizeof text, "PING", NULL);
    pthread_t all[8], listener;
    void *result;
    int fd = dial();

    for (int i = 0; i < 8; i++)
        CHECK(pthread_create(&all[i], NULL, talk_in_thread, NULL) == 0);
    for (int i = 0; i < 8; i++)
        pthread_join(all[i], NULL);
    /* One sends, another one receives. */
    CHECK(pthread_create(&listener, NULL, listen_in_thread, &fd) == 0);
    for (int i = 0; i < 100; i++)
        tell(fd, text, size);
    CHECK(pthread_join(listener, &result) == 0 && !result);
    return 0;
}

static void *wait_for_ever(void *context)
{
    return (void *)hear(*(int *)context);
}

static int cancellation(void)
{
    char text[64];
    size_t size = request(text, sizeof text, "BLPOP", "empty", "10", NULL);
    pthread_t thread;
    void *result;
    int fd = dial(), other = dial();

    tell(fd, text, size);
    CHECK(pthread_create(&thread, NULL, wait_for_ever, &fd) == 0);
    usleep(100000);
    CHECK(pthread_cancel(thread) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
    talk(other, 10);
    EXPECT(ask(other, "LPUSH", "empty", "x", NULL), ":1\r\n");
    EXPECT(hear(fd), "*2\r\n$5\r\nempty\r\n$1\r\nx\r\n");
    EXPECT(ask(fd, "PING", NULL), "+PONG\r\n");
    return 0;
}

static void on_alarm(int number)
{
    (void)number;
}

static int signals(void)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval soon = {.it_value.tv_usec = 50000};
    char text[64];
    size_t size = request(text, sizeof text, "BLPOP", "empty", "0.4", NULL);
    int fd = dial();

    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    tell(fd, text, size);
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    EXPECT(hear(fd), "ERRNO 4");
    EXPECT(hear(fd), "*-1\r\n");
    action.sa_flags = SA_RESTART;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    tell(fd, text, size);
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    EXPECT(hear(fd), "*-1\r\n");
    return 0;
}

/* AUTH as lendisd has it, and as it has not: $REDIS_PASSWORD. */
static int logins(void)
{
    const char *password = getenv("REDIS_PASSWORD");
    char text[512];
    size_t size;
    int fd = dial(), other = dial();

    EXPECT(ask(fd, "AUTH", password, NULL), "+OK\r\n");
    talk(fd, 5);
    EXPECT(ask(fd, "AUTH", "default", password, NULL), "+OK\r\n");
    EXPECT(ask(fd, "ACL", "WHOAMI", NULL), "$7\r\ndefault\r\n");
    EXPECT(ask(other, "AUTH", "wrong", NULL),
           "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    EXPECT(ask(other, "PING", NULL), "-NOAUTH Authentication required.\r\n");
    other = dial();
    EXPECT(ask(other, "AUTH", "guest", "guest", NULL), "+OK\r\n");
    EXPECT(ask(other, "ACL", "WHOAMI", NULL), "$5\r\nguest\r\n");
    EXPECT(ask(fd, "ACL", "WHOAMI", NULL), "$7\r\ndefault\r\n");
    other = dial();
    CHECK(ask(other, "HELLO", "2", "AUTH", "default", password, NULL)[0] == '*');
    EXPECT(ask(other, "ACL", "WHOAMI", NULL), "$7\r\ndefault\r\n");
    other = dial();
    CHECK(ask(other, "HELLO", "3", "AUTH", "guest", "guest", NULL)[0] == '%');
    EXPECT(ask(other, "ACL", "WHOAMI", NULL), "$5\r\nguest\r\n");
    other = dial();
    size = request(text, sizeof text, "AUTH", password, NULL);
    size += request(text + size, sizeof text - size, "SELECT", "0", NULL);
    size += request(text + size, sizeof text - size, "PING", NULL);
    tell(other, text, size);
    EXPECT(hear(other), "+OK\r\n");
    EXPECT(hear(other), "+OK\r\n");
    EXPECT(hear(other), "+PONG\r\n");
    /* Logged in, it has no real connection to become. */
    EXPECT(ask(fd, "SELECT", "3", NULL), "+OK\r\n");
    EXPECT(ask(fd, "GET", "where", NULL), "$-1\r\n");
    EXPECT(ask(fd, "SELECT", "0", NULL), "+OK\r\n");
    talk(fd, 5);
    return 0;
}

/* A line for each command, until stdin ends; for what the test does to servers meanwhile. */
static int lines(void)
{
    char line[256];
    int fd = -1;

    setvbuf(stdout, NULL, _IONBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        char *word = strtok(line, " \n"), *key = strtok(NULL, " \n"), *value = strtok(NULL, "\n");

        if (strcmp(word, "dial") == 0) {
            if (fd >= 0)
                close(fd);
            fd = dial();
            puts("dialled");
        } else if (strcmp(word, "tell") == 0) {
            char text[256];

            tell(fd, text, request(text, sizeof text, key, value, NULL));
            puts("told");
        } else if (strcmp(word, "hear") == 0) {
            printf("%s\n", strtok((char *)hear(fd), "\r\n"));
        } else {
            printf("%s\n", strtok((char *)ask(fd, word, key, value, NULL), "\r\n"));
        }
    }
    return 0;
}

const struct scenario basic_scenarios[] = {
    {"commands", commands},
    {"bytes", bytes},
    {"calls", calls},
    {"large", large},
    {"pipelines", pipelines},
    {"transactions", transactions},
    {"sessions", sessions},
    {"identities", identities},
    {"mixed", mixed},
    {"subscriptions", subscriptions},
    {"inline", inline_commands},
    {"nonblocking", nonblocking},
    {"options", options},
    {"rests", rests},
    {"epolls", epolls},
    {"crowd", crowd},
    {"busy", busy},
    {"threads", threads},
    {"cancellation", cancellation},
    {"signals", signals},
    {"logins", logins},
    {"lines", lines},
    {NULL, NULL},
};
