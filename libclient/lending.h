/* SPDX-License-Identifier: MIT */
/* Leases by one attachment, as far as the library itself asks for them: no fallback, no service, no
 * other attachment. */
#ifndef LENDIS_LENDING_H
#define LENDIS_LENDING_H

#include "libclient/pool.h"

/*
 * Leases an idle connection at once, if nobody waits. Results: 0, and the lease keeps `attachment`
 * in use in the caller's place; LENDIS_E_BUSY; LENDIS_E_DISABLED; RESULT_TRY_AGAIN; as
 * reach_cut_off(); -errno.
 */
int lending_try(struct attachment *attachment, struct lendis_lease **lease);

/* Waits for a connection until deadline_ns (0: not at all), after LENDIS_E_BUSY. Results as
 * lending_acquire(). */
int lending_wait(struct attachment *attachment, int64_t deadline_ns, struct lendis_lease **lease);

/* The same, waiting until deadline_ns (0: no waiting). LENDIS_E_TIMEOUT and LENDIS_E_DOWN for one
 * that passed. */
int lending_acquire(struct attachment *attachment, int64_t deadline_ns,
                    struct lendis_lease **lease);

/* Whether to start anew after `result`, which took until now; pauses if so. */
bool lending_again(int result, int64_t deadline_ns);

/* What a call that is not tried again returns for `result`. */
int lending_final(int result, int64_t deadline_ns);

/* Rings when there is room for more connections. */
void lending_ask_for_more(const struct attachment *attachment);

/* True: the operator has drained the pool; nobody need wait. */
bool lending_is_disabled(const struct attachment *attachment);

/* What a wait that brought nothing comes to: RESULT_FAILS_FAST; LENDIS_E_DISABLED for a drained
 * pool, LENDIS_E_DOWN if the pool's Redis is down, else `otherwise`. */
int lending_why_none(const struct attachment *attachment, int otherwise);

#endif
