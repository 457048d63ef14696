/* SPDX-License-Identifier: MIT */
/* What a socket is connected to: see redirection.h. */
#include "broker/redis/redirection.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void read_end(struct socket_end *end, int fd,
                     int (*get)(int fd, struct sockaddr *restrict to, socklen_t *restrict size))
{
    union {
        struct sockaddr any;
        struct sockaddr_storage room;
    } address;
    socklen_t size = sizeof address;

    end->size = 0;
    memset(&address, 0, sizeof address);
    if (get(fd, &address.any, &size) < 0 || size > sizeof end->bytes ||
        (address.any.sa_family != AF_INET && address.any.sa_family != AF_INET6))
        return;
    end->size = size;
    memcpy(end->bytes, &address, size);
}

static int local_end(int fd, struct sockaddr *restrict to, socklen_t *restrict size)
{
    return getsockname(fd, to, size);
}

static int peer_end(int fd, struct sockaddr *restrict to, socklen_t *restrict size)
{
    return getpeername(fd, to, size);
}

void socket_ends_note(struct socket_ends *ends, int fd)
{
    read_end(&ends->local, fd, local_end);
    read_end(&ends->peer, fd, peer_end);
}

static bool differs(const struct socket_end *was, const struct socket_end *is)
{
    return was->size != is->size || memcmp(was->bytes, is->bytes, is->size) != 0;
}

bool socket_ends_differ(const struct socket_ends *ends, int fd)
{
    struct socket_ends now;

    if (ends->local.size == 0)
        return false;
    socket_ends_note(&now, fd);
    /* A connection that the peer or the network ended has no peer any more, but its local end. */
    return differs(&ends->local, &now.local) ||
           (now.peer.size != 0 && differs(&ends->peer, &now.peer));
}

void socket_holders_text(const struct socket_holders *holders, char *text, size_t size)
{
    char who[64];

    if (holders->count == 0) {
        snprintf(text, size, "the previous broker had given it out");
        return;
    }
    if (holders->pid)
        snprintf(who, sizeof who, "process %u of user %u", holders->pid, holders->uid);
    else
        snprintf(who, sizeof who, "a process of user %u in another PID namespace", holders->uid);
    snprintf(text, size, "it was given out %u time%s, last to %s", holders->count,
             holders->count == 1 ? "" : "s", who);
}
