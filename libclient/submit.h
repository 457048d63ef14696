/* SPDX-License-Identifier: MIT */
/* A command that is handed over: the side of its owner. */
#ifndef LENDIS_HANDOVER_H
#define LENDIS_HANDOVER_H

#include "libclient/combiner.h"

/* Of hand_over(): this command needs a connection for itself. */
#define HAND_OVER_NOT 1001

/*
 * Queues `call` and waits until it is answered by whoever holds a connection, or a connection is
 * handed to it, on which it then is a combiner. wait_deadline_ns limits the time until somebody
 * takes it, call->deadline_ns the whole. Results as exec_on_lease(); LENDIS_E_BUSY, no wait slot is
 * free; LENDIS_E_DOWN with nothing sent, or a read to be sent again; LEASE_TRY_AGAIN;
 * HAND_OVER_NOT, request or reply are too large: take a lease.
 */
int hand_over(struct attachment *attachment, const struct call *call, int64_t wait_deadline_ns);

#endif
