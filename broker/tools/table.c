/* SPDX-License-Identifier: MIT */
/* Tables: see table.h. */
#include "broker/tools/table.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <libsmartcols.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "broker/base/standard_io.h"
#include "broker/base/text.h"

#define TABLE_MAX_COLUMNS 128
#define TABLE_MAX_TEXT    1023

struct table {
    struct libscols_table *cells;
    struct libscols_line *row;
    enum table_format format;
    int error;
    size_t count;
    struct libscols_column *columns[TABLE_MAX_COLUMNS]; /* NULL: not shown */
};

static void add_column(struct table *table, size_t index, const struct column *column)
{
    bool people = table->format == TABLE_PEOPLE;
    const char *name = people ? column->title : column->key;
    struct libscols_column *made;
    char title[64] = "";

    if (!name)
        return;
    for (size_t i = 0; i < sizeof title - 1 && name[i]; i++)
        title[i] = people ? (char)toupper((unsigned char)name[i]) : name[i];
    made = scols_table_new_column(table->cells, title, 0,
                                  column->kind == COLUMN_NUMBER ? SCOLS_FL_RIGHT : 0);
    if (!made) {
        table->error = -ENOMEM;
        return;
    }
    scols_column_set_json_type(made, column->kind == COLUMN_NUMBER ? SCOLS_JSON_NUMBER
                                                                   : SCOLS_JSON_STRING);
    table->columns[index] = made;
}

struct table *table_new(const char *name, const struct column *columns, size_t count,
                        enum table_format format)
{
    struct table *table = calloc(1, sizeof *table);

    if (!table)
        return NULL;
    table->format = format;
    table->count = count;
    table->cells = scols_new_table();
    if (!table->cells || count > TABLE_MAX_COLUMNS) {
        scols_unref_table(table->cells);
        free(table);
        return NULL;
    }
    scols_table_set_name(table->cells, name);
    scols_table_enable_json(table->cells, format == TABLE_JSON);
    for (size_t i = 0; i < count; i++)
        add_column(table, i, &columns[i]);
    return table;
}

void table_row(struct table *table)
{
    table->row = scols_table_new_line(table->cells, NULL);
    if (!table->row)
        table->error = -ENOMEM;
}

static void set_cell(struct table *table, size_t column, const char *text)
{
    if (!table->row || !table->columns[column])
        return;
    if (scols_line_set_column_data(table->row, table->columns[column], text) != 0)
        table->error = -ENOMEM;
}

void table_text(struct table *table, size_t column, const char *text, size_t size)
{
    char clean[TABLE_MAX_TEXT * 2 + 1];

    text_clean(clean, sizeof clean, text, size < TABLE_MAX_TEXT ? size : TABLE_MAX_TEXT);
    set_cell(table, column, clean);
}

void table_string(struct table *table, size_t column, const char *text)
{
    table_text(table, column, text, TABLE_MAX_TEXT);
}

void table_number(struct table *table, size_t column, uint64_t number)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRIu64, number);
    set_cell(table, column, text);
}

void table_decimal(struct table *table, size_t column, double number, int digits)
{
    char text[400]; /* a double has up to 309 digits before the point */

    if (!isfinite(number))
        return;
    snprintf(text, sizeof text, "%.*f", digits, number);
    set_cell(table, column, text);
}

void table_duration(struct table *table, size_t column, uint64_t ms)
{
    uint64_t seconds = ms / 1000;
    char text[48];

    if (table->format != TABLE_PEOPLE) {
        table_number(table, column, ms);
        return;
    }
    if (ms < 1000)
        snprintf(text, sizeof text, "%" PRIu64 "ms", ms);
    else if (seconds < 60)
        snprintf(text, sizeof text, "%" PRIu64 ".%" PRIu64 "s", seconds, ms % 1000 / 100);
    else if (seconds < 3600)
        snprintf(text, sizeof text, "%" PRIu64 "m%02" PRIu64 "s", seconds / 60, seconds % 60);
    else if (seconds < 86400)
        snprintf(text, sizeof text, "%" PRIu64 "h%02" PRIu64 "m", seconds / 3600,
                 seconds % 3600 / 60);
    else
        snprintf(text, sizeof text, "%" PRIu64 "d%02" PRIu64 "h", seconds / 86400,
                 seconds % 86400 / 3600);
    set_cell(table, column, text);
}

void text_time(char *text, size_t size, uint64_t ns)
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    double value = (double)ns;
    size_t unit = 0;

    while (unit < 3 && value >= 999.5) {
        value /= 1000;
        unit++;
    }
    snprintf(text, size, "%.*f%s",
             unit == 0 || value >= 99.95 ? 0
             : value >= 9.995            ? 1
                                         : 2,
             value, units[unit]);
}

void table_time(struct table *table, size_t column, uint64_t ns)
{
    char text[32];

    if (table->format != TABLE_PEOPLE) {
        table_number(table, column, ns);
        return;
    }
    text_time(text, sizeof text, ns);
    set_cell(table, column, text);
}

void table_date(struct table *table, size_t column, uint64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm date;
    char text[64];

    if (table->format != TABLE_PEOPLE)
        table_number(table, column, ms);
    else if (localtime_r(&seconds, &date) && strftime(text, sizeof text, "%F %T", &date) > 0)
        set_cell(table, column, text);
}

/* RFC 4180, but for the ends of lines: quoted is what needs it. */
static void print_field(const char *text)
{
    bool quoted = text && strpbrk(text, ",\"\n");

    if (quoted)
        putchar('"');
    for (; text && *text; text++) {
        if (*text == '"')
            putchar('"');
        putchar(*text);
    }
    if (quoted)
        putchar('"');
}

static void print_csv(const struct table *table)
{
    size_t rows = scols_table_get_nlines(table->cells);
    const char *separator = "";

    for (size_t i = 0; i < table->count; i++) {
        if (!table->columns[i])
            continue;
        fputs(separator, stdout);
        print_field(scols_column_get_name(table->columns[i]));
        separator = ",";
    }
    for (size_t row = 0; row < rows; row++) {
        struct libscols_line *line = scols_table_get_line(table->cells, row);

        separator = "\n";
        for (size_t i = 0; i < table->count; i++) {
            if (!table->columns[i])
                continue;
            fputs(separator, stdout);
            print_field(scols_cell_get_data(scols_line_get_column_cell(line, table->columns[i])));
            separator = ",";
        }
    }
    putchar('\n');
}

static int print_cells(const struct table *table)
{
    if (table->format == TABLE_CSV)
        print_csv(table);
    else if (scols_print_table(table->cells) < 0)
        return -EIO;
    return 0;
}

int table_print(struct table *table)
{
    int result;

    if (!table)
        return -ENOMEM;
    result = table->error;
    if (result == 0)
        result = print_cells(table);
    scols_unref_table(table->cells);
    free(table);
    return result == 0 ? standard_io_flush() : result;
}
