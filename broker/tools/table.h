/* SPDX-License-Identifier: MIT */
/*
 * A table that is printed for people, as JSON or as CSV; a thin layer over libsmartcols. Text is
 * cleaned when it is put in (text.h): it comes from shared memory or from another process.
 */
#ifndef LENDIS_TABLE_H
#define LENDIS_TABLE_H

#include <stddef.h>
#include <stdint.h>

enum column_kind { COLUMN_TEXT, COLUMN_NUMBER };

enum table_format { TABLE_PEOPLE, TABLE_JSON, TABLE_CSV };

/* Columns are an enum and an array that it indexes: such pairs look alike, their names differ. */
struct column {
    const char *key;   /* in JSON and CSV */
    const char *title; /* for people, shown in capitals; NULL: not for them */
    enum column_kind kind;
};

struct table;

/*
 * `columns` must outlive the table. Results: the table, to be given to table_print(); NULL, no
 * memory. All other calls remember a failure for table_print() to return, so that they need no
 * checks.
 */
struct table *table_new(const char *name, const struct column *columns, size_t count,
                        enum table_format format);

/* Begins a row; cells that are not set are empty, in JSON null. */
void table_row(struct table *table);

/* Sets a cell of the row from text of at most `size` bytes, or up to its zero. */
void table_text(struct table *table, size_t column, const char *text, size_t size);
void table_string(struct table *table, size_t column, const char *text);
void table_number(struct table *table, size_t column, uint64_t number);

/* With so many digits behind the point; what is not finite leaves the cell as it is. */
void table_decimal(struct table *table, size_t column, double number, int digits);

/* In JSON and CSV nanoseconds; for people three digits and a unit, as in 1.25ms. */
void table_time(struct table *table, size_t column, uint64_t ns);

/* The same text, of at most 16 bytes. */
void text_time(char *text, size_t size, uint64_t ns);

/* In JSON and CSV milliseconds; for people a duration in a fitting unit, or a date and time. */
void table_duration(struct table *table, size_t column, uint64_t ms);
void table_date(struct table *table, size_t column, uint64_t ms);

/* Prints to standard output and frees the table. Results: 0; -errno. NULL is -ENOMEM. */
int table_print(struct table *table);

#endif
