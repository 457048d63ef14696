/* SPDX-License-Identifier: MIT */
/* What sending and receiving have in common: see traffic.h. */
#include "libclient/preload/traffic.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include "libclient/preload/child.h"
#include "libclient/preload/counts.h"
#include "libclient/preload/swap.h"
#include "libclient/preload/tally.h"

bool traffic_lock(int fd, struct virtual **virtual, ssize_t *result)
{
    for (;;) {
        struct virtual *found = virtual_find(fd);

        *result = 0;
        if (!found)
            return false;
        child_check();
        if (virtual_lock(found, fd)) {
            *virtual = found;
            return true;
        }
        if (virtual_is_held_here(found)) {
            errno = EAGAIN;
            *result = -1;
            return false;
        }
    }
}

void traffic_forget(struct virtual *virtual)
{
    swap_forget(virtual);
    virtual_free(virtual);
}

void traffic_settle(struct virtual *virtual)
{
    if (virtual->state != VIRTUAL_LEASED || virtual->receivers > 0)
        return;
    if (virtual->mute && !stream_owes(&virtual->stream))
        swap_end(virtual, false); /* what it has sent of a command is never finished */
    else if (stream_is_clean(&virtual->stream))
        swap_park(virtual);
    else
        return;
    swap_release(virtual, false);
}

bool traffic_restarts(int64_t limit_ns)
{
    int before = errno;
    bool restarts = limit_ns == 0;

    /* Which signal it was is not to be known: only if all handlers say so. */
    for (int number = 1; restarts && number < NSIG; number++) {
        struct sigaction action;

        if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL &&
            action.sa_handler != SIG_IGN)
            restarts = (action.sa_flags & SA_RESTART) != 0;
    }
    errno = before;
    return restarts;
}

void traffic_lost(struct virtual *virtual, bool untold)
{
    count_up(PRELOAD_lost);
    tally(virtual, COUNTER_virtual_lost);
    swap_end(virtual, untold);
    swap_release(virtual, true);
}
