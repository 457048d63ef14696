/* SPDX-License-Identifier: MIT */
/* An attachment: what it has of its broker, and what it says to it in shared memory. Never waits
 * for a broker that does not answer. */
#ifndef LENDIS_ATTACHMENT_H
#define LENDIS_ATTACHMENT_H

#include "libclient/pool.h"

/* Maps what every lease reads and writes: see shm_touch(). */
void attachment_touch(const struct attachment *attachment);

/* Closes and unmaps all that it has. Caller holds the lock and knows that nobody uses it. */
void attachment_empty(struct attachment *attachment);

/* Likewise, and says goodbye to its broker, which then has the place for others at once. */
void attachment_leave(struct attachment *attachment);

/*
 * The descriptor of connection `index`, which the caller holds with `generation`: the cached one,
 * or fetched from the broker. Results: 0; LENDIS_E_DOWN, no broker to ask; -ESTALE, replaced
 * meanwhile; -EMFILE and other -errno.
 */
int attachment_descriptor(struct attachment *attachment, uint32_t index, uint64_t generation,
                          int *fd);

/*
 * Makes sure that the pool's wakeups are here, for a wait that polls. Results: 0; LENDIS_E_DOWN, no
 * broker to ask: the wait has to do without; -EMFILE and other -errno.
 */
int attachment_fetch_wakeups(struct attachment *attachment);

/*
 * `command`, of `request`, as the pool's server and configuration have it, where they differ from
 * the built-in table. They rarely do, and then this is a load.
 */
void attachment_classify(const struct attachment *attachment, const char *request, size_t size,
                         struct command *command);

/* The caller of a lease has closed its descriptor: it is not to be used again, nor closed, for its
 * number may be another's by now. */
void attachment_forget_descriptor(struct attachment *attachment, uint32_t index,
                                  uint64_t generation);

/* In a forked child: forgets each cached descriptor that is not what it was in the parent. */
void attachment_check_descriptors(struct attachment *attachment);
/* Those that were fetched are not ours. */
void attachment_forget_wakeups(struct attachment *attachment);

/* Wakes the broker: connections were returned, or waiters need more of them. */
void attachment_ring(const struct attachment *attachment);

/*
 * The place is not ours any more: the broker took us for gone, or does not want us. Attach again,
 * and lend, hand over and combine nothing until then. (A load that needs no order: what is done by
 * who has not seen it yet ends as if the broker came a moment later.)
 */
static inline bool attachment_is_expelled(const struct attachment *attachment)
{
    return shm_load32_relaxed(&attachment->segment.slots[attachment->worker].tenant) !=
               attachment->tenant ||
           atomic_load_explicit(&attachment->refused, memory_order_relaxed);
}

/* The broker can neither be asked nor relied on: attach again, meanwhile go on with what is open,
 * unless we are expelled. */
static inline bool attachment_is_orphan(const struct attachment *attachment)
{
    return catalog_broker_gone(&attachment->catalog) || attachment_is_expelled(attachment) ||
           atomic_load_explicit(&attachment->hung_up, memory_order_relaxed);
}

/* What the broker says of the pool. It may change at any time: each field is read on its own. */
static inline const struct catalog_pool *attachment_settings(const struct attachment *attachment)
{
    return &attachment->catalog.pools[attachment->pool_index];
}

/* An entry that was never used is all zero, its descriptor too. */
static inline bool descriptor_is_cached(const struct cached_descriptor *cached)
{
    return cached->fd >= 0 &&
           (cached->cookie != 0 ||
            atomic_load_explicit(&cached->generation, memory_order_relaxed) != 0);
}

/* The lease of connection `index`, made by lease.c; NULL: this process never leased it. */
static inline struct lendis_lease *lease_of(const struct attachment *attachment, uint32_t index)
{
    /* Acquire: with the release of whoever made it, so that it is found as it was made. */
    return atomic_load_explicit(&attachment->leases[index], memory_order_acquire);
}

static inline void attachment_count(const struct attachment *attachment, enum counter counter,
                                    uint64_t amount)
{
    shm_count(&attachment->segment.workers[attachment->worker].counters[counter], amount);
}

static inline void attachment_measure(const struct attachment *attachment, enum histogram_name name,
                                      uint64_t value, uint64_t weight)
{
    uint32_t shard = attachment->worker % HISTOGRAM_SHARDS;

    shared_histogram_add(&attachment->segment.shards[shard].histograms[name], value, weight);
}

#endif
