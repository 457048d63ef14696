/* SPDX-License-Identifier: MIT */
/* The connection word: its encoding, and every move from every state (I1, I2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "lendis/word.h"

#define GENERATION UINT64_C(0x1234567890)

static void fields_come_back(void **state)
{
    static const uint32_t owners[] = {0, 1, 2047, WORD_OWNER_MAX - 1, WORD_OWNER_MAX};
    static const uint64_t generations[] = {0, 1, UINT64_C(1) << 39, WORD_GENERATION_MAX - 1,
                                           WORD_GENERATION_MAX};

    (void)state;
    for (int s = 0; s < WORD_STATES; s++)
        for (size_t o = 0; o < sizeof owners / sizeof *owners; o++)
            for (size_t g = 0; g < sizeof generations / sizeof *generations; g++) {
                uint64_t word = word_make((enum word_state)s, owners[o], generations[g]);

                assert_int_equal(word_state(word), s);
                assert_int_equal(word_owner(word), owners[o]);
                assert_int_equal(word_generation(word), generations[g]);
            }
}

static void zero_is_empty(void **state)
{
    (void)state;
    assert_int_equal(word_make(WORD_EMPTY, 0, 0), 0);
    assert_int_equal(word_state(0), WORD_EMPTY);
}

static void fields_do_not_spill(void **state)
{
    uint64_t word = word_make(WORD_LEASED, UINT32_MAX, 7);

    (void)state;
    assert_int_equal(word_owner(word), WORD_OWNER_MAX);
    assert_int_equal(word_generation(word), 7);
    assert_int_equal(word_state(word), WORD_LEASED);
    /* A generation beyond 40 bits loses its high bits and nothing else. */
    word = word_make(WORD_IDLE, 5, WORD_GENERATION_MAX + 3);
    assert_int_equal(word_generation(word), 2);
    assert_int_equal(word_owner(word), 5);
    assert_int_equal(word_state(word), WORD_IDLE);
}

static void what_is_out_has_a_holder_or_is_passed(void **state)
{
    uint32_t out = 0, passed = 0;

    (void)state;
    for (uint32_t s = 0; s < 16; s++) {
        out |= (uint32_t)word_is_out(word_make((enum word_state)s, 1, 1)) << s;
        passed |= (uint32_t)word_is_passed(word_make((enum word_state)s, 1, 1)) << s;
    }
    assert_int_equal(passed, 1u << WORD_PASSED | 1u << WORD_TRANSFERRED);
    assert_int_equal(out, passed | 1u << WORD_LEASED);
}

static void generation_outlasts_a_change_of_state(void **state)
{
    uint64_t word = word_with(word_make(WORD_LEASED, 9, WORD_GENERATION_MAX), WORD_IDLE, 0);

    (void)state;
    assert_int_equal(word, word_make(WORD_IDLE, 0, WORD_GENERATION_MAX));
}

static void states_have_names(void **state)
{
    (void)state;
    for (int i = 0; i < WORD_STATES; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(word_state_name((uint64_t)i), word_state_name((uint64_t)j));
    for (uint64_t i = WORD_STATES; i < 16; i++)
        assert_string_equal(word_state_name(i), "invalid");
}

/* All 16 values of the state field: the ones that are none as well (I5). */
#define FOR_EACH_STATE(s) for (unsigned s = 0; s < 16; s++)

static uint64_t in_state(unsigned s)
{
    return word_make((enum word_state)s, 3, GENERATION);
}

static void only_idle_can_be_leased(void **state)
{
    (void)state;
    FOR_EACH_STATE(s)
    {
        shm_u64 at = in_state(s);
        uint64_t word = 0;

        if (s == WORD_IDLE) {
            assert_true(word_lease(&at, 8, &word));
            assert_int_equal(word, word_make(WORD_LEASED, 8, GENERATION));
            assert_int_equal(at, word);
            assert_false(word_lease(&at, 9, &word)); /* I2 */
        } else {
            assert_false(word_lease(&at, 8, &word));
            assert_int_equal(at, in_state(s));
        }
    }
}

static void only_idle_can_be_checked(void **state)
{
    (void)state;
    FOR_EACH_STATE(s)
    {
        shm_u64 at = in_state(s);
        uint64_t word = 0;

        if (s == WORD_IDLE) {
            assert_true(word_check(&at, &word));
            assert_int_equal(word, word_make(WORD_CHECKING, 0, GENERATION));
            assert_int_equal(at, word);
            assert_false(word_lease(&at, 9, &word));
        } else {
            assert_false(word_check(&at, &word));
            assert_int_equal(at, in_state(s));
        }
    }
}

static void only_handed_can_be_picked_up(void **state)
{
    (void)state;
    FOR_EACH_STATE(s)
    {
        shm_u64 at = in_state(s);
        uint64_t word = 0;

        /* Another slot's, whatever the state. */
        assert_false(word_pick_up(&at, 4, 8, &word));
        assert_int_equal(at, in_state(s));
        if (s == WORD_PASSED) {
            assert_true(word_pick_up(&at, 3, 8, &word));
            assert_int_equal(word, word_make(WORD_LEASED, 8, GENERATION));
            assert_int_equal(at, word);
            assert_false(word_pick_up(&at, 3, 8, &word));
        } else {
            assert_false(word_pick_up(&at, 3, 8, &word));
            assert_int_equal(at, in_state(s));
        }
    }
}

static void only_the_holder_can_return(void **state)
{
    uint64_t held = word_make(WORD_LEASED, 3, GENERATION);
    shm_u64 at;

    (void)state;
    FOR_EACH_STATE(s)
    {
        at = in_state(s);
        if (s == WORD_LEASED) {
            assert_true(word_return(&at, held));
            assert_int_equal(at, word_make(WORD_RETURNED, 3, GENERATION));
            assert_false(word_return(&at, held)); /* once */
        } else {
            assert_false(word_return(&at, held));
            assert_int_equal(at, in_state(s));
        }
    }
    FOR_EACH_STATE(s)
    {
        at = in_state(s);
        assert_int_equal(word_return_unclean(&at, held), s == WORD_LEASED);
        assert_int_equal(at,
                         s == WORD_LEASED ? word_make(WORD_UNCLEAN, 3, GENERATION) : in_state(s));
    }
    /* Leased, but by another worker, or in another generation. */
    at = word_make(WORD_LEASED, 4, GENERATION);
    assert_false(word_return(&at, held));
    at = word_make(WORD_LEASED, 3, GENERATION + 1);
    assert_false(word_return(&at, held));
    assert_int_equal(at, word_make(WORD_LEASED, 3, GENERATION + 1));
}

static void only_an_unclean_one_is_taken_for_a_reset(void **state)
{
    uint64_t taken;
    shm_u64 at;

    (void)state;
    FOR_EACH_STATE(s)
    {
        at = in_state(s);
        assert_int_equal(word_take_unclean(&at, in_state(s), &taken), s == WORD_UNCLEAN);
        assert_int_equal(at,
                         s == WORD_UNCLEAN ? word_make(WORD_CHECKING, 0, GENERATION) : in_state(s));
    }
    at = word_make(WORD_UNCLEAN, 3, GENERATION + 1);
    assert_false(word_take_unclean(&at, word_make(WORD_UNCLEAN, 3, GENERATION), &taken));
}

static void only_what_was_seen_is_reclaimed(void **state)
{
    static const enum word_state taken[] = {WORD_LEASED, WORD_PASSED};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        uint64_t seen = word_make(taken[i], 3, GENERATION);
        shm_u64 at = seen;

        assert_true(word_reclaim(&at, seen));
        assert_int_equal(at, word_make(WORD_RECLAIMED, 0, GENERATION));
        assert_false(word_reclaim(&at, seen));
        /* It moved on meanwhile: leased by the next one. */
        at = word_make(taken[i], 4, GENERATION);
        assert_false(word_reclaim(&at, seen));
        assert_int_equal(at, word_make(taken[i], 4, GENERATION));
    }
}

static void reclaimed_lease_cannot_come_back(void **state)
{
    shm_u64 at = word_make(WORD_IDLE, 0, GENERATION);
    uint64_t held = 0, other = 0;

    (void)state;
    assert_true(word_lease(&at, 3, &held));
    assert_true(word_reclaim(&at, held));
    assert_false(word_return(&at, held));
    assert_false(shm_cas(&at, held, word_with(held, WORD_IDLE, 0)));
    assert_false(word_lease(&at, 3, &other));
    /* The next generation under the same worker is not the old lease: I2. */
    shm_store(&at, word_make(WORD_IDLE, 0, GENERATION + 1));
    assert_true(word_lease(&at, 3, &other));
    assert_int_not_equal(other, held);
    assert_false(word_return(&at, held));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_come_back),
        cmocka_unit_test(zero_is_empty),
        cmocka_unit_test(fields_do_not_spill),
        cmocka_unit_test(what_is_out_has_a_holder_or_is_passed),
        cmocka_unit_test(generation_outlasts_a_change_of_state),
        cmocka_unit_test(states_have_names),
        cmocka_unit_test(only_idle_can_be_leased),
        cmocka_unit_test(only_idle_can_be_checked),
        cmocka_unit_test(only_handed_can_be_picked_up),
        cmocka_unit_test(only_the_holder_can_return),
        cmocka_unit_test(only_an_unclean_one_is_taken_for_a_reset),
        cmocka_unit_test(only_what_was_seen_is_reclaimed),
        cmocka_unit_test(reclaimed_lease_cannot_come_back),
    };

    return cmocka_run_group_tests_name("word", tests, NULL, NULL);
}
