/* SPDX-License-Identifier: MIT */
/* Bells: see lendis/bell.h. */
#include "lendis/poll_wakeup.h"

#include <errno.h>
#include <sys/timerfd.h>
#include "lendis/shm.h"
#include "libclient/shared/descriptor.h"

int bell_new(void)
{
    int made = descriptor_timer();

    return made < 0 ? -errno : made;
}

void bell_ring(int bell)
{
    /* 0 would stop it. */
    static const struct itimerspec at_once = {.it_value.tv_nsec = 1};

    LENDIS_STEP("bell");
    if (bell >= 0)
        timerfd_settime(bell, 0, &at_once, NULL);
}
