/* SPDX-License-Identifier: MIT */
/*
 * The bells of a pool (lendis/bell.h), each made when the first worker asks for it. The broker
 * rings them when it hands a connection to a waiter that polls, and for workers that hand over
 * without having the descriptor. It never waits for one and never reads one.
 */
#ifndef LENDIS_BROKER_POLL_BELLS_H
#define LENDIS_BROKER_POLL_BELLS_H

#include "lendis/poll_wakeup.h"
#include "lendis/segment.h"

struct bells {
    int fds[BELLS]; /* 1 + the descriptor; 0: not made yet */
};

/*
 * Rings them from now on when something is handed over in `segment`. `bells` stays where it is
 * until segment_unmap().
 */
void bells_init(struct bells *bells, struct segment *segment);

/* The bell of `group`, borrowed. Results: 0; -EINVAL, no such group; -errno. */
int bells_find(struct bells *bells, uint32_t group, int *fd);

/* Rings for workers that could not. */
void bells_ring_told(struct bells *bells, const struct segment *segment);

void bells_close(struct bells *bells);

#endif
