/* SPDX-License-Identifier: MIT */
/* Numbers of descriptors: see descriptor.h. */
#include "libclient/shared/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* ---- births ---- */

/* `made`, born while the gap was filled. */
static int end_birth(int made, const struct descriptor_gap *gap)
{
    int fd = descriptor_lift(made), error = errno;

    descriptor_free_gap(gap);
    errno = error;
    return fd;
}

int descriptor_open(const char *path, int flags)
{
    struct descriptor_gap gap;

    descriptor_fill_gap(&gap);
    return end_birth(open(path, flags | O_RDONLY | O_CLOEXEC), &gap);
}

int descriptor_socket(int family, int type)
{
    struct descriptor_gap gap;

    descriptor_fill_gap(&gap);
    return end_birth(socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), &gap);
}

int descriptor_timer(void)
{
    struct descriptor_gap gap;

    descriptor_fill_gap(&gap);
    return end_birth(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), &gap);
}

int descriptor_epoll(void)
{
    struct descriptor_gap gap;

    descriptor_fill_gap(&gap);
    return end_birth(epoll_create1(EPOLL_CLOEXEC), &gap);
}

int descriptor_pair(int ends[2])
{
    struct descriptor_gap gap;
    int made[2], result;

    descriptor_fill_gap(&gap);
    result = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, made);
    for (int i = 0; i < 2 && result == 0; i++)
        ends[i] = descriptor_lift(made[i]);
    descriptor_free_gap(&gap);
    if (result < 0 || (ends[0] >= 0 && ends[1] >= 0))
        return result;
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close(ends[i]);
    return -1;
}
