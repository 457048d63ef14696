/* SPDX-License-Identifier: MIT */
/*
 * What a pool's configuration says about lending, as far as it is the worker's to heed: in which
 * order idle connections are taken, how many may wait, whether a connection is checked before it
 * is lent. Read from the catalog where it stands, so that a change counts at once.
 */
#ifndef LENDIS_POLICY_H
#define LENDIS_POLICY_H

#include "libclient/membership/attachment.h"
#include "lendis/waiter.h"

/* Not leased for this long: its end, or something that nobody asked for, may have come meanwhile.
 * The broker sees its end, but perhaps not yet. Two ticks of CLOCK_MONOTONIC_COARSE at 250 Hz. */
#define POLICY_RESTED_MS 8

/*
 * Every so many leases a worker takes the first idle connection instead of its own last one. If
 * each stayed with what it has, a pool that grew in a burst would keep all of it in use for good, a
 * little each, and nothing would ever be idle for max_idle_time.
 */
#define POLICY_SETTLE_EVERY 16u

/* Whether the lease after `leases` others is one of those. */
static inline bool policy_settles(uint32_t leases)
{
    return leases % POLICY_SETTLE_EVERY == 0;
}

/* One more, after `leases` others. Other threads may count at the same time: it is only a
 * rhythm. */
static inline void policy_count_lease(struct local *local, uint32_t leases)
{
    atomic_store_explicit(&local->leases, leases + 1, memory_order_relaxed);
}

/* Whether a connection that was last leased at `leased_ms` is to be checked before it is used. */
static inline bool policy_is_rested(const struct attachment *attachment, uint64_t leased_ms,
                                    uint64_t now_ms)
{
    return now_ms - leased_ms > POLICY_RESTED_MS &&
           shm_load32_relaxed(&attachment_settings(attachment)->check_on_lease) != 0;
}

/* Counts a lease. True, once: it was lent as often as one may be, and the broker is to be rung. */
static inline bool policy_count_use(const struct attachment *attachment,
                                    struct connection *connection)
{
    uint64_t uses = shm_load_relaxed(&connection->uses) + 1;

    shm_store_relaxed(&connection->uses, uses);
    return uses == shm_load32_relaxed(&attachment_settings(attachment)->max_uses);
}

/* Whether `word`, of connection `shared`, is that of one that is to be returned. */
static inline bool policy_marked(const struct connection *shared, uint64_t word)
{
    return shm_load(&shared->retire) == 1 + word_generation(word);
}

/* The broker has another connection in the place of this one, and wants it back. Without a broker
 * it serves on. */
static inline bool policy_retires(const struct lendis_lease *lease)
{
    const struct attachment *attachment = lease->attachment;

    return policy_marked(&attachment->segment.connections[lease->index], lease->word) &&
           !attachment_is_orphan(attachment);
}

/* Leases an idle connection, if there is one, in the pool's order. */
bool policy_lease_idle(struct attachment *attachment, uint32_t *index, uint64_t *word);

/* Whether as many as may wait were there before `ticket` queued up: then its owner leaves. */
bool policy_queue_is_full(const struct attachment *attachment, uint64_t ticket);

/* One that waits scans all words: it rings for others, and when it has waited for long this is
 * reported to the broker, and again each time after that. */
void policy_go_on_waiting(const struct attachment *attachment, struct waiter *waiter);

/* Redis has been down for so long that nobody is to wait for it. */
bool policy_fails_fast(const struct attachment *attachment);

/*
 * Why Redis could not be had, in the broker's words, for LENDIS_E_DOWN in the calling thread:
 * noted while the attachment is at hand (NULL: it was for another reason); "": nothing is known.
 */
void policy_note_outage(const struct attachment *attachment);
const char *policy_outage(void);

/* There are fewer connections than there may be: the broker opens them when there is need. */
bool policy_can_grow(const struct attachment *attachment);

#endif
