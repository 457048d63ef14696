/* SPDX-License-Identifier: MIT */
/*
 * What is behind a virtual connection's number, and its exchange by dup3(2), which takes two system
 * calls a request: so a leased connection is not put there (virtual.h), but for who needs it.
 * Callers have it locked. None of these waits; all leave errno alone.
 */
#ifndef LENDIS_PRELOAD_SWAP_H
#define LENDIS_PRELOAD_SWAP_H

#include "libclient/pool.h"
#include "libclient/preload/virtual.h"

/* Makes the process' parked and ended sockets. False: it cannot be done. */
bool swap_prepare(void);

/* The number is still what we put there: nobody closed it behind our back and opened another
 * file. */
bool swap_is_here(const struct virtual *virtual);

/* The same, once for each two calls: programs look at an idle connection before they send. */
bool swap_check(struct virtual *virtual);

/* The descriptor that has the stream's bytes: what is to be read, written and polled. */
static inline int swap_carrier(const struct virtual *virtual)
{
    return virtual->state == VIRTUAL_LEASED ? virtual->lease->fd : virtual->number;
}

/* Puts `fd`, which stays the caller's, behind the number. False: the number is not ours. */
bool swap_put(struct virtual *virtual, int fd);

/* Parks it. The pair, if there is one, is closed. */
bool swap_park(struct virtual *virtual);

/* The stream goes over virtual->lease. False: the number is not ours. */
bool swap_lease(struct virtual *virtual);

/* LEASED: the pooled connection comes behind the number, until it is parked again. */
bool swap_show(struct virtual *virtual);

/* The stream ends here. `untold`: the program is told by what it reads, not by what it sends. */
bool swap_end(struct virtual *virtual, bool untold);

/* Bytes that the program finds to read, behind those that it has not read yet. Results: 0; -errno,
 * it has no pair and none can be had. */
int swap_answer(struct virtual *virtual, const char *data, size_t size);

/* The program has read `size` bytes of answers. */
void swap_answer_read(struct virtual *virtual, size_t size);

/* The lease goes back to the pool, in the state that the stream left it. */
void swap_release(struct virtual *virtual, bool broken);

/* In a forked child: what is the parent's is let go of. */
void swap_disown(struct virtual *virtual);

/* Gives up all that it holds: the program closes it. */
void swap_drop(struct virtual *virtual);

/* The same where the number is another file's by now. */
void swap_forget(struct virtual *virtual);

#endif
