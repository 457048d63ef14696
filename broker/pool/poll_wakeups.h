/* SPDX-License-Identifier: MIT */
/*
 * The poll wake-ups of a pool (lendis/poll_wakeup.h), each made when the first worker asks for it.
 * The broker sends them when it passes a connection to a waiter that polls, and for workers that
 * hand over without having the descriptor. It never waits for one and never reads one.
 */
#ifndef LENDIS_BROKER_POLL_WAKEUPS_H
#define LENDIS_BROKER_POLL_WAKEUPS_H

#include "lendis/poll_wakeup.h"
#include "lendis/segment.h"

struct poll_wakeups {
    int fds[POLL_WAKEUPS]; /* 1 + the descriptor; 0: not made yet */
};

/*
 * Sends them from now on when something is handed over in `segment`. `wakeups` stays where it is
 * until segment_unmap().
 */
void poll_wakeups_init(struct poll_wakeups *wakeups, struct segment *segment);

/* The one of `group`, borrowed. Results: 0; -EINVAL, no such group; -errno. */
int poll_wakeups_find(struct poll_wakeups *wakeups, uint32_t group, int *fd);

/* Sends those that workers could not send. */
void poll_wakeups_send_due(struct poll_wakeups *wakeups, const struct segment *segment);

void poll_wakeups_close(struct poll_wakeups *wakeups);

#endif
