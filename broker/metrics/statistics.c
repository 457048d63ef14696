/* SPDX-License-Identifier: MIT */
/* Reading counters and histograms: see statistics.h. */
#include "broker/metrics/statistics.h"

#include <errno.h>
#include <string.h>
#include "broker/base/clock.h"
#include "lendis/queue.h"

int statistics_worker_pool(const struct catalog *catalog, uint32_t worker)
{
    uint32_t pool;

    if (worker >= catalog->worker_max)
        return -1;
    pool = shm_load32(&catalog->workers[worker].pool);
    return pool >= 1 && pool <= CATALOG_MAX_POOLS ? (int)(pool - 1) : -1;
}

uint64_t statistics_lease_age(const struct segment *segment, uint32_t index, uint64_t word)
{
    uint64_t leased_ms = shm_load_relaxed(&segment->connections[index].leased_ms);
    uint64_t now = clock_coarse_ms();

    if (word_state(word) != WORD_LEASED || leased_ms == 0 || leased_ms > now)
        return 0;
    return now - leased_ms;
}

static enum connection_use use_of(enum word_state state)
{
    switch (state) {
    case WORD_IDLE:
        return USE_idle;
    case WORD_LEASED:
    case WORD_PASSED:
    case WORD_TRANSFERRED:
        return USE_leased;
    case WORD_OPENING:
        return USE_opening;
    default:
        return USE_stale;
    }
}

static void read_connections(const struct segment *segment, struct pool_statistics *pool)
{
    for (uint32_t i = 0; i < segment_places(segment); i++) {
        uint64_t word = shm_load(&segment->connections[i].word), age;
        uint32_t state = word_state(word);

        pool->states[state < WORD_STATES ? state : WORD_STATES]++;
        if (state != WORD_EMPTY)
            pool->connections[use_of((enum word_state)state)]++;
        age = statistics_lease_age(segment, i, word);
        if (age > pool->oldest_lease_ms)
            pool->oldest_lease_ms = age;
    }
}

static uint32_t count_waiting(const struct segment *segment)
{
    uint32_t waiting = 0;

    for (uint32_t i = 0; i < segment->cell_count; i++)
        waiting += cell_state(shm_load_relaxed(&segment->cells[i])) != CELL_FREE;
    return waiting;
}

static void read_pool(const struct statistics_source *source, uint32_t index,
                      struct pool_statistics *pool)
{
    const struct segment *segment = source->segments[index];

    memset(pool, 0, sizeof *pool);
    if (catalog_read_pool(source->catalog, index, &pool->entry) == -ENOENT)
        return;
    pool->present = true;
    for (uint32_t i = 0; i < COUNTER_COUNT; i++)
        pool->counters[i] = shm_load_relaxed(&pool->entry.departed[i]);
    if (!segment || !segment->base)
        return;
    pool->known = true;
    read_connections(segment, pool);
    pool->waiting = count_waiting(segment);
}

/* One pass over the workers, whatever pools they are in. */
static void read_workers(const struct statistics_source *source, struct pool_statistics *pools)
{
    for (uint32_t worker = 0; worker < source->catalog->worker_max; worker++) {
        int index = statistics_worker_pool(source->catalog, worker);
        struct pool_statistics *pool = &pools[index < 0 ? 0 : index];
        const struct segment *segment;

        if (index < 0 || !pool->present)
            continue;
        pool->workers++;
        segment = source->segments[index];
        if (!pool->known || worker >= segment->worker_max)
            continue;
        for (uint32_t i = 0; i < COUNTER_COUNT; i++)
            pool->counters[i] += shm_load_relaxed(&segment->workers[worker].counters[i]);
    }
}

void statistics_read(const struct statistics_source *source, struct pool_statistics *pools)
{
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++)
        read_pool(source, i, &pools[i]);
    read_workers(source, pools);
}

/* ---- histograms ---- */

void histogram_sum_read(const struct segment *segment, enum histogram_name name,
                        struct histogram_sum *sum)
{
    memset(sum, 0, sizeof *sum);
    for (uint32_t shard = 0; shard < HISTOGRAM_SHARDS; shard++) {
        const struct shared_histogram *part = &segment->shards[shard].histograms[name];
        uint64_t max = shm_load_relaxed(&part->max);

        sum->sum += shm_load_relaxed(&part->sum);
        if (max > sum->max)
            sum->max = max;
        for (uint32_t i = 0; i < SCALE_BUCKETS; i++)
            sum->buckets[i] += shm_load_relaxed(&part->buckets[i]);
    }
    for (uint32_t i = 0; i < SCALE_BUCKETS; i++)
        sum->count += sum->buckets[i];
}

uint64_t histogram_sum_quantile(const struct histogram_sum *sum, uint32_t permille)
{
    /* Rounded up, as the rank of a value: the median of three is the second. */
    uint64_t rank = (uint64_t)(((unsigned __int128)sum->count * permille + 999) / 1000), seen = 0;

    if (rank == 0)
        rank = 1;
    for (uint32_t i = 0; i < SCALE_BUCKETS; i++) {
        seen += sum->buckets[i];
        if (sum->buckets[i] && seen >= rank) {
            uint64_t value = scale_middle(i);

            return value > sum->max ? sum->max : value;
        }
    }
    return 0;
}

uint64_t histogram_sum_below(const struct histogram_sum *sum, uint64_t limit)
{
    uint64_t count = 0;

    for (uint32_t i = 0; i < SCALE_BUCKETS && scale_start(i) < limit; i++)
        count += sum->buckets[i];
    return count;
}
