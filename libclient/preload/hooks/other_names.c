/* SPDX-License-Identifier: MIT */
/*
 * Other names of functions that hooks.c has: those under which the C library exports the same ones,
 * and readv(2) and writev(2) with flags.
 */
#undef _FORTIFY_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <sys/uio.h>
#include <unistd.h>
#include "libclient/preload/real.h"
#include "libclient/preload/traffic.h"

#define HOOK __attribute__((visibility("default")))

HOOK int __connect(int fd, const struct sockaddr *address, socklen_t size);
HOOK ssize_t __send(int fd, const void *data, size_t size, int flags);
HOOK ssize_t __write(int fd, const void *data, size_t size);
HOOK ssize_t __read(int fd, void *data, size_t size);
HOOK int __close(int fd);
HOOK int __dup2(int fd, int to);
HOOK int __fcntl(int fd, int command, ...);
HOOK int __poll(struct pollfd *fds, nfds_t count, int ms);
HOOK int __select(int end, fd_set *reads, fd_set *writes, fd_set *others, struct timeval *limit);

HOOK int __connect(int fd, const struct sockaddr *address, socklen_t size)
{
    return connect(fd, address, size);
}

HOOK ssize_t __send(int fd, const void *data, size_t size, int flags)
{
    return send(fd, data, size, flags);
}

HOOK ssize_t __write(int fd, const void *data, size_t size)
{
    return write(fd, data, size);
}

HOOK ssize_t __read(int fd, void *data, size_t size)
{
    return read(fd, data, size);
}

HOOK int __close(int fd)
{
    return close(fd);
}

HOOK int __dup2(int fd, int to)
{
    return dup2(fd, to);
}

HOOK int __fcntl(int fd, int command, ...)
{
    va_list arguments;
    long argument;

    va_start(arguments, command);
    argument = va_arg(arguments, long);
    va_end(arguments);
    return fcntl(fd, command, argument);
}

HOOK int __poll(struct pollfd *fds, nfds_t count, int ms)
{
    return poll(fds, count, ms);
}

HOOK int __select(int end, fd_set *reads, fd_set *writes, fd_set *others, struct timeval *limit)
{
    return select(end, reads, writes, others, limit);
}

/* ---- with flags ---- */

/* At -1 they read and write like readv(2) and writev(2); a socket has no other place. */
static bool moves(int fd, const struct iovec *parts, int count, off64_t at, int flags, bool sends,
                  ssize_t *result)
{
    int how = flags & RWF_NOWAIT ? MSG_DONTWAIT : 0;

    if (at != -1 || count <= 0 || !virtual_find(fd))
        return false;
    return sends ? traffic_send(fd, parts, count, how, result)
                 : traffic_receive(fd, parts, count, how, result);
}

HOOK ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t at, int flags)
{
    ssize_t result;

    return moves(fd, parts, count, at, flags, false, &result)
               ? result
               : real()->preadv2(fd, parts, count, at, flags);
}

HOOK ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags)
{
    ssize_t result;

    return moves(fd, parts, count, at, flags, false, &result)
               ? result
               : real()->preadv64v2(fd, parts, count, at, flags);
}

HOOK ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags)
{
    ssize_t result;

    return moves(fd, parts, count, at, flags, true, &result)
               ? result
               : real()->pwritev2(fd, parts, count, at, flags);
}

HOOK ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags)
{
    ssize_t result;

    return moves(fd, parts, count, at, flags, true, &result)
               ? result
               : real()->pwritev64v2(fd, parts, count, at, flags);
}
