/* SPDX-License-Identifier: MIT */
/*
 * Bytes to and from a connection of Redis. Never touches a descriptor's flags, which belong to all
 * its holders: MSG_DONTWAIT and poll(2) instead. Knows nothing of commands and leases.
 */
#ifndef LENDIS_SOCKET_IO_H
#define LENDIS_SOCKET_IO_H

#include <sys/types.h>
#include "lendis/segment.h"

/*
 * Nothing waits to be read on a connection whose stream is at a command's boundary. What does is a
 * reply that came when nobody asked (I4), or the end of the connection: found here, before a
 * command is sent, it costs no command. (Some 250 ns of the 30 us and more that a command takes.)
 */
bool socket_is_silent(int fd);

/* This thread runs: see beat_make(). now_ns is any clock of this process. */
void socket_beat(shm_u64 *beat, int64_t now_ns);

/* Waits until something can be sent; *beat says now and then that this thread runs. Results: 0;
 * LENDIS_E_TIMEOUT; -errno. */
int socket_wait_to_send(int fd, int64_t deadline_ns, shm_u64 *beat);

/*
 * Receives what comes, at most `size` bytes; meanwhile *beat (may be NULL) says now and then that
 * this thread runs. Results: bytes; 0, the connection is lost, and errno says how, see
 * loss_judge(); -ETIMEDOUT, deadline_ns passed.
 */
ssize_t socket_receive(int fd, void *buffer, size_t size, int64_t deadline_ns, shm_u64 *beat);

/* Sends all. Results: 0; LENDIS_E_TIMEOUT; -errno, the connection is lost. *sent says how much went
 * out in any case. */
int socket_send_all(int fd, const char *request, size_t size, int64_t deadline_ns, size_t *sent);

#endif
