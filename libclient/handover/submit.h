/* SPDX-License-Identifier: MIT */
/* A command that is handed over: the side of its owner. */
#ifndef LENDIS_HANDOVER_H
#define LENDIS_HANDOVER_H

#include "libclient/call.h"

/*
 * Queues `call` and waits until it is answered by whoever holds a connection, or a connection is
 * handed to it, on which it then is a combiner. wait_deadline_ns limits the time until somebody
 * takes it, call->deadline_ns the whole. Results as call_on_lease(); LENDIS_E_BUSY, no wait slot is
 * free; LENDIS_E_DOWN with nothing sent, or a read to be sent again; RESULT_TRY_AGAIN;
 * RESULT_NEEDS_LEASE, request or reply are too large: take a lease.
 */
int submit_call(struct attachment *attachment, const struct call *call, int64_t wait_deadline_ns);

#endif
