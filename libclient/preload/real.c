/* SPDX-License-Identifier: MIT */
/* Finding the C library's functions: see real.h. */
#include "libclient/preload/real.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

struct real real_table;

/* Where the C library is too old to have them: what a program then finds itself. */
static int no_close_range(unsigned first, unsigned last, int flags)
{
    return (int)real_table.syscall(SYS_close_range, first, last, flags);
}

static void no_closefrom(int first)
{
    real_table.close_range(first > 0 ? (unsigned)first : 0, ~0u, 0);
}

/* Threads that come here together find the same. */
void real_resolve(void)
{
    int before = errno;

/* NOLINTBEGIN(bugprone-macro-parentheses): a type and a list of parameters */
#define REAL_FIND(type, name, parameters, arguments)                                               \
    real_table.name = (type(*) parameters)dlsym(RTLD_NEXT, #name);
    REAL_FUNCTIONS(REAL_FIND)
#undef REAL_FIND
    /* NOLINTEND(bugprone-macro-parentheses) */
    real_table.fcntl = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl64");
    if (!real_table.fcntl)
        real_table.fcntl = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl");
    real_table.ioctl = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    real_table.syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    if (!real_table.close_range)
        real_table.close_range = no_close_range;
    if (!real_table.closefrom)
        real_table.closefrom = no_closefrom;
    __atomic_store_n(&real_table.resolved, true, __ATOMIC_RELEASE);
    errno = before;
}
