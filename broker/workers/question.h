/* SPDX-License-Identifier: MIT */
/*
 * Questions of processes that are no workers, at least not yet: unmodified programs with the
 * preloaded library (lendis-run(1)). Each is the only message of its connection, answered at once:
 *
 *   ADDRESSES   which pool serves which address: the catalog, for whoever may use any of the pools.
 *   LOGIN       whether a password is the pool's own, for whoever may use the pool, and so has what
 *               the password gives anyway.
 */
#ifndef LENDIS_BROKER_QUESTION_H
#define LENDIS_BROKER_QUESTION_H

#include "broker/workers/worker.h"

/* False: the message is no question. True: it was answered, and the worker is gone. */
bool question_answer(struct worker *worker, const void *message, size_t size);

#endif
