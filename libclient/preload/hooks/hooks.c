/* SPDX-License-Identifier: MIT */
/*
 * The functions of the C library that the preloaded library stands before, and nothing else: each
 * asks whether the descriptor is a virtual connection, which for any other is a load and a compare,
 * and goes on to the C library's own.
 */
#undef _FORTIFY_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "libclient/preload/mine.h"
#include "libclient/preload/counts.h"
#include "libclient/preload/descriptors.h"
#include "libclient/preload/map.h"
#include "libclient/preload/own.h"
#include "libclient/preload/hooks/polling.h"
#include "libclient/preload/real.h"
#include "libclient/preload/settings.h"
#include "libclient/preload/traffic.h"

#define HOOK __attribute__((visibility("default")))

/* What is done for virtual connections is out of line: any other descriptor pays for a look into
 * the table and a jump. */
#define SLOW static __attribute__((noinline))

/* Declared nowhere: what the compiler calls in their place where it knows a buffer's size. */
HOOK ssize_t __read_chk(int fd, void *data, size_t size, size_t room);
HOOK ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags);
HOOK ssize_t __recvfrom_chk(int fd, void *data, size_t size, size_t room, int flags,
                            struct sockaddr *from, socklen_t *from_size);
HOOK int __poll_chk(struct pollfd *fds, nfds_t count, int ms, size_t room);
HOOK int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *limit,
                     const sigset_t *mask, size_t room);
extern void __chk_fail(void) __attribute__((noreturn));

/* Something can have to be done. */
static inline bool is_virtual(int fd)
{
    return __builtin_expect(virtual_find(fd) != NULL, 0);
}

static __attribute__((constructor)) void begin(void)
{
    real();
    settings_read();
    counts_begin();
}

HOOK int connect(int fd, const struct sockaddr *address, socklen_t size)
{
    int result;

    if (address && size >= sizeof(sa_family_t) && descriptor_connects(fd, address, size, &result))
        return result;
    return real()->connect(fd, address, size);
}

/* ---- sending ---- */

static bool sends(int fd, const void *data, size_t size, int flags, ssize_t *result)
{
    struct iovec part = {.iov_base = (void *)data, .iov_len = size};

    return traffic_send(fd, &part, 1, flags, result);
}

SLOW ssize_t send_virtual(int fd, const void *data, size_t size, int flags)
{
    ssize_t result;

    if (flags & MSG_OOB) {
        descriptor_is_shared(fd); /* urgent bytes are none of the stream: tcp(7) */
        return real()->send(fd, data, size, flags);
    }
    return sends(fd, data, size, flags, &result) ? result : real()->send(fd, data, size, flags);
}

HOOK ssize_t send(int fd, const void *data, size_t size, int flags)
{
    return is_virtual(fd) ? send_virtual(fd, data, size, flags)
                          : real()->send(fd, data, size, flags);
}

HOOK ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
                    socklen_t to_size)
{
    if (is_virtual(fd)) /* on a connection the address is ignored: sendto(2) */
        return send_virtual(fd, data, size, flags);
    return real()->sendto(fd, data, size, flags, to, to_size);
}

SLOW ssize_t write_virtual(int fd, const void *data, size_t size)
{
    ssize_t result;

    return sends(fd, data, size, 0, &result) ? result : real()->write(fd, data, size);
}

HOOK ssize_t write(int fd, const void *data, size_t size)
{
    return is_virtual(fd) ? write_virtual(fd, data, size) : real()->write(fd, data, size);
}

HOOK ssize_t writev(int fd, const struct iovec *parts, int count)
{
    ssize_t result;

    if (is_virtual(fd) && count > 0 && traffic_send(fd, parts, count, 0, &result))
        return result;
    return real()->writev(fd, parts, count);
}

/* Descriptors in a message of the program's own: virtual ones are made real. */
static void share_passed(const struct msghdr *message)
{
    if (!message || !message->msg_control || !mine)
        return;
    for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each;
         each = CMSG_NXTHDR((struct msghdr *)message, each)) {
        size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(each) + i * sizeof fd, sizeof fd);
            if (is_virtual(fd))
                descriptor_is_shared(fd);
        }
    }
}

HOOK ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    ssize_t result;

    if ((flags & MSG_OOB) && is_virtual(fd))
        descriptor_is_shared(fd);
    else if (is_virtual(fd) && message && message->msg_iovlen > 0 &&
             traffic_send(fd, message->msg_iov, (int)message->msg_iovlen, flags, &result))
        return result;
    share_passed(message);
    return real()->sendmsg(fd, message, flags);
}

HOOK int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    unsigned done = 0;

    if (!is_virtual(fd)) {
        for (unsigned i = 0; mine && i < count; i++)
            share_passed(&messages[i].msg_hdr);
        return real()->sendmmsg(fd, messages, count, flags);
    }
    for (; done < count; done++) {
        ssize_t sent = sendmsg(fd, &messages[done].msg_hdr, flags);

        if (sent < 0)
            break;
        messages[done].msg_len = (unsigned)sent;
    }
    return done > 0 || count == 0 ? (int)done : -1;
}

/* ---- receiving ---- */

static bool receives(int fd, void *data, size_t size, int flags, ssize_t *result)
{
    struct iovec part = {.iov_base = data, .iov_len = size};

    return traffic_receive(fd, &part, 1, flags, result);
}

SLOW ssize_t recv_virtual(int fd, void *data, size_t size, int flags)
{
    ssize_t result;

    return receives(fd, data, size, flags, &result) ? result : real()->recv(fd, data, size, flags);
}

HOOK ssize_t recv(int fd, void *data, size_t size, int flags)
{
    return is_virtual(fd) ? recv_virtual(fd, data, size, flags)
                          : real()->recv(fd, data, size, flags);
}

HOOK ssize_t recvfrom(int fd, void *data, size_t size, int flags, struct sockaddr *from,
                      socklen_t *from_size)
{
    ssize_t result;

    if (is_virtual(fd) && receives(fd, data, size, flags, &result)) {
        if (result >= 0 && from && from_size)
            *from_size = 0;
        return result;
    }
    return real()->recvfrom(fd, data, size, flags, from, from_size);
}

SLOW ssize_t read_virtual(int fd, void *data, size_t size)
{
    ssize_t result;

    if (size == 0)
        return 0; /* unlike recv(2) it does not wait then */
    return receives(fd, data, size, 0, &result) ? result : real()->read(fd, data, size);
}

HOOK ssize_t read(int fd, void *data, size_t size)
{
    return is_virtual(fd) ? read_virtual(fd, data, size) : real()->read(fd, data, size);
}

static bool has_room(const struct iovec *parts, int count)
{
    while (count > 0 && parts[count - 1].iov_len == 0)
        count--;
    return count > 0;
}

HOOK ssize_t readv(int fd, const struct iovec *parts, int count)
{
    ssize_t result;

    if (is_virtual(fd) && has_room(parts, count) && traffic_receive(fd, parts, count, 0, &result))
        return result;
    return real()->readv(fd, parts, count);
}

HOOK ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    ssize_t result;

    if (is_virtual(fd) && message && message->msg_iovlen > 0 &&
        traffic_receive(fd, message->msg_iov, (int)message->msg_iovlen, flags, &result)) {
        message->msg_namelen = 0;
        message->msg_controllen = 0;
        message->msg_flags = 0;
        return result;
    }
    return real()->recvmsg(fd, message, flags);
}

HOOK int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                  struct timespec *limit)
{
    ssize_t got;

    if (!is_virtual(fd) || count == 0)
        return real()->recvmmsg(fd, messages, count, flags, limit);
    got = recvmsg(fd, &messages[0].msg_hdr, flags & ~MSG_WAITFORONE);
    if (got < 0)
        return -1;
    messages[0].msg_len = (unsigned)got;
    return 1;
}

HOOK ssize_t __read_chk(int fd, void *data, size_t size, size_t room)
{
    if (size > room)
        __chk_fail();
    return read(fd, data, size);
}

HOOK ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags)
{
    if (size > room)
        __chk_fail();
    return recv(fd, data, size, flags);
}

HOOK ssize_t __recvfrom_chk(int fd, void *data, size_t size, size_t room, int flags,
                            struct sockaddr *from, socklen_t *from_size)
{
    if (size > room)
        __chk_fail();
    return recvfrom(fd, data, size, flags, from, from_size);
}

/* ---- closing ---- */

HOOK int close(int fd)
{
    if (__builtin_expect(own_is(fd), 0))
        return 0; /* it is not the program's: for the program it is closed */
    if (is_virtual(fd))
        descriptor_closes(fd);
    return real()->close(fd);
}

HOOK int close_range(unsigned first, unsigned last, int flags)
{
    unsigned from, to;

    if (!(flags & CLOSE_RANGE_CLOEXEC) && first <= last)
        descriptors_close(first, last);
    while (first <= last && own_last_run(first, last, &from, &to)) {
        if (to < last && real()->close_range(to + 1, last, flags) < 0)
            return -1;
        if (from == first)
            return 0;
        last = from - 1;
    }
    return real()->close_range(first, last, flags);
}

HOOK void closefrom(int first)
{
    if (close_range(first > 0 ? (unsigned)first : 0, ~0u, 0) < 0)
        real()->closefrom(first);
}

HOOK int shutdown(int fd, int how)
{
    int result;

    if (is_virtual(fd) && descriptor_shuts_down(fd, how, &result))
        return result;
    return real()->shutdown(fd, how);
}

/* ---- copies ---- */

HOOK int dup(int fd)
{
    if (is_virtual(fd))
        descriptor_is_shared(fd);
    return real()->dup(fd);
}

/* `to` gets another file. Results: 0; -1, it is one of ours, and errno. */
static int make_room(int fd, int to)
{
    if (own_is(to)) {
        errno = EBUSY; /* dup2(2) */
        return -1;
    }
    if (fd != to && is_virtual(fd))
        descriptor_is_shared(fd);
    if (fd != to && is_virtual(to))
        descriptor_closes(to);
    return 0;
}

HOOK int dup2(int fd, int to)
{
    return make_room(fd, to) < 0 ? -1 : real()->dup2(fd, to);
}

HOOK int dup3(int fd, int to, int flags)
{
    return make_room(fd, to) < 0 ? -1 : real()->dup3(fd, to, flags);
}

/* ---- flags and options ---- */

static int control_file(int fd, int command, long argument)
{
    int result;

    if (is_virtual(fd)) {
        if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
            descriptor_is_shared(fd);
        else if ((command == F_GETFL || command == F_SETFL || command == F_GETFD ||
                  command == F_SETFD) &&
                 descriptor_flags(fd, command, argument, &result))
            return result;
    }
    return real()->fcntl(fd, command, argument);
}

HOOK int fcntl(int fd, int command, ...)
{
    va_list arguments;
    long argument;

    va_start(arguments, command);
    argument = va_arg(arguments, long);
    va_end(arguments);
    return control_file(fd, command, argument);
}

HOOK int fcntl64(int fd, int command, ...)
{
    va_list arguments;
    long argument;

    va_start(arguments, command);
    argument = va_arg(arguments, long);
    va_end(arguments);
    return control_file(fd, command, argument);
}

HOOK int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    void *argument;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if (is_virtual(fd) && argument) {
        if (request == FIONBIO && descriptor_set_nonblocking(fd, *(const int *)argument != 0))
            return 0;
        if (request == FIONREAD && descriptor_has_unread(fd, argument))
            return 0;
    }
    return real()->ioctl(fd, request, argument);
}

HOOK int getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    int result;

    if (is_virtual(fd) && descriptor_get_option(fd, level, name, value, size, &result))
        return result;
    return real()->getsockopt(fd, level, name, value, size);
}

HOOK int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    int result;

    if (is_virtual(fd) && descriptor_set_option(fd, level, name, value, size, &result))
        return result;
    return real()->setsockopt(fd, level, name, value, size);
}

HOOK int getpeername(int fd, struct sockaddr *address, socklen_t *size)
{
    int result;

    if (is_virtual(fd) && descriptor_get_name(fd, true, address, size, &result))
        return result;
    return real()->getpeername(fd, address, size);
}

HOOK int getsockname(int fd, struct sockaddr *address, socklen_t *size)
{
    int result;

    if (is_virtual(fd) && descriptor_get_name(fd, false, address, size, &result))
        return result;
    return real()->getsockname(fd, address, size);
}

HOOK int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    int result;

    if (is_virtual(fd) && descriptor_polls(epoll, operation, fd, event, &result))
        return result;
    return real()->epoll_ctl(epoll, operation, fd, event);
}

/* ---- polling ---- */

HOOK int poll(struct pollfd *fds, nfds_t count, int ms)
{
    struct polling polling;
    struct pollfd *polled = polling_begin(&polling, fds, count);

    return polling_end(&polling, polled, fds, count, real()->poll(polled, count, ms));
}

HOOK int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *limit, const sigset_t *mask)
{
    struct polling polling;
    struct pollfd *polled = polling_begin(&polling, fds, count);

    return polling_end(&polling, polled, fds, count, real()->ppoll(polled, count, limit, mask));
}

HOOK int __poll_chk(struct pollfd *fds, nfds_t count, int ms, size_t room)
{
    if (room / sizeof *fds < count)
        __chk_fail();
    return poll(fds, count, ms);
}

HOOK int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *limit,
                     const sigset_t *mask, size_t room)
{
    if (room / sizeof *fds < count)
        __chk_fail();
    return ppoll(fds, count, limit, mask);
}

static void note_selected(int end, const fd_set *reads, const fd_set *writes)
{
    if (!mine)
        return;
    for (int fd = 0; fd < end; fd++)
        if (is_virtual(fd) && ((reads && FD_ISSET(fd, reads)) || (writes && FD_ISSET(fd, writes))))
            descriptor_is_selected(fd);
}

HOOK int select(int end, fd_set *reads, fd_set *writes, fd_set *others, struct timeval *limit)
{
    note_selected(end, reads, writes);
    return real()->select(end, reads, writes, others, limit);
}

HOOK int pselect(int end, fd_set *reads, fd_set *writes, fd_set *others,
                 const struct timespec *limit, const sigset_t *mask)
{
    note_selected(end, reads, writes);
    return real()->pselect(end, reads, writes, others, limit, mask);
}
