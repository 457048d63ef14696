/* SPDX-License-Identifier: MIT */
/* Who may dial now: limits, shares of nodes, and the order of turns, on an event loop of its
 * own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "broker/redis/dial_turns.h"

#define CALLERS 24u

/* Each dials once when it gets its turn, and notes it. */
struct caller {
    struct dial_turn turn; /* the first */
    struct dial_slot slot;
    char name;
    bool dialling;
};

static sd_event *event;
static struct dialler dialler;
static struct caller callers[CALLERS];
static char order[CALLERS * 2 + 1];

static void run(struct dial_turn *turn)
{
    struct caller *caller = (struct caller *)turn;
    size_t used = strlen(order);

    snprintf(order + used, sizeof order - used, "%c", caller->name);
    dial_slot_begin(&dialler, &caller->slot, turn->node);
    caller->dialling = true;
}

static void over(struct caller *caller, enum dial_outcome outcome)
{
    assert_true(caller->dialling);
    caller->dialling = false;
    dial_slot_end(&dialler, &caller->slot, outcome);
    dialler_give_turns(&dialler);
}

/* The first one that dials, of the node of this name. */
static struct caller *dialling(char name)
{
    for (size_t i = 0; i < CALLERS; i++)
        if (callers[i].name == name && callers[i].dialling)
            return &callers[i];
    fail_msg("none of %c", name);
    return NULL;
}

static void setup_limit(uint32_t limit)
{
    memset(callers, 0, sizeof callers);
    order[0] = '\0';
    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(dialler_init(&dialler, event, limit, 0), 0);
}

static int end(void **state)
{
    (void)state;
    dialler_free(&dialler);
    event = sd_event_unref(event);
    return 0;
}

/* One caller for each letter, all of which ask in this order; the letter is its node. */
static void ask(const char *names)
{
    dialler.running = true; /* all together */
    for (size_t i = 0; names[i]; i++) {
        size_t at = 0;

        while (callers[at].name)
            at++;
        callers[at] =
            (struct caller){.name = names[i], .turn = {.run = run, .node = (uint64_t)names[i]}};
        dialler_ask(&dialler, &callers[at].turn);
    }
    dialler.running = false;
    dialler_give_turns(&dialler);
}

static void a_single_node_has_all_turns(void **state)
{
    (void)state;
    setup_limit(4);
    ask("aaaaaa");
    assert_string_equal(order, "aaaa");
    over(dialling('a'), DIAL_OUTCOME_GOOD);
    assert_string_equal(order, "aaaaa");
}

static void turns_go_round(void **state)
{
    (void)state;
    setup_limit(8);
    /* b and c asked last and have waited for no turn yet. */
    ask("aaaaaabbcc");
    assert_string_equal(order, "abcabcaa");
    /* a has its half. */
    over(dialling('b'), DIAL_OUTCOME_GOOD);
    assert_string_equal(order, "abcabcaa");
    over(dialling('a'), DIAL_OUTCOME_GOOD);
    assert_string_equal(order, "abcabcaaa");
}

static void a_suspected_node_has_one(void **state)
{
    (void)state;
    setup_limit(8);
    ask("ab");
    over(dialling('a'), DIAL_OUTCOME_BAD);
    ask("aaa");
    assert_string_equal(order, "aba");
    over(dialling('a'), DIAL_OUTCOME_BAD);
    assert_string_equal(order, "abaa");
    /* A dial that came to nothing says nothing. */
    over(dialling('a'), DIAL_OUTCOME_NONE);
    assert_string_equal(order, "abaaa");
    over(dialling('a'), DIAL_OUTCOME_GOOD);
    ask("aaa");
    assert_string_equal(order, "abaaaaaa");
}

static void a_limit_of_one(void **state)
{
    (void)state;
    setup_limit(1);
    ask("aabb");
    assert_string_equal(order, "a");
    over(dialling('a'), DIAL_OUTCOME_GOOD);
    assert_string_equal(order, "ab");
    over(dialling('b'), DIAL_OUTCOME_GOOD);
    assert_string_equal(order, "aba");
}

/* Runs the loop until the turns that are held have ended. */
static void let_turns_end(void)
{
    uint32_t before = dialler.busy;

    for (int i = 0; i < 20 && dialler.busy == before; i++)
        assert_true(sd_event_run(event, 100000) >= 0);
    assert_true(dialler.busy < before);
}

/* Three nodes that never answer have all turns, and then none. */
static void a_turn_ends_before_its_dial(void **state)
{
    (void)state;
    setup_limit(4);
    ask("aabbccdd");
    assert_string_equal(order, "abcd");
    ask("e");
    assert_string_equal(order, "abcd");
    let_turns_end();
    /* Those that hang get no other one until they are over. */
    assert_string_equal(order, "abcde");
    assert_int_equal(dialler.busy, 1);
    over(dialling('a'), DIAL_OUTCOME_GOOD);
    assert_string_equal(order, "abcdea");
    over(dialling('b'), DIAL_OUTCOME_BAD);
    assert_string_equal(order, "abcdeab");
    /* The timer ends with the dials. */
    for (size_t i = 0; i < CALLERS; i++)
        if (callers[i].dialling)
            over(&callers[i], DIAL_OUTCOME_GOOD);
    for (size_t i = 0; i < CALLERS; i++)
        if (callers[i].dialling)
            over(&callers[i], DIAL_OUTCOME_GOOD);
    assert_int_equal(dialler.busy, 0);
    assert_null(dialler.dials);
    for (size_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        assert_int_equal(dialler.nodes[i].active, 0);
        assert_int_equal(dialler.nodes[i].slow, 0);
    }
}

/* The table of nodes is full, and the one that rests for longest makes way; one that dials does
 * not. */
static void more_nodes_than_places(void **state)
{
    struct dial_slot slots[CATALOG_MAX_POOLS];

    (void)state;
    setup_limit(1000);
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++)
        dial_slot_begin(&dialler, &slots[i], 1000 + i);
    ask("x");
    assert_string_equal(order, "x");
    assert_null(callers[0].slot.node);
    over(&callers[0], DIAL_OUTCOME_BAD);
    dial_slot_end(&dialler, &slots[7], DIAL_OUTCOME_GOOD);
    ask("y");
    assert_ptr_equal(callers[1].slot.node, &dialler.nodes[7]);
    over(&callers[1], DIAL_OUTCOME_GOOD);
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++)
        if (i != 7)
            dial_slot_end(&dialler, &slots[i], DIAL_OUTCOME_GOOD);
    assert_int_equal(dialler.busy, 0);
}

static void an_address_is_a_node(void **state)
{
    (void)state;
    assert_true(dial_node_key("10.0.0.1", 6379, NULL) == dial_node_key("10.0.0.1", 6379, NULL));
    assert_true(dial_node_key("10.0.0.1", 6379, NULL) != dial_node_key("10.0.0.1", 6380, NULL));
    assert_true(dial_node_key("10.0.0.1", 6379, NULL) != dial_node_key("10.0.0.2", 6379, NULL));
    assert_true(dial_node_key(NULL, 0, "/a") != dial_node_key(NULL, 0, "/b"));
    assert_true(dial_node_key(NULL, 0, "/a") != dial_node_key("/a", 0, NULL));
}

int main(void)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    static const struct CMUnitTest tests[] = {
        TEST(a_single_node_has_all_turns), TEST(turns_go_round),
        TEST(a_suspected_node_has_one),    TEST(a_limit_of_one),
        TEST(a_turn_ends_before_its_dial), TEST(more_nodes_than_places),
        TEST(an_address_is_a_node),
    };

    return cmocka_run_group_tests_name("dial_turns", tests, NULL, NULL);
}
