/* SPDX-License-Identifier: MIT */
/* Descriptors of virtual connections: see descriptors.h. */
#include "libclient/preload/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include "libclient/cancel.h"
#include "libclient/membership/attachment.h"
#include "libclient/membership/membership.h"
#include "libclient/membership/socket_cookie.h"
#include "libclient/preload/mine.h"
#include "libclient/preload/counts.h"
#include "libclient/preload/epoll_table.h"
#include "libclient/preload/map.h"
#include "libclient/preload/private.h"
#include "libclient/preload/real.h"
#include "libclient/preload/settings.h"
#include "libclient/preload/swap.h"
#include "libclient/preload/tally.h"
#include "libclient/preload/traffic.h"

/* Locks what is behind `fd`, if it is still ours: a number that was closed behind our back is
 * another file's. */
static struct virtual *lock_here(int fd)
{
    struct virtual *virtual;
    ssize_t unused;
    int before = errno;

    if (!traffic_lock(fd, &virtual, &unused)) {
        errno = before;
        return NULL;
    }
    if (swap_check(virtual))
        return virtual;
    traffic_forget(virtual);
    return NULL;
}

/* ---- beginning ---- */

/* A pool of the route lends: the first one that there is. */
static bool is_ready(const struct route *route)
{
    struct lendis_pool *pool = route_any_pool(route);
    struct attachment *attachment;
    const struct catalog_pool *entry;
    bool ready;

    if (!pool || membership_enter(pool, &attachment) != 0)
        return false;
    entry = attachment_settings(attachment);
    ready = shm_load32_relaxed(&entry->backend) != BACKEND_DOWN ||
            shm_load32_relaxed(&entry->pause) == PAUSE_SERVICE;
    if (shm_load32_relaxed(&entry->pause) == PAUSE_DRAINED)
        ready = shm_load32_relaxed(&entry->fallback) == FALLBACK_DIRECT;
    membership_leave(attachment);
    return ready;
}

static int option_of(int fd, int name)
{
    int value = -1;
    socklen_t size = sizeof value;

    return real()->getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

static int64_t time_of(int fd, int name)
{
    struct timeval limit = {0};
    socklen_t size = sizeof limit;

    real()->getsockopt(fd, SOL_SOCKET, name, &limit, &size);
    return limit.tv_sec * INT64_C(1000000000) + limit.tv_usec * INT64_C(1000);
}

/* Makes the socket `fd` virtual. False: there is no memory for it. */
static bool begin(int fd, const struct route *route, const struct sockaddr *address, socklen_t size)
{
    struct virtual *virtual = virtual_new(fd);

    if (!virtual)
        return false;
    virtual->route = route;
    virtual->pool = route_any_pool(route);
    virtual->domain = option_of(fd, SO_DOMAIN);
    memcpy(&virtual->peer, address, size < sizeof virtual->peer ? size : sizeof virtual->peer);
    virtual->peer_size = size < sizeof virtual->peer ? size : (socklen_t)sizeof virtual->peer;
    virtual->nonblocking = real()->fcntl(fd, F_GETFL) & O_NONBLOCK;
    virtual->close_on_exec = real()->fcntl(fd, F_GETFD) & FD_CLOEXEC;
    virtual->receive_ns = time_of(fd, SO_RCVTIMEO);
    virtual->send_ns = time_of(fd, SO_SNDTIMEO);
    if (!virtual_enter(virtual))
        return false;
    if (!swap_park(virtual)) {
        virtual_free(virtual);
        return false;
    }
    tally_opened(virtual);
    virtual_unlock(virtual);
    count_up(PRELOAD_virtual);
    return true;
}

bool descriptor_connects(int fd, const struct sockaddr *address, socklen_t size, int *result)
{
    int before CANCEL_RESTORED = cancel_off();
    const struct route *route;
    struct virtual *known;
    int error = errno;

    if (settings.off || !(route = map_find(address, size)))
        return false;
    known = lock_here(fd);
    if (known) {
        /* A second call is how some ask whether the first one is through. */
        virtual_unlock(known);
        errno = EISCONN;
        *result = -1;
        return true;
    }
    if (option_of(fd, SO_TYPE) != SOCK_STREAM || option_of(fd, SO_DOMAIN) != address->sa_family)
        return false;
    if (!is_ready(route) || mine_is_foreign() || !swap_prepare() ||
        !begin(fd, route, address, size)) {
        errno = error;
        if (settings.strict) {
            errno = ECONNREFUSED;
            *result = -1;
            return true;
        }
        count_up(PRELOAD_open);
        tally_pool(route_any_pool(route), COUNTER_real_down);
        return false;
    }
    errno = error;
    *result = 0;
    return true;
}

/* ---- its end ---- */

void descriptor_closes(int fd)
{
    int before CANCEL_RESTORED = cancel_off();
    struct virtual *virtual;
    ssize_t unused;
    int error = errno;

    if (!virtual_find(fd) || mine_is_foreign() || !traffic_lock(fd, &virtual, &unused)) {
        errno = error;
        return;
    }
    swap_drop(virtual);
    virtual_free(virtual);
    errno = error;
}

void descriptors_close(unsigned first, unsigned last)
{
    if (!mine || mine_is_foreign())
        return;
    for (int fd = virtual_next(first, last); fd >= 0; fd = virtual_next((unsigned)fd + 1, last))
        descriptor_closes(fd);
}

bool descriptor_shuts_down(int fd, int how, int *result)
{
    int before CANCEL_RESTORED = cancel_off();
    struct virtual *virtual = lock_here(fd);

    if (!virtual)
        return false;
    *result = 0;
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) {
        errno = EINVAL;
        *result = -1;
    } else if (virtual->state == VIRTUAL_LEASED && virtual->stream.foreign) {
        *result = real()->shutdown(virtual->lease->fd, how); /* nobody will have it after this */
        virtual->mute |= how != SHUT_RD;
    } else if (how == SHUT_WR && (virtual->unread > 0 || (virtual->state == VIRTUAL_LEASED &&
                                                          stream_owes(&virtual->stream)))) {
        virtual->mute = true; /* what is owed still comes */
        virtual->ends = true;
    } else if (how != SHUT_RD && virtual->state != VIRTUAL_ENDED) {
        swap_end(virtual, false);
        swap_release(virtual, virtual->receivers > 0);
        virtual->mute = true;
    }
    virtual_unlock(virtual);
    return true;
}

void descriptor_is_shared(int fd)
{
    int before CANCEL_RESTORED = cancel_off();
    struct virtual *virtual;

    if (!virtual_find(fd) || mine_is_foreign())
        return;
    virtual = lock_here(fd);
    if (!virtual)
        return;
    if ((virtual->state == VIRTUAL_PARKED || virtual->state == VIRTUAL_ANSWERED) &&
        virtual->unread == 0 && virtual->gathered_size == 0 &&
        private_become(virtual, "a copy of the descriptor", COUNTER_real_copied) == 0)
        return;
    /* It stays where it is, and is closed with this number. */
    if (virtual->state == VIRTUAL_LEASED) {
        swap_show(virtual);
        if (!virtual->stream.foreign)
            tally_lease(virtual, COUNTER_pinned_other);
    }
    virtual->stream.foreign = true;
    virtual_unlock(virtual);
}

/* ---- flags and options ---- */

bool descriptor_flags(int fd, int command, long argument, int *result)
{
    struct virtual *virtual = lock_here(fd);

    if (!virtual)
        return false;
    *result = 0;
    if (command == F_GETFL)
        *result = O_RDWR | (virtual->nonblocking ? O_NONBLOCK : 0);
    else if (command == F_SETFL)
        virtual->nonblocking = argument & O_NONBLOCK;
    else if (command == F_GETFD)
        *result = virtual->close_on_exec ? FD_CLOEXEC : 0;
    else
        virtual->close_on_exec = argument & FD_CLOEXEC;
    virtual_unlock(virtual);
    return true;
}

bool descriptor_set_nonblocking(int fd, bool nonblocking)
{
    struct virtual *virtual = lock_here(fd);

    if (!virtual)
        return false;
    virtual->nonblocking = nonblocking;
    virtual_unlock(virtual);
    return true;
}

/* FIONREAD counts what TCP has: of kernel TLS that is sealed, and what was opened is no longer in
 * it. There at most one record is looked at. */
static int count_unread(int fd)
{
    char record[16384], name[16] = "";
    socklen_t size = sizeof name - 1;
    int bytes = 0;

    if (real()->getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &size) == 0 &&
        strcmp(name, "tls") == 0) {
        ssize_t there = real()->recv(fd, record, sizeof record, MSG_PEEK | MSG_DONTWAIT);

        return there > 0 ? (int)there : 0;
    }
    real()->ioctl(fd, FIONREAD, &bytes);
    return bytes;
}

bool descriptor_has_unread(int fd, int *bytes)
{
    struct virtual *virtual = lock_here(fd);

    if (!virtual)
        return false;
    *bytes = 0;
    if (virtual->state != VIRTUAL_PARKED)
        *bytes = count_unread(swap_carrier(virtual));
    virtual_unlock(virtual);
    return true;
}

static struct virtual_option *find_option(struct virtual *virtual, int level, int name)
{
    for (unsigned i = 0; i < virtual->option_count; i++)
        if (virtual->options[i].level == level && virtual->options[i].name == name)
            return &virtual->options[i];
    return NULL;
}

static int number_of(const struct virtual *virtual, int level, int name)
{
    const struct virtual_option *option;

    if (level == SOL_SOCKET && name == SO_TYPE)
        return SOCK_STREAM;
    if (level == SOL_SOCKET && name == SO_DOMAIN)
        return virtual->domain;
    option = find_option((struct virtual *)virtual, level, name);
    return option ? option->value : 0;
}

static void give(const void *from, socklen_t have, void *value, socklen_t *size)
{
    socklen_t least = have < *size ? have : *size;

    memcpy(value, from, least);
    *size = least;
}

bool descriptor_get_option(int fd, int level, int name, void *value, socklen_t *size, int *result)
{
    struct virtual *virtual;

    if (!value || !size || !(virtual = lock_here(fd)))
        return false;
    *result = 0;
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) {
        int64_t ns = name == SO_RCVTIMEO ? virtual->receive_ns : virtual->send_ns;
        struct timeval limit = {.tv_sec = ns / 1000000000, .tv_usec = ns % 1000000000 / 1000};

        give(&limit, sizeof limit, value, size);
    } else if (level == SOL_SOCKET && name != SO_TYPE && name != SO_DOMAIN && name != SO_ERROR &&
               !find_option(virtual, level, name)) {
        *result = real()->getsockopt(fd, level, name, value, size); /* of a socket like any other */
    } else {
        int number = number_of(virtual, level, name);

        give(&number, sizeof number, value, size);
    }
    virtual_unlock(virtual);
    return true;
}

static void set_time(int64_t *ns, const void *value)
{
    struct timeval limit;

    memcpy(&limit, value, sizeof limit);
    *ns = limit.tv_sec * INT64_C(1000000000) + limit.tv_usec * INT64_C(1000);
}

bool descriptor_set_option(int fd, int level, int name, const void *value, socklen_t size,
                           int *result)
{
    struct virtual_option *option;
    struct virtual *virtual;

    if (!value || !(virtual = lock_here(fd)))
        return false;
    *result = 0;
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO) &&
        size >= sizeof(struct timeval)) {
        set_time(name == SO_RCVTIMEO ? &virtual->receive_ns : &virtual->send_ns, value);
    } else if (size == sizeof(int)) {
        option = find_option(virtual, level, name);
        if (!option && virtual->option_count < VIRTUAL_OPTIONS)
            option = &virtual->options[virtual->option_count++];
        if (option) {
            *option = (struct virtual_option){.level = level, .name = name};
            memcpy(&option->value, value, sizeof option->value);
        }
    }
    virtual_unlock(virtual);
    return true;
}

/* A local address of the kind that the peer's is. */
static socklen_t own_name(const struct virtual *virtual, struct sockaddr_storage *name)
{
    memset(name, 0, sizeof *name);
    name->ss_family = (sa_family_t) virtual->domain;
    if (virtual->domain == AF_UNIX)
        return sizeof(sa_family_t);
    /* The peer's address is one of this host's own, where it is loopback; a port that is in use. */
    memcpy(name, &virtual->peer, virtual->peer_size);
    return virtual->peer_size;
}

bool descriptor_get_name(int fd, bool of_peer, struct sockaddr *address, socklen_t *size,
                         int *result)
{
    struct virtual *virtual;
    struct sockaddr_storage own;
    socklen_t have;

    if (!address || !size || !(virtual = lock_here(fd)))
        return false;
    have = of_peer ? virtual->peer_size : own_name(virtual, &own);
    memcpy(address, of_peer ? &virtual->peer : &own, have < *size ? have : *size);
    *size = have;
    *result = 0;
    virtual_unlock(virtual);
    return true;
}

bool descriptor_polls(int epoll, int operation, int fd, struct epoll_event *event, int *result)
{
    struct virtual *virtual = lock_here(fd);

    if (!virtual)
        return false;
    *result = registration_change(virtual, swap_carrier(virtual), epoll, operation, event);
    virtual_unlock(virtual);
    return true;
}

int descriptor_to_poll(int fd)
{
    struct virtual *virtual;
    int before = errno, carrier = fd;
    ssize_t unused;

    if (traffic_lock(fd, &virtual, &unused)) {
        carrier = swap_carrier(virtual);
        virtual_unlock(virtual);
    }
    errno = before;
    return carrier;
}

void descriptor_is_selected(int fd)
{
    struct virtual *virtual;
    int before = errno;
    ssize_t unused;

    if (traffic_lock(fd, &virtual, &unused)) {
        if (virtual->state == VIRTUAL_LEASED)
            swap_show(virtual);
        virtual_unlock(virtual);
    }
    errno = before;
}
