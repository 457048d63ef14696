/* SPDX-License-Identifier: MIT */
/*
 * Tables small enough to be part of a state, and what stands for system calls: both for the code
 * that the hand-over's model runs (steps.h) and for the model itself.
 */
#ifndef HANDOVER_SYSTEM_H
#define HANDOVER_SYSTEM_H

#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include "lendis/segment.h"

#undef CHUNKS
#define CHUNKS 2u
#undef WAKE_GROUPS
#define WAKE_GROUPS 1u
/* What a take-over carries, and room for a reply of 32 bytes. */
#undef CHUNK_SIZE
#define CHUNK_SIZE 168u

/* memcpy(), as a step if shared memory is involved. */
void *model_copy(const char *function, int line, void *to, const void *from, size_t size);
ssize_t model_send(int fd, const void *data, size_t size, int flags);
ssize_t model_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t model_receive(int fd, void *data, size_t size, int flags);
int model_poll(struct pollfd *polled, nfds_t count, int timeout_ms);
int model_pause(const struct timespec *time, struct timespec *rest);

#endif
