/* SPDX-License-Identifier: MIT */
/*
 * Numbers of descriptors that are ours, never below DESCRIPTOR_FLOOR: see
 * libclient/shared/descriptor.h. Here is what the messages need, so that whoever speaks them needs
 * wire.c alone.
 */
#ifndef LENDIS_DESCRIPTOR_NUMBER_H
#define LENDIS_DESCRIPTOR_NUMBER_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#define DESCRIPTOR_STDIO_END 3

/* A library that lives in a program that knows nothing of it is built with a high one: numbers
 * below stay as the program expects them. Where RLIMIT_NOFILE does not allow it, 3 has to do. */
#ifndef DESCRIPTOR_FLOOR
#define DESCRIPTOR_FLOOR 3
#endif

/* Another descriptor for the same, numbered from `above` or the floor on, closed on exec. Results:
 * -1 and errno; EMFILE where the limit is below `above`. */
static inline int descriptor_copy(int fd, int above)
{
    int floor = above > DESCRIPTOR_FLOOR ? above : DESCRIPTOR_FLOOR;
    int made = fcntl(fd, F_DUPFD_CLOEXEC, floor);

    if (made < 0 && errno == EINVAL && DESCRIPTOR_FLOOR > DESCRIPTOR_STDIO_END)
        made =
            fcntl(fd, F_DUPFD_CLOEXEC, above > DESCRIPTOR_STDIO_END ? above : DESCRIPTOR_STDIO_END);
    if (made < 0 && errno == EINVAL)
        errno = EMFILE; /* the number is beyond the limit: fcntl(2) */
    return made;
}

/* `fd`, just made, or a copy of it from the floor on in its place. Results: as of what made it: -1
 * and errno, also for -1. */
static inline int descriptor_lift(int fd)
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

static inline bool descriptor_has_gap(void)
{
    for (int fd = 0; fd < DESCRIPTOR_STDIO_END; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            return true;
    return false;
}

/*
 * While something is born, for it would do harm under a low number even for a moment (other threads
 * print and read): numbers below 3 that are free have a placeholder, on which they fail with EBADF
 * as before (O_PATH, open(2)).
 */
struct descriptor_gap {
    int count;
    int held[3];
};

static inline void descriptor_fill_gap(struct descriptor_gap *gap)
{
    gap->count = 0;
    while (gap->count < DESCRIPTOR_STDIO_END && descriptor_has_gap()) {
        int fd = open("/", O_PATH | O_CLOEXEC);

        if (fd >= DESCRIPTOR_STDIO_END) /* another thread has just opened what was missing */
            close(fd);
        if (fd < 0 || fd >= DESCRIPTOR_STDIO_END)
            return;
        gap->held[gap->count++] = fd;
    }
}

static inline void descriptor_free_gap(const struct descriptor_gap *gap)
{
    for (int i = 0; i < gap->count; i++)
        close(gap->held[i]);
}

#endif
