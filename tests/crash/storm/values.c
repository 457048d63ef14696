/* SPDX-License-Identifier: MIT */
/* What a value must be: see values.h. */
#include "tests/crash/storm/values.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/support/support.h"

/* What repeats itself in a value. */
#define TEXT_MAX 128u

static char *shared_values[VALUES_SHARED];

/* `text` again and again. */
static void fill(char *value, size_t size, const char *text, size_t length)
{
    size_t filled = size < length ? size : length;

    memcpy(value, text, filled);
    while (filled < size) {
        size_t part = filled < size - filled ? filled : size - filled;

        memcpy(value + filled, value, part);
        filled += part;
    }
}

static bool is_filled(const char *value, size_t size, const char *text, size_t length)
{
    if (size <= length)
        return memcmp(value, text, size) == 0;
    return memcmp(value, text, length) == 0 && memcmp(value, value + length, size - length) == 0;
}

static char *new_value(size_t size, const char *text, size_t length)
{
    char *value = malloc(size);

    if (!value)
        give_up("no memory");
    fill(value, size, text, length);
    return value;
}

/* ---- shared ---- */

size_t shared_size(unsigned number)
{
    return (size_t)1 << number;
}

void values_prepare(void)
{
    for (unsigned i = 0; i < VALUES_SHARED; i++) {
        char text[TEXT_MAX];
        size_t length = (size_t)snprintf(text, sizeof text, "%c shared:%u ", 'a' + (int)i, i);

        shared_values[i] = new_value(shared_size(i), text, length);
    }
}

const char *shared_value(unsigned number)
{
    return shared_values[number];
}

/* ---- own ---- */

/* FNV-1a, and a last mixing for the low bits of what differs in the last digit only. */
static uint64_t hash(const char *key, unsigned long long serial)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ serial;

    for (; *key; key++)
        hash = (hash ^ (unsigned char)*key) * UINT64_C(0x100000001b3);
    hash = (hash ^ hash >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static size_t own_text(const char *key, unsigned long long serial, char text[TEXT_MAX])
{
    return (size_t)snprintf(text, TEXT_MAX, "%016" PRIx64 " %s is %llu;", hash(key, serial), key,
                            serial);
}

size_t own_size(const char *key, unsigned long long serial)
{
    uint64_t number = hash(key, serial);
    unsigned dice = (unsigned)(number % 10000);
    uint64_t least, most;

    if (dice < 8500)
        least = 1, most = 160;
    else if (dice < 9600)
        least = 160, most = 4096;
    else if (dice < 9970)
        least = 4096, most = 65536;
    else if (dice < 9995)
        least = 65536, most = 512 * 1024;
    else
        least = 512 * 1024, most = 4096 * 1024;
    return (size_t)(least + (number >> 20) % (most - least + 1));
}

char *own_value(const char *key, unsigned long long serial)
{
    char text[TEXT_MAX];
    size_t length = own_text(key, serial, text);

    return new_value(own_size(key, serial), text, length);
}

bool own_value_is(const char *key, unsigned long long serial, const char *value, size_t size)
{
    char text[TEXT_MAX];
    size_t length = own_text(key, serial, text);

    return size == own_size(key, serial) && is_filled(value, size, text, length);
}

bool own_value_names(const char *key, const char *value, size_t size)
{
    char text[TEXT_MAX];
    size_t length = (size_t)snprintf(text, sizeof text, " %s is ", key);
    const char *end = size > TEXT_MAX ? value + TEXT_MAX : value + size;
    const char *serial = value + 16 + length;

    if (size < 17)
        return true;
    if (serial >= end || !memchr(serial, ';', (size_t)(end - serial)))
        return memcmp(value + 16, text, size - 16 < length ? size - 16 : length) == 0;
    return memcmp(value + 16, text, length) == 0 &&
           own_value_is(key, strtoull(serial, NULL, 10), value, size);
}
