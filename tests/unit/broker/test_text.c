/* SPDX-License-Identifier: MIT */
/* Text of others, made fit to be shown: nothing in it acts on the terminal, is invisible, or breaks
 * what surrounds it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "broker/base/text.h"

static void expect(const char *text, const char *wanted)
{
    char clean[256];

    text_clean(clean, sizeof clean, text, strlen(text));
    assert_string_equal(clean, wanted);
}

static void what_is_seen_stays(void **state)
{
    (void)state;
    expect("", "");
    expect("php-fpm: pool www", "php-fpm: pool www");
    expect("q\"uo\\te", "q\"uo\\te");
    expect("\xc3\xa9 \xd7\xa9\xd7\x9c \xe6\x97\xa5 \xf0\x9f\x90\x98",
           "\xc3\xa9 \xd7\xa9\xd7\x9c \xe6\x97\xa5 \xf0\x9f\x90\x98");
}

static void control_characters_and_no_utf8(void **state)
{
    (void)state;
    expect("\x1b[31mred\x7f\n\t", "?[31mred???");
    expect("\xff\xfe\xc3", "???");
    expect("\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80", "?????????");
    expect("\xc2\x9b[2J", "??[2J"); /* CSI as a C1 control character */
}

static void what_is_not_seen_is_shown(void **state)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0xad, 0xad},       {0x61c, 0x61c},   {0x200b, 0x200f}, {0x202a, 0x202e},
        {0x2060, 0x2064},   {0x2066, 0x2069}, {0xfeff, 0xfeff}, {0xe0001, 0xe0001},
        {0xe0020, 0xe007f}, {0x2028, 0x2029}, {0xfe0f, 0xfe0f}, {0x180e, 0x180e},
    };

    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        for (uint32_t point = ranges[i].first; point <= ranges[i].last; point++) {
            char text[16], wanted[32];

            if (point < 0x800)
                snprintf(text, sizeof text, "a%c%cb", (char)(0xc0 | point >> 6),
                         (char)(0x80 | (point & 63)));
            else if (point < 0x10000)
                snprintf(text, sizeof text, "a%c%c%cb", (char)(0xe0 | point >> 12),
                         (char)(0x80 | (point >> 6 & 63)), (char)(0x80 | (point & 63)));
            else
                snprintf(text, sizeof text, "a%c%c%c%cb", (char)(0xf0 | point >> 18),
                         (char)(0x80 | (point >> 12 & 63)), (char)(0x80 | (point >> 6 & 63)),
                         (char)(0x80 | (point & 63)));
            snprintf(wanted, sizeof wanted, point > 0xffff ? "a\\U%08xb" : "a\\u%04xb", point);
            expect(text, wanted);
        }
}

/* Nothing is written beyond, and no character is cut in two. */
static void the_room_is_kept_to(void **state)
{
    char clean[16];

    (void)state;
    for (size_t room = 1; room < sizeof clean; room++) {
        memset(clean, '#', sizeof clean);
        text_clean(clean, room, "ab\xe2\x80\xae\xc3\xa9zz", 9);
        assert_true(strlen(clean) < room);
        for (size_t i = room; i < sizeof clean; i++)
            assert_int_equal(clean[i], '#');
        assert_string_equal(clean, room < 2    ? ""
                                   : room < 3  ? "a"
                                   : room < 9  ? "ab"
                                   : room < 11 ? "ab\\u202e"
                                   : room < 12 ? "ab\\u202e\xc3\xa9"
                                   : room < 13 ? "ab\\u202e\xc3\xa9z"
                                               : "ab\\u202e\xc3\xa9zz");
    }
    text_clean(clean, sizeof clean, "abc\xe2\x80", 5); /* cut off by whoever gave it */
    assert_string_equal(clean, "abc??");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_seen_stays),
        cmocka_unit_test(control_characters_and_no_utf8),
        cmocka_unit_test(what_is_not_seen_is_shown),
        cmocka_unit_test(the_room_is_kept_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
