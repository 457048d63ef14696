/* SPDX-License-Identifier: MIT */
/* Knowing a socket again: see socket_cookie.h. */
#include "libclient/membership/socket_cookie.h"

#include <sys/socket.h>

#ifndef SO_COOKIE
#define SO_COOKIE 57 /* <asm-generic/socket.h>, Linux 4.12 */
#endif

uint64_t socket_cookie(int fd)
{
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;

    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) < 0 ? 0 : cookie;
}

bool socket_is(int fd, uint64_t cookie)
{
    return fd >= 0 && cookie != 0 && socket_cookie(fd) == cookie;
}
