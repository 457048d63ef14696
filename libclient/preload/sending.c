/* SPDX-License-Identifier: MIT */
/* Sending on a virtual connection: see traffic.h. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "libclient/cancel.h"
#include "libclient/clock.h"
#include "libclient/preload/real.h"
#include "libclient/preload/swap.h"
#include "libclient/preload/traffic.h"
#include "libclient/preload/ways.h"

/* A wait for room checks so often whether the connection is still the same. */
#define LOOK_MS 250
/* A pooled connection that ended just now, before a byte was sent: another one, so often. */
#define TRIES 3

/* What is to be sent, in one piece: copied if the program has it in several. */
struct cargo {
    const char *data;
    size_t size, sent;
    char *copy;
    int flags;
    bool blocking;
};

static void cargo_free(struct cargo *cargo)
{
    free(cargo->copy);
}

static bool cargo_take(struct cargo *cargo, const struct iovec *parts, int count)
{
    size_t at = 0;

    for (int i = 0; i < count; i++)
        cargo->size += parts[i].iov_len;
    if (count == 1) {
        cargo->data = parts->iov_base;
        return true;
    }
    cargo->data = cargo->copy = malloc(cargo->size + 1);
    if (!cargo->copy)
        return false;
    for (int i = 0; i < count; at += parts[i++].iov_len)
        memcpy(cargo->copy + at, parts[i].iov_base, parts[i].iov_len);
    return true;
}

enum turn { TURN_DONE, TURN_AGAIN, TURN_REAL };

/* `all`: it is the whole of what the program sends. */
static void follow(struct virtual *virtual, const char *data, size_t size, bool all)
{
    if (all && virtual->stream.planned > 0) {
        stream_sent_planned(&virtual->stream);
        return;
    }
    virtual->stream.planned = 0;
    stream_sent(&virtual->stream, data, size, way_classify, virtual->lease);
}

/* Sends what there is room for on the pooled connection. Results: TURN_DONE, errno EAGAIN: there is
 * no room; 0: all is sent; TURN_AGAIN, nothing could be sent, and the connection is gone. */
static enum turn send_leased(struct virtual *virtual, struct cargo *cargo, bool fresh)
{
    while (cargo->sent < cargo->size) {
        const char *data = cargo->data + cargo->sent;
        ssize_t wrote = real()->send(virtual->lease->fd, data, cargo->size - cargo->sent,
                                     (cargo->flags & ~MSG_WAITALL) | MSG_DONTWAIT | MSG_NOSIGNAL);

        if (wrote >= 0) {
            follow(virtual, data, (size_t)wrote, (size_t)wrote == cargo->size);
            cargo->sent += (size_t)wrote;
        } else if (errno == EAGAIN) {
            return TURN_DONE;
        } else if (errno != EINTR) {
            if (fresh && cargo->sent == 0) {
                swap_park(virtual);
                swap_release(virtual, true);
                return TURN_AGAIN;
            }
            /* The program reads the end, as it would have after a send that went well. */
            traffic_lost(virtual, true);
            cargo->sent = cargo->size;
        }
    }
    errno = 0;
    return TURN_DONE;
}

/* `instead` goes out for all of the cargo: small, on a connection that has room. */
static enum turn send_instead(struct virtual *virtual, struct cargo *cargo, const char *instead)
{
    struct cargo other = {.data = instead, .size = strlen(instead), .flags = cargo->flags};
    enum turn turn = send_leased(virtual, &other, true);

    if (turn == TURN_DONE && other.sent < other.size)
        traffic_lost(virtual, true);
    if (turn == TURN_DONE)
        cargo->sent = cargo->size;
    errno = 0;
    return turn;
}

static enum turn begin(struct virtual *virtual, struct cargo *cargo)
{
    const char *instead;

    switch (way_find(virtual, cargo->data + cargo->sent, cargo->size - cargo->sent,
                     !virtual->registrations, &instead)) {
    case WAY_LEASED:
        return instead ? send_instead(virtual, cargo, instead) : send_leased(virtual, cargo, true);
    case WAY_REAL:
        return TURN_REAL;
    default:
        cargo->sent = cargo->size;
        errno = 0;
        return TURN_DONE;
    }
}

/* One attempt, locked; stays locked but for TURN_REAL. */
static enum turn send_once(struct virtual *virtual, struct cargo *cargo)
{
    if (virtual->mute) {
        errno = EPIPE;
        return TURN_DONE;
    }
    switch (virtual->state) {
    case VIRTUAL_LEASED:
        if (swap_check(virtual))
            return send_leased(virtual, cargo, false);
        traffic_forget(virtual);
        return TURN_REAL;
    case VIRTUAL_ENDED:
        if (virtual->loss_untold) {
            cargo->sent = cargo->size;
            errno = 0;
        } else {
            errno = EPIPE;
        }
        return TURN_DONE;
    default:
        return begin(virtual, cargo);
    }
}

/* Without the lock. False: the time is over, or a signal came, and errno says which. */
static bool wait_for_room(int fd, int64_t deadline_ns, int64_t limit_ns, int *before)
{
    struct pollfd waited = {.fd = fd, .events = POLLOUT};
    int ms = LOOK_MS;

    if (deadline_ns > 0) {
        int64_t left_ns = deadline_ns - clock_now_ns();

        if (left_ns <= 0) {
            errno = EAGAIN;
            return false;
        }
        if (left_ns < LOOK_MS * INT64_C(1000000))
            ms = (int)(left_ns / 1000000) + 1;
    }
    cancel_restore(before);
    ms = real()->poll(&waited, 1, ms);
    *before = cancel_off();
    return ms >= 0 || errno != EINTR || traffic_restarts(limit_ns);
}

/* What the caller gets; errno says why not all was sent. */
static void conclude(const struct cargo *cargo, ssize_t *result)
{
    int error = errno;

    *result = cargo->sent > 0 || error == 0 ? (ssize_t)cargo->sent : -1;
    if (*result < 0 && error == EPIPE && !(cargo->flags & MSG_NOSIGNAL))
        raise(SIGPIPE);
    errno = error;
}

static bool send_all(int fd, struct cargo *cargo, ssize_t *result, int *before)
{
    int64_t deadline_ns = -1, limit_ns = 0;
    int found = errno, tries = 0, carrier;
    struct virtual *virtual;

    while (traffic_lock(fd, &virtual, result)) {
        enum turn turn;

        cargo->blocking = !virtual->nonblocking && !(cargo->flags & MSG_DONTWAIT);
        if (deadline_ns < 0) {
            limit_ns = virtual->send_ns;
            deadline_ns = limit_ns > 0 ? clock_now_ns() + limit_ns : 0;
        }
        turn = send_once(virtual, cargo);
        if (turn == TURN_REAL)
            return false;
        if (turn == TURN_AGAIN && ++tries == TRIES) {
            traffic_lost(virtual, true);
            cargo->sent = cargo->size;
            errno = 0;
        } else if (turn == TURN_AGAIN) {
            virtual_unlock(virtual);
            continue;
        }
        carrier = swap_carrier(virtual);
        virtual_unlock(virtual);
        if (errno != EAGAIN || !cargo->blocking ||
            !wait_for_room(carrier, deadline_ns, limit_ns, before)) {
            conclude(cargo, result);
            if (*result >= 0)
                errno = found;
            return true;
        }
    }
    if (cargo->sent > 0)
        *result = (ssize_t)cargo->sent; /* another thread has closed it */
    return *result != 0;
}

bool traffic_send(int fd, const struct iovec *parts, int count, int flags, ssize_t *result)
{
    int before CANCEL_RESTORED = cancel_off();
    struct cargo cargo __attribute__((cleanup(cargo_free))) = {.flags = flags};

    if (!cargo_take(&cargo, parts, count)) {
        errno = ENOMEM;
        *result = -1;
        return true;
    }
    if (cargo.size == 0) {
        *result = 0;
        return virtual_find(fd) != NULL;
    }
    return send_all(fd, &cargo, result, &before);
}
