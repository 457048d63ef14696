/* SPDX-License-Identifier: MIT */
/* What a forked child does with what it has inherited: see child.h. */
#include "libclient/preload/child.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>
#include "libclient/preload/counts.h"
#include "libclient/preload/swap.h"
#include "libclient/preload/virtual.h"

static void adopt_one(struct virtual *virtual)
{
    bool owed = virtual->state == VIRTUAL_LEASED
                    ? !stream_is_clean(&virtual->stream)
                    : virtual->unread > 0 || virtual->gathered_size > 0;

    /* Threads that held it are the parent's. */
    atomic_store_explicit(&virtual->holder, NULL, memory_order_relaxed);
    virtual->receivers = 0;
    virtual->counted = false;
    swap_disown(virtual);
    if (virtual->state == VIRTUAL_ENDED)
        return;
    if (owed)
        swap_end(virtual, true);
    else
        swap_park(virtual);
}

void child_adopt(void)
{
    int fresh = 0, before = errno;

    if (!atomic_compare_exchange_strong(&mine->state, &fresh, 1)) {
        while (atomic_load_explicit(&mine->state, memory_order_acquire) != 2)
            sched_yield();
        return;
    }
    atomic_store(&mine->pid, getpid());
    counts_child();
    virtual_each(adopt_one);
    atomic_store_explicit(&mine->state, 2, memory_order_release);
    errno = before;
}
