/* SPDX-License-Identifier: MIT */
/* What a Redis server says of its own memory. */
#ifndef LENDIS_REPORT_REDIS_MEMORY_H
#define LENDIS_REPORT_REDIS_MEMORY_H

#include <stdbool.h>
#include <hiredis/hiredis.h>

/* Bytes, but for connections; NAN: this server does not say. */
struct redis_memory {
    double rss;
    double used;        /* used_memory */
    double clients;     /* of it, mem_clients_normal: buffers of connections */
    double connections; /* without the one that asked */
};

/* Adds the server's figures. False: it did not answer, or not to us; the reason is in `problem`. */
bool redis_memory_add(redisContext *context, struct redis_memory *sum, char *problem, size_t size);

#endif
