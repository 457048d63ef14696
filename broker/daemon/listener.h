/* SPDX-License-Identifier: MIT */
/*
 * The socket that workers and tools connect to: one that the service manager passed, that the
 * previous broker left in the descriptor store, or a new one.
 *
 * A new one has mode 0660 from its first moment. What another broker listens on is left alone, and
 * only the socket that this broker or its predecessor made is ever removed.
 */
#ifndef LENDIS_BROKER_LISTENER_H
#define LENDIS_BROKER_LISTENER_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "broker/base/fd_store.h"

struct listener {
    struct fd_store *store; /* set by the owner, and fd to -1 */
    int fd;                 /* the owner closes it */
    bool made;              /* by us, or by the previous broker */
    struct stat stat;       /* of the one we made */
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
};

/* Listens at `wanted`, unless the service manager passed a socket. Results: 0, `fd` and `path` are
 * set; -errno, and the reason is in the log. */
int listener_open(struct listener *listener, const char *wanted);

/* Removes the socket if it is the one that we made. */
void listener_remove(struct listener *listener);

#endif
