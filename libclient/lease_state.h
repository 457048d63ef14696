/* SPDX-License-Identifier: MIT */
/*
 * What a lease is while it is held: its beginning and its end, alike for the quick way
 * (quick_lease.c) and the thorough one (lease.c). Nothing here waits or enters the kernel.
 */
#ifndef LENDIS_LEASE_STATE_H
#define LENDIS_LEASE_STATE_H

#include "libclient/membership/attachment.h"
#include "libclient/clock.h"

/* ---- how long leases last: histograms.h ---- */

/*
 * Chooses one lease in LEASE_SAMPLE. Multiples of 2^32 divided by the golden ratio spread as evenly
 * as can be, and fall in step with no habit of the program's; they begin at a random place, so that
 * workers with a single lease in their lives are seen as they should be. Threads may count one
 * twice.
 */
static inline bool lease_is_sample(struct local *local)
{
    uint32_t sample = atomic_load_explicit(&local->sample, memory_order_relaxed) + 2654435769u;

    atomic_store_explicit(&local->sample, sample, memory_order_relaxed);
    return sample < UINT32_MAX / LEASE_SAMPLE;
}

static inline void lease_measure(const struct lendis_lease *lease)
{
    int64_t lasted = (lease->timed ? clock_now_ns() : clock_coarse_ns()) - lease->began_ns;
    uint64_t lasted_ns = lasted > 0 ? (uint64_t)lasted : 0;

    if (lasted_ns >= LEASE_EXACT_NS)
        attachment_measure(lease->attachment, HISTOGRAM_lease, lasted_ns, 1);
    else if (lease->timed)
        attachment_measure(lease->attachment, HISTOGRAM_lease, lasted_ns, LEASE_SAMPLE);
}

/* ---- from its first moment to its last ---- */

/* `lease`, of the connection's own struct or a further one, begins: its connection is ours as
 * `word`, its descriptor is `fd`. `coarse_ns`: clock_coarse_ns(). */
static inline void lease_start(struct lendis_lease *lease, uint64_t word, int fd, int64_t coarse_ns)
{
    struct attachment *attachment = lease->attachment;
    struct local *local = attachment->pool->local;

    lease->word = word;
    lease->fd = fd;
    lease->owns_fd = false;
    lease->used = false;
    lease->timed = lease_is_sample(local);
    lease->rested = false;
    lease->exclusive = false;
    lease->exposed = false;
    lease->bare = false;
    lease->broken = false;
    lease->session = (struct session){0};
    lease->began_ns = lease->timed ? clock_now_ns() : coarse_ns;
    /* Release: with the acquire of find_lease(). */
    atomic_store_explicit(&lease->held, true, memory_order_release);
    atomic_store_explicit(&local->last_index, lease->index, memory_order_relaxed);
    attachment_count(attachment, COUNTER_leases, 1);
}

/* Its connection is somebody else's. Its struct is free again. */
static inline void lease_end(struct lendis_lease *lease)
{
    if (lease->used || lease->timed)
        lease_measure(lease);
    /* Release: whoever takes the struct finds our use of it done. */
    atomic_store_explicit(&lease->held, false, memory_order_release);
}

#endif
