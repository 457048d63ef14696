/* SPDX-License-Identifier: MIT */
/* Tables of options: see option_table.h. */
#include "broker/base/option_table.h"

#include <getopt.h>
#include <string.h>
#include <sysexits.h>

#define COLUMNS     100
#define LABEL_MOST  30 /* a longer one moves its text to the right */
#define LABEL_SPACE 80

static bool is_last(const struct option_row *row)
{
    return !row->name && !row->text && !row->heading;
}

static bool has_letter(const struct option_row *row)
{
    return row->name && row->id < 256;
}

int option_table_next(const struct option_row *rows, int argc, char **argv)
{
    struct option options[OPTION_ROWS_MAX + 1] = {0};
    char letters[2 * OPTION_ROWS_MAX + 1] = "";
    size_t count = 0, used = 0;

    for (; !is_last(rows) && count < OPTION_ROWS_MAX; rows++) {
        if (!rows->name)
            continue;
        options[count++] = (struct option){
            .name = rows->name,
            .has_arg = rows->argument ? required_argument : no_argument,
            .val = rows->id,
        };
        if (has_letter(rows)) {
            letters[used++] = (char)rows->id;
            if (rows->argument)
                letters[used++] = ':';
        }
    }
    return getopt_long(argc, argv, letters, options, NULL);
}

const struct option_row *option_table_find(const struct option_row *rows, int id)
{
    for (; !is_last(rows); rows++)
        if (rows->name && rows->id == id)
            return rows;
    return NULL;
}

/* "  -c, --config PATH". Returns its length. */
static size_t write_label(const struct option_row *row, char label[LABEL_SPACE])
{
    char letter[8] = "    ";

    if (has_letter(row))
        snprintf(letter, sizeof letter, "-%c, ", row->id);
    snprintf(label, LABEL_SPACE, "  %s--%s%s%s", letter, row->name, row->argument ? " " : "",
             row->argument ? row->argument : "");
    return strlen(label);
}

void option_table_print_line(const char *label, const char *text, size_t column, FILE *out)
{
    size_t at = strlen(label);
    bool begins = true; /* a line: no space before the next word */

    fputs(label, out);
    at += (size_t)fprintf(out, "%*s", (int)(at + 2 > column ? 2 : column - at), "");
    while (*text) {
        size_t size = strcspn(text, " ");

        if (!begins && at + 1 + size > COLUMNS) {
            at = (size_t)fprintf(out, "\n%*s", (int)column, "") - 1;
            begins = true;
        }
        at += (size_t)fprintf(out, "%s%.*s", begins ? "" : " ", (int)size, text);
        begins = false;
        text += size + (text[size] == ' ');
    }
    fputc('\n', out);
}

void option_table_print_help(const struct option_row *rows, FILE *out)
{
    char label[LABEL_SPACE];
    size_t column = 0, size;

    for (const struct option_row *row = rows; !is_last(row); row++) {
        size = row->name ? write_label(row, label) : 0;
        if (size <= LABEL_MOST && size > column)
            column = size;
    }
    for (column += 2; !is_last(rows); rows++) {
        if (rows->heading) {
            fprintf(out, "\n%s:\n", rows->heading);
        } else if (!rows->name) {
            fputs(rows->text, out);
        } else {
            write_label(rows, label);
            option_table_print_line(label, rows->text, column, out);
        }
    }
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

void option_table_list(const struct option_row *rows, FILE *out)
{
    for (; !is_last(rows); rows++)
        if (rows->heading)
            fprintf(out, "\t\t\t\t\t%s\t\n", rows->heading);
        else if (rows->name)
            fprintf(out, "%.1s\t%s\t%s\t%s\t%s\t%s\t%s\n",
                    has_letter(rows) ? (char[]){(char)rows->id, 0} : "", rows->name,
                    or_empty(rows->argument), or_empty(rows->values), or_empty(rows->scope),
                    rows->text, or_empty(rows->more));
}

bool option_table_answer(const struct option_row *rows, int id, const char *program)
{
    if (id == 'h')
        option_table_print_help(rows, stdout);
    else if (id == 'V')
        printf("%s " LENDIS_BUILD_VERSION "\n", program);
    else if (id == OPTION_LIST_OPTIONS)
        option_table_list(rows, stdout);
    else
        return false;
    return true;
}

int option_table_usage_error(const char *program, const char *what, const char *word)
{
    fprintf(stderr, "%s: %s%s%s\nTry '%s --help'.\n", program, what, word ? ": " : "",
            or_empty(word), program);
    return EX_USAGE;
}
