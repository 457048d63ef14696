/* SPDX-License-Identifier: MIT */
/* Connections that are out with one process alone: see private.h. */
#include "broker/pool/private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "broker/pool/internal.h"
#include "lendis.h"
#include "lendis/wire.h"

/*
 * How long the place of a process rests that hung up without a word and lives: it has the
 * connection perhaps, though that is shut down, and would ask for the next at once.
 */
#define REST_US UINT64_C(10000000)

struct private
{
    struct private *next, **link;
    struct broker_pool *pool;
    sd_event_source *messages;
    sd_event_source *death;
    sd_event_source *rest;
    struct ucred peer;
    bool leads;  /* the first of its process in this pool */
    int socket;  /* -1: it is being dialled, or its process hung up */
    int fd;      /* the broker's duplicate, or -1 */
    int process; /* pidfd, or -1 */
};

/* ---- counting ---- */

static bool is_of_process(const struct private *each, const struct ucred *peer)
{
    return each->peer.pid > 0 && each->peer.pid == peer->pid;
}

struct counts {
    uint32_t pool, user, process;
    uint32_t processes; /* of the user */
};

static struct counts count(const struct broker_pool *pool, const struct ucred *peer)
{
    struct counts counts = {0};

    for (const struct private *each = pool->parts->privates.first; each; each = each->next) {
        counts.pool++;
        counts.process += is_of_process(each, peer);
        counts.user += each->peer.uid == peer->uid;
        counts.processes += each->peer.uid == peer->uid && each->leads;
    }
    return counts;
}

static const char *const limit_keys[PRIVATE_LIMITS] = {
    [PRIVATE_size] = "size",
    [PRIVATE_per_uid_leases] = "per_uid_leases",
    [PRIVATE_per_uid_workers] = "per_uid_workers",
    [PRIVATE_fallback_connections] = "fallback_connections",
};

/* Which key forbids one more, and its value; PRIVATE_LIMITS: none does. */
static enum private_limit limit_of(const struct broker_pool *pool, const struct counts *counts,
                                   uint32_t *value)
{
    const struct pool_config *config = pool->config;
    const struct {
        uint32_t most, has;
        bool counts;
    } limits[PRIVATE_LIMITS] = {
        [PRIVATE_size] = {config->size, counts->process, true},
        [PRIVATE_per_uid_leases] = {config->per_uid_leases, counts->user,
                                    config->per_uid_leases > 0},
        [PRIVATE_per_uid_workers] = {config->per_uid_workers, counts->processes,
                                     config->per_uid_workers > 0 && counts->process == 0},
        [PRIVATE_fallback_connections] = {config->fallback_connections, counts->pool, true},
    };
    enum private_limit limit = 0;

    while (limit < PRIVATE_LIMITS &&
           !(limits[limit].counts && limits[limit].has >= limits[limit].most))
        limit++;
    *value = limit < PRIVATE_LIMITS ? limits[limit].most : 0;
    return limit;
}

/* ---- the end of one ---- */

static void let_another_lead(const struct private *leaving)
{
    for (struct private *each = leaving->pool->parts->privates.first; each; each = each->next)
        if (each != leaving && is_of_process(each, &leaving->peer)) {
            each->leads = true;
            return;
        }
}

/* Nobody uses the connection any more, whoever has a duplicate. */
static void hang_up(struct private *private)
{
    private->messages = sd_event_source_disable_unref(private->messages);
    if (private->socket >= 0)
        close(private->socket);
    if (private->fd >= 0) {
        shutdown(private->fd, SHUT_RDWR);
        close(private->fd);
    }
    private->socket = private->fd = -1;
}

void private_free(struct private *private)
{
    if (!private)
        return;
    hang_up(private);
    if (private->leads)
        let_another_lead(private);
    sd_event_source_disable_unref(private->death);
    sd_event_source_disable_unref(private->rest);
    if (private->process >= 0)
        close(private->process);
    *private->link = private->next;
    if (private->next)
    private->next->link = private->link;
    free(private);
}

static int on_rested(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    private_free(context);
    return 0;
}

static int on_death(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)fd;
    (void)events;
    private_free(context);
    return 0;
}

/* What its process said. True: the private is gone. */
static bool hear(struct private *private)
{
    struct wire_header message;
    int got = wire_receive(private->socket, &message, sizeof message, NULL, 0);

    if (got == -EAGAIN)
        return false;
    hang_up(private);
    /* Only a process that is seen to live and did not say it has its place rest. */
    if (private->process < 0 ||
        (got > 0 && wire_is(&message, (size_t)got, WIRE_RETURN, sizeof message)) ||
        sd_event_add_time_relative(private->pool->environment->event, &private->rest,
                                   CLOCK_MONOTONIC, REST_US, 0, on_rested, private) < 0) {
        private_free(private);
        return true;
    }
    return false;
}

static int on_message(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)fd;
    (void)events;
    hear(context);
    return 0;
}

/* What the user's processes gave back a moment ago counts no more. */
static void hear_all(struct broker_pool *pool, uid_t uid)
{
    struct private *next;

    for (struct private *each = pool->parts->privates.first; each; each = next) {
        next = each->next;
        if (each->peer.uid == uid && each->socket >= 0)
            hear(each);
    }
}

/* ---- the beginning ---- */

int private_admit(struct broker_pool *pool, const struct ucred *peer, struct private **place)
{
    struct privates *all = &pool->parts->privates;
    struct counts counts = count(pool, peer);
    struct private *made;
    enum private_limit limit;
    uint32_t value;

    if (limit_of(pool, &counts, &value) != PRIVATE_LIMITS) {
        hear_all(pool, peer->uid);
        counts = count(pool, peer);
    }
    limit = limit_of(pool, &counts, &value);
    if (limit != PRIVATE_LIMITS) {
        log_limited(&all->limits[limit], LOG_LEVEL_WARNING,
                    "pool %s: process %d of user %u gets no further connection of its own: %s = %u",
                    pool->config->name, (int)peer->pid, peer->uid, limit_keys[limit], value);
        return LENDIS_E_BUSY;
    }
    made = malloc(sizeof *made);
    if (!made)
        return -ENOMEM;
    *made = (struct private){
        .next = all->first,
        .link = &all->first,
        .pool = pool,
        .peer = *peer,
        .leads = counts.process == 0,
        .socket = -1,
        .fd = -1,
        .process = -1,
    };
    if (made->next)
        made->next->link = &made->next;
    all->first = made;
    *place = made;
    return 0;
}

static int watch(struct private *private, int socket, int process)
{
    sd_event *event = private->pool->environment->event;
    int result = sd_event_add_io(event, &private->messages, socket, EPOLLIN, on_message, private);

    if (result >= 0 && process >= 0)
        result = sd_event_add_io(event, &private->death, process, EPOLLIN, on_death, private);
    if (result >= 0)
        return 0;
    private->messages = sd_event_source_disable_unref(private->messages);
    return result;
}

int private_keep(struct private *private, int socket, int process, int fd)
{
    int result;

    private->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (private->fd < 0)
        return -errno;
    result = watch(private, socket, process);
    if (result != 0) {
        close(private->fd);
        private->fd = -1;
        return result;
    }
    private->socket = socket;
    private->process = process;
    return 0;
}

void private_forget(struct broker_pool *pool)
{
    while (pool->parts->privates.first) {
        struct private *each = pool->parts->privates.first;

        if (each->fd >= 0)
            close(each->fd);
        each->fd = -1;
        private_free(each);
    }
}
