/* SPDX-License-Identifier: MIT */
/* Session state as it follows from what was sent and answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "libclient/connection/session.h"

static const struct command get = {COMMAND_READ_ONLY, COMMAND_OTHER};
static const struct command select_db = {COMMAND_SESSION, COMMAND_SELECT};
static const struct command set_name = {COMMAND_SESSION, COMMAND_RENAME};
static const struct command subscribe = {COMMAND_SESSION | COMMAND_LEASE, COMMAND_OTHER};
static const struct command multi = {0, COMMAND_MULTI}, exec = {0, COMMAND_EXEC};
static const struct command discard = {0, COMMAND_DISCARD};
static const struct command watch = {0, COMMAND_WATCH}, unwatch = {0, COMMAND_UNWATCH};

static void ordinary_commands_leave_it_clean(void **state)
{
    struct session session = {0};

    (void)state;
    session_follow(&session, &get, false);
    session_follow(&session, &get, true);
    assert_true(session_is_clean(&session));
}

static void transactions_end(void **state)
{
    struct session session = {0};

    (void)state;
    session_follow(&session, &watch, false);
    assert_false(session_is_clean(&session));
    session_follow(&session, &multi, false);
    session_follow(&session, &get, false);
    session_follow(&session, &multi, true); /* nested: an error, the first goes on */
    assert_false(session_is_clean(&session));
    session_follow(&session, &exec, false);
    assert_true(session_is_clean(&session));

    session_follow(&session, &multi, false);
    session_follow(&session, &discard, false);
    assert_true(session_is_clean(&session));

    session_follow(&session, &multi, false);
    session_follow(&session, &exec, true); /* EXECABORT */
    assert_true(session_is_clean(&session));
}

static void watch_without_multi(void **state)
{
    struct session session = {0};

    (void)state;
    session_follow(&session, &watch, false);
    session_follow(&session, &unwatch, true);
    assert_false(session_is_clean(&session));
    session_follow(&session, &unwatch, false);
    assert_true(session_is_clean(&session));
    session_follow(&session, &watch, true);
    assert_true(session_is_clean(&session));
}

static void queued_unwatch_does_not_count(void **state)
{
    struct session session = {0};

    (void)state;
    session_follow(&session, &watch, false);
    session_follow(&session, &multi, false);
    session_follow(&session, &unwatch, false);
    session_follow(&session, &discard, true);
    assert_true(session_is_clean(&session)); /* "DISCARD without MULTI": there is none */
}

static void pipelines_are_followed_to_their_end(void **state)
{
    static const char whole[] =
        "*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*1\r\n$4\r\nEXEC\r\n";
    static const char open[] = "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*1\r\n$5\r\nMULTI\r\n";
    struct session session = {0};

    (void)state;
    session_follow_request(&session, whole, sizeof whole - 1, true);
    assert_true(session_is_clean(&session));
    session_follow_request(&session, open, sizeof open - 1, true);
    assert_int_equal(session.left, LEFT_MULTI);
}

static void what_changed_is_known_by_name(void **state)
{
    struct session session = {0};

    (void)state;
    session_follow(&session, &select_db, true); /* also when it failed: better safe */
    session_follow(&session, &multi, false);
    session_follow(&session, &exec, false);
    assert_int_equal(session.left, LEFT_DB);
    session_follow(&session, &set_name, false);
    assert_int_equal(session.left, LEFT_DB | LEFT_NAME);
    assert_false(session_is_strange(&session));
    session_follow(&session, &watch, false);
    session_follow(&session, &subscribe, false);
    assert_int_equal(session.left, LEFT_DB | LEFT_NAME | LEFT_WATCH | LEFT_OTHER);
    assert_true(session_is_strange(&session));
}

/* Nobody knows what it does: it is reset, but replies are in step. */
static void suspects_are_left_too(void **state)
{
    struct session session = {0};

    (void)state;
    session_suspect(&session);
    assert_false(session_is_clean(&session));
    assert_false(session_is_strange(&session));
    assert_int_equal(session.left, LEFT_SUSPECT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_commands_leave_it_clean),
        cmocka_unit_test(transactions_end),
        cmocka_unit_test(watch_without_multi),
        cmocka_unit_test(queued_unwatch_does_not_count),
        cmocka_unit_test(pipelines_are_followed_to_their_end),
        cmocka_unit_test(what_changed_is_known_by_name),
        cmocka_unit_test(suspects_are_left_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
