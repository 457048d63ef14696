/* SPDX-License-Identifier: MIT */
/* JSON as the tools write it: to the letter, and as a parser of somebody else's sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "broker/tools/json.h"
#include "tests/support/judge.h"

static void expect(void (*write)(struct json *json), const char *wanted)
{
    struct json json = {.out = NULL};
    char *text = NULL;
    size_t size;

    json.out = open_memstream(&text, &size);
    assert_non_null(json.out);
    write(&json);
    assert_int_equal(json.depth, 0);
    assert_int_equal(fclose(json.out), 0);
    assert_string_equal(text, wanted);
    assert_true(json_is_valid(text));
    free(text);
}

static void write_nested(struct json *json)
{
    json_open(json, NULL, '{', true);
    json_string(json, "a", "b");
    json_open(json, "list", '[', true);
    json_open(json, NULL, '{', false);
    json_number(json, "one", 1, 0);
    json_boolean(json, "two", false);
    json_close(json);
    json_string(json, NULL, "");
    json_close(json);
    json_open(json, "none", '{', true);
    json_close(json);
    json_close(json);
}

static void what_is_open_is_indented(void **state)
{
    (void)state;
    expect(write_nested,
           "{\n   \"a\": \"b\",\n   \"list\": [\n      {\"one\": 1, \"two\": false},\n"
           "      \"\"\n   ],\n   \"none\": {}\n}\n");
}

static void write_numbers(struct json *json)
{
    static const double numbers[] = {0, 100, -0.5, 1.25, 1.0 / 3, 12.5, 1e15, NAN, INFINITY};

    json_open(json, NULL, '[', false);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_number(json, NULL, numbers[i], 2);
    json_number(json, NULL, 20, 0);
    json_close(json);
}

static void numbers_have_no_exponent_and_no_needless_zeros(void **state)
{
    (void)state;
    expect(write_numbers, "[0, 100, -0.5, 1.25, 0.33, 12.5, 1000000000000000, null, null, 20]\n");
}

static void write_text(struct json *json)
{
    json_open(json, NULL, '{', false);
    json_string(json, "q\"k", "a\\b\"c\n\x1b \xc3\xa9");
    json_close(json);
}

static void text_cannot_end_its_quotes(void **state)
{
    (void)state;
    expect(write_text, "{\"q\\\"k\": \"a\\\\b\\\"c\\u000a\\u001b \xc3\xa9\"}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_open_is_indented),
        cmocka_unit_test(numbers_have_no_exponent_and_no_needless_zeros),
        cmocka_unit_test(text_cannot_end_its_quotes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
