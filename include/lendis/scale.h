/* SPDX-License-Identifier: MIT */
/*
 * The scale of all histograms: which bucket a value falls into, and what a bucket stands for.
 *
 * Log-linear: values below 16 have a bucket each; above, each power of two is cut into 8 buckets of
 * the same width. A bucket is thus never wider than 1/8 of its least value, and its middle, which
 * is what quantiles are given as, is off by at most 1/16 (6.25 %) of any value in it. Values from
 * 2^37 (137 seconds in nanoseconds) on are in the last bucket; the maximum is kept beside the
 * buckets. Every power of two is the start of a bucket, so what is given by powers of two (metrics)
 * is exact.
 */
#ifndef LENDIS_SCALE_H
#define LENDIS_SCALE_H

#include <stdint.h>

#define SCALE_SUB_BITS 3u
#define SCALE_MAX_BITS 37u
#define SCALE_BUCKETS  ((SCALE_MAX_BITS - SCALE_SUB_BITS + 1) << SCALE_SUB_BITS)

/* ---- any scale of this kind: each power of two is cut into 2^sub_bits buckets ---- */

/* Values of up to sub_bits + 1 bits have a bucket each; above, so many highest bits choose it. */
static inline uint32_t scale_bucket_of(uint64_t value, uint32_t sub_bits)
{
    uint32_t shift;

    if (value < UINT64_C(2) << sub_bits)
        return (uint32_t)value;
    shift = 63 - (uint32_t)__builtin_clzll(value) - sub_bits;
    return (shift << sub_bits) + (uint32_t)(value >> shift);
}

/* The least value of a bucket. */
static inline uint64_t scale_start_of(uint32_t bucket, uint32_t sub_bits)
{
    uint32_t shift;

    if (bucket < 2u << sub_bits)
        return bucket;
    shift = (bucket >> sub_bits) - 1;
    return (uint64_t)((bucket & ((1u << sub_bits) - 1)) | 1u << sub_bits) << shift;
}

/* ---- the one in shared memory ---- */

static inline uint32_t scale_bucket(uint64_t value)
{
    return value >> SCALE_MAX_BITS ? SCALE_BUCKETS - 1 : scale_bucket_of(value, SCALE_SUB_BITS);
}

/* Of SCALE_BUCKETS: 2^SCALE_MAX_BITS. */
static inline uint64_t scale_start(uint32_t bucket)
{
    return scale_start_of(bucket, SCALE_SUB_BITS);
}

/* What a value in this bucket is taken for: the middle of those that can be in it. */
static inline uint64_t scale_middle(uint32_t bucket)
{
    uint64_t start = scale_start(bucket);

    return start + (scale_start(bucket + 1) - 1 - start) / 2;
}

#endif
