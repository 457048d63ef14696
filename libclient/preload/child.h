/* SPDX-License-Identifier: MIT */
/*
 * Forked children. Virtual connections are each process' own: a child finds out by a page that the
 * kernel empties for it (MADV_WIPEONFORK), and parks anew what it has inherited, before its first
 * use of any. A lease is the parent's for good: a child that was forked while a reply was owed, or
 * inside MULTI, finds the end of the stream.
 */
#ifndef LENDIS_PRELOAD_CHILD_H
#define LENDIS_PRELOAD_CHILD_H

#include "libclient/preload/mine.h"

void child_adopt(void);

static inline void child_check(void)
{
    /* Acquire: with the release of child_adopt(). */
    if (__builtin_expect(atomic_load_explicit(&mine->state, memory_order_acquire) != 2, 0))
        child_adopt();
}

#endif
