/* SPDX-License-Identifier: MIT */
/*
 * A log-linear histogram of nanoseconds: 64 buckets for each power of two, so a value is off by at
 * most 1/64, from 1 ns to 18 minutes in 9 KiB. Plain memory with one writer; a reader that comes
 * after the writer is done sums as many as it likes.
 */
#ifndef LENDIS_BENCH_HISTOGRAM_H
#define LENDIS_BENCH_HISTOGRAM_H

#include <stdint.h>
#include "lendis/scale.h"

#define HISTOGRAM_SUB_BITS 6u
#define HISTOGRAM_MAX_BITS 40u
#define HISTOGRAM_BUCKETS  ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint32_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t sum_ns;
    uint64_t max_ns;
};

static inline unsigned histogram_bucket(uint64_t ns)
{
    return ns >> HISTOGRAM_MAX_BITS ? HISTOGRAM_BUCKETS - 1
                                    : scale_bucket_of(ns, HISTOGRAM_SUB_BITS);
}

/* The middle of a bucket; one of a single value is that. */
static inline double histogram_value(unsigned bucket)
{
    uint64_t start = scale_start_of(bucket, HISTOGRAM_SUB_BITS);
    uint64_t size = scale_start_of(bucket + 1, HISTOGRAM_SUB_BITS) - start;

    return (double)start + (size > 1 ? (double)size / 2 : 0);
}

static inline void histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->counts[histogram_bucket(ns)]++;
    histogram->total++;
    histogram->sum_ns += ns;
    if (ns > histogram->max_ns)
        histogram->max_ns = ns;
}

static inline void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->counts[i] += from->counts[i];
    into->total += from->total;
    into->sum_ns += from->sum_ns;
    if (from->max_ns > into->max_ns)
        into->max_ns = from->max_ns;
}

/* The value in nanoseconds that the share `quantile` (0.99, say) of all values does not exceed. */
static inline double histogram_quantile(const struct histogram *histogram, double quantile)
{
    double rank = quantile * (double)histogram->total;
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (histogram->counts[i] && (double)seen >= rank) {
            double value = histogram_value(i);

            return value > (double)histogram->max_ns ? (double)histogram->max_ns : value;
        }
    }
    return 0;
}

#endif
