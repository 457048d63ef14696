/* SPDX-License-Identifier: MIT */
/*
 * What is preloaded: see failing_malloc.h. Functions of the C library that allocate (strdup(3),
 * getaddrinfo(3), fopen(3)) come here as well, for they call malloc(3) by its name.
 */
#include "tests/support/failing_malloc.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

/* glibc's own, under the names that it exports for replacements: malloc(3), "Replacing malloc" in
 * its manual. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static struct failing_malloc *control;

static __attribute__((constructor)) void find_control(void)
{
    const char *path = getenv(FAILING_MALLOC_ENVIRONMENT);
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *page;

    if (fd < 0)
        return;
    page = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page != MAP_FAILED)
        control = page;
}

/* Counts one allocation. True: it fails. */
static bool fails(void)
{
    unsigned long number, first;

    if (!control)
        return false;
    number = atomic_fetch_add(&control->count, 1) + 1;
    first = atomic_load(&control->first);
    if (first == 0 || number < first || number > atomic_load(&control->last))
        return false;
    atomic_fetch_add(&control->failed, 1);
    errno = ENOMEM;
    return true;
}

EXPORTED void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

EXPORTED void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

EXPORTED void *realloc(void *old, size_t size)
{
    return fails() ? NULL : __libc_realloc(old, size);
}

EXPORTED void *memalign(size_t alignment, size_t size)
{
    return fails() ? NULL : __libc_memalign(alignment, size);
}

EXPORTED void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

EXPORTED int posix_memalign(void **result, size_t alignment, size_t size)
{
    void *memory = memalign(alignment, size);

    if (!memory)
        return ENOMEM;
    *result = memory;
    return 0;
}
