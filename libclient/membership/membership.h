/* SPDX-License-Identifier: MIT */
/* This process as a worker of its pool's broker: which attachment a call uses, and what it is when
 * there is none. */
#ifndef LENDIS_MEMBERSHIP_H
#define LENDIS_MEMBERSHIP_H

#include "libclient/pool.h"

/* Attaches, if this process has no attachment. `now`: without regard to attempts that failed
 * before. Results as lendis_attach(). */
int membership_begin(struct lendis_pool *pool, bool now);

/*
 * The current attachment, made now if this process has none, and renewed (at most every few
 * milliseconds, with backoff) when its broker is gone. Results: 0, and *attachment is in use by the
 * caller until membership_leave(); as lendis_attach().
 */
int membership_enter(struct lendis_pool *pool, struct attachment **attachment);
void membership_leave(struct attachment *attachment);

/* Whether a call that waits has to start anew: its attachment is expelled, or there is another one
 * by now, which this makes when the broker is gone and a new one is there. */
bool membership_must_restart(struct attachment *attachment);

/* What kept us from attaching, as a result of a call: a missing broker is an outcome, not an error
 * of the caller's. */
int membership_result(const struct lendis_pool *pool, int result);

/* Leaves all brokers. Nobody uses the pool any more. */
void membership_end(struct lendis_pool *pool);

#endif
