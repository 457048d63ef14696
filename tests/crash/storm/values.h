/* SPDX-License-Identifier: MIT */
/*
 * What a value must be: the data-identity oracle's knowledge. A shared key's value is made of the
 * key's number; an own key's value of its key and a serial number, which give its size, too. So a
 * value says whose it is, and any other one shows (I4).
 */
#ifndef LENDIS_TESTS_CRASH_VALUES_H
#define LENDIS_TESTS_CRASH_VALUES_H

#include <stdbool.h>
#include <stddef.h>

#define VALUES_SHARED 23u
#define VALUE_KEY_MAX 56u

/* Makes the shared values, in memory that forked workers share. */
void values_prepare(void);

/* From 1 byte, number 0, to 4 MiB, twice as large each. */
size_t shared_size(unsigned number);
const char *shared_value(unsigned number);

/* From 1 byte to 4 MiB as well; most are small enough for a wait slot, few do not fit a chunk. */
size_t own_size(const char *key, unsigned long long serial);

/* The value of `key` that is its `serial`-th: own_size() bytes, to be freed. */
char *own_value(const char *key, unsigned long long serial);
bool own_value_is(const char *key, unsigned long long serial, const char *value, size_t size);

/* True unless `value` shows that it is not any of `key`'s. (The smallest do not tell.) */
bool own_value_names(const char *key, const char *value, size_t size);

#endif
