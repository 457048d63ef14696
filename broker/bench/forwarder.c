/* SPDX-License-Identifier: MIT */
/*
 * The forwarder: see forwarder.h. All pieces are late by the same time, so one list in the order in
 * which they came is in the order in which they are due.
 */
#include "broker/bench/forwarder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "broker/testbed/testbed.h"

#define PIECE_SIZE (64 * 1024)
#define EVENTS     64
#define BACKLOG    4096

/* One direction's receiving end; the other direction's is its peer. */
struct end {
    int fd;
    bool ended; /* it sends nothing more */
    struct end *peer;
};

struct piece {
    struct piece *next;
    int64_t due_ns;
    struct end *to;
    size_t size; /* 0: the end */
    char bytes[];
};

struct forwarding {
    int listener, epoll, redis_port;
    int64_t delay_ns;
    struct piece *first, **last;
};

static void watch(const struct forwarding *forwarding, int fd, void *end)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = end};

    if (epoll_ctl(forwarding->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        _exit(1);
}

static int connect_redis(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static void accept_one(const struct forwarding *forwarding)
{
    int near = accept4(forwarding->listener, NULL, NULL, SOCK_CLOEXEC), far, yes = 1;
    struct end *ends;

    if (near < 0)
        return;
    far = connect_redis(forwarding->redis_port);
    ends = calloc(2, sizeof *ends);
    if (far < 0 || !ends) {
        close(near);
        if (far >= 0)
            close(far);
        free(ends);
        return;
    }
    setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    ends[0] = (struct end){.fd = near, .peer = &ends[1]};
    ends[1] = (struct end){.fd = far, .peer = &ends[0]};
    watch(forwarding, near, &ends[0]);
    watch(forwarding, far, &ends[1]);
}

static void receive(struct forwarding *forwarding, struct end *from)
{
    static char buffer[PIECE_SIZE];
    ssize_t got = recv(from->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    struct piece *piece;

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        epoll_ctl(forwarding->epoll, EPOLL_CTL_DEL, from->fd, NULL);
        got = 0;
    }
    piece = malloc(sizeof *piece + (size_t)got);
    if (!piece)
        _exit(1);
    *piece = (struct piece){
        .due_ns = now_ns() + forwarding->delay_ns, .to = from->peer, .size = (size_t)got};
    memcpy(piece->bytes, buffer, (size_t)got);
    *forwarding->last = piece;
    forwarding->last = &piece->next;
}

/* The peer of `to` sends nothing more. Once neither does, both are over. */
static void end(struct end *to)
{
    struct end *from = to->peer;

    from->ended = true;
    shutdown(to->fd, SHUT_WR);
    if (!to->ended)
        return;
    close(to->fd);
    close(from->fd);
    free(to < from ? to : from);
}

/* Blocks where the other side reads late: that one is measured as well. */
static void pass_on(const struct piece *piece)
{
    size_t sent = 0;

    while (sent < piece->size) {
        ssize_t wrote = send(piece->to->fd, piece->bytes + sent, piece->size - sent, MSG_NOSIGNAL);

        if (wrote < 0 && errno != EINTR)
            return;
        sent += wrote > 0 ? (size_t)wrote : 0;
    }
}

static void pass_on_due(struct forwarding *forwarding)
{
    while (forwarding->first && forwarding->first->due_ns <= now_ns()) {
        struct piece *piece = forwarding->first;

        forwarding->first = piece->next;
        if (!forwarding->first)
            forwarding->last = &forwarding->first;
        if (piece->size > 0)
            pass_on(piece);
        else
            end(piece->to);
        free(piece);
    }
}

static void wait_for_events(const struct forwarding *forwarding)
{
    struct pollfd polled = {.fd = forwarding->epoll, .events = POLLIN};
    struct timespec wait = {0};

    if (forwarding->first) {
        int64_t left_ns = forwarding->first->due_ns - now_ns();

        if (left_ns > 0)
            wait =
                (struct timespec){.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
    }
    ppoll(&polled, 1, forwarding->first ? &wait : NULL, NULL);
}

static _Noreturn void run(struct forwarding *forwarding)
{
    struct epoll_event events[EVENTS];
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    /* To the microsecond: prctl(2). */
    prctl(PR_SET_TIMERSLACK, 1);
    forwarding->epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(forwarding, forwarding->listener, NULL);
    for (;;) {
        int count;

        wait_for_events(forwarding);
        count = epoll_wait(forwarding->epoll, events, EVENTS, 0);
        for (int i = 0; i < count; i++)
            if (events[i].data.ptr)
                receive(forwarding, events[i].data.ptr);
            else
                accept_one(forwarding);
        pass_on_due(forwarding);
    }
}

void forwarder_start(struct forwarder *forwarder, int redis_port, double rtt_us)
{
    struct forwarding forwarding = {.redis_port = redis_port,
                                    .delay_ns = (int64_t)(rtt_us * 1000 / 2)};
    pid_t parent = getpid();

    forwarding.last = &forwarding.first;
    forwarding.listener = reserve_port(&forwarder->port);
    if (listen(forwarding.listener, BACKLOG) != 0)
        give_up("the forwarder cannot listen: %s", strerror(errno));
    snprintf(forwarder->url, sizeof forwarder->url, "redis://127.0.0.1:%d/0", forwarder->port);
    fflush(NULL);
    forwarder->pid = fork();
    if (forwarder->pid < 0)
        give_up("fork: %s", strerror(errno));
    if (forwarder->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        run(&forwarding);
    }
    close(forwarding.listener);
}

void forwarder_stop(struct forwarder *forwarder)
{
    if (forwarder->pid == 0)
        return;
    kill(forwarder->pid, SIGKILL);
    waitpid(forwarder->pid, NULL, 0);
    forwarder->pid = 0;
}
