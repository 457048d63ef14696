/* SPDX-License-Identifier: MIT */
/* Poll wake-ups: see lendis/poll_wakeup.h. */
#include "lendis/poll_wakeup.h"

#include <errno.h>
#include <sys/timerfd.h>
#include "lendis/shm.h"
#include "libclient/shared/descriptor.h"

int poll_wakeup_new(void)
{
    int made = descriptor_timer();

    return made < 0 ? -errno : made;
}

void poll_wakeup_send(int fd)
{
    /* 0 would stop it. */
    static const struct itimerspec at_once = {.it_value.tv_nsec = 1};

    LENDIS_STEP("poll wake-up");
    if (fd >= 0)
        timerfd_settime(fd, 0, &at_once, NULL);
}
