/* SPDX-License-Identifier: MIT */
/* What the broker does with the mailboxes of the dead, and how an owner is told, in one process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <unistd.h>
#include "lendis/mailbox.h"
#include "lendis/waiter.h"

#define GENERATION 5u
#define DEAD       3u /* worker indices; a worker waits in the slot of its index */
#define ALIVE      7u
#define OWNER      9u

/* What was lost, by connection: nothing, or connection 2. */
static const uint64_t nothing[4], everything[4] = {[2] = GENERATION << 24 | WORD_LEASED};

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

/* OWNER's command was taken by DEAD for the first batch on connection 2, which now is `word`. */
static uint64_t taken(struct segment *segment, uint64_t word)
{
    struct wait_slot *shared = &segment->slots[OWNER];
    uint64_t mail = mail_taken(mail_next(0), 2, GENERATION, 1);

    shm_store(&segment->connections[2].word, word);
    shm_store(&segment->connections[2].batch, 1);
    shm_store32(&shared->taker, 1 + DEAD);
    shm_store(&shared->mail, mail);
    return mail;
}

static enum mail_state state_of(struct segment *segment)
{
    return mail_state(shm_load(&segment->slots[OWNER].mail));
}

/* Connection 2 was taken from its holder as `word`. */
static void revoked(struct segment *segment, uint64_t word, bool wake)
{
    uint64_t lost[4] = {[2] = word};

    mail_revoked(segment, lost, wake);
}

static void what_the_dead_held_fails(void **state)
{
    struct segment *segment = *state;

    taken(segment, word_make(WORD_RECLAIMED, 0, GENERATION));
    mail_taker_died(segment, DEAD, everything);
    assert_int_equal(state_of(segment), MAIL_FAILED);
}

static void what_was_not_sent_is_tried_again(void **state)
{
    struct segment *segment = *state;

    taken(segment, word_make(WORD_RECLAIMED, 0, GENERATION));
    shm_store(&segment->connections[2].batch, 0);
    mail_taker_died(segment, DEAD, everything);
    assert_int_equal(state_of(segment), MAIL_RETRY);
}

/* Its connection was taken from it before, and is another generation by now. */
static void what_the_dead_lost_fails(void **state)
{
    struct segment *segment = *state;

    taken(segment, word_make(WORD_IDLE, 0, GENERATION + 1));
    mail_taker_died(segment, DEAD, nothing);
    assert_int_equal(state_of(segment), MAIL_FAILED);
}

/*
 * Regression: DEAD handed its batch on and ended, as it may. Its successor is alive and has not put
 * itself down as the taker yet. The commands failed, and what had been abandoned was freed while
 * the successor still had it.
 */
static void what_was_handed_on_stays(void **state)
{
    static const enum word_state carried[] = {WORD_TRANSFERRED, WORD_LEASED};
    struct segment *segment = *state;

    for (int i = 0; i < 2; i++) {
        uint64_t mail = taken(segment, word_make(carried[i], ALIVE, GENERATION));

        mail_taker_died(segment, DEAD, nothing);
        assert_int_equal(shm_load(&segment->slots[OWNER].mail), mail);
        shm_store(&segment->slots[OWNER].mail, mail_with(mail, MAIL_ABANDONED));
        mail_taker_died(segment, DEAD, nothing);
        assert_int_equal(state_of(segment), MAIL_ABANDONED);
    }
}

/*
 * Regression: an owner was told that its combiner's connection was revoked, found its command still
 * taken, and could not sleep any more: nobody took the hint away.
 */
static void one_who_was_told_can_sleep_again(void **state)
{
    struct segment *segment = *state;
    struct waiter waiter = {.segment = segment, .worker = OWNER, .slot = OWNER, .served = true};

    taken(segment, word_make(WORD_RECLAIMED, 0, GENERATION));
    revoked(segment, word_make(WORD_LEASED, DEAD, GENERATION), true);
    assert_int_not_equal(shm_load32(&segment->slots[OWNER].wake), WAKE_NONE);
    assert_true(waiter_hinted(&waiter));
    assert_int_equal(shm_load32(&segment->slots[OWNER].wake), WAKE_NONE);
    assert_false(waiter_hinted(&waiter));
}

static unsigned chunks_of_owner(const struct segment *segment)
{
    unsigned count = 0;

    for (uint32_t i = 0; i < CHUNKS; i++)
        count += shm_load32(&segment->chunk_owners[i].slot) == 1 + OWNER;
    return count;
}

/* A combiner that dies with part of a reply in a chunk has not said which: it is freed all the
 * same. */
static void chunk_that_a_dead_combiner_filled_is_freed(void **state)
{
    struct segment *segment = *state;
    uint64_t mail = taken(segment, word_make(WORD_RECLAIMED, 0, GENERATION));

    assert_true(chunk_claim(segment, OWNER) >= 0);
    shm_store(&segment->slots[OWNER].mail, mail_with(mail, MAIL_ABANDONED));
    mail_taker_died(segment, DEAD, everything);
    assert_int_equal(state_of(segment), MAIL_FREE);
    assert_int_equal(chunks_of_owner(segment), 0);
}

/* So is that of an owner that dies before its command is queued; others keep theirs. */
static void chunk_of_an_owner_that_dies_early_is_freed(void **state)
{
    struct segment *segment = *state;
    int other = chunk_claim(segment, ALIVE);

    shm_store(&segment->slots[OWNER].mail, mail_next(shm_load(&segment->slots[OWNER].mail)));
    assert_true(chunk_claim(segment, OWNER) >= 0);
    mail_owner_died(segment, OWNER);
    assert_int_equal(state_of(segment), MAIL_FREE);
    assert_int_equal(chunks_of_owner(segment), 0);
    assert_int_equal(shm_load32(&segment->chunk_owners[other].slot), 1 + ALIVE);
}

/*
 * Regression: a connection that ended on its way to a successor left the commands of its batch
 * behind, taken by nobody, and their mailboxes abandoned for good.
 */
static void what_was_on_its_way_fails(void **state)
{
    struct segment *segment = *state;
    uint64_t word = word_make(WORD_TRANSFERRED, ALIVE, GENERATION);
    uint64_t mail = taken(segment, word);

    revoked(segment, word, false);
    assert_int_equal(state_of(segment), MAIL_FAILED);
    shm_store(&segment->slots[OWNER].mail, mail_with(mail, MAIL_ABANDONED));
    revoked(segment, word, false);
    assert_int_equal(state_of(segment), MAIL_FREE);
}

/*
 * Regression: DEAD handed its batch on, and its successor, alive, lost the connection before it put
 * itself down as the taker. At DEAD's death the commands failed, while the successor still wrote
 * replies into their mailboxes.
 */
static void what_a_successor_lost_stays(void **state)
{
    struct segment *segment = *state;
    uint64_t mail = taken(segment, word_make(WORD_IDLE, 0, GENERATION + 1));

    revoked(segment, word_make(WORD_LEASED, ALIVE, GENERATION), false);
    mail_taker_died(segment, DEAD, nothing);
    assert_int_equal(shm_load(&segment->slots[OWNER].mail), mail);
    mail_taker_died(segment, ALIVE, nothing);
    assert_int_equal(state_of(segment), MAIL_FAILED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_the_dead_held_fails),
        TEST(what_was_not_sent_is_tried_again),
        TEST(what_the_dead_lost_fails),
        TEST(what_was_handed_on_stays),
        TEST(one_who_was_told_can_sleep_again),
        TEST(chunk_that_a_dead_combiner_filled_is_freed),
        TEST(chunk_of_an_owner_that_dies_early_is_freed),
        TEST(what_was_on_its_way_fails),
        TEST(what_a_successor_lost_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
