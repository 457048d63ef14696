/* SPDX-License-Identifier: MIT */
/*
 * A worker that asks for a connection of its own (WIRE_DIRECT): see broker/pool/direct.h and
 * private.h.
 */
#ifndef LENDIS_BROKER_DIRECT_REQUEST_H
#define LENDIS_BROKER_DIRECT_REQUEST_H

#include <stdbool.h>

struct broker_pool;
struct worker;

/*
 * Answers it, now or when there is a connection, and with that it leaves. NULL: there is no such
 * pool.
 */
void direct_request(struct worker *worker, struct broker_pool *pool);

/* Whether it may use the pool; counted and logged if not. */
bool worker_may_use(const struct worker *worker, struct broker_pool *pool);

#endif
