/* SPDX-License-Identifier: MIT */
/* Accepting: see accept.h. */
#include "broker/workers/accept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "broker/workers/internal.h"
#include "broker/workers/message.h"
#include "broker/workers/peer.h"
#include "broker/workers/places.h"
#include "broker/workers/unattached.h"

/* A worker says HELLO right after connect(2); this long even on a host that swaps. */
#define HELLO_TIMEOUT_US UINT64_C(10000000)
/* When all places for those without HELLO are taken, one that is this old has to go. */
#define HELLO_GRACE_MS 1000u
/* The same if one user has most of them, so that a crowd that says nothing delays no other user. */
#define CROWD_GRACE_MS 20u
/* How long nobody is accepted when descriptors or memory are short. */
#define PAUSE_US UINT64_C(100000)

int accept_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int on_impatience(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    worker_disconnect(context, "it did not say HELLO in time");
    return 0;
}

/* Takes over `fd`. Results: 0; -errno, it was closed. */
static int admit(struct workers *workers, int fd)
{
    struct worker *worker = calloc(1, sizeof *worker);
    socklen_t size = sizeof worker->peer;
    int result;

    if (!worker) {
        close(fd);
        return -ENOMEM;
    }
    worker->all = workers;
    worker->socket = fd;
    worker->process = -1;
    worker->since_ms = clock_ms();
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &worker->peer, &size) < 0)
        result = -errno;
    else
        result = sd_event_add_io(workers->event, &worker->messages, fd, EPOLLIN, worker_on_message,
                                 worker);
    if (result >= 0)
        result = sd_event_add_time_relative(workers->event, &worker->patience, CLOCK_MONOTONIC,
                                            HELLO_TIMEOUT_US, 0, on_impatience, worker);
    if (result < 0) {
        place_free(worker);
        return result;
    }
    unattached_add(worker);
    return 0;
}

static int on_resume(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    unattached_listen(context);
    return 0;
}

/*
 * No descriptor is free, so the peer would wait in the backlog and the loop would spin on it. The
 * spare one lets us accept it and hang up. Without one, the listener rests.
 */
static void shed(struct workers *workers, int listener, int error)
{
    int fd;

    log_limited(&workers->descriptor_limit, LOG_LEVEL_WARNING, "a worker is turned away: %s",
                strerror(error));
    if (workers->spare >= 0) {
        close(workers->spare);
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
        workers->spare = accept_spare();
    } else {
        workers->spare = accept_spare();
        unattached_pause(workers, PAUSE_US);
    }
}

/* True: there is a place for one more without HELLO. */
static bool make_room(struct workers *workers)
{
    struct worker *goes;
    uint64_t age, grace;

    if (workers->unattached < WORKERS_UNATTACHED)
        return true;
    goes = unattached_find_silent(workers);
    grace = goes ? CROWD_GRACE_MS : HELLO_GRACE_MS;
    if (!goes)
        goes = workers->oldest;
    age = clock_ms() - goes->since_ms;
    if (age < grace) {
        unattached_pause(workers, (grace - age) * 1000);
        return false;
    }
    worker_disconnect(goes, "it did not say HELLO, and others want to");
    return true;
}

static int on_connection(sd_event_source *source, int listener, uint32_t events, void *context)
{
    struct workers *workers = context;
    int fd, result;

    (void)source;
    (void)events;
    if (!make_room(workers))
        return 0;
    fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE)
            shed(workers, listener, errno);
        else if (peer_is_shortage(errno))
            unattached_pause(workers, PAUSE_US);
        return 0;
    }
    result = admit(workers, fd);
    if (result != 0)
        log_limited(&workers->descriptor_limit, LOG_LEVEL_WARNING, "a worker is turned away: %s",
                    strerror(-result));
    return 0;
}

int workers_listen(struct workers *workers, int listener)
{
    int result = timer_new(workers->event, &workers->resume, on_resume, workers);

    if (result >= 0)
        result = sd_event_add_io(workers->event, &workers->listener, listener, EPOLLIN,
                                 on_connection, workers);
    return result < 0 ? result : 0;
}
