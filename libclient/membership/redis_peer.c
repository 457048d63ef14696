/* SPDX-License-Identifier: MIT */
/* Whether Redis is gone as well: see redis_peer.h. */
#include "libclient/membership/redis_peer.h"

#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "libclient/shared/descriptor.h"

/* Linux 5.14; not in every <sys/socket.h>. */
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* A refusal comes at once on this host, and after a round trip from another. */
#define REFUSAL_MS 20

/* 0: the kernel does not say. */
static uint64_t network_of(int fd)
{
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;

    return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

/* Whether this process would find what listens there. */
static bool is_in_sight(const struct sockaddr_storage *address)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)address;
    struct stat stat_of;

    if (address->ss_family != AF_UNIX)
        return true;
    return un->sun_path[0] == '/' && stat(un->sun_path, &stat_of) == 0;
}

void redis_peer_note(struct redis_peer *peer, int fd)
{
    socklen_t size = sizeof peer->address - 1; /* a path ends */

    *peer = (struct redis_peer){0};
    if (getpeername(fd, (struct sockaddr *)&peer->address, &size) < 0 ||
        size >= sizeof peer->address || !is_in_sight(&peer->address))
        return;
    peer->network = network_of(fd);
    peer->size = size;
}

/* The end of a connect(2) that takes its time. */
static int connect_error(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t size = sizeof error;

    if (poll(&polled, 1, REFUSAL_MS) == 1)
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

bool redis_peer_refuses(const struct redis_peer *peer)
{
    int family = peer->address.ss_family;
    bool is_path = family == AF_UNIX;
    int error = 0, fd;

    if (peer->size == 0)
        return false;
    fd = descriptor_lift(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (fd < 0)
        return false;
    if (is_path || (peer->network != 0 && network_of(fd) == peer->network)) {
        if (connect(fd, (const struct sockaddr *)&peer->address, peer->size) < 0)
            error = errno;
        if (error == EINPROGRESS)
            error = connect_error(fd);
    }
    close(fd);
    return error == ECONNREFUSED || (is_path && error == ENOENT);
}
