/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that are ours in a program that knows nothing of us. They are numbered from
 * DESCRIPTOR_FLOOR on (include/lendis/descriptor.h), so that the program finds the numbers that it
 * expects; and whoever closes "all" descriptors passes over them, and is told that they are closed.
 */
#ifndef LENDIS_PRELOAD_OWN_H
#define LENDIS_PRELOAD_OWN_H

#include <stdbool.h>

/* Of a number that is known to be ours. */
bool own_is(int fd);

/* `fd`, -1 included, is ours from now on; returns it. */
int own_mark(int fd);

/* fcntl(2) and close(2) as liblendis calls them: see real_calls.h. */
int own_fcntl(int fd, int command, ...);
int own_close(int fd);

/* The last of ours in first..last, and the first of that run; false: there is none. */
bool own_last_run(unsigned first, unsigned last, unsigned *from, unsigned *to);

#endif
