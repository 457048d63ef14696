/* SPDX-License-Identifier: MIT */
/*
 * Ringing the broker's doorbell for others.
 *
 * Who gives a connection back for a reset or as broken moves its word and then rings. One that is
 * stopped in between keeps the connection from everybody until it runs on. So who waits, and looks
 * thoroughly, rings for it. The first who sees a word so marks the connection and rings; should
 * that one be stopped in its turn, or the broker be slow, the first of the queue ring again, less
 * and less often.
 */
#ifndef LENDIS_DOORBELL_H
#define LENDIS_DOORBELL_H

#include "libclient/pool.h"
#include "lendis/waiter.h"

/* `waiter` looked thoroughly; NULL: the caller wants a connection, but does not wait. */
void doorbell_ring_for_others(const struct attachment *attachment, struct waiter *waiter);

#endif
