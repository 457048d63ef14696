/* SPDX-License-Identifier: MIT */
/*
 * What the broker and its workers counted, read from shared memory: the catalog and the pools'
 * segments. Used by lendisd and by lendisctl alike, through mappings of their own. Segments are
 * input: every figure is read once and believed only as a figure.
 */
#ifndef LENDIS_BROKER_STATISTICS_H
#define LENDIS_BROKER_STATISTICS_H

#include <stdbool.h>
#include "lendis/catalog.h"

/* Where to read: a base of NULL means that a pool has no segment, or none to be trusted. */
struct statistics_source {
    const struct catalog *catalog;
    const struct segment *segments[CATALOG_MAX_POOLS]; /* NULL likewise */
};

/* What a connection is in, in go-redis' and HikariCP's words. */
#define CONNECTION_STATES(STATE)                                                                   \
    STATE(idle, "Ready to be leased.")                                                             \
    STATE(leased, "Held by a worker, or on its way from one to another.")                          \
    STATE(opening, "Being opened.")                                                                \
    STATE(stale, "Given back unclean or being checked: the broker has it.")

enum connection_use {
#define STATE_ENUM(name, text) USE_##name,
    CONNECTION_STATES(STATE_ENUM)
#undef STATE_ENUM
        CONNECTION_USES
};

struct pool_statistics {
    bool present;              /* there is such a pool */
    bool known;                /* its segment was read; without it all below `entry` is 0 */
    struct catalog_pool entry; /* what the broker counts, and the settings */
    uint32_t workers;
    uint64_t counters[COUNTER_COUNT]; /* all workers, departed ones included */
    uint32_t connections[CONNECTION_USES];
    uint32_t states[WORD_STATES + 1]; /* the same by state of the word; the last: none of them */
    uint32_t waiting;
    uint64_t oldest_lease_ms; /* age of the lease that is held longest; 0: none */
};

/* Reads all pools; `pools` has room for CATALOG_MAX_POOLS. */
void statistics_read(const struct statistics_source *source, struct pool_statistics *pools);

/* The worker's pool; -1: there is no such worker. */
int statistics_worker_pool(const struct catalog *catalog, uint32_t worker);

/* Milliseconds that connection `index` has been leased; 0: it is not, or nobody knows. */
uint64_t statistics_lease_age(const struct segment *segment, uint32_t index, uint64_t word);

/* ---- histograms ---- */

struct histogram_sum {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint64_t buckets[SCALE_BUCKETS];
};

/* Sums the shards. */
void histogram_sum_read(const struct segment *segment, enum histogram_name name,
                        struct histogram_sum *sum);

/* The value that the share `permille` / 1000 of all values does not exceed, given as the
 * middle of its bucket (scale.h), at most the maximum; 0: there are no values. */
uint64_t histogram_sum_quantile(const struct histogram_sum *sum, uint32_t permille);

/* How many values were less than `limit`, which must be the start of a bucket. */
uint64_t histogram_sum_below(const struct histogram_sum *sum, uint64_t limit);

#endif
