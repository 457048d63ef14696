/* SPDX-License-Identifier: MIT */
/*
 * poll(2) for a program some of whose descriptors are virtual: those with a request under way are
 * polled by the descriptor that their bytes come from (swap_carrier()), in a copy of what the
 * program gave. Nothing is copied where there is none.
 */
#ifndef LENDIS_PRELOAD_POLLING_H
#define LENDIS_PRELOAD_POLLING_H

#include <poll.h>
#include <stdbool.h>
#include "libclient/preload/virtual.h"

/* Of larger arrays the virtual ones are shown (swap_show()) as for select(2). */
#define POLLING_ROOM 64

struct polling {
    struct pollfd copies[POLLING_ROOM];
};

/* Whether one of them is virtual. */
static inline bool polling_concerns(const struct pollfd *fds, nfds_t count)
{
    for (nfds_t i = 0; i < count; i++)
        if (__builtin_expect(virtual_find(fds[i].fd) != NULL, 0))
            return true;
    return false;
}

/* What is to be polled in the place of `fds`: `fds` itself, or polling->copies. */
struct pollfd *polling_begin(struct polling *polling, struct pollfd *fds, nfds_t count);

/* What came of polling it, put into `fds`. Results: `result`. */
int polling_end(const struct polling *polling, const struct pollfd *polled, struct pollfd *fds,
                nfds_t count, int result);

#endif
