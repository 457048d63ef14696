/* SPDX-License-Identifier: MIT */
/*
 * The numbers of the library's own descriptors. A process may have closed 0, 1 and 2, and the
 * kernel gives the lowest free number (open(2)): what the program prints would then go to Redis, on
 * a connection that all workers share. So every descriptor is born through this file, which gives
 * it a number from DESCRIPTOR_FLOOR on; tests/lint/descriptors.sh, of make lint, looks for others.
 */
#ifndef LENDIS_DESCRIPTOR_H
#define LENDIS_DESCRIPTOR_H

#include "lendis/descriptor.h"

/* Births, all closed on exec. Results: -1 and errno. open(2) for reading; socket(2), non-blocking;
 * timerfd_create(2) on CLOCK_MONOTONIC, non-blocking; epoll_create1(2). */
int descriptor_open(const char *path, int flags);
int descriptor_socket(int family, int type);
int descriptor_timer(void);
int descriptor_epoll(void);

/* A pair of connected sockets (AF_UNIX, SOCK_STREAM), non-blocking. Results: 0; -1 and errno. */
int descriptor_pair(int ends[2]);

#endif
