/* SPDX-License-Identifier: MIT */
/* The attempts of one call to a pool until it has its replies: where it is sent, and what may be
 * sent again ("When an answer is lost" in include/lendis/README.md). */
#ifndef LENDIS_ATTEMPT_H
#define LENDIS_ATTEMPT_H

#include "libclient/call.h"

/*
 * Has `call`, which call_init() made and which has its losses counted, answered. timeout_ms as
 * lendis_exec(); waits for a connection no longer than wait_ms (0: no such limit). Results as
 * lendis_exec(); RESULT_SERVICE, nothing was done: the pool has no connections.
 */
int attempt_call(struct lendis_pool *pool, struct call *call, int timeout_ms, int wait_ms);

#endif
