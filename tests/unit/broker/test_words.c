/* SPDX-License-Identifier: MIT */
/* Command lines split into words, as systemd does it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "broker/config/words.h"

#define MOST 8

/* `words` ends with NULL. */
static void expect(const char *text, const char *const *words)
{
    char **found;
    const char *why;
    int count = words_split(text, MOST, &found, &why), i;

    if (count < 1)
        fail_msg("%s: %s", text, why);
    for (i = 0; words[i]; i++) {
        assert_true(i < count);
        assert_string_equal(found[i], words[i]);
    }
    assert_int_equal(count, i);
    assert_null(found[i]);
    free(found);
}
#define EXPECT(text, ...) expect(text, (const char *const[]){__VA_ARGS__, NULL})

static void expect_none(const char *text, const char *reason)
{
    char **words;
    const char *why;

    assert_int_equal(words_split(text, MOST, &words, &why), 0);
    if (!strstr(why, reason))
        fail_msg("%s: \"%s\", not \"%s\"", text, why, reason);
}

static void blanks_separate(void **state)
{
    (void)state;
    EXPECT("/bin/true", "/bin/true");
    EXPECT("  /bin/cat \t a  b ", "/bin/cat", "a", "b");
    EXPECT("1 2 3 4 5 6 7 8", "1", "2", "3", "4", "5", "6", "7", "8");
}

static void quotation_marks_keep_together(void **state)
{
    (void)state;
    EXPECT("a \"b c\" 'd e'", "a", "b c", "d e");
    EXPECT("a '' \"\"", "a", "", "");
    EXPECT("a \"it's\" 'a \"word\"'", "a", "it's", "a \"word\"");
    EXPECT("--name='two words'more", "--name=two wordsmore");
}

static void backslashes_escape(void **state)
{
    (void)state;
    EXPECT("a\\sb \\\"c\\' d\\\\", "a b", "\"c'", "d\\");
    EXPECT("\\x41\\102 \"\\t\\n\" '\\x7e'", "AB", "\t\n", "~");
    EXPECT("\\a\\b\\f\\r\\v", "\a\b\f\r\v");
}

static void nothing_else_has_a_meaning(void **state)
{
    (void)state;
    EXPECT("a $HOME ${X} %i * `b` #", "a", "$HOME", "${X}", "%i", "*", "`b`", "#");
}

static void what_is_no_command_line(void **state)
{
    (void)state;
    expect_none("", "no word");
    expect_none(" \t ", "no word");
    expect_none("a \"b", "not closed");
    expect_none("a 'b\"", "not closed");
    expect_none("a \\q", "no escape");
    expect_none("a \\", "no escape");
    expect_none("a \\x4", "no escape");
    expect_none("a \\x00b", "no escape");
    expect_none("a \\400", "no escape");
    expect_none("1 2 3 4 5 6 7 8 9", "too many");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blanks_separate),         cmocka_unit_test(quotation_marks_keep_together),
        cmocka_unit_test(backslashes_escape),      cmocka_unit_test(nothing_else_has_a_meaning),
        cmocka_unit_test(what_is_no_command_line),
    };

    return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}
