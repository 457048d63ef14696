/* SPDX-License-Identifier: MIT */
/*
 * The C library's own functions behind the hooks of hooks.c: those that the next library in the
 * program has. The files of liblendis that are built into the preloaded library are compiled with
 * real_calls.h, so that nothing of ours ever enters a hook.
 *
 * They are found by dlsym(3) on first use: constructors of other libraries can come before ours.
 */
#ifndef LENDIS_PRELOAD_REAL_H
#define LENDIS_PRELOAD_REAL_H

#include <aio.h>
#include <poll.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

/* clang-format off */
#define REAL_FUNCTIONS(REAL) \
    REAL(int, connect, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size)) \
    REAL(ssize_t, send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags)) \
    REAL(ssize_t, sendto, (int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t to_size), (fd, data, size, flags, to, to_size)) \
    REAL(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags)) \
    REAL(int, sendmmsg, (int fd, struct mmsghdr *messages, unsigned count, int flags), (fd, messages, count, flags)) \
    REAL(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size)) \
    REAL(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count)) \
    REAL(ssize_t, recv, (int fd, void *data, size_t size, int flags), (fd, data, size, flags)) \
    REAL(ssize_t, recvfrom, (int fd, void *data, size_t size, int flags, struct sockaddr *from, socklen_t *from_size), (fd, data, size, flags, from, from_size)) \
    REAL(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags)) \
    REAL(int, recvmmsg, (int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *limit), (fd, messages, count, flags, limit)) \
    REAL(ssize_t, read, (int fd, void *data, size_t size), (fd, data, size)) \
    REAL(ssize_t, readv, (int fd, const struct iovec *parts, int count), (fd, parts, count)) \
    REAL(int, close, (int fd), (fd)) \
    REAL(int, close_range, (unsigned first, unsigned last, int flags), (first, last, flags)) \
    REAL(void, closefrom, (int first), (first)) \
    REAL(int, shutdown, (int fd, int how), (fd, how)) \
    REAL(int, dup, (int fd), (fd)) \
    REAL(int, dup2, (int fd, int to), (fd, to)) \
    REAL(int, dup3, (int fd, int to, int flags), (fd, to, flags)) \
    REAL(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *size), (fd, level, name, value, size)) \
    REAL(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t size), (fd, level, name, value, size)) \
    REAL(int, getpeername, (int fd, struct sockaddr *address, socklen_t *size), (fd, address, size)) \
    REAL(int, getsockname, (int fd, struct sockaddr *address, socklen_t *size), (fd, address, size)) \
    REAL(int, poll, (struct pollfd *fds, nfds_t count, int ms), (fds, count, ms)) \
    REAL(int, ppoll, (struct pollfd *fds, nfds_t count, const struct timespec *limit, const sigset_t *mask), (fds, count, limit, mask)) \
    REAL(int, select, (int end, fd_set *reads, fd_set *writes, fd_set *others, struct timeval *limit), (end, reads, writes, others, limit)) \
    REAL(int, pselect, (int end, fd_set *reads, fd_set *writes, fd_set *others, const struct timespec *limit, const sigset_t *mask), (end, reads, writes, others, limit, mask)) \
    REAL(int, epoll_ctl, (int epoll, int operation, int fd, struct epoll_event *event), (epoll, operation, fd, event)) \
    REAL(ssize_t, preadv2, (int fd, const struct iovec *parts, int count, off_t at, int flags), (fd, parts, count, at, flags)) \
    REAL(ssize_t, pwritev2, (int fd, const struct iovec *parts, int count, off_t at, int flags), (fd, parts, count, at, flags)) \
    REAL(ssize_t, preadv64v2, (int fd, const struct iovec *parts, int count, off64_t at, int flags), (fd, parts, count, at, flags)) \
    REAL(ssize_t, pwritev64v2, (int fd, const struct iovec *parts, int count, off64_t at, int flags), (fd, parts, count, at, flags)) \
    REAL(ssize_t, sendfile, (int to, int from, off_t *at, size_t size), (to, from, at, size)) \
    REAL(ssize_t, sendfile64, (int to, int from, off64_t *at, size_t size), (to, from, at, size)) \
    REAL(ssize_t, splice, (int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned flags), (from, from_at, to, to_at, size, flags)) \
    REAL(int, aio_read, (struct aiocb *request), (request)) \
    REAL(int, aio_write, (struct aiocb *request), (request)) \
    REAL(int, lio_listio, (int mode, struct aiocb *const requests[], int count, struct sigevent *event), (mode, requests, count, event)) \
    REAL(FILE *, fdopen, (int fd, const char *mode), (fd, mode)) \
    REAL(int, vdprintf, (int fd, const char *format, va_list arguments), (fd, format, arguments)) \
    REAL(int, __vdprintf_chk, (int fd, int flag, const char *format, va_list arguments), (fd, flag, format, arguments)) \
    REAL(int, posix_spawn_file_actions_adddup2, (posix_spawn_file_actions_t *actions, int fd, int to), (actions, fd, to))
/* clang-format on */

struct real {
/* NOLINTNEXTLINE(bugprone-macro-parentheses): a type and a list of parameters */
#define REAL_POINTER(type, name, parameters, arguments) type(*name) parameters;
    REAL_FUNCTIONS(REAL_POINTER)
#undef REAL_POINTER
    int (*fcntl)(int fd, int command, ...);
    int (*ioctl)(int fd, unsigned long request, ...);
    long (*syscall)(long number, ...);
    bool resolved;
};

extern struct real real_table;

void real_resolve(void);

static inline const struct real *real(void)
{
    if (__builtin_expect(!real_table.resolved, 0))
        real_resolve();
    return &real_table;
}

#endif
