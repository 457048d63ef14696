/* SPDX-License-Identifier: MIT */
/*
 * Which addresses are the pools': what the broker's catalog says under `serves` (lendis.conf(5)).
 * It is asked when a program connects somewhere for the first time, and again every few seconds in
 * which it connects. Without a broker there is no map, and everything is connected to as ever.
 */
#ifndef LENDIS_PRELOAD_MAP_H
#define LENDIS_PRELOAD_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct lendis_pool;
struct route;

/* The route of an address, or NULL: it is nobody's. Of IPv4, IPv6 and Unix addresses. */
const struct route *map_find(const struct sockaddr *address, socklen_t size);

/* Its pool for database `db`, a handle that stays; NULL: it has none, or there is no memory. */
struct lendis_pool *route_pool(const struct route *route, uint32_t db);

/* Any of its pools. */
struct lendis_pool *route_any_pool(const struct route *route);

/* The same pool's name, for reports; "" without one. */
const char *route_pool_name(const struct route *route, uint32_t db);

/* The broker's socket: $LENDIS_SOCKET, or the default. */
const char *map_socket_path(void);

#endif
