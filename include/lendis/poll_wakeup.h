/* SPDX-License-Identifier: MIT */
/*
 * A poll wake-up: what a waiter polls that cannot sleep on a futex, because its process has an
 * event loop.
 *
 * A pool has POLL_WAKEUPS of them, made by the broker when the first such waiter comes. The waiters
 * of all slots of a group, whatever their process, watch the same one edge-triggered, so nobody has
 * to empty it and nobody can empty it before another has seen it. Whoever hands over sends it, a
 * worker as well as the broker; a process without the descriptor leaves that to the broker. It is a
 * hint like the wake word: a waiter that gets none inspects the words itself after its patience
 * (waiter.h), and one that gets it in vain inspects them once more.
 *
 * It is a timerfd that is set to run out at once (timerfd_create(2)), not an eventfd: a worker
 * could fill an eventfd and take O_NONBLOCK away, and the broker's next write would block (I5).
 * Setting a timer never does. Each setting is followed by an expiry, which wakes all who watch.
 */
#ifndef LENDIS_POLL_WAKEUP_H
#define LENDIS_POLL_WAKEUP_H

#include <stdint.h>

/* With 50 polling processes on a pool, one that is passed a connection wakes six others in vain;
 * and a process that polls has as many descriptors of them. */
#define POLL_WAKEUPS 8u

static inline uint32_t poll_wakeup_group(uint32_t slot)
{
    return slot % POLL_WAKEUPS;
}

/* Results: a descriptor, the caller's; -errno. */
int poll_wakeup_new(void);

/* Wakes who watches. Never blocks. -1 is allowed. */
void poll_wakeup_send(int fd);

#endif
