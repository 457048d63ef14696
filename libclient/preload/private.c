/* SPDX-License-Identifier: MIT */
/* Real connections in the place of virtual ones: see private.h. */
#include "libclient/preload/private.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include "libclient/connection/resp.h"
#include "libclient/preload/counts.h"
#include "libclient/preload/epoll_table.h"
#include "libclient/preload/own.h"
#include "libclient/preload/real.h"
#include "libclient/preload/settings.h"
#include "libclient/preload/swap.h"
#include "libclient/preload/tally.h"
#include "libclient/shared/descriptor.h"

/* For connecting, and for each reply that is waited for, unless the program says less. */
#define LIMIT_MS 5000

static int limit_ms(const struct virtual *virtual)
{
    int64_t least = virtual->send_ns > 0 ? virtual->send_ns : virtual->receive_ns;

    return least > 0 && least / 1000000 < LIMIT_MS ? (int)(least / 1000000) + 1 : LIMIT_MS;
}

static int wait_for(int fd, short events, int ms)
{
    struct pollfd waited = {.fd = fd, .events = events};
    int ready;

    do
        ready = real()->poll(&waited, 1, ms);
    while (ready < 0 && errno == EINTR);
    return ready > 0 ? 0 : -ETIMEDOUT;
}

static int dial(const struct virtual *virtual, int *fd)
{
    int error = 0, result = 0;
    socklen_t size = sizeof error;

    *fd = descriptor_socket(virtual->domain, SOCK_STREAM);
    if (*fd < 0)
        return -errno;
    if (real()->connect(*fd, (const struct sockaddr *)&virtual->peer, virtual->peer_size) < 0)
        result = errno == EINPROGRESS ? wait_for(*fd, POLLOUT, limit_ms(virtual)) : -errno;
    if (result == 0 && real()->getsockopt(*fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0)
        result = -error;
    if (result != 0)
        own_close(*fd);
    return result;
}

/* One command and its reply, which is to be no error. Results: 0; -EPROTO; -ETIMEDOUT. */
static int say(int fd, const char *request, int size, int ms)
{
    struct resp_scan scan = {0};
    char reply[512];
    size_t used;

    if (real()->send(fd, request, (size_t)size, MSG_NOSIGNAL) != size)
        return -EPROTO;
    for (;;) {
        ssize_t got;
        int result = wait_for(fd, POLLIN, ms);

        if (result != 0)
            return result;
        got = real()->recv(fd, reply, sizeof reply, 0);
        if (got <= 0)
            return -EPROTO;
        result = resp_scan(&scan, reply, (size_t)got, &used);
        if (result != 0)
            return result == 1 && scan.first == '+' ? 0 : -EPROTO;
    }
}

/* What the program has selected and named before. */
static int replay(const struct virtual *virtual, int fd)
{
    int ms = limit_ms(virtual), size, result = 0;
    char request[160], db[12];

    if (virtual->db != 0) {
        snprintf(db, sizeof db, "%u", virtual->db);
        size = snprintf(request, sizeof request, "*2\r\n$6\r\nSELECT\r\n$%zu\r\n%s\r\n", strlen(db),
                        db);
        result = say(fd, request, size, ms);
    }
    if (result == 0 && virtual->name[0]) {
        size = snprintf(request, sizeof request,
                        "*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$%zu\r\n%s\r\n",
                        strlen(virtual->name), virtual->name);
        result = say(fd, request, size, ms);
    }
    return result;
}

static void set_time(int fd, int name, int64_t ns)
{
    struct timeval limit = {.tv_sec = ns / 1000000000, .tv_usec = ns % 1000000000 / 1000};

    if (ns > 0)
        real()->setsockopt(fd, SOL_SOCKET, name, &limit, sizeof limit);
}

/* As the program had set its own. */
static void dress(const struct virtual *virtual, int fd)
{
    int nonblocking = virtual->nonblocking;

    for (unsigned i = 0; i < virtual->option_count; i++)
        real()->setsockopt(fd, virtual->options[i].level, virtual->options[i].name,
                           &virtual->options[i].value, sizeof(int));
    set_time(fd, SO_RCVTIMEO, virtual->receive_ns);
    set_time(fd, SO_SNDTIMEO, virtual->send_ns);
    real()->ioctl(fd, FIONBIO, &nonblocking);
}

int private_become(struct virtual *virtual, const char *why, enum counter counter)
{
    int before = errno, fd, result;

    if (settings.strict)
        return -ECONNREFUSED;
    if (virtual->logged_in)
        return -EACCES; /* nobody here knows the password any more */
    result = dial(virtual, &fd);
    if (result == 0) {
        result = replay(virtual, fd);
        if (result == 0 && !swap_put(virtual, fd))
            result = -EBADF;
        if (result == 0)
            dress(virtual, fd);
        own_close(fd);
    }
    if (result == 0) {
        real()->fcntl(virtual->number, F_SETFD, virtual->close_on_exec ? FD_CLOEXEC : 0);
        count_up(PRELOAD_private);
        count_reason("real", why);
        tally(virtual, counter);
        registrations_forget(virtual); /* they are the program's own */
        swap_drop(virtual);
        virtual_free(virtual);
    }
    errno = before;
    return result;
}
