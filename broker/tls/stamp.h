/* SPDX-License-Identifier: MIT */
/* By what a file that was written anew, or replaced, is noticed: looks at it, and reads nothing. */
#ifndef LENDIS_BROKER_TLS_STAMP_H
#define LENDIS_BROKER_TLS_STAMP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* All zero: there is no such file. */
struct stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    int64_t changed_ns; /* of the inode: nobody sets it */
    int64_t written_ns;
};

/* Of what `path` leads to; NULL is allowed. */
struct stamp stamp_of(const char *path);

bool stamp_differs(const struct stamp *a, const struct stamp *b);

#endif
