/* SPDX-License-Identifier: MIT */
/* Leases, as the library itself uses them. */
#ifndef LENDIS_LEASE_H
#define LENDIS_LEASE_H

#include "libclient/client.h"

/* lendis_acquire()'s limits: absolute, CLOCK_MONOTONIC; 0: do not wait; DEADLINE_OF_POOL: the
 * pool's wait_timeout. */
#define DEADLINE_OF_POOL INT64_C(-1)

/* Of lease_acquire_on() and others: the attachment is no longer current, the connection was
 * replaced, or its descriptor is needed and there is no broker to ask; start anew. */
#define LEASE_TRY_AGAIN 1000
/* This user has as many connections of the pool as it may: share_wait(), then try again. */
#define LEASE_OVER_SHARE 1003
/* Redis is down, and nobody is to wait for it: LENDIS_E_DOWN, without another attempt. */
#define LEASE_FAILS_FAST 1005

/* Of lease_try(): this is a service, see service.h. */
#define LEASE_SERVICE 1004

/*
 * Leases an idle connection at once, if nobody waits. Results: 0, and the lease keeps `attachment`
 * in use in the caller's place; LENDIS_E_BUSY; LENDIS_E_DISABLED; LEASE_TRY_AGAIN; as reach_cut_off(); -errno.
 */
int lease_try(struct attachment *attachment, struct lendis_lease **lease);

/* The same, waiting until deadline_ns (0: no waiting). LENDIS_E_TIMEOUT and LENDIS_E_DOWN for one
 * that passed. */
int lease_acquire_on(struct attachment *attachment, int64_t deadline_ns,
                     struct lendis_lease **lease);

/* Whether to start anew after `result`, which took until now; pauses if so. */
bool lease_again(int result, int64_t deadline_ns);

/* What a call that is not tried again returns for `result`. */
int lease_final(int result, int64_t deadline_ns);

/* What kept us from attaching, as a result of a call: a missing broker is an outcome, not an error
 * of the caller's. */
int lease_attach_result(const struct lendis_pool *pool, int result);

/* lendis_acquire() with an absolute limit. */
int lease_acquire(struct lendis_pool *pool, int64_t deadline_ns, struct lendis_lease **lease);

/*
 * Turns connection `index`, leased as `word`, into a lease. Results as lease_try(); on failure the
 * connection is passed on, or returned unless it is `clean`.
 */
int lease_make(struct attachment *attachment, uint32_t index, uint64_t word, bool clean,
               struct lendis_lease **lease);

/* The broker took the connection back; whoever holds the lease does not know it yet. */
bool lease_is_revoked(const struct lendis_lease *lease);

/* True for a lease that is held, and by this process: not one of the parent's before fork. */
bool lease_is_mine(const struct lendis_lease *lease);

/*
 * The lease of this process that holds connection `index` in `generation`, or NULL. More than one
 * lease of a connection can be held at a time when the older ones were revoked and their holders do
 * not know it yet. Caller holds the lock.
 */
struct lendis_lease *lease_find(struct attachment *attachment, uint32_t index, uint64_t generation);

/* Moves the lease's connection to CARRIED for `slot`; false: it was revoked. And back, if the slot
 * has not come for it. */
bool lease_carry(struct lendis_lease *lease, uint32_t slot);
bool lease_carry_back(struct lendis_lease *lease, uint32_t slot);
/* Ends a lease whose connection is somebody else's by now. */
void lease_forget(struct lendis_lease *lease);

/* A wait slot with a free mailbox for the calling thread. False: all are taken. */
bool slot_claim(struct attachment *attachment, uint32_t *slot);
/* Notes since when its owner waits, for lendisctl. */
static inline void slot_since(struct attachment *attachment, uint32_t slot, int64_t start_ns)
{
    atomic_store_explicit(&attachment->segment.slots[slot].since_ms, (uint32_t)(start_ns / 1000000),
                          memory_order_relaxed);
}
void slot_release(struct attachment *attachment, uint32_t slot);

/* Rings when there is room for more connections. */
void lease_ask_for_more(const struct attachment *attachment);

/* True: the operator has drained the pool; nobody need wait. */
bool lease_is_disabled(const struct attachment *attachment);

/* No broker is left, and no connection: the process' own have to do, if it has any. */
bool lease_is_stranded(const struct attachment *attachment);

/* What a wait that brought nothing comes to: LEASE_FAILS_FAST; LENDIS_E_DISABLED for a drained pool, LENDIS_E_DOWN if the pool's Redis is down, else
 * `otherwise`. */
int lease_why_none(const struct attachment *attachment, int otherwise);

/* Counts a wait that began at start_ns and ended with `result`, in histogram `name`. */
void lease_count_wait(const struct attachment *attachment, enum histogram_name name,
                      int64_t start_ns, int result);

#endif
