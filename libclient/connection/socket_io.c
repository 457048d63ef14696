/* SPDX-License-Identifier: MIT */
/*
 * Sending and receiving: see socket_io.h. Takes any read error but EAGAIN and EINTR for a lost
 * connection, as kernel TLS needs.
 */
#include "libclient/connection/socket_io.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "lendis.h"
#include "lendis/mailbox.h"
#include "libclient/clock.h"

/* A thread that waits says that it runs at least this often. */
#define SLICE_NS (CONNECTION_RECEIVE_MS * INT64_C(1000000))
/* So often is a record looked at that has come in part. */
#define PART_NS 1000000

/* Waits for `events`. Results: 0; LENDIS_E_TIMEOUT; -errno. */
static int wait_ready(int fd, short events, int64_t deadline_ns)
{
    struct pollfd waited = {.fd = fd, .events = events};

    for (;;) {
        int timeout_ms = clock_left_ms(deadline_ns), ready;

        if (timeout_ms == 0)
            return LENDIS_E_TIMEOUT;
        ready = poll(&waited, 1, timeout_ms);
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return -errno;
    }
}

bool socket_is_silent(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}

void socket_beat(shm_u64 *beat, int64_t now_ns)
{
    /* In a forked child the parent's, until it has threads of its own: with one thread nobody asks
     * which. */
    static _Thread_local uint32_t thread;

    if (thread == 0)
        thread = (uint32_t)gettid();
    shm_store_relaxed(beat, beat_make((uint64_t)(now_ns / 1000000), thread));
}

int socket_wait_to_send(int fd, int64_t deadline_ns, shm_u64 *beat)
{
    for (;;) {
        int64_t now_ns = clock_now_ns(), slice_ns = now_ns + SLICE_NS;
        int result;

        socket_beat(beat, now_ns);
        result = wait_ready(fd, POLLOUT, slice_ns < deadline_ns ? slice_ns : deadline_ns);
        if (result != LENDIS_E_TIMEOUT || slice_ns >= deadline_ns)
            return result;
    }
}

ssize_t socket_receive(int fd, void *buffer, size_t size, int64_t deadline_ns, shm_u64 *beat)
{
    int64_t now_ns = clock_coarse_ns();
    /* With time enough the socket's own limit does; once it did not, by poll(2). (The clock lags by
     * a tick.) */
    int flags = deadline_ns - now_ns > 2 * SLICE_NS ? 0 : MSG_DONTWAIT;

    for (;;) {
        bool ready = false;
        ssize_t got;

        if (beat)
            socket_beat(beat, now_ns);
        if (flags == MSG_DONTWAIT) {
            int64_t slice_ns = clock_now_ns() + SLICE_NS;
            int result = wait_ready(fd, POLLIN, slice_ns < deadline_ns ? slice_ns : deadline_ns);

            ready = result == 0;
            if (result == LENDIS_E_TIMEOUT && clock_now_ns() >= deadline_ns)
                return -ETIMEDOUT;
        }
        LENDIS_STEP("receive");
        got = recv(fd, buffer, size, flags);
        if (got > 0)
            return got;
        if (got == 0)
            errno = 0;
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            return 0;
        /* Kernel TLS says readable for a part of a record (up to Linux 6.4): the rest comes without
         * a word, and may take long. */
        if (ready && errno == EAGAIN)
            nanosleep(&(struct timespec){.tv_nsec = PART_NS}, NULL);
        flags = MSG_DONTWAIT;
        now_ns = clock_coarse_ns();
    }
}

int socket_send_all(int fd, const char *request, size_t size, int64_t deadline_ns, size_t *sent)
{
    *sent = 0;
    while (*sent < size) {
        ssize_t wrote;

        LENDIS_STEP("send command");
        wrote = send(fd, request + *sent, size - *sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (wrote >= 0) {
            *sent += (size_t)wrote;
        } else if (errno == EAGAIN) {
            int result = wait_ready(fd, POLLOUT, deadline_ns);

            if (result != 0)
                return result;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}
