/* SPDX-License-Identifier: MIT */
/* Passwords in memory: see secret.h. */
#include "broker/base/secret.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static size_t whole_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (size + page - 1) / page * page;
}

void secret_protect(void)
{
    prctl(PR_SET_DUMPABLE, 0);
}

void *secret_room(size_t size)
{
    void *made =
        mmap(NULL, whole_pages(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (made == MAP_FAILED)
        return NULL;
    secret_protect();
    /* None of these is worth failing for. */
    madvise(made, whole_pages(size), MADV_DONTDUMP);
    madvise(made, whole_pages(size), MADV_DONTFORK);
    mlock(made, whole_pages(size));
    return made;
}

char *secret_new(const char *bytes, size_t size)
{
    char *made = secret_room(size);

    if (made)
        memcpy(made, bytes, size);
    return made;
}

void secret_free(void *secret, size_t size)
{
    if (!secret)
        return;
    explicit_bzero(secret, size);
    munmap(secret, whole_pages(size));
}
