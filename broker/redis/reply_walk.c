/* SPDX-License-Identifier: MIT */
/* Walking through a reply: see reply_walk.h. */
#include "broker/redis/reply_walk.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

/* Digits of a length or a count: enough for 2^32 - 1, the longest array of Redis. */
#define DIGITS_MAX 10u

static void keep(struct reply_walk *walk, const char *data, size_t size)
{
    size_t room = WALK_TEXT_SIZE - walk->text_size;

    if (size > room)
        size = room;
    memcpy(walk->text + walk->text_size, data, size);
    walk->text_size += (uint32_t)size;
}

static void report_string(struct reply_walk *walk)
{
    walk->string(walk->context, walk->type, walk->path, walk->depth, walk->text, walk->text_size);
}

/* A value is complete, and with it all arrays of which it was the last one. True: the reply. */
static bool finish_value(struct reply_walk *walk)
{
    walk->type = 0;
    while (walk->depth > 0) {
        if (--walk->left[walk->depth - 1] > 0) {
            walk->path[walk->depth - 1]++;
            return false;
        }
        walk->depth--;
    }
    return true;
}

/* The number of the line. False: it is none. */
static bool read_number(const struct reply_walk *walk, int64_t *number)
{
    bool negative = walk->text_size > 0 && walk->text[0] == '-';
    size_t at = negative;

    if (walk->line_size != walk->text_size || at == walk->text_size ||
        walk->text_size - at > DIGITS_MAX)
        return false;
    *number = 0;
    for (; at < walk->text_size; at++) {
        if (walk->text[at] < '0' || walk->text[at] > '9')
            return false;
        *number = *number * 10 + (walk->text[at] - '0');
    }
    if (negative)
        *number = -*number;
    return *number >= -1;
}

/* Results: 1, that was the whole value; 0, there is more of it; -errno. */
static int open_array(struct reply_walk *walk)
{
    int64_t count;

    if (!read_number(walk, &count))
        return -EPROTO;
    if (count <= 0)
        return 1;
    if (walk->depth == WALK_DEPTH_MAX)
        return -EMSGSIZE;
    walk->left[walk->depth] = (uint64_t)count;
    walk->path[walk->depth++] = 0;
    walk->type = 0;
    return 0;
}

static int open_bulk(struct reply_walk *walk)
{
    int64_t size;

    if (!read_number(walk, &size))
        return -EPROTO;
    if (size < 0)
        return 1;
    walk->skip = (uint64_t)size + 2;
    walk->text_size = 0;
    return 0;
}

/* The line that begins every value has come to its end; its CR is not part of the text. */
static int line_done(struct reply_walk *walk)
{
    switch (walk->type) {
    case '*':
        return open_array(walk);
    case '$':
        return open_bulk(walk);
    case ':':
        return 1;
    default:
        report_string(walk);
        return 1;
    }
}

static int start_value(struct reply_walk *walk, char type)
{
    if (!type || !strchr("+-:$*", type))
        return -EPROTO;
    walk->type = type;
    walk->line_size = 0;
    walk->text_size = 0;
    return 0;
}

/* Bytes of a bulk string; its CRLF is not checked. Results as line_done(). */
static int take_bulk(struct reply_walk *walk, const char *data, size_t size, size_t *used)
{
    size_t step = size < walk->skip ? size : (size_t)walk->skip;
    uint64_t text = walk->skip > 2 ? walk->skip - 2 : 0;

    keep(walk, data, step < text ? step : (size_t)text);
    walk->skip -= step;
    *used = step;
    if (walk->skip > 0)
        return 0;
    report_string(walk);
    return 1;
}

static int take_line(struct reply_walk *walk, const char *data, size_t size, size_t *used)
{
    const char *end = memchr(data, '\n', size);
    size_t step = end ? (size_t)(end - data) : size;

    keep(walk, data, step);
    walk->line_size += step;
    *used = step + (end != NULL);
    if (!end)
        return 0;
    if (walk->line_size <= WALK_TEXT_SIZE) {
        if (walk->line_size == 0 || walk->text[walk->text_size - 1] != '\r')
            return -EPROTO;
        walk->text_size--;
    }
    walk->line_size--;
    return line_done(walk);
}

int reply_walk(struct reply_walk *walk, const char *data, size_t size, size_t *used)
{
    size_t at = 0;

    while (at < size) {
        size_t step = 1;
        int result;

        if (walk->skip > 0)
            result = take_bulk(walk, data + at, size - at, &step);
        else if (walk->type == 0)
            result = start_value(walk, data[at]);
        else
            result = take_line(walk, data + at, size - at, &step);
        at += step;
        walk->bytes += step;
        if (result < 0)
            return result;
        if (walk->bytes > WALK_BYTES_MAX)
            return -EMSGSIZE;
        if (result == 1 && finish_value(walk)) {
            *used = at;
            return 1;
        }
    }
    *used = size;
    return 0;
}
