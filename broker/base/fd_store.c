/* SPDX-License-Identifier: MIT */
/*
 * Descriptors in the hands of the service manager: see fd_store.h.
 *
 * Nobody reports that a descriptor was refused (FileDescriptorStoreMax= is 0 by default, or too
 * small). So whenever there are more in the descriptor store than ever before, a pipe's read end
 * goes in behind them, and is closed here: if the manager did not keep it, the write end has no
 * reader any more, which epoll(7) reports as EPOLLERR.
 */
#include "broker/base/fd_store.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include "broker/base/log.h"
#include "broker/base/service_manager.h"

#define NAME_MAX_SIZE 256
#define PROBE         "probe"

static int on_refusal(sd_event_source *source, int fd, uint32_t events, void *context)
{
    struct fd_store *store = context;

    (void)fd;
    (void)events;
    sd_event_source_set_enabled(source, SD_EVENT_OFF);
    log_line(
        LOG_LEVEL_WARNING,
        "the service manager does not keep all of %u descriptors: a restart of the broker will "
        "cost connections; set FileDescriptorStoreMax= of the unit to more than that",
        store->highest);
    return 0;
}

static void say(struct fd_store *store, const char *what, const char *name, const int *fd)
{
    char text[NAME_MAX_SIZE + 64];

    if (!manager_listens()) {
        if (store->on)
            log_line(LOG_LEVEL_WARNING, "it keeps nothing for the next broker: a restart will cost "
                                        "connections");
        store->on = false;
        return;
    }
    snprintf(text, sizeof text, "%s=1\nFDNAME=%s%s", what, name, fd ? "\nFDPOLL=0" : "");
    if (fd)
        sd_pid_notify_with_fds(0, 0, text, fd, 1);
    else
        sd_notify(0, text);
}

static void remove_probe(struct fd_store *store)
{
    store->refusal = sd_event_source_disable_unref(store->refusal);
    if (store->probe < 0)
        return;
    say(store, "FDSTOREREMOVE", PROBE, NULL);
    close(store->probe);
    store->probe = -1;
}

static void add_probe(struct fd_store *store)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return;
    say(store, "FDSTORE", PROBE, &ends[0]);
    close(ends[0]);
    store->probe = ends[1];
    if (sd_event_add_io(store->event, &store->refusal, ends[1], 0, on_refusal, store) < 0)
        remove_probe(store);
}

/* Those of the previous broker; at once, for the name is used again. */
static void drop_probes(struct fd_store *store)
{
    int fd;

    while ((fd = fd_store_take(store, PROBE)) >= 0) {
        close(fd);
        fd_store_remove(store, PROBE);
    }
}

int fd_store_open(struct fd_store *store, sd_event *event)
{
    const char *manager = getenv("NOTIFY_SOCKET");
    char **names = NULL;
    int count;

    *store = (struct fd_store){.on = manager && *manager, .event = event, .probe = -1};
    count = sd_listen_fds_with_names(1, &names);
    if (count < 0)
        return count;
    store->passed = calloc((size_t)count + 1, sizeof *store->passed);
    if (!store->passed)
        return -ENOMEM;
    for (int i = 0; i < count; i++)
        store->passed[i] = (struct stored){names[i], SD_LISTEN_FDS_START + i};
    store->passed_count = (size_t)count;
    free(names);
    drop_probes(store);
    return 0;
}

int fd_store_take(struct fd_store *store, const char *name)
{
    for (size_t i = 0; i < store->passed_count; i++) {
        struct stored *each = &store->passed[i];
        int fd = each->fd;

        if (fd < 0 || strcmp(each->name, name) != 0)
            continue;
        each->fd = -1;
        store->held++;
        return fd;
    }
    return -1;
}

bool fd_store_take_next(struct fd_store *store, const char *prefix, int *fd, const char **rest)
{
    size_t size = strlen(prefix);

    for (size_t i = 0; i < store->passed_count; i++) {
        struct stored *each = &store->passed[i];

        if (each->fd < 0 || strncmp(each->name, prefix, size) != 0)
            continue;
        *fd = each->fd;
        *rest = each->name + size;
        each->fd = -1;
        store->held++;
        return true;
    }
    return false;
}

/* Whether it is a socket that comes from elsewhere than the previous broker, whose connections are
 * sockets, too. */
static bool is_foreign_socket(const struct stored *stored)
{
    return stored->fd >= 0 && strncmp(stored->name, "connection.", strlen("connection.")) != 0 &&
           sd_is_socket(stored->fd, AF_UNSPEC, 0, -1) > 0;
}

int fd_store_take_listener(struct fd_store *store)
{
    int result = -ENOENT;

    for (size_t i = 0; i < store->passed_count; i++) {
        struct stored *each = &store->passed[i];
        int fd = each->fd;

        if (!is_foreign_socket(each))
            continue;
        if (sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) > 0) {
            each->fd = -1;
            return fd;
        }
        result = -EPROTOTYPE;
    }
    return result;
}

static const char *type_name(int type)
{
    switch (type) {
    case SOCK_STREAM:
        return "SOCK_STREAM (ListenStream=)";
    case SOCK_DGRAM:
        return "SOCK_DGRAM (ListenDatagram=)";
    case SOCK_SEQPACKET:
        return "SOCK_SEQPACKET";
    default:
        return "of another type";
    }
}

/* Where it is, as in "AF_UNIX, /run/lendis.sock". */
static void describe_address(int fd, char *text, size_t size)
{
    union {
        struct sockaddr any;
        struct sockaddr_un local;
        struct sockaddr_storage room;
    } address = {0};
    socklen_t length = sizeof address;
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getsockname(fd, &address.any, &length) < 0)
        snprintf(text, size, "%s", strerror(errno));
    else if (address.any.sa_family == AF_UNIX)
        snprintf(text, size, "AF_UNIX, %s%.*s", address.local.sun_path[0] ? "" : "@",
                 (int)sizeof address.local.sun_path - 1,
                 address.local.sun_path + !address.local.sun_path[0]);
    else if (getnameinfo(&address.any, length, host, sizeof host, port, sizeof port,
                         NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(text, size, "%s, %s port %s",
                 address.any.sa_family == AF_INET6 ? "AF_INET6" : "AF_INET", host, port);
    else
        snprintf(text, size, "address family %d", address.any.sa_family);
}

void fd_store_report_sockets(const struct fd_store *store)
{
    for (size_t i = 0; i < store->passed_count; i++) {
        const struct stored *each = &store->passed[i];
        int type = 0, listens = 0;
        socklen_t size = sizeof type;
        char where[NI_MAXHOST + NI_MAXSERV + 32];

        if (!is_foreign_socket(each) || getsockopt(each->fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
            continue;
        size = sizeof listens;
        getsockopt(each->fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
        describe_address(each->fd, where, sizeof where);
        log_line(
            LOG_LEVEL_ERR,
            "the socket that was passed as descriptor %d (%s) is %s, %s%s; wanted is a listening "
            "SOCK_SEQPACKET socket of AF_UNIX: ListenSequentialPacket=/PATH in the socket unit",
            each->fd, each->name, type_name(type), where, listens ? "" : ", and does not listen");
    }
}

static void put(struct fd_store *store, int fd, const char *name)
{
    store->held++;
    if (store->held <= store->highest) {
        say(store, "FDSTORE", name, &fd);
        return;
    }
    /* The probe stands behind everything else: else it would have the last place. */
    store->highest = store->held;
    remove_probe(store);
    say(store, "FDSTORE", name, &fd);
    add_probe(store);
}

void fd_store_put(struct fd_store *store, int fd, const char *format, ...)
{
    char name[NAME_MAX_SIZE];
    struct stored *grown;
    va_list arguments;

    if (!store->on)
        return;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    if (store->begun) {
        put(store, fd, name);
        return;
    }
    grown = realloc(store->early, (store->early_count + 1) * sizeof *grown);
    if (!grown)
        return; /* it is opened anew at a restart */
    store->early = grown;
    store->early[store->early_count++] = (struct stored){strdup(name), fd};
}

void fd_store_begin(struct fd_store *store)
{
    store->begun = true;
    for (size_t i = 0; i < store->early_count; i++) {
        if (store->early[i].name)
            put(store, store->early[i].fd, store->early[i].name);
        free(store->early[i].name);
    }
    free(store->early);
    store->early = NULL;
    store->early_count = 0;
}

void fd_store_remove(struct fd_store *store, const char *format, ...)
{
    char name[NAME_MAX_SIZE];
    va_list arguments;

    if (!store->on)
        return;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    say(store, "FDSTOREREMOVE", name, NULL);
    store->held -= store->held > 0;
}

void fd_store_discard_rest(struct fd_store *store)
{
    unsigned unknown = 0;

    for (size_t i = 0; i < store->passed_count; i++) {
        struct stored *each = &store->passed[i];

        if (each->fd < 0)
            continue;
        unknown++;
        say(store, "FDSTOREREMOVE", each->name, NULL);
        close(each->fd);
        each->fd = -1;
    }
    if (unknown > 0)
        log_line(LOG_LEVEL_NOTICE,
                 "%u descriptors of the previous broker are of no use to this one and were closed",
                 unknown);
}

void fd_store_close(struct fd_store *store)
{
    store->refusal = sd_event_source_disable_unref(store->refusal);
    for (size_t i = 0; i < store->early_count; i++)
        free(store->early[i].name);
    free(store->early);
    store->early = NULL;
    store->early_count = 0;
    if (store->probe >= 0)
        close(store->probe);
    store->probe = -1;
    for (size_t i = 0; i < store->passed_count; i++) {
        if (store->passed[i].fd >= 0)
            close(store->passed[i].fd);
        free(store->passed[i].name);
    }
    free(store->passed);
    store->passed = NULL;
    store->passed_count = 0;
}
