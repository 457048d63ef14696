/* SPDX-License-Identifier: MIT */
/*
 * What a forked child must find empty: a page that the kernel wipes for it (MADV_WIPEONFORK). A
 * child of vfork(2), posix_spawn(3) and clone(CLONE_VM) has the parent's memory and finds nothing
 * changed: what would change the table of virtual connections there asks mine_is_foreign() first.
 */
#ifndef LENDIS_PRELOAD_MINE_H
#define LENDIS_PRELOAD_MINE_H

#include <stdatomic.h>
#include <stdbool.h>

/* Of this process; all zero in a forked child. */
struct mine {
    atomic_int state; /* 0: forked, nothing done yet; 1: under way; 2: as it is to be */
    atomic_int pid;   /* of the process that it is */
    /* Locks, of map.c and table.c: in a child there is no other thread that could hold them. */
    atomic_int map_lock, table_lock;
};

extern struct mine *mine;

/* By the first connection that is virtual. False: no memory. */
bool mine_prepare(void);

/* Another process than the one whose memory this is. */
bool mine_is_foreign(void);

#endif
