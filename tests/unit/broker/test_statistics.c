/* SPDX-License-Identifier: MIT */
/*
 * The scale of histograms against its promises, quantiles against exact ones, sums over shards and
 * workers, and which failed dial counts as what.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "broker/redis/dial_error.h"
#include "broker/metrics/statistics.h"
#include "lendis/queue.h"

#define INSTANCE UINT64_C(77)
#define WORKERS  20u

static void every_value_is_in_its_bucket(void **state)
{
    uint64_t value = 0;

    (void)state;
    for (uint32_t i = 0; i < SCALE_BUCKETS; i++) {
        assert_int_equal(scale_start(i), value); /* no gap, no overlap */
        value = scale_start(i + 1);
        assert_int_equal(scale_bucket(scale_start(i)), i);
        assert_int_equal(scale_bucket(value - 1), i);
        assert_true(scale_middle(i) >= scale_start(i) && scale_middle(i) < value);
    }
    assert_int_equal(value, UINT64_C(1) << SCALE_MAX_BITS);
    assert_int_equal(scale_bucket(value), SCALE_BUCKETS - 1);
    assert_int_equal(scale_bucket(UINT64_MAX), SCALE_BUCKETS - 1);
}

static void a_bucket_is_never_wider_than_it_says(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SCALE_BUCKETS; i++) {
        uint64_t start = scale_start(i), end = scale_start(i + 1), middle = scale_middle(i);

        assert_true(end - start == 1 || (end - start) * 8 <= start);
        /* Off by at most a sixteenth of any value that is in it. */
        assert_true((middle - start) * 16 <= start);
        assert_true((end - 1 - middle) * 16 <= end - 1);
    }
}

static void powers_of_two_are_borders(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < SCALE_MAX_BITS; bits++)
        assert_int_equal(scale_start(scale_bucket(UINT64_C(1) << bits)), UINT64_C(1) << bits);
}

static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

#define VALUES 20011u

/* Values of very different sizes: 2 to `bits` bits. */
static void check_quantiles(uint32_t bits, uint64_t seed)
{
    static const uint32_t permilles[] = {0, 1, 10, 250, 500, 750, 900, 990, 999, 1000};
    static uint64_t values[VALUES];
    struct shared_histogram *shared = calloc(1, sizeof *shared);
    struct histogram_sum sum = {0};
    uint64_t total = 0;

    random_state = seed;
    for (uint32_t i = 0; i < VALUES; i++) {
        values[i] = next_random() >> (64 - 2 - next_random() % (bits - 1));
        total += values[i];
        shared_histogram_add(shared, values[i], 1);
        sum.buckets[scale_bucket(values[i])]++;
        sum.count++;
    }
    qsort(values, VALUES, sizeof *values, compare);
    sum.max = shm_load_relaxed(&shared->max);
    assert_int_equal(sum.max, values[VALUES - 1]);
    assert_int_equal(shm_load_relaxed(&shared->sum), total);
    for (uint32_t i = 0; i < SCALE_BUCKETS; i++)
        assert_int_equal(shm_load_relaxed(&shared->buckets[i]), sum.buckets[i]);
    for (size_t i = 0; i < sizeof permilles / sizeof *permilles; i++) {
        uint64_t rank = ((uint64_t)VALUES * permilles[i] + 999) / 1000;
        uint64_t exact = values[rank ? rank - 1 : 0];
        uint64_t told = histogram_sum_quantile(&sum, permilles[i]);

        assert_true((told > exact ? told - exact : exact - told) * 16 <= exact);
    }
    free(shared);
}

static void quantiles_are_right_within_a_sixteenth(void **state)
{
    (void)state;
    for (uint32_t bits = 3; bits <= SCALE_MAX_BITS; bits++)
        check_quantiles(bits, UINT64_C(0x9e3779b97f4a7c15) + bits);
}

static void few_values_have_quantiles(void **state)
{
    struct histogram_sum sum = {0};

    (void)state;
    assert_int_equal(histogram_sum_quantile(&sum, 500), 0);
    sum.buckets[scale_bucket(1000000)] = 1;
    sum.count = 1;
    sum.max = 1000000;
    assert_true(histogram_sum_quantile(&sum, 500) <= 1000000);
    assert_int_equal(scale_bucket(histogram_sum_quantile(&sum, 990)), scale_bucket(1000000));
    sum.buckets[3] = 2; /* the median of three is the second */
    sum.count = 3;
    assert_int_equal(histogram_sum_quantile(&sum, 500), 3);
    assert_int_equal(scale_bucket(histogram_sum_quantile(&sum, 667)), scale_bucket(1000000));
    assert_int_equal(histogram_sum_below(&sum, 4), 2);
    assert_int_equal(histogram_sum_below(&sum, UINT64_C(1) << 30), 3);
}

/* ---- out of shared memory ---- */

struct host {
    struct catalog catalog;
    struct segment segment;
    struct statistics_source source;
    struct pool_statistics *pools;
    int catalog_fd, segment_fd;
};

static int make_host(void **state)
{
    struct host *host = calloc(1, sizeof *host);

    host->pools = calloc(CATALOG_MAX_POOLS, sizeof *host->pools);
    assert_int_equal(catalog_new(INSTANCE, WORKERS, &host->catalog_fd, &host->catalog), 0);
    assert_int_equal(segment_new(2, INSTANCE, 8, WORKERS, &host->segment_fd, &host->segment), 0);
    strcpy(host->catalog.pools[2].name, "p");
    host->source.catalog = &host->catalog;
    host->source.segments[2] = &host->segment;
    *state = host;
    return 0;
}

static int free_host(void **state)
{
    struct host *host = *state;

    segment_unmap(&host->segment);
    catalog_unmap(&host->catalog);
    close(host->segment_fd);
    close(host->catalog_fd);
    free(host->pools);
    free(host);
    return 0;
}

static void workers_are_summed(void **state)
{
    struct host *host = *state;
    struct pool_statistics *pool = &host->pools[2];
    uint64_t ticket;

    for (uint32_t i = 0; i < WORKERS; i++) {
        shm_store(&host->segment.workers[i].counters[COUNTER_hits], 1000 + i);
        if (i % 2)
            shm_store32(&host->catalog.workers[i].pool, 1 + 2); /* odd ones are attached */
    }
    shm_store32(&host->catalog.workers[0].pool, 1 + 5);  /* of a pool that there is not */
    shm_store32(&host->catalog.workers[2].pool, 0x7777); /* nonsense */
    shm_store(&host->catalog.pools[2].departed[COUNTER_hits], 7);
    shm_store(&host->segment.connections[0].word, word_make(WORD_IDLE, 0, 1));
    shm_store(&host->segment.connections[1].word, word_make(WORD_LEASED, 3, 1));
    shm_store(&host->segment.connections[2].word, word_make(WORD_PASSED, 3, 1));
    shm_store(&host->segment.connections[3].word, word_make(WORD_TRANSFERRED, 3, 1));
    shm_store(&host->segment.connections[4].word, word_make(WORD_RETURNED, 3, 1));
    shm_store(&host->segment.connections[5].word, word_make(WORD_OPENING, 0, 1));
    shm_store(&host->segment.connections[6].word, word_make((enum word_state)13, 0, 1));
    assert_int_equal(queue_push(&host->segment, 4, CELL_WAITING, &ticket), 0);
    statistics_read(&host->source, host->pools);
    assert_true(pool->present && pool->known);
    assert_false(host->pools[0].present);
    assert_int_equal(pool->workers, WORKERS / 2);
    assert_int_equal(pool->counters[COUNTER_hits], 7 + 10 * 1000 + 100);
    assert_int_equal(pool->connections[USE_idle], 1);
    assert_int_equal(pool->connections[USE_leased], 3);
    assert_int_equal(pool->connections[USE_opening], 1);
    assert_int_equal(pool->connections[USE_stale], 2);
    assert_int_equal(pool->states[WORD_EMPTY], 1);
    assert_int_equal(pool->states[WORD_STATES], 1);
    assert_int_equal(pool->waiting, 1);
}

static void a_pool_without_segment_is_not_known(void **state)
{
    struct host *host = *state;

    host->source.segments[2] = NULL;
    shm_store32(&host->catalog.workers[1].pool, 1 + 2);
    shm_store(&host->catalog.pools[2].departed[COUNTER_hits], 7);
    statistics_read(&host->source, host->pools);
    assert_true(host->pools[2].present && !host->pools[2].known);
    assert_int_equal(host->pools[2].workers, 1);
    assert_int_equal(host->pools[2].counters[COUNTER_hits], 7);
}

static void shards_are_summed(void **state)
{
    struct host *host = *state;
    struct histogram_sum sum;

    for (uint32_t i = 0; i < HISTOGRAM_SHARDS; i++) {
        shared_histogram_add(&host->segment.shards[i].histograms[HISTOGRAM_wait], 100 + i, 1);
        shared_histogram_add(&host->segment.shards[i].histograms[HISTOGRAM_lease], 5, 32);
    }
    histogram_sum_read(&host->segment, HISTOGRAM_wait, &sum);
    assert_int_equal(sum.count, HISTOGRAM_SHARDS);
    assert_int_equal(sum.sum,
                     100 * HISTOGRAM_SHARDS + HISTOGRAM_SHARDS * (HISTOGRAM_SHARDS - 1) / 2);
    assert_int_equal(sum.max, 100 + HISTOGRAM_SHARDS - 1);
    histogram_sum_read(&host->segment, HISTOGRAM_lease, &sum);
    assert_int_equal(sum.count, 32 * HISTOGRAM_SHARDS);
    assert_int_equal(sum.buckets[5], 32 * HISTOGRAM_SHARDS);
    assert_int_equal(sum.sum, 5 * 32 * HISTOGRAM_SHARDS);
    histogram_sum_read(&host->segment, HISTOGRAM_batch, &sum);
    assert_int_equal(sum.count, 0);
}

/* ---- dials ---- */

static void dials_are_sorted(void **state)
{
    (void)state;
    assert_int_equal(dial_reason("Connection refused"), DIAL_refused);
    assert_int_equal(dial_reason("No such file or directory"), DIAL_refused);
    assert_int_equal(dial_reason("connecting took longer than connect_timeout"), DIAL_timeout);
    assert_int_equal(dial_reason("no answer within connect_timeout"), DIAL_timeout);
    assert_int_equal(dial_reason("Connection reset by peer"), DIAL_closed);
    assert_int_equal(dial_reason("Server closed the connection"), DIAL_closed);
    assert_int_equal(dial_reason("NOAUTH Authentication required."), DIAL_login);
    assert_int_equal(dial_reason("WRONGPASS invalid username-password pair"), DIAL_login);
    assert_int_equal(dial_reason("ERR invalid password"), DIAL_login);
    assert_int_equal(dial_reason("ERR max number of clients reached"), DIAL_full);
    assert_int_equal(dial_reason("LOADING Redis is loading the dataset in memory"), DIAL_loading);
    assert_int_equal(dial_reason("ERR DB index is out of range"), DIAL_protocol);
    assert_int_equal(dial_reason("Too many open files"), DIAL_local);
    assert_int_equal(dial_reason(""), DIAL_protocol);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_is_in_its_bucket),
        cmocka_unit_test(a_bucket_is_never_wider_than_it_says),
        cmocka_unit_test(powers_of_two_are_borders),
        cmocka_unit_test(quantiles_are_right_within_a_sixteenth),
        cmocka_unit_test(few_values_have_quantiles),
        cmocka_unit_test_setup_teardown(workers_are_summed, make_host, free_host),
        cmocka_unit_test_setup_teardown(a_pool_without_segment_is_not_known, make_host, free_host),
        cmocka_unit_test_setup_teardown(shards_are_summed, make_host, free_host),
        cmocka_unit_test(dials_are_sorted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
