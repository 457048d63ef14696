/* SPDX-License-Identifier: MIT */
/* The broker's listening socket: see listener.h. */
#include "broker/daemon/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "broker/base/listen.h"
#include "broker/base/log.h"

/* Sets `path` to where the socket listens. */
static void learn_path(struct listener *listener)
{
    struct sockaddr_un address = {0};
    socklen_t size = sizeof address;

    if (getsockname(listener->fd, (struct sockaddr *)&address, &size) == 0 &&
        address.sun_path[0] == '/')
        snprintf(listener->path, sizeof listener->path, "%.*s", (int)sizeof address.sun_path - 1,
                 address.sun_path);
}

/* Takes the socket that the previous broker made, or one of the socket unit. Results: 1, fd is
 * set; 0, there is none; -errno. */
static int take_passed_socket(struct listener *listener, const char *wanted)
{
    listener->fd = fd_store_take(listener->store, STORED_LISTENER);
    listener->made = listener->fd >= 0;
    if (listener->fd < 0)
        listener->fd = fd_store_take_listener(listener->store);
    if (listener->fd == -ENOENT)
        return 0;
    if (listener->fd < 0) {
        fd_store_report_sockets(listener->store);
        return -EINVAL;
    }
    if (fcntl(listener->fd, F_SETFL, fcntl(listener->fd, F_GETFL) | O_NONBLOCK) < 0)
        return -errno;
    learn_path(listener);
    if (listener->made &&
        (strcmp(listener->path, wanted) != 0 || stat(listener->path, &listener->stat) < 0)) {
        /* It is to be elsewhere now, or somebody removed it. */
        fd_store_remove(listener->store, STORED_LISTENER);
        close(listener->fd);
        listener->fd = -1;
        listener->made = false;
        return 0;
    }
    return 1;
}

static int bind_socket(struct listener *listener, const struct sockaddr_un *address)
{
    mode_t before;
    int result;

    listener->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0)
        return -errno;
    /* 0660 from its first moment: a mode that is set afterwards comes too late. */
    before = umask(0117);
    result = bind(listener->fd, (const struct sockaddr *)address, sizeof *address) < 0 ? -errno : 0;
    umask(before);
    if (result == 0) {
        listener->made = stat(address->sun_path, &listener->stat) == 0;
        result = listen(listener->fd, SOMAXCONN) < 0 ? -errno : 0;
        if (result == 0)
            fd_store_put(listener->store, listener->fd, STORED_LISTENER);
    }
    if (result == -ENOENT || result == -ENOTDIR)
        log_line(LOG_LEVEL_ERR, "socket %s: its directory does not exist; make it first",
                 listener->path);
    else if (result != 0)
        log_line(LOG_LEVEL_ERR, "socket %s: %s", listener->path, strerror(-result));
    return result;
}

/*
 * Locks the socket's directory, so that of two brokers that start at once only one takes a stale
 * socket for dead. Somebody else may hold that lock for reasons of their own: after a second we go
 * on without.
 */
static int lock_directory(const char *path)
{
    char copy[sizeof((struct sockaddr_un *)0)->sun_path];
    int fd;

    snprintf(copy, sizeof copy, "%s", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int tries = 0; fd >= 0 && tries < 20; tries++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return fd;
}

int listener_open(struct listener *listener, const char *wanted)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int result, lock;

    snprintf(listener->path, sizeof listener->path, "%s", wanted);
    result = take_passed_socket(listener, wanted);
    if (result != 0)
        return result < 0 ? result : 0;
    memcpy(address.sun_path, listener->path, sizeof address.sun_path);
    lock = lock_directory(address.sun_path);
    result = listen_clear_way(&address, SOCK_SEQPACKET);
    if (result == 0)
        result = bind_socket(listener, &address);
    if (lock >= 0)
        close(lock);
    return result;
}

void listener_remove(struct listener *listener)
{
    struct stat stat;

    if (listener->made && lstat(listener->path, &stat) == 0 &&
        stat.st_dev == listener->stat.st_dev && stat.st_ino == listener->stat.st_ino)
        unlink(listener->path);
    if (listener->made)
        fd_store_remove(listener->store, STORED_LISTENER);
    listener->made = false;
}
