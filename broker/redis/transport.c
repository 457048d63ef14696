/* SPDX-License-Identifier: MIT */
/* Plain, kernel TLS or a relay: see transport.h. */
#include "broker/redis/transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef TCP_ULP
#define TCP_ULP 31 /* <linux/tcp.h> */
#endif

/* Its other end is one of a socket pair, which has no name; a server's has one. */
static bool is_relayed(int fd)
{
    struct sockaddr_un peer = {.sun_family = AF_UNSPEC};
    socklen_t size = sizeof peer;

    return getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sun_family == AF_UNIX &&
           size <= offsetof(struct sockaddr_un, sun_path);
}

static bool is_encrypted(int fd)
{
    char name[16] = "";
    socklen_t size = sizeof name - 1;

    return getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &size) == 0 && strcmp(name, "tls") == 0;
}

enum transport transport_of(int fd)
{
    int domain = AF_UNSPEC;
    socklen_t size = sizeof domain;

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
        return TRANSPORT_PLAIN;
    if (domain == AF_UNIX)
        return is_relayed(fd) ? TRANSPORT_RELAY : TRANSPORT_PLAIN;
    return is_encrypted(fd) ? TRANSPORT_KTLS : TRANSPORT_PLAIN;
}
