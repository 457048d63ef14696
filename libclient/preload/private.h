/* SPDX-License-Identifier: MIT */
/*
 * The way out: a virtual connection becomes a real one to the address that the program connected
 * to, with what the program had set and selected. From then on it is the program's own, as it would
 * be without lendis.
 */
#ifndef LENDIS_PRELOAD_PRIVATE_H
#define LENDIS_PRELOAD_PRIVATE_H

#include "lendis/counters.h"
#include "libclient/preload/virtual.h"

/*
 * For a locked virtual connection that owes nothing. Results: 0, it is out of the table and gone,
 * and whatever was to be done is to be done on the number; -errno, there is no such connection, and
 * it is as it was. `why` and `counter` are for
 * reports. Waits for the connection, as connect(2) does.
 */
int private_become(struct virtual *virtual, const char *why, enum counter counter);

#endif
