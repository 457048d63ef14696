/* SPDX-License-Identifier: MIT */
/* The combiner: a process that holds a connection and sends, with its own command, what others have
 * queued. */
#ifndef LENDIS_COMBINE_H
#define LENDIS_COMBINE_H

#include "libclient/call.h"

/*
 * Sends `call` on `lease` together with what is queued, serves the queue for a few rounds more, and
 * gives the lease back: the lease is gone afterwards. Results as call_on_lease().
 */
int combiner_run(struct lendis_lease *lease, const struct call *call);

/*
 * Goes on where another combiner left off: `call`, this thread's command in wait slot `slot`, was
 * taken over with `lease` and what its reply chunk carries. Otherwise as combiner_run().
 */
int combiner_continue(struct lendis_lease *lease, const struct call *call, uint32_t slot);

#endif
