/* SPDX-License-Identifier: MIT */
/*
 * The histograms of a pool, declared once: HISTOGRAM(name, metric, unit, text). They are in the
 * pool's segment; all workers add to them, readers sum over the shards. What departed workers had
 * added stays.
 *
 * A pool has HISTOGRAM_SHARDS copies of each, and a worker adds to the one that its index says, so
 * that workers on different processors meet less often on a cache line; one that waits passes the
 * queue's anyway. Times are in nanoseconds, here and in the buckets; scale.h has the buckets and
 * their error.
 *
 * Waits are all counted. Leases, which can be as short as the two compare-and-swaps that they are
 * made of, are sampled: one in LEASE_SAMPLE is timed by the precise clock, and stands for
 * LEASE_SAMPLE of them. Of the others those that were used are timed by the coarse clock, and added
 * if they took LEASE_EXACT_NS or longer. So long leases are all there, each once, and short ones as
 * far as chance allows: of 10,000 of them the share in any bucket is right within 3 percent of all.
 * Reading the coarse clock takes 8 ns, the precise one 30 (AMD EPYC, a guest), an atomic addition
 * 5.
 */
#ifndef LENDIS_HISTOGRAMS_H
#define LENDIS_HISTOGRAMS_H

#include "lendis/scale.h"
#include "lendis/shm.h"

/* clang-format off */
#define HISTOGRAMS(HISTOGRAM) \
    HISTOGRAM(wait,    "acquire_wait_seconds", "nanoseconds", "How long calls waited for a connection, those that got none included.") \
    HISTOGRAM(command, "command_wait_seconds", "nanoseconds", "How long commands that were handed over took, from the queue to the reply.") \
    HISTOGRAM(lease,   "lease_seconds",        "nanoseconds", "How long connections were leased; short leases are sampled.") \
    HISTOGRAM(batch,   "batch_commands",       "commands",    "How many callers' commands went to Redis in one write.")
/* clang-format on */

enum histogram_name {
#define HISTOGRAM_ENUM(name, metric, unit, text) HISTOGRAM_##name,
    HISTOGRAMS(HISTOGRAM_ENUM)
#undef HISTOGRAM_ENUM
        HISTOGRAM_COUNT
};

/* The fixed part of a pool's shared memory is to stay under 64 KiB; these are 9 KiB each. */
#define HISTOGRAM_SHARDS 2u

/* On a power of two, so that the metrics show the border. */
#define LEASE_EXACT_NS (UINT64_C(1) << 26)
#define LEASE_SAMPLE   32u

struct shared_histogram {
    _Alignas(64) shm_u64 sum;
    shm_u64 max;
    shm_u64 buckets[SCALE_BUCKETS];
};
_Static_assert(sizeof(struct shared_histogram) == 2304, "layout");

struct histogram_shard {
    struct shared_histogram histograms[HISTOGRAM_COUNT];
};

/* Adds `weight` times `value`. */
static inline void shared_histogram_add(struct shared_histogram *histogram, uint64_t value,
                                        uint64_t weight)
{
    shm_add_relaxed(&histogram->buckets[scale_bucket(value)], weight);
    shm_add_relaxed(&histogram->sum, value * weight);
    /* Rarely true, and then it hardly ever meets another's: a maximum that is lost to a race was as
     * good as the one that won. */
    if (value > shm_load_relaxed(&histogram->max))
        shm_store_relaxed(&histogram->max, value);
}

#endif
