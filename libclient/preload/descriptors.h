/* SPDX-License-Identifier: MIT */
/*
 * What a program does to the descriptor of a virtual connection other than sending and receiving.
 * Flags, options and names are kept here; none reaches a pooled socket, which has them in common
 * with all its users.
 *
 * Functions of type bool: false, the descriptor is no virtual connection, and the C library's own
 * function is to be called.
 */
#ifndef LENDIS_PRELOAD_DESCRIPTORS_H
#define LENDIS_PRELOAD_DESCRIPTORS_H

#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* connect(2) to an address that a pool serves. */
bool descriptor_connects(int fd, const struct sockaddr *address, socklen_t size, int *result);

/* Before the number is closed, or another file is put behind it: what it had is given up. */
void descriptor_closes(int fd);
void descriptors_close(unsigned first, unsigned last);

bool descriptor_shuts_down(int fd, int how, int *result);

/* Before a copy of it is made, or it is sent to another process: a real connection is behind it
 * afterwards, or the lease that is there stays. */
void descriptor_is_shared(int fd);

bool descriptor_flags(int fd, int command, long argument, int *result);
bool descriptor_set_nonblocking(int fd, bool nonblocking);
bool descriptor_has_unread(int fd, int *bytes);

bool descriptor_get_option(int fd, int level, int name, void *value, socklen_t *size, int *result);
bool descriptor_set_option(int fd, int level, int name, const void *value, socklen_t size,
                           int *result);
bool descriptor_get_name(int fd, bool of_peer, struct sockaddr *address, socklen_t *size,
                         int *result);

/* What poll(2) is to be asked in the place of `fd`, and before select(2), which cannot be asked
 * about another one. */
int descriptor_to_poll(int fd);
void descriptor_is_selected(int fd);

bool descriptor_polls(int epoll, int operation, int fd, struct epoll_event *event, int *result);

#endif
