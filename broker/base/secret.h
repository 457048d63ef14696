/* SPDX-License-Identifier: MIT */
/*
 * Passwords in memory: each has pages of its own, which are wiped when it goes, are not written to
 * swap (mlock(2), as far as RLIMIT_MEMLOCK allows it), not dumped, and not there in a child
 * process. Whoever copies one wipes the copy, with explicit_bzero(3): the request of a dial is the
 * only one.
 *
 * With the first secret the process is no longer dumpable (prctl(2), PR_SET_DUMPABLE): no core is
 * written, and no process without CAP_SYS_PTRACE, of the same user or not, reads its memory, takes
 * its descriptors or opens what is in its /proc/PID (ptrace(2)). A broker that has no secret stays
 * open to the tools of its own user.
 */
#ifndef LENDIS_BROKER_SECRET_H
#define LENDIS_BROKER_SECRET_H

#include <stddef.h>

/* The process has secrets that are not made by secret_new(): no longer dumpable. */
void secret_protect(void);

/* A copy of `size` bytes, at least 1; secret_free() it. NULL: there is no memory. */
char *secret_new(const char *bytes, size_t size);

/* Room for one of `size` bytes, all zero; likewise. */
void *secret_room(size_t size);

/* Wipes it, too. NULL is allowed. */
void secret_free(void *secret, size_t size);

#endif
