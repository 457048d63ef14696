/* SPDX-License-Identifier: MIT */
/*
 * Requests whose replies are copied into the program's pair: those that are handed over because no
 * connection is idle (lendis_exec()), and those that came while earlier such replies were unread.
 * The caller waits for the reply, with the virtual connection locked: it is the program's send(2).
 */
#ifndef LENDIS_PRELOAD_COPYING_H
#define LENDIS_PRELOAD_COPYING_H

#include <stddef.h>
#include "libclient/preload/virtual.h"

/* A request that is larger goes another way: its bytes would be copied through shared memory. */
#define COPYING_MAX 65536u

/* Whole commands that may share. Results as lendis_exec(), whose reply the program finds to read;
 * after LENDIS_E_UNCERTAIN it may have been executed. */
int copy_handed_over(struct virtual *virtual, struct lendis_pool *pool, const char *request,
                     size_t size);

/* Whole commands, some of which are answered here. Results: 0; else what came of the one that
 * failed: those before it were served. */
int copy_one_by_one(struct virtual *virtual, const char *request, size_t size);

/* Keeps a part of a request. Results: 0; -ENOMEM, also for more than COPYING_MAX. */
int copy_gather(struct virtual *virtual, const char *request, size_t size);

/* Serves what was gathered, as far as it is whole. Results as copy_one_by_one(). */
int copy_gathered(struct virtual *virtual);

#endif
