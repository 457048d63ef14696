/* SPDX-License-Identifier: MIT */
/* What a server says of its commands: read as it comes, compared with the table, published. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "broker/redis/command_info.h"

static struct command_info info;

static int begin(void **state)
{
    (void)state;
    info = (struct command_info){0};
    command_info_renew(&info);
    return command_info_begin(&info) ? 0 : -1;
}

static void string_at(const char *text, uint32_t depth, const uint32_t *path)
{
    command_info_string(&info, path, depth, text, strlen(text));
}
#define STRING(text, ...)                                                                          \
    string_at(text, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t),                          \
              (const uint32_t[]){__VA_ARGS__})

/* One command, with a flag and a category, "" for none, as Redis 7 describes it. */
static void command(uint32_t index, const char *name, const char *flag, const char *category)
{
    STRING(name, index, 0);
    STRING("write", index, 2, 0);
    if (*flag)
        STRING(flag, index, 2, 1);
    STRING("@slow", index, 6, 0);
    if (*category)
        STRING(category, index, 6, 1);
    STRING("blocking", index, 7, 0);       /* a tip of that name means nothing */
    STRING("blocking", index, 8, 0, 1, 0); /* nor does part of a key specification */
}

static void expect_published(const char *exclusive, const char *expected, bool expected_all)
{
    char text[CATALOG_COMMANDS_SIZE];
    bool all;
    size_t size = command_info_publish(&info, exclusive, text, &all);

    assert_string_equal(text, expected);
    assert_int_equal(size, strlen(expected));
    assert_int_equal(all, expected_all);
    for (size_t i = size; i < sizeof text; i++)
        assert_int_equal(text[i], 0);
}

static void what_is_as_in_the_table_is_not_reported(void **state)
{
    (void)state;
    command(0, "get", "", "");
    command(1, "blpop", "blocking", "@blocking");
    command(2, "wait", "", ""); /* Redis 7.0 says nothing of it */
    command(3, "xread", "blocking", "@blocking");
    command_info_end(&info);
    assert_true(info.fresh);
    assert_false(info.due);
    expect_published(NULL, "", true);
}

static void differences_are_reported(void **state)
{
    (void)state;
    command(0, "module.wait", "blocking", "");
    command(1, "blpop", "", "");
    command(2, "brpop", "blocking", "");
    command(3, "get", "BLOCKING", "");
    command_info_end(&info);
    expect_published(NULL, "-BLPOP +GET +MODULE.WAIT", true);
    expect_published("ALPHA GET ZULU", "!ALPHA -BLPOP !GET +GET +MODULE.WAIT !ZULU", true);
}

static void the_last_command_counts(void **state)
{
    (void)state;
    command(0, "brpop", "blocking", "");
    command(1, "last", "blocking", "");
    command_info_end(&info);
    expect_published(NULL, "+LAST", true);
}

static void subcommands_count_for_their_family(void **state)
{
    (void)state;
    command(0, "brpop", "blocking", "");
    STRING("family", 1, 0);
    STRING("readonly", 1, 2, 0);
    STRING("family|look", 1, 9, 0, 0);
    STRING("readonly", 1, 9, 0, 2, 0);
    STRING("family|wait", 1, 9, 1, 0);
    STRING("blocking", 1, 9, 1, 2, 0);
    command(2, "another", "", "");
    command_info_end(&info);
    expect_published(NULL, "+FAMILY ~FAMILY", true);
}

/* A family that nobody knows may keep something on the connection, whatever its flags say. */
static void unknown_families_are_suspects(void **state)
{
    (void)state;
    command(0, "blpop", "blocking", "@blocking");
    STRING("new.family", 1, 0);
    STRING("@hash", 1, 6, 0);
    STRING("new.family|prepare", 1, 9, 0, 0);
    STRING("denyoom", 1, 9, 0, 2, 0);
    STRING("client", 2, 0);
    STRING("client|new", 2, 9, 0, 0);
    STRING("@connection", 2, 9, 0, 6, 0);
    STRING("himport", 3, 0);
    STRING("himport|prepare", 3, 9, 0, 0);
    command(4, "another", "", "");
    command_info_end(&info);
    expect_published(NULL, "~NEW.FAMILY", true);
}

static void and_what_is_filed_under_connections(void **state)
{
    (void)state;
    command(0, "blpop", "blocking", "@blocking");
    command(1, "ping", "fast", "@connection"); /* it is known */
    command(2, "by.category", "", "@connection");
    command(3, "by.transaction", "", "@Transaction");
    command(4, "by.message", "pubsub", "");
    command(5, "by.login", "no_auth", "");
    command(6, "by.place", "no_multi", "");
    command(7, "none", "admin", "@dangerous");
    STRING("no_multi", 7, 7, 0); /* a tip of that name means nothing */
    STRING("below", 8, 0);
    STRING("below|x", 8, 9, 0, 0);
    command_info_end(&info);
    expect_published(
        "BY.LOGIN", "~BELOW ~BY.CATEGORY !BY.LOGIN ~BY.LOGIN ~BY.MESSAGE ~BY.PLACE ~BY.TRANSACTION",
        true);
}

static void suspects_that_do_not_fit_are_all_others(void **state)
{
    char name[32];

    (void)state;
    command(0, "blpop", "blocking", "@blocking");
    for (uint32_t i = 1; i < 100; i++) {
        snprintf(name, sizeof name, "family.%u", i);
        command(i, name, "", "@connection");
    }
    command_info_end(&info);
    expect_published("OWN", "~* !OWN", true);
    /* They have room among themselves, not beside the others. */
    assert_false(command_info_begin(&info));
    command_info_renew(&info);
    assert_true(command_info_begin(&info));
    command(0, "blpop", "blocking", "@blocking");
    for (uint32_t i = 1; i < 30; i++) {
        snprintf(name, sizeof name, "family.number.%u", i);
        command(i, name, "", "@connection");
    }
    command_info_end(&info);
    assert_false(info.more_suspects);
    memset(name, 'X', sizeof name);
    name[31] = '\0';
    expect_published(name, "~* !XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX", true);
}

static void redis_6_says_it_by_category(void **state)
{
    (void)state;
    command(0, "blpop", "noscript", "@blocking");
    command(1, "brpop", "noscript", "");
    command(2, "module.wait", "", "@blocking");
    command_info_end(&info);
    expect_published(NULL, "-BRPOP +MODULE.WAIT", true);
}

static void older_ones_do_not_say_it(void **state)
{
    (void)state;
    STRING("blpop", 0, 0);
    STRING("noscript", 0, 2, 0);
    STRING("brpop", 1, 0);
    command_info_end(&info);
    expect_published(NULL, "", true);
    expect_published("FOO", "!FOO", true);
}

static void refusal_says_nothing(void **state)
{
    (void)state;
    command_info_refuse(&info);
    command_info_end(&info);
    assert_true(info.refused);
    assert_true(info.fresh);
    assert_false(info.due);
    expect_published("FOO", "!FOO", true);
}

static void names_that_cannot_be(void **state)
{
    char name[100];

    (void)state;
    memset(name, 'x', sizeof name);
    name[99] = '\0';
    command(0, name, "blocking", "");
    command(1, "two words", "blocking", "");
    command(2, "", "blocking", "");
    command(3, "good", "blocking", "");
    STRING("blocking", 4, 2, 0); /* of a command without a name */
    command_info_end(&info);
    expect_published(NULL, "+GOOD", true);
}

/* Nothing of it may be believed to have a form. */
static void strings_anywhere(void **state)
{
    (void)state;
    for (uint32_t depth = 0; depth <= COMMAND_INFO_DEPTH; depth++)
        for (uint32_t at = 0; at < 12; at++)
            string_at("blocking", depth, (const uint32_t[]){at, at, at, at, at});
    command_info_end(&info);
    expect_published(NULL, "+BLOCKING", true); /* at one place that is a name */
}

static void what_matters_least_is_left_out(void **state)
{
    char name[32], expected[32];
    char text[CATALOG_COMMANDS_SIZE];
    bool all;

    (void)state;
    for (uint32_t i = 1; i < 500; i++) {
        snprintf(name, sizeof name, "module.waiting.%u", i);
        command(i, name, "blocking", "");
    }
    command_info_end(&info);
    assert_true(command_info_publish(&info, "EXCLUSIVE ZZZ", text, &all) < CATALOG_COMMANDS_SIZE);
    assert_false(all);
    assert_non_null(strstr(text, "!EXCLUSIVE +MODULE.WAITING.1 "));
    assert_non_null(strstr(text, " !ZZZ"));
    for (uint32_t i = 1; i <= 20; i++) {
        snprintf(expected, sizeof expected, "+MODULE.WAITING.%u", i);
        assert_non_null(strstr(text, expected));
    }
    assert_null(strstr(text, "WAITING.499"));
}

static void room_is_used_to_the_last_byte(void **state)
{
    char names[CATALOG_COMMANDS_SIZE] = "", text[CATALOG_COMMANDS_SIZE];
    size_t at = 0;
    bool all;

    (void)state;
    /* Two-letter names, "!AA" and a blank each: 127 of them are 508 bytes, and three are left. */
    for (int i = 0; i < 127; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%c%c", i ? " " : "", 'A' + i / 26,
                               'A' + i % 26);
    command_info_end(&info);
    assert_int_equal(command_info_publish(&info, names, text, &all), 507);
    assert_true(all);
    snprintf(names + at, sizeof names - at, " XX");
    assert_int_equal(command_info_publish(&info, names, text, &all), 511);
    assert_true(all);
    snprintf(names + at, sizeof names - at, " XXX");
    assert_int_equal(command_info_publish(&info, names, text, &all), 507);
    assert_false(all);
}

static void asked_by_one_and_not_for_ever(void **state)
{
    (void)state;
    assert_false(command_info_begin(&info)); /* one does already */
    command(0, "half", "blocking", "");
    command_info_fail(&info);
    assert_true(info.due);
    assert_false(info.given_up);
    expect_published(NULL, "", true);
    assert_true(command_info_begin(&info));
    command_info_fail(&info);
    assert_true(info.given_up);
    assert_false(command_info_begin(&info));
    /* When the server comes back it gets one chance, and all again once it has used it. */
    command_info_renew(&info);
    assert_true(command_info_begin(&info));
    command_info_fail(&info);
    assert_false(command_info_begin(&info));
    command_info_renew(&info);
    assert_true(command_info_begin(&info));
    command_info_end(&info);
    assert_false(command_info_begin(&info));
    command_info_renew(&info);
    assert_true(command_info_begin(&info));
    command_info_fail(&info);
    assert_true(command_info_begin(&info));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_as_in_the_table_is_not_reported, begin),
        cmocka_unit_test_setup(differences_are_reported, begin),
        cmocka_unit_test_setup(the_last_command_counts, begin),
        cmocka_unit_test_setup(subcommands_count_for_their_family, begin),
        cmocka_unit_test_setup(unknown_families_are_suspects, begin),
        cmocka_unit_test_setup(and_what_is_filed_under_connections, begin),
        cmocka_unit_test_setup(suspects_that_do_not_fit_are_all_others, begin),
        cmocka_unit_test_setup(redis_6_says_it_by_category, begin),
        cmocka_unit_test_setup(older_ones_do_not_say_it, begin),
        cmocka_unit_test_setup(refusal_says_nothing, begin),
        cmocka_unit_test_setup(names_that_cannot_be, begin),
        cmocka_unit_test_setup(strings_anywhere, begin),
        cmocka_unit_test_setup(what_matters_least_is_left_out, begin),
        cmocka_unit_test_setup(room_is_used_to_the_last_byte, begin),
        cmocka_unit_test_setup(asked_by_one_and_not_for_ever, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
