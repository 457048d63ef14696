/* SPDX-License-Identifier: MIT */
/*
 * A program's options, each described once: the table drives the parser, the help, what completions
 * offer and what the manual has (deploy/generate.sh). It knows nothing of what an option does.
 */
#ifndef LENDIS_OPTION_TABLE_H
#define LENDIS_OPTION_TABLE_H

#include <stdbool.h>
#include <stdio.h>

/* A table has at most so many rows. */
#define OPTION_ROWS_MAX 64

/* What completions offer for an argument, besides words. */
#define OPTION_FILES     "@files"
#define OPTION_PROCESSES "@pids"

/* An option (it has a name), or a heading, or a paragraph of the help (text alone). An empty row
 * ends a table. Tables look alike; what an option means is its program's own. */
struct option_row {
    const char *name;
    int id;               /* its letter, or a number from 256 on */
    const char *argument; /* as the help calls it; NULL: it has none */
    const char *values;   /* what completions offer for it: words, "@" and a name; NULL: nothing */
    const char *scope;    /* the command that it belongs to; NULL: all */
    const char *text;     /* for help and manual; may begin with the command, as in "kill: ..." */
    const char *more;     /* what the manual says beyond that, in the manual's markup */
    const char *heading;
};

/* The last rows of every program's table: option_table_answer() does what they ask for. */
#define OPTION_LIST_OPTIONS 1000
#define OPTION_STANDARD_ROWS                                                                       \
    {.name = "list-options",                                                                       \
     .id = OPTION_LIST_OPTIONS,                                                                    \
     .text = "print all options: letter, name, argument, values, command, text, more text",        \
     .more = "A line for each, separated by tabs. The manual is made from it."},                   \
        {.name = "help", .id = 'h', .text = "print a summary of the options"},                     \
    {                                                                                              \
        .name = "version", .id = 'V', .text = "print the version"                                  \
    }

/* The next option of the command line: getopt_long(3) with the table. */
int option_table_next(const struct option_row *rows, int argc, char **argv);

/* The first row with this id. */
const struct option_row *option_table_find(const struct option_row *rows, int id);

/* Prints the help: paragraphs as they are, and options in columns, wrapped. */
void option_table_print_help(const struct option_row *rows, FILE *out);

/* Prints `label` and `text` as a line of the help, the text from `column` on. */
void option_table_print_line(const char *label, const char *text, size_t column, FILE *out);

/* A line for each option, tab-separated: letter, name, argument, values, scope, text, more text. A
 * line without a name is a heading. */
void option_table_list(const struct option_row *rows, FILE *out);

/* Prints what one of OPTION_STANDARD_ROWS asks for. False: `id` is none of these. */
bool option_table_answer(const struct option_row *rows, int id, const char *program);

/* Reports what is wrong with the command line, and with which word of it (NULL: with none). Returns
 * the exit status for it, EX_USAGE. */
int option_table_usage_error(const char *program, const char *what, const char *word);

#endif
