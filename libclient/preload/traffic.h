/* SPDX-License-Identifier: MIT */
/*
 * Sending and receiving on a virtual connection. What the program asked for is done here, with the
 * results and errors of a real socket. Nobody is kept from a virtual connection by another thread
 * that waits on it: its lock is let go of for every wait.
 */
#ifndef LENDIS_PRELOAD_TRAFFIC_H
#define LENDIS_PRELOAD_TRAFFIC_H

#include <stdbool.h>
#include <sys/uio.h>
#include "libclient/preload/virtual.h"

/* Both: false, `fd` is no virtual connection (any more): the C library's own function is to be
 * called. True, and *result and errno are what the caller gets. */
bool traffic_send(int fd, const struct iovec *parts, int count, int flags, ssize_t *result);
bool traffic_receive(int fd, const struct iovec *parts, int count, int flags, ssize_t *result);

/*
 * The virtual connection of `fd`, locked. False: `fd` is none, and *result is 0; or this thread has
 * it locked already, a signal handler interrupts it: *result is -1 and errno is EAGAIN.
 */
bool traffic_lock(int fd, struct virtual **virtual, ssize_t *result);

/* The number is another file's by now: forgets the virtual connection, and unlocks it. */
void traffic_forget(struct virtual *virtual);

/* When nothing is owed and nothing tied, the pooled connection goes back. */
void traffic_settle(struct virtual *virtual);

/* Whether a call that a signal interrupted goes on, as the kernel would have it (SA_RESTART). */
bool traffic_restarts(int64_t limit_ns);

/* The pooled connection is lost. `untold` as swap_end(). */
void traffic_lost(struct virtual *virtual, bool untold);

#endif
