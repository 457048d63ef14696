/* SPDX-License-Identifier: MIT */
/* The wait queue and the moves that bring connections and waiters together, in one process. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <unistd.h>
#include "lendis/queue.h"

static int setup(void **state)
{
    static struct segment segment;
    int fd;

    assert_int_equal(segment_new(0, 1, 4, 100, &fd, &segment), 0);
    close(fd);
    *state = &segment;
    return 0;
}

static int teardown(void **state)
{
    segment_unmap(*state);
    return 0;
}

static void make_idle(struct segment *segment, uint32_t index)
{
    shm_store(&segment->connections[index].word, word_make(WORD_IDLE, 0, 1));
}

static void oldest_is_served_first(void **state)
{
    struct segment *segment = *state;
    uint64_t tickets[3], ticket, word = 0;
    uint32_t slot;

    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(queue_push(segment, 10 + i, CELL_WAITING, &tickets[i]), 0);
    assert_true(queue_maybe_waiting(segment));
    assert_int_equal(queue_length(segment), 3);
    make_idle(segment, 2);
    assert_true(word_lease(&segment->connections[2].word, 7, &word));
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(queue_pass_on(segment, 2, word));
        assert_int_equal(shm_load(&segment->connections[2].word),
                         word_make(WORD_PASSED, 10 + i, 1));
        assert_int_equal(shm_load32(&segment->slots[10 + i].wake), wake_make(2, tickets[i]));
        assert_false(queue_waits(segment, 10 + i, tickets[i]));
        assert_true(word_pick_up(&segment->connections[2].word, 10 + i, 30 + i, &word));
    }
    assert_true(CELL_FREE == queue_head(segment, &ticket, &slot));
    assert_true(queue_pass_on(segment, 2, word));
    assert_int_equal(shm_load(&segment->connections[2].word), word_make(WORD_IDLE, 0, 1));
}

static void one_who_left_is_passed_over(void **state)
{
    struct segment *segment = *state;
    uint64_t first, second, ticket;
    uint32_t slot;

    queue_push(segment, 1, CELL_WAITING, &first);
    queue_push(segment, 2, CELL_WAITING, &second);
    assert_true(queue_leave(segment, 1, first));
    assert_false(queue_leave(segment, 1, first));
    assert_true(CELL_WAITING == queue_head(segment, &ticket, &slot));
    assert_int_equal(slot, 2);
    assert_int_equal(ticket, second);
}

static void tail_left_behind_is_helped(void **state)
{
    struct segment *segment = *state;
    uint64_t first, second;

    queue_push(segment, 1, CELL_WAITING, &first);
    shm_store(&segment->queue->tail, first); /* as if slot 1's owner died before it moved tail */
    assert_int_equal(queue_push(segment, 2, CELL_WAITING, &second), 0);
    assert_int_equal(second, first + 1);
}

static void laps_go_round(void **state)
{
    struct segment *segment = *state;
    uint64_t ticket, seen;
    uint32_t slot;

    for (uint32_t i = 0; i < 5 * segment->cell_count; i++) {
        assert_int_equal(queue_push(segment, i % 100, CELL_WAITING, &ticket), 0);
        assert_int_equal(ticket, i);
        assert_true(CELL_WAITING == queue_head(segment, &seen, &slot));
        assert_int_equal(seen, ticket);
        assert_true(queue_leave(segment, slot, seen));
    }
    assert_true(CELL_FREE == queue_head(segment, &seen, &slot));
}

static void full_ring_is_an_error(void **state)
{
    struct segment *segment = *state;
    uint64_t ticket;

    for (uint32_t i = 0; i < segment->cell_count; i++)
        assert_int_equal(queue_push(segment, i % segment->slot_max, CELL_WAITING, &ticket), 0);
    assert_int_equal(queue_push(segment, 0, CELL_WAITING, &ticket), -ENOBUFS);
}

static void idle_connections_are_matched(void **state)
{
    struct segment *segment = *state;
    uint64_t tickets[3];

    for (uint32_t i = 0; i < 3; i++)
        queue_push(segment, i, CELL_WAITING, &tickets[i]);
    make_idle(segment, 0);
    make_idle(segment, 3);
    queue_match(segment, LENDIS_BROKER);
    assert_int_equal(shm_load(&segment->connections[0].word), word_make(WORD_PASSED, 0, 1));
    assert_int_equal(shm_load(&segment->connections[3].word), word_make(WORD_PASSED, 1, 1));
    assert_true(queue_waits(segment, 2, tickets[2]));
}

static bool is_one(uint32_t slot, void *context)
{
    (void)context;
    return slot == 1;
}

static void the_dead_are_evicted(void **state)
{
    struct segment *segment = *state;
    uint64_t tickets[3], ticket;
    uint32_t slot;

    for (uint32_t i = 0; i < 3; i++)
        queue_push(segment, i, CELL_WAITING, &tickets[i]);
    queue_evict(segment, is_one, NULL);
    assert_true(queue_waits(segment, 0, tickets[0]));
    assert_false(queue_waits(segment, 1, tickets[1]));
    assert_true(queue_leave(segment, 0, tickets[0]));
    assert_true(CELL_WAITING == queue_head(segment, &ticket, &slot));
    assert_int_equal(slot, 2);
}

static void revoked_connection_is_not_passed_on(void **state)
{
    struct segment *segment = *state;
    uint64_t word = 0;

    make_idle(segment, 0);
    assert_true(word_lease(&segment->connections[0].word, 7, &word));
    assert_true(word_reclaim(&segment->connections[0].word, word));
    assert_false(queue_pass_on(segment, 0, word));
    assert_int_equal(shm_load(&segment->connections[0].word), word_make(WORD_RECLAIMED, 0, 1));
}

/* I5: whatever the segment contains, no call loops for ever or leaves its bounds. */
static void corrupted_segment_is_survived(void **state)
{
    struct segment *segment = *state;
    unsigned seed = 42;

    for (int round = 0; round < 50; round++) {
        unsigned char *bytes = (unsigned char *)segment->queue;
        size_t size = (size_t)((unsigned char *)segment->slots - bytes);
        uint64_t ticket;

        for (size_t i = 0; i < size; i++) {
            seed = seed * 1103515245 + 12345;
            bytes[i] = (unsigned char)(seed >> 16);
        }
        queue_push(segment, 3, CELL_WAITING, &ticket);
        queue_match(segment, LENDIS_BROKER);
        queue_evict(segment, is_one, NULL);
        queue_pass_on(segment, 1, shm_load(&segment->connections[1].word));
        assert_in_range(queue_length(segment), 0, segment->cell_count);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(oldest_is_served_first),        TEST(one_who_left_is_passed_over),
        TEST(tail_left_behind_is_helped),    TEST(laps_go_round),
        TEST(full_ring_is_an_error),         TEST(idle_connections_are_matched),
        TEST(the_dead_are_evicted),          TEST(revoked_connection_is_not_passed_on),
        TEST(corrupted_segment_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
