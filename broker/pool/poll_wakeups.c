/* SPDX-License-Identifier: MIT */
/* A pool's poll wake-ups: see poll_wakeups.h. */
#include "broker/pool/poll_wakeups.h"

#include <errno.h>
#include <unistd.h>

static void wake(void *context, uint32_t groups)
{
    const struct poll_wakeups *wakeups = context;

    for (uint32_t group = 0; group < POLL_WAKEUPS; group++)
        if (groups >> group & 1)
            poll_wakeup_send(wakeups->fds[group] - 1);
}

void poll_wakeups_init(struct poll_wakeups *wakeups, struct segment *segment)
{
    segment->wake_pollers = wake;
    segment->wake_context = wakeups;
}

int poll_wakeups_find(struct poll_wakeups *wakeups, uint32_t group, int *fd)
{
    if (group >= POLL_WAKEUPS)
        return -EINVAL;
    if (wakeups->fds[group] == 0) {
        int made = poll_wakeup_new();

        if (made < 0)
            return made;
        wakeups->fds[group] = 1 + made;
    }
    *fd = wakeups->fds[group] - 1;
    return 0;
}

void poll_wakeups_send_due(struct poll_wakeups *wakeups, const struct segment *segment)
{
    wake(wakeups, shm_exchange32(&segment->queue->pollers_due, 0));
}

void poll_wakeups_close(struct poll_wakeups *wakeups)
{
    for (uint32_t group = 0; group < POLL_WAKEUPS; group++) {
        if (wakeups->fds[group] != 0)
            close(wakeups->fds[group] - 1);
        wakeups->fds[group] = 0;
    }
}
