/* SPDX-License-Identifier: MIT */
/*
 * Workers' messages: see worker.h.
 *
 * One message is handled per turn of the event loop, and all sources have the same priority, which
 * sd-event serves first come, first served: a worker that sends without end gets its share and no
 * more.
 */
#include "broker/workers/worker.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include "broker/workers/direct_request.h"
#include "broker/workers/internal.h"
#include "broker/workers/message.h"
#include "broker/workers/peer.h"
#include "broker/workers/places.h"
#include "broker/workers/question.h"
#include "lendis.h"

/*
 * Messages that are searched for a GOODBYE: one that the worker asked and gave up waiting
 * for, and that.
 */
#define LAST_MESSAGES 4

/* ---- HELLO ---- */

static void __attribute__((format(printf, 3, 4)))
refuse(struct worker *worker, int result, const char *format, ...)
{
    struct wire_welcome welcome = {.result = result};
    va_list arguments;

    wire_header(&welcome.header, WIRE_WELCOME, sizeof welcome);
    va_start(arguments, format);
    vsnprintf(welcome.text, sizeof welcome.text, format, arguments);
    va_end(arguments);
    /* What was sent before the close can still be read: unix(7). */
    wire_send(worker->socket, &welcome, -1);
    worker_leave(worker, false);
}

static void refuse_unknown_pool(struct worker *worker, const char *name)
{
    struct workers *all = worker->all;
    char names[128];
    size_t at = 0;

    for (uint32_t i = 0; i < all->pool_count && at < sizeof names; i++)
        if (broker_pool_exists(&all->pools[i]))
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", at ? ", " : "",
                                   all->pools[i].config->name);
    refuse(worker, -ESRCH, "there is no pool \"%.40s\"; there is %s", name, names);
}

static void welcome(struct worker *worker, bool resumed)
{
    struct wire_welcome message = {
        .worker = worker->index,
        .pool = worker->pool->index,
        .serial = worker->pool->serial,
        .resumed = resumed,
        .tenant = worker->tenant,
        .instance = worker->all->catalog->instance,
    };

    wire_header(&message.header, WIRE_WELCOME, sizeof message);
    if (wire_send(worker->socket, &message, -1) != 0)
        worker_disconnect(worker, "it does not read what it asked for");
}

static void attach(struct worker *worker, struct broker_pool *pool, const struct wire_hello *hello)
{
    struct workers *all = worker->all;
    struct worker *absent = place_find_absent(worker, pool, hello);
    int result;

    if (all->stopping) {
        refuse(worker, LENDIS_E_DOWN, "the broker is stopping");
    } else if (!worker_may_use(worker, pool)) {
        refuse(worker, LENDIS_E_DENIED,
               "user %u may not use pool %s: see allow_users and allow_groups", worker->peer.uid,
               pool->config->name);
    } else if (!absent && place_is_beyond_share(worker, pool)) {
        log_limited(&all->share_limit, LOG_LEVEL_WARNING,
                    "pool %s: process %d is refused, per_uid_workers = %u of user %u are attached",
                    pool->config->name, (int)worker->peer.pid, pool->config->per_uid_workers,
                    worker->peer.uid);
        refuse(worker, LENDIS_E_BUSY,
               "%u processes of user %u use pool %.40s, and no more may: see per_uid_workers",
               pool->config->per_uid_workers, worker->peer.uid, pool->config->name);
    } else if (!absent && !places_have_room(all)) {
        log_limited(
            &all->refused_limit, LOG_LEVEL_WARNING,
            "pool %s: a worker is refused, max_workers = %u are attached; %u of them hung up "
            "and keep their places as long as their processes live",
            pool->config->name, all->catalog->worker_max, all->resting);
        refuse(worker, LENDIS_E_BUSY,
               "all %u places for workers are taken, %u of them by processes that hung up and live "
               "on: see max_workers",
               all->catalog->worker_max, all->resting);
    } else if ((result = place_watch(worker)) == -ESRCH) {
        worker_disconnect(worker, "the process that connected is gone");
    } else if (result != 0) {
        log_limited(&all->descriptor_limit, LOG_LEVEL_WARNING, "pool %s: a worker is refused: %s",
                    pool->config->name, strerror(-result));
        refuse(worker, LENDIS_E_BUSY, "the broker is short of descriptors or memory: %s",
               strerror(-result));
    } else {
        /* One that inherited the segment or was a worker before need not fetch it. */
        worker->mapped = hello->segment != 0;
        if (absent)
            place_resume(worker, absent);
        else
            place_enter(worker, pool);
        welcome(worker, absent != NULL);
    }
}

static bool is_direct(const void *message, size_t size)
{
    return wire_is(message, size, WIRE_DIRECT, sizeof(struct wire_hello));
}

/* HELLO of another ABI still begins with the header; all else of it may differ. */
static bool is_foreign_hello(const void *message, size_t size)
{
    struct wire_header header;

    if (size < sizeof header)
        return false;
    memcpy(&header, message, sizeof header);
    return header.magic == WIRE_MAGIC && header.type == WIRE_HELLO && header.size == size &&
           header.abi_major != LENDIS_ABI_MAJOR;
}

/* No worker, but a tool: from here on it is control's. */
static void pass_to_control(struct worker *worker, const void *message, size_t size)
{
    struct workers *all = worker->all;
    struct ucred peer = worker->peer;
    int socket = worker->socket;

    worker->messages = sd_event_source_disable_unref(worker->messages);
    worker->socket = -1;
    worker_leave(worker, false);
    all->control(all->control_context, socket, &peer, message, size);
}

static void handle_hello(struct worker *worker, const void *message, size_t size, bool direct)
{
    struct wire_hello hello;
    struct broker_pool *pool;

    if (is_foreign_hello(message, size)) {
        refuse(worker, LENDIS_E_ABI,
               "this broker speaks version %u of the protocol; restart it or the program after an "
               "upgrade",
               LENDIS_ABI_MAJOR);
        return;
    }
    if (!wire_is(message, size, direct ? WIRE_DIRECT : WIRE_HELLO, sizeof hello)) {
        worker_disconnect(worker, "its first message is not HELLO");
        return;
    }
    memcpy(&hello, message, sizeof hello);
    if (!memchr(hello.pool, '\0', sizeof hello.pool)) {
        worker_disconnect(worker, "its HELLO is malformed");
        return;
    }
    pool = workers_find_pool(worker->all, hello.pool);
    if (direct)
        direct_request(worker, pool);
    else if (pool)
        attach(worker, pool, &hello);
    else
        refuse_unknown_pool(worker, hello.pool);
}

/* ---- FETCH ---- */

/* The descriptor that is asked for, borrowed. Results: 0; -EINVAL; -ESTALE. */
static int find_descriptor(struct worker *worker, const struct wire_fetch *fetch, int *fd)
{
    switch (fetch->what) {
    case WIRE_CATALOG:
        *fd = worker->all->catalog_fd;
        return 0;
    case WIRE_SEGMENT:
        worker->mapped = true;
        *fd = worker->pool->segment_fd;
        return 0;
    case WIRE_DOORBELL:
        worker->returning = false; /* the last thing that it needs */
        *fd = worker->pool->doorbell;
        return 0;
    case WIRE_POLL_WAKEUP:
        return broker_pool_poll_wakeup(worker->pool, fetch->index, fd);
    case WIRE_CONNECTION:
        return broker_pool_descriptor(worker->pool, fetch->index, fetch->generation, &worker->peer,
                                      fd);
    default:
        return -EINVAL;
    }
}

/* At most one descriptor is in flight per worker: the kernel counts them against our user
 * (unix(7)). */
static bool last_answer_unread(const struct worker *worker)
{
    int unread = 0;

    return ioctl(worker->socket, SIOCOUTQ, &unread) < 0 || unread > 0;
}

static void handle_fetch(struct worker *worker, const void *message, size_t size)
{
    struct wire_fetch fetch;
    struct wire_descriptor answer;
    int fd = -1, result;

    if (!wire_is(message, size, WIRE_FETCH, sizeof fetch)) {
        worker_disconnect(worker, "its message is not FETCH");
        return;
    }
    if (last_answer_unread(worker)) {
        worker_disconnect(worker, "it asks again before it reads the last answer");
        return;
    }
    memcpy(&fetch, message, sizeof fetch);
    answer = (struct wire_descriptor){.what = fetch.what, .index = fetch.index};
    answer.generation = fetch.generation;
    wire_header(&answer.header, WIRE_DESCRIPTOR, sizeof answer);
    answer.result = find_descriptor(worker, &fetch, &fd);
    result = wire_send(worker->socket, &answer, fd);
    if (fd >= 0 && (result == -ETOOMANYREFS || peer_is_shortage(-result))) {
        log_limited(&worker->all->descriptor_limit, LOG_LEVEL_WARNING,
                    "pool %s: a descriptor cannot be passed: %s", worker->pool->config->name,
                    strerror(-result));
        answer.result = result;
        result = wire_send(worker->socket, &answer, -1);
    }
    if (result != 0)
        worker_disconnect(worker, "it does not read what it asked for");
}

/* ---- messages ---- */

static bool is_goodbye(const void *message, size_t size)
{
    return wire_is(message, size, WIRE_GOODBYE, sizeof(struct wire_goodbye));
}

/* The worker has hung up: whether it said goodbye before. */
static bool said_goodbye(const struct worker *worker)
{
    _Alignas(struct wire_header) char message[MESSAGE_ROOM];

    for (int i = 0; i < LAST_MESSAGES; i++) {
        int got = wire_receive(worker->socket, message, sizeof message, NULL, 0);

        if (got <= 0)
            return false;
        if (is_goodbye(message, (size_t)got))
            return true;
    }
    return false;
}

int worker_on_message(sd_event_source *source, int fd, uint32_t events, void *context)
{
    _Alignas(struct wire_header) char message[MESSAGE_ROOM];
    struct worker *worker = context;
    int got;

    (void)source;
    if (events & (EPOLLHUP | EPOLLERR)) {
        /* Whatever else it said before, it does not read the answer. */
        worker_leave(worker, said_goodbye(worker));
        return 0;
    }
    got = wire_receive(fd, message, sizeof message, NULL, 0);
    if (got == -EAGAIN)
        return 0;
    if (got == 0 || got == -ECONNRESET)
        worker_leave(worker, false);
    else if (got < 0)
        worker_disconnect(worker, strerror(-got));
    else if (worker->pool && is_goodbye(message, (size_t)got))
        worker_leave(worker, true);
    else if (worker->pool)
        handle_fetch(worker, message, (size_t)got);
    else if (worker->direct)
        worker_disconnect(worker, "it asks again before its connection is open");
    else if (worker->all->control &&
             wire_is(message, (size_t)got, WIRE_CONTROL, sizeof(struct wire_control)))
        pass_to_control(worker, message, (size_t)got);
    else if (!question_answer(worker, message, (size_t)got))
        handle_hello(worker, message, (size_t)got, is_direct(message, (size_t)got));
    explicit_bzero(message, sizeof message); /* of a LOGIN */
    return 0;
}
