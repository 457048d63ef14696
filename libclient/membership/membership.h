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

/* One more use of an attachment that is in use or current: a call under way, or a lease held. */
static inline void membership_use(struct attachment *attachment)
{
    if (shm_is_alone())
        atomic_store_explicit(&attachment->users,
                              atomic_load_explicit(&attachment->users, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    else
        /* Pairs with make_current() in membership.c. */
        atomic_fetch_add_explicit(&attachment->users, 1, memory_order_seq_cst);
}

/* One less. True: it was the last one of an attachment that is not current any more: the caller has
 * to call membership_empty(). */
static inline bool membership_unuse(struct attachment *attachment)
{
    uint32_t left;

    if (shm_is_alone()) {
        left = atomic_load_explicit(&attachment->users, memory_order_relaxed) - 1;
        atomic_store_explicit(&attachment->users, left, memory_order_relaxed);
    } else {
        left = atomic_fetch_sub_explicit(&attachment->users, 1, memory_order_seq_cst) - 1;
    }
    return left == 0 && atomic_load_explicit(&attachment->retired, memory_order_seq_cst);
}

/* Leaves the broker of an attachment that is not current any more, if nobody uses it. */
void membership_empty(struct attachment *attachment);
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
