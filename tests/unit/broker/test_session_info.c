/* SPDX-License-Identifier: MIT */
/* What CLIENT INFO shows of a session, of several versions of Redis, and what can be undone of
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "broker/redis/session_info.h"

static const struct session_expected expected = {
    .db = 2, .username = "app", .client_name = "lendis-p"};

/* As Redis 6.2, 7.0 and 8, and Valkey 9 have them, as far as it matters. */
static const char *const clean[] = {
    "id=3 addr=127.0.0.1:1 laddr=127.0.0.1:2 fd=8 name=lendis-p age=0 idle=0 flags=N db=2 sub=0 "
    "psub=0 "
    "multi=-1 qbuf=26 events=r cmd=client user=app redir=-1\n",
    "id=3 addr=/run/r.sock:0 fd=8 name=lendis-p age=0 flags=U db=2 sub=0 psub=0 ssub=0 multi=-1 "
    "cmd=client|info "
    "user=app redir=-1 resp=2\n",
    "id=3 name=lendis-p flags=N db=2 sub=0 psub=0 ssub=0 multi=-1 watch=0 user=app redir=-1 resp=2 "
    "lib-name= "
    "lib-ver= io-thread=0 tot-net-in=1\n",
    "id=3 name=lendis-p flags=N capa= db=2 sub=0 psub=0 ssub=0 multi=-1 watch=0 user=app redir=-1 "
    "resp=2 lib-name= "
    "lib-ver=\n",
};

/* The third of them with `from` replaced by `to`. */
static uint32_t with(const char *from, const char *to)
{
    const char *at = strstr(clean[2], from);
    char info[512];

    assert_non_null(at);
    snprintf(info, sizeof info, "%.*s%s%s", (int)(at - clean[2]), clean[2], to, at + strlen(from));
    return session_info_compare(info, &expected);
}

static void as_right_after_a_dial(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof clean / sizeof *clean; i++)
        assert_int_equal(session_info_compare(clean[i], &expected), 0);
}

static void what_has_a_name(void **state)
{
    (void)state;
    assert_int_equal(with("db=2", "db=0"), SESSION_DB);
    assert_int_equal(with("db=2", "db=22"), SESSION_DB);
    assert_int_equal(with("name=lendis-p", "name="), SESSION_NAME);
    assert_int_equal(with("flags=N", "flags=r"), SESSION_READONLY);
    assert_int_equal(with("flags=N", "flags=eT"), SESSION_NO_EVICT | SESSION_NO_TOUCH);
    assert_int_equal(with("flags=N", "flags=Ut"), SESSION_TRACKING);
    assert_int_equal(
        session_info_compare("name=lendis-p flags=tR db=2 sub=0 psub=0 multi=-1 user=app redir=7\n",
                             &expected),
        SESSION_TRACKING);
}

static void what_has_none(void **state)
{
    static const char *const pairs[][2] = {
        {"user=app", "user=default"},
        {"user=app", "user=ap"},
        {"resp=2", "resp=3"},
        {"multi=-1", "multi=0"},
        {"watch=0", "watch=1"},
        {" sub=0", " sub=1"},
        {"psub=0", "psub=1"},
        {"ssub=0", "ssub=1"},
        {"redir=-1", "redir=5"},
        {"flags=N", "flags=O"},
        {"flags=N", "flags=P"},
        {"flags=N", "flags="},
        {"flags=N", "flags=Z"},
        {"flags=N", "capa=r flags=N"},
        {"multi=-1 ", ""},
        {"user=app ", ""},
        {" sub=0", ""},
        {"flags=N ", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (!(with(pairs[i][0], pairs[i][1]) & SESSION_OTHER))
            fail_msg("%s instead of %s", pairs[i][1], pairs[i][0]);
    assert_true(session_info_compare("", &expected) & SESSION_OTHER);
}

static void unwatch_was_refused(void **state)
{
    struct session_expected unproven = expected;

    (void)state;
    unproven.watch_unproven = true;
    assert_int_equal(session_info_compare(clean[1], &unproven), SESSION_OTHER);
    assert_int_equal(session_info_compare(clean[2], &unproven), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_right_after_a_dial),
        cmocka_unit_test(what_has_a_name),
        cmocka_unit_test(what_has_none),
        cmocka_unit_test(unwatch_was_refused),
    };

    return cmocka_run_group_tests_name("session_info", tests, NULL, NULL);
}
