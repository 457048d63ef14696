/* SPDX-License-Identifier: MIT */
/* How an attachment comes about: HELLO to a broker, by a process that had none, by a forked child,
 * or after the broker's end. */
#ifndef LENDIS_ATTACH_H
#define LENDIS_ATTACH_H

#include "libclient/pool.h"

/*
 * Attaches: one connect and HELLO, and what must be fetched. `inherited` (may be NULL) is an
 * attachment of the parent process; if the broker is still the same, it is made this process' own.
 * Results: 0 and *attachment (an empty struct of the pool's list, filled); as lendis_attach().
 * Caller holds the lock.
 */
int attach_open(struct lendis_pool *pool, struct attachment *inherited,
                struct attachment **attachment);

/*
 * Attaches again, in place of `previous`, whose broker is gone, without waiting for a broker that
 * does not answer: -EAGAIN, it was asked, call again. A new broker may know this process still:
 * then its leases go on to be its, and the descriptors that it has are used on. Otherwise as
 * attach_open().
 */
int attach_again(struct lendis_pool *pool, struct attachment *previous,
                 struct attachment **attachment);

/* Closes the socket of a greeting that will not be waited for, in a child its copy. */
void attach_forget_greeting(struct lendis_pool *pool);

#endif
