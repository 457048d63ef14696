/* SPDX-License-Identifier: MIT */
/*
 * Knowing a socket again, by a number that is never used twice (SO_COOKIE, socket(7)): in a forked
 * child, and after a caller had the descriptor, a number below RLIMIT_NOFILE can be anything.
 */
#ifndef LENDIS_SOCKET_COOKIE_H
#define LENDIS_SOCKET_COOKIE_H

#include <stdbool.h>
#include <stdint.h>

/* SO_COOKIE of a socket; 0: not a socket, or a kernel that has no cookies. */
uint64_t socket_cookie(int fd);
bool socket_is(int fd, uint64_t cookie);

#endif
