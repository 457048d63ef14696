/* SPDX-License-Identifier: MIT */
/* Noticing renewed files: see stamp.h. */
#include "broker/tls/stamp.h"

#include <sys/stat.h>

static int64_t ns_of(const struct timespec *time)
{
    return time->tv_sec * INT64_C(1000000000) + time->tv_nsec;
}

struct stamp stamp_of(const char *path)
{
    struct stat status;

    if (!path || stat(path, &status) != 0)
        return (struct stamp){0};
    return (struct stamp){
        .device = status.st_dev,
        .inode = status.st_ino,
        .size = status.st_size,
        .changed_ns = ns_of(&status.st_ctim),
        .written_ns = ns_of(&status.st_mtim),
    };
}

bool stamp_differs(const struct stamp *a, const struct stamp *b)
{
    return a->device != b->device || a->inode != b->inode || a->size != b->size ||
           a->changed_ns != b->changed_ns || a->written_ns != b->written_ns;
}
