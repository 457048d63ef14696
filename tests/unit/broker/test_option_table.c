/* SPDX-License-Identifier: MIT */
/* Tables of options: what is parsed, helped with and listed comes from the same rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>

#include "broker/base/option_table.h"

static const struct option_row rows[] = {
    {.text = "Usage: program\n\n"},
    {.name = "path", .id = 'p', .argument = "PATH", .values = OPTION_FILES, .text = "a file"},
    {.name = "quick", .id = 'q', .text = "what takes long is left out", .more = "A lot."},
    {.heading = "Of the second kind"},
    {.name = "kind",
     .id = 300,
     .argument = "NAME",
     .values = "one two",
     .scope = "watch",
     .text = "a text that does not fit into one line of the help, for it has many more words than "
             "there are columns on a terminal, and then some"},
    OPTION_STANDARD_ROWS,
    {.text = "\nThe end.\n"},
    {0},
};

static void options_are_parsed(void **state)
{
    char *arguments[] = {"program", "-p",     "/a", "--kind=two", "--quick",
                         "-q",      "--path", "/b", "word",       NULL};

    (void)state;
    optind = 0;
    assert_int_equal(option_table_next(rows, 9, arguments), 'p');
    assert_string_equal(optarg, "/a");
    assert_int_equal(option_table_next(rows, 9, arguments), 300);
    assert_string_equal(optarg, "two");
    assert_int_equal(option_table_next(rows, 9, arguments), 'q');
    assert_int_equal(option_table_next(rows, 9, arguments), 'q');
    assert_int_equal(option_table_next(rows, 9, arguments), 'p');
    assert_string_equal(optarg, "/b");
    assert_int_equal(option_table_next(rows, 9, arguments), -1);
    assert_int_equal(optind, 8);
}

static void others_are_refused(void **state)
{
    char *unknown[] = {"program", "--unknown", NULL}, *without[] = {"program", "--kind", NULL};

    (void)state;
    opterr = 0;
    optind = 0;
    assert_int_equal(option_table_next(rows, 2, unknown), '?');
    optind = 0;
    assert_int_equal(option_table_next(rows, 2, without), '?');
    assert_ptr_equal(option_table_find(rows, 300), &rows[4]);
    assert_null(option_table_find(rows, 301));
}

static char *written(void (*write)(const struct option_row *rows, FILE *out))
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);

    assert_non_null(memory);
    write(rows, memory);
    assert_int_equal(fclose(memory), 0);
    return text;
}

static void help_is_in_columns(void **state)
{
    char *help = written(option_table_print_help);

    (void)state;
    assert_string_equal(
        help,
        "Usage: program\n\n"
        "  -p, --path PATH     a file\n"
        "  -q, --quick         what takes long is left out\n"
        "\nOf the second kind:\n"
        "      --kind NAME     a text that does not fit into one line of the help, for it has many "
        "more words\n"
        "                      than there are columns on a terminal, and then some\n"
        "      --list-options  print all options: letter, name, argument, values, command, text, "
        "more text\n"
        "  -h, --help          print a summary of the options\n"
        "  -V, --version       print the version\n"
        "\nThe end.\n");
    free(help);
}

/* Each way to break this text, a word of which ends at each column in turn. */
static void no_space_gets_lost_where_a_line_ends(void **state)
{
    (void)state;
    for (size_t length = 1; length < 100; length++) {
        char first[101] = "", expected[300], *text = NULL;
        size_t size = 0;
        FILE *memory = open_memstream(&text, &size);

        assert_non_null(memory);
        memset(first, 'x', length);
        strcat(strcpy(expected, first), " ab cd");
        option_table_print_line("", expected, 2, memory);
        assert_int_equal(fclose(memory), 0);
        snprintf(expected, sizeof expected, "  %s%sab%scd\n", first,
                 length + 5 > 100 ? "\n  " : " ",
                 length + 8 > 100 && length + 5 <= 100 ? "\n  " : " ");
        assert_string_equal(text, expected);
        free(text);
    }
}

static void options_are_listed(void **state)
{
    char *list = written(option_table_list);

    (void)state;
    assert_ptr_equal(strstr(list, "p\tpath\tPATH\t@files\t\ta file\t\n"
                                  "q\tquick\t\t\t\twhat takes long is left out\tA lot.\n"
                                  "\t\t\t\t\tOf the second kind\t\n"
                                  "\tkind\tNAME\tone two\twatch\ta text"),
                     list);
    assert_non_null(strstr(list, "\nV\tversion\t\t\t\tprint the version\t\n"));
    free(list);
}

static void every_program_answers_some_alike(void **state)
{
    char *arguments[] = {"program", "--list-options", "-V", NULL};

    (void)state;
    optind = 0;
    assert_int_equal(option_table_next(rows, 3, arguments), OPTION_LIST_OPTIONS);
    assert_int_equal(option_table_next(rows, 3, arguments), 'V');
    assert_true(option_table_answer(rows, OPTION_LIST_OPTIONS, "program"));
    assert_true(option_table_answer(rows, 'V', "program"));
    assert_true(option_table_answer(rows, 'h', "program"));
    assert_false(option_table_answer(rows, 'p', "program"));
    assert_false(option_table_answer(rows, '?', "program"));
    assert_int_equal(option_table_usage_error("program", "unexpected argument", "x"), EX_USAGE);
    assert_int_equal(option_table_usage_error("program", "no command is given", NULL), EX_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_parsed),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(help_is_in_columns),
        cmocka_unit_test(no_space_gets_lost_where_a_line_ends),
        cmocka_unit_test(options_are_listed),
        cmocka_unit_test(every_program_answers_some_alike),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
