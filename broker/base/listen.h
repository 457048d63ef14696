/* SPDX-License-Identifier: MIT */
/* Addresses that the broker listens at, as the configuration writes them, and making way for a
 * socket of its own where a stale one is. */
#ifndef LENDIS_BROKER_LISTEN_H
#define LENDIS_BROKER_LISTEN_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

union listen_address {
    struct sockaddr any;
    struct sockaddr_un local;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/*
 * `text` is unix:///PATH or HOST:PORT, where HOST is localhost or a loopback address; IPv6 in
 * brackets. Results: NULL, *address and *size are set; what is wrong with it.
 */
const char *listen_parse(const char *text, union listen_address *address, socklen_t *size);

/*
 * Removes a socket at `address` that nobody of `type` listens at. Results: 0, nothing is there any
 * more; -errno, which was logged.
 */
int listen_clear_way(const struct sockaddr_un *address, int type);

#endif
