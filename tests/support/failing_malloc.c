/* SPDX-License-Identifier: MIT */
/* The test's side of memory that runs out: see failing_malloc.h. */
#include "tests/support/failing_malloc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "broker/testbed/testbed.h"

struct failing_malloc *failing_malloc_new(const char *path)
{
    struct failing_malloc *control = MAP_FAILED;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd >= 0 && ftruncate(fd, sizeof *control) == 0)
        control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (control == MAP_FAILED)
        give_up("%s: %s", path, strerror(errno));
    close(fd);
    return control;
}

void failing_malloc_preload(const char *path)
{
    setenv(FAILING_MALLOC_ENVIRONMENT, path, 1);
    setenv("LD_PRELOAD", built_program("tests/support/failing_malloc.so"), 1);
}

void failing_malloc_no_preload(void)
{
    unsetenv("LD_PRELOAD");
    unsetenv(FAILING_MALLOC_ENVIRONMENT);
}

void failing_malloc_set(struct failing_malloc *control, unsigned long number, bool all)
{
    /* Off while it changes: an allocation in between must not be judged by half of it. */
    atomic_store(&control->first, 0);
    atomic_store(&control->failed, 0);
    atomic_store(&control->last, all ? ULONG_MAX : number);
    atomic_store(&control->count, 0);
    atomic_store(&control->first, number);
}
