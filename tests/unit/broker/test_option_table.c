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

#include <cmocka.h>

#include "broker/base/option_table.h"

static const struct option_row rows[] = {
    {.text = "Usage: program\n\n"},
    {"path", 'p', "PATH", OPTION_FILES, NULL, "a file"},
    {"quick", 'q', NULL, NULL, NULL, "what takes long is left out"},
    {"kind", 300, "NAME", "one two", "watch",
     "a text that does not fit into one line of the help, for it has many more words than there "
     "are "
     "columns on a terminal, and then some"},
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
    assert_ptr_equal(option_table_find(rows, 300), &rows[3]);
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
        help, "Usage: program\n\n"
              "  -p, --path PATH  a file\n"
              "  -q, --quick      what takes long is left out\n"
              "      --kind NAME  a text that does not fit into one line of the help, for "
              "it has many more words\n"
              "                   than there are columns on a terminal, and then some\n"
              "\nThe end.\n");
    free(help);
}

static void options_are_listed(void **state)
{
    char *list = written(option_table_list);

    (void)state;
    assert_ptr_equal(strstr(list, "p\tpath\tPATH\t@files\t\ta file\nq\tquick\t\t\t\twhat"), list);
    assert_non_null(strstr(list, "\n\tkind\tNAME\tone two\twatch\ta text"));
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_parsed),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(help_is_in_columns),
        cmocka_unit_test(options_are_listed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
