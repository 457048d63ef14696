/* SPDX-License-Identifier: MIT */
/* Receiving on a virtual connection: see traffic.h. */
#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include "libclient/cancel.h"
#include "libclient/clock.h"
#include "libclient/preload/real.h"
#include "libclient/preload/swap.h"
#include "libclient/preload/traffic.h"

/* A thread that waits where nothing can come yet checks so often whether another one has sent
 * something since. */
#define LOOK_MS 20

/* Below that the pooled socket's own limit is too long: CONNECTION_RECEIVE_MS. */
#define OWN_LIMIT_NS (INT64_C(2000000) * CONNECTION_RECEIVE_MS)

static ssize_t receive_now(int fd, const struct iovec *parts, int count, int flags)
{
    struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};

    if (count == 1)
        return real()->recv(fd, parts->iov_base, parts->iov_len, flags);
    return real()->recvmsg(fd, &message, flags);
}

/* `got` bytes were read from a pooled connection. */
static void follow(struct virtual *virtual, const struct iovec *parts, ssize_t got)
{
    for (size_t left = (size_t)got; left > 0; parts++) {
        size_t size = parts->iov_len < left ? parts->iov_len : left;

        stream_received(&virtual->stream, parts->iov_base, size);
        left -= size;
    }
    traffic_settle(virtual);
}

/* What came of reading from a pooled connection. True: *result and errno are for the caller. */
static bool took(struct virtual *virtual, const struct iovec *parts, int flags, ssize_t got,
                 ssize_t *result)
{
    *result = got;
    if (got > 0) {
        if (!(flags & MSG_PEEK))
            follow(virtual, parts, got);
        return true;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR || errno == EFAULT || errno == EINVAL))
        return errno != EAGAIN && errno != EINTR;
    if (got == 0 && parts->iov_len == 0)
        return true;
    traffic_lost(virtual, false);
    return true;
}

static bool is_blocking(const struct virtual *virtual, int flags)
{
    return !virtual->nonblocking && !(flags & MSG_DONTWAIT);
}

/* Where there is nothing of a pooled connection's. True: *result is for the caller; false: it is to
 * wait, or `*stale`: the number is not ours. */
static bool take_own(struct virtual *virtual, const struct iovec *parts, int count, int flags,
                     bool *stale, ssize_t *result)
{
    ssize_t got;

    if (virtual->state == VIRTUAL_PARKED) {
        *stale = !swap_check(virtual);
        errno = EAGAIN;
        return false;
    }
    got = receive_now(virtual->number, parts, count, flags | MSG_DONTWAIT);
    *result = got;
    if (virtual->state == VIRTUAL_ANSWERED && got > 0) {
        if (!(flags & MSG_PEEK))
            swap_answer_read(virtual, (size_t)got);
        return true;
    }
    if (virtual->state == VIRTUAL_ENDED && got == 0) {
        virtual->loss_untold = false;
        return true;
    }
    if (got < 0 && errno == EAGAIN)
        return false;
    *stale = !swap_is_here(virtual);
    return !*stale;
}

/* Waits without the lock. Results: as poll(2). */
static int wait_for(int fd, int ms, int *before)
{
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    int ready;

    cancel_restore(before);
    ready = real()->poll(&waited, 1, ms);
    *before = cancel_off();
    return ready;
}

/* Also where the thread is cancelled in recv(2). */
static void leave_receivers(struct virtual **virtual)
{
    if (!*virtual)
        return;
    while (!virtual_lock(*virtual, (*virtual)->number))
        if ((*virtual)->number < 0)
            return; /* it was closed meanwhile */
    (*virtual)->receivers--;
    traffic_settle(*virtual);
    virtual_unlock(*virtual);
    *virtual = NULL;
}

/*
 * recv(2) that waits, on a pooled connection and without the lock; it comes back after
 * CONNECTION_RECEIVE_MS. The connection does not go back while somebody is in there: what came then
 * would be another's reply (I4). True: it is locked again.
 */
static bool receive_waiting(struct virtual *virtual, int fd, const struct iovec *parts, int count,
                            int flags, int *before, ssize_t *got)
{
    struct virtual *inside __attribute__((cleanup(leave_receivers))) = virtual;
    int error, leased = virtual->lease->fd;

    virtual->receivers++;
    virtual_unlock(virtual);
    cancel_restore(before);
    *got = receive_now(leased, parts, count, flags);
    error = errno;
    *before = cancel_off();
    if (!virtual_lock(virtual, fd)) {
        inside = NULL;
        return false;
    }
    virtual->receivers--;
    inside = NULL;
    errno = error;
    return true;
}

/* Another slice of a wait. Results: milliseconds for poll(2); -1, the time is over. */
static int slice_ms(int64_t deadline_ns)
{
    int64_t left_ns = deadline_ns == 0 ? INT64_MAX : deadline_ns - clock_now_ns();

    if (left_ns <= 0)
        return -1;
    return left_ns < LOOK_MS * INT64_C(1000000) ? (int)(left_ns / 1000000) + 1 : LOOK_MS;
}

enum turn { TURN_DONE, TURN_AGAIN, TURN_REAL };

/* Waits where nothing of a pooled connection can come, or not for long. Unlocks. */
static enum turn wait_own(struct virtual *virtual, int64_t deadline_ns, int *before,
                          ssize_t *result)
{
    int64_t limit_ns = virtual->receive_ns;
    int ms = slice_ms(deadline_ns), carrier = swap_carrier(virtual);

    virtual_unlock(virtual);
    *result = -1;
    if (ms < 0) {
        errno = EAGAIN;
        return TURN_DONE;
    }
    if (wait_for(carrier, ms, before) < 0 && errno == EINTR && !traffic_restarts(limit_ns))
        return TURN_DONE;
    return TURN_AGAIN;
}

/* One attempt, locked; unlocks. */
static enum turn receive_once(struct virtual *virtual, int fd, const struct iovec *parts, int count,
                              int flags, int64_t deadline_ns, int *before, ssize_t *result)
{
    bool stale = false;
    ssize_t got;

    if (virtual->state != VIRTUAL_LEASED) {
        if (take_own(virtual, parts, count, flags, &stale, result)) {
            virtual_unlock(virtual);
            return TURN_DONE;
        }
        if (stale) {
            traffic_forget(virtual);
            return TURN_REAL;
        }
    } else if (is_blocking(virtual, flags) &&
               (deadline_ns == 0 || deadline_ns - clock_now_ns() > OWN_LIMIT_NS)) {
        int64_t limit_ns = virtual->receive_ns;

        if (!receive_waiting(virtual, fd, parts, count, flags, before, &got)) {
            errno = EBADF; /* another thread has closed it */
            *result = -1;
            return TURN_DONE;
        }
        if (virtual->state == VIRTUAL_LEASED && took(virtual, parts, flags, got, result)) {
            virtual_unlock(virtual);
            return TURN_DONE;
        }
        traffic_settle(virtual);
        virtual_unlock(virtual);
        return got < 0 && errno == EINTR && !traffic_restarts(limit_ns) ? TURN_DONE : TURN_AGAIN;
    } else {
        got = receive_now(virtual->lease->fd, parts, count, flags | MSG_DONTWAIT);
        if (took(virtual, parts, flags, got, result)) {
            virtual_unlock(virtual);
            return TURN_DONE;
        }
    }
    if (!is_blocking(virtual, flags)) {
        virtual_unlock(virtual);
        errno = EAGAIN;
        *result = -1;
        return TURN_DONE;
    }
    return wait_own(virtual, deadline_ns, before, result);
}

/* Results as traffic_receive(). *deadline_ns: -1, it is yet to be found; else of the call. */
static bool receive_some(int fd, const struct iovec *parts, int count, int flags,
                         int64_t *deadline_ns, int *before, ssize_t *result)
{
    struct virtual *virtual;

    while (traffic_lock(fd, &virtual, result)) {
        if (*deadline_ns < 0)
            *deadline_ns = virtual->receive_ns > 0 ? clock_now_ns() + virtual->receive_ns : 0;
        switch (receive_once(virtual, fd, parts, count, flags, *deadline_ns, before, result)) {
        case TURN_DONE:
            return true;
        case TURN_REAL:
            return false;
        case TURN_AGAIN:
            break;
        }
    }
    return *result < 0;
}

/* MSG_WAITALL: the pooled socket's own limit, or a reply that comes another way, is no reason to
 * come back with less. */
static bool receive_all(int fd, const struct iovec *parts, int count, int flags, int *before,
                        ssize_t *result)
{
    int64_t deadline_ns = -1;
    ssize_t all = 0, got = 1;

    for (int i = 0; i < count && got > 0; i++)
        for (size_t at = 0; at < parts[i].iov_len && got > 0; at += (size_t)got, all += got) {
            struct iovec part = {(char *)parts[i].iov_base + at, parts[i].iov_len - at};

            if (!receive_some(fd, &part, 1, flags & ~MSG_WAITALL, &deadline_ns, before, &got)) {
                if (all == 0)
                    return false;
                got = 0; /* it has become another one meanwhile */
            }
            if (got <= 0 && all == 0)
                all = got;
            if (got <= 0)
                break;
        }
    *result = all;
    return true;
}

/* MSG_TRUNC on a TCP socket: the bytes are discarded, wherever they were to go. A part of them at a
 * time, for they are followed. */
static bool receive_away(int fd, const struct iovec *parts, int count, int flags, int *before,
                         ssize_t *result)
{
    struct virtual *virtual = virtual_find(fd);
    int64_t deadline_ns = -1;
    char scratch[4096];
    struct iovec away = {.iov_base = scratch};

    if (virtual && virtual->domain == AF_UNIX) /* there the flag means nothing: unix(7) */
        return receive_some(fd, parts, count, flags, &deadline_ns, before, result);
    for (int i = 0; i < count; i++)
        away.iov_len += parts[i].iov_len;
    if (away.iov_len > sizeof scratch)
        away.iov_len = sizeof scratch;
    return receive_some(fd, &away, 1, flags, &deadline_ns, before, result);
}

bool traffic_receive(int fd, const struct iovec *parts, int count, int flags, ssize_t *result)
{
    int before CANCEL_RESTORED = cancel_off();
    int64_t deadline_ns = -1;

    if (flags & (MSG_OOB | MSG_ERRQUEUE)) {
        *result = -1;
        errno = flags & MSG_OOB ? EINVAL : EAGAIN; /* there is none: tcp(7) */
        return virtual_find(fd) != NULL;
    }
    if (flags & MSG_TRUNC)
        return receive_away(fd, parts, count, flags & ~(MSG_TRUNC | MSG_WAITALL), &before, result);
    if ((flags & MSG_WAITALL) && !(flags & MSG_PEEK))
        return receive_all(fd, parts, count, flags, &before, result);
    return receive_some(fd, parts, count, flags, &deadline_ns, &before, result);
}
