/* SPDX-License-Identifier: MIT */
/* A pool's bells: see poll_wakeups.h. */
#include "broker/pool/poll_wakeups.h"

#include <errno.h>
#include <unistd.h>

static void ring(void *context, uint32_t groups)
{
    const struct bells *bells = context;

    for (uint32_t group = 0; group < BELLS; group++)
        if (groups >> group & 1)
            bell_ring(bells->fds[group] - 1);
}

void bells_init(struct bells *bells, struct segment *segment)
{
    segment->ring = ring;
    segment->ring_context = bells;
}

int bells_find(struct bells *bells, uint32_t group, int *fd)
{
    if (group >= BELLS)
        return -EINVAL;
    if (bells->fds[group] == 0) {
        int made = bell_new();

        if (made < 0)
            return made;
        bells->fds[group] = 1 + made;
    }
    *fd = bells->fds[group] - 1;
    return 0;
}

void bells_ring_told(struct bells *bells, const struct segment *segment)
{
    ring(bells, shm_exchange32(&segment->queue->told, 0));
}

void bells_close(struct bells *bells)
{
    for (uint32_t group = 0; group < BELLS; group++) {
        if (bells->fds[group] != 0)
            close(bells->fds[group] - 1);
        bells->fds[group] = 0;
    }
}
