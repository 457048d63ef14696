/* SPDX-License-Identifier: MIT */
/*
 * The way to a broker's socket, for the library, the tools and the tests. Never blocks: a broker
 * that is stopped, and whose backlog is full, would otherwise hold up whoever connects (unix(7)).
 */
#ifndef LENDIS_BROKER_SOCKET_H
#define LENDIS_BROKER_SOCKET_H

/*
 * Connects to the broker that listens at `path`. Results: a descriptor, non-blocking and closed on
 * exec; -ENAMETOOLONG; -EAGAIN, the broker's backlog is full; -errno of socket(2) or connect(2).
 */
int broker_socket_connect(const char *path);

#endif
