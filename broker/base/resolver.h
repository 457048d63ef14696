/* SPDX-License-Identifier: MIT */
/*
 * Host names to addresses, without holding up the event loop: each lookup is getaddrinfo(3) in the
 * background. There is at most one lookup per pool (the pool's care).
 */
#ifndef LENDIS_BROKER_RESOLVER_H
#define LENDIS_BROKER_RESOLVER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include "broker/base/background.h"

#define RESOLVER_MAX_ADDRESSES 8u

/* Numeric addresses, in the order of preference of getaddrinfo(3). */
struct addresses {
    uint32_t count;
    char text[RESOLVER_MAX_ADDRESSES][INET6_ADDRSTRLEN];
};

struct lookup;

/* Gets `addresses`, or NULL and why. */
typedef void resolver_done(void *context, const struct addresses *addresses, const char *error);

/* True if `host` needs no lookup. */
bool resolver_is_numeric(const char *host);

/*
 * Looks `host` up. Results: 0, `done` is called once, from the loop, unless the lookup is cancelled
 * before; -errno.
 */
int resolver_lookup(struct background *background, const char *host, resolver_done *done,
                    void *context, struct lookup **lookup);

/* `done` will not be called. NULL is allowed. */
void resolver_cancel(struct lookup *lookup);

#endif
