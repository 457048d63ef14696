/* SPDX-License-Identifier: MIT */
/* Which descriptors are ours: see own.h. */
#include "libclient/preload/own.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include "libclient/preload/real.h"

/* Beyond that a number is not known for ours: no program of this kind has so many. */
#define OWN_MAX 65536

static _Atomic uint64_t bits[OWN_MAX / 64];

bool own_is(int fd)
{
    return (unsigned)fd < OWN_MAX &&
           (atomic_load_explicit(&bits[fd / 64], memory_order_relaxed) >> fd % 64 & 1);
}

int own_mark(int fd)
{
    if ((unsigned)fd < OWN_MAX)
        atomic_fetch_or_explicit(&bits[fd / 64], UINT64_C(1) << fd % 64, memory_order_relaxed);
    return fd;
}

static void unmark(int fd)
{
    if ((unsigned)fd < OWN_MAX)
        atomic_fetch_and_explicit(&bits[fd / 64], ~(UINT64_C(1) << fd % 64), memory_order_relaxed);
}

int own_fcntl(int fd, int command, ...)
{
    va_list arguments;
    long argument;
    int result;

    va_start(arguments, command);
    argument = va_arg(arguments, long);
    va_end(arguments);
    result = real()->fcntl(fd, command, argument);
    return command == F_DUPFD_CLOEXEC ? own_mark(result) : result;
}

int own_close(int fd)
{
    unmark(fd);
    return real()->close(fd);
}

bool own_last_run(unsigned first, unsigned last, unsigned *from, unsigned *to)
{
    unsigned at = last < OWN_MAX ? last + 1 : OWN_MAX;

    for (;; at--) {
        if (at <= first)
            return false;
        if (at % 64 == 0 && at - first >= 64 &&
            atomic_load_explicit(&bits[at / 64 - 1], memory_order_relaxed) == 0)
            at -= 63;
        else if (own_is((int)at - 1))
            break;
    }
    *to = at - 1;
    while (at > first && own_is((int)at - 1))
        at--;
    *from = at;
    return true;
}
