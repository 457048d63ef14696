/* SPDX-License-Identifier: MIT */
/* Numbers of descriptors: see descriptor.h. */
#include "shared/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define STDIO_END 3

int descriptor_copy(int fd, int above)
{
    int floor = above > DESCRIPTOR_FLOOR ? above : DESCRIPTOR_FLOOR;
    int made = fcntl(fd, F_DUPFD_CLOEXEC, floor);

    if (made < 0 && errno == EINVAL && above <= STDIO_END && floor > STDIO_END)
        made = fcntl(fd, F_DUPFD_CLOEXEC, STDIO_END);
    if (made < 0 && errno == EINVAL)
        errno = EMFILE; /* the number is beyond the limit: fcntl(2) */
    return made;
}

int descriptor_lift(int fd)
{
    int made, error;

    if (fd < 0 || fd >= DESCRIPTOR_FLOOR)
        return fd;
    made = descriptor_copy(fd, 0);
    error = errno;
    close(fd);
    errno = error;
    return made;
}

static bool has_gap(void)
{
    for (int fd = 0; fd < STDIO_END; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            return true;
    return false;
}

void descriptor_fill_gap(struct descriptor_gap *gap)
{
    gap->count = 0;
    while (gap->count < STDIO_END && has_gap()) {
        int fd = open("/", O_PATH | O_CLOEXEC);

        if (fd >= STDIO_END) /* another thread has just opened what was missing */
            close(fd);
        if (fd < 0 || fd >= STDIO_END)
            return;
        gap->held[gap->count++] = fd;
    }
}

void descriptor_free_gap(const struct descriptor_gap *gap)
{
    for (int i = 0; i < gap->count; i++)
        close(gap->held[i]);
}

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
