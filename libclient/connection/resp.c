/* SPDX-License-Identifier: MIT */
/* Finding the end of a reply: see resp.h. */
#include "libclient/connection/resp.h"

#include <errno.h>
#include <string.h>

/* More elements than any reply can have: Redis' own limit of an array is 2^32 - 1. */
#define VALUES_MAX (UINT64_C(1) << 40)
/* Redis' proto-max-bulk-len can be raised beyond 512 MB, up to LONG_MAX; this keeps sums from
 * overflowing. */
#define BULK_MAX (INT64_C(1) << 60)

/* Which types carry a number in their line: a length, a count, or the value itself. */
static int has_length(char type)
{
    return strchr("$!=*~%>|", type) != NULL;
}

/* The line of a value is complete. */
static int line_done(struct resp_scan *scan)
{
    int64_t number = scan->negative ? -scan->number : scan->number;
    char type = scan->type;

    scan->type = 0;
    scan->values--;
    if (!has_length(type))
        return 0;
    if (scan->digits == 0 || number < -1)
        return -EPROTO;
    if (number == -1)
        return type == '$' || type == '*' ? 0 : -EPROTO; /* RESP2's null */
    switch (type) {
    case '$':
    case '!':
    case '=':
        if (number > BULK_MAX)
            return -EPROTO;
        scan->skip = (uint64_t)number + 2;
        return 0;
    case '%':
        number *= 2;
        break;
    case '|':
        number = number * 2 + 1; /* attributes stand before the value that they belong to */
        break;
    default:
        break;
    }
    if ((uint64_t)number > VALUES_MAX || scan->values > VALUES_MAX)
        return -EPROTO;
    scan->values += (uint64_t)number;
    return 0;
}

/* One byte of a line whose number matters. */
static int number_byte(struct resp_scan *scan, char byte)
{
    if (byte == '-' && scan->digits == 0 && !scan->negative) {
        scan->negative = 1;
        return 0;
    }
    if (byte < '0' || byte > '9' || scan->digits >= 18)
        return -EPROTO;
    scan->digits++;
    scan->number = scan->number * 10 + (byte - '0');
    return 0;
}

static int start_value(struct resp_scan *scan, char type)
{
    if (!type || !strchr("+-:$*_#,(!=%~>|", type))
        return -EPROTO;
    if (scan->values == 0) {
        scan->values = 1;
        scan->first = type;
    }
    scan->type = type;
    scan->number = 0;
    scan->digits = 0;
    scan->negative = 0;
    scan->cr = 0;
    return 0;
}

int resp_scan(struct resp_scan *scan, const char *data, size_t size, size_t *used)
{
    size_t at = 0;

    while (at < size) {
        char byte = data[at];

        if (scan->skip > 0) {
            size_t step = size - at < scan->skip ? size - at : (size_t)scan->skip;

            at += step;
            scan->skip -= step;
        } else if (scan->type == 0) {
            if (start_value(scan, byte) != 0)
                return -EPROTO;
            at++;
            continue;
        } else if (scan->cr && byte != '\n') {
            /* A CR alone is part of the text, and no part of a number. */
            if (has_length(scan->type))
                return -EPROTO;
            scan->cr = byte == '\r';
            at++;
            continue;
        } else if (scan->cr) {
            if (line_done(scan) != 0)
                return -EPROTO;
            at++;
        } else if (byte == '\r') {
            scan->cr = 1;
            at++;
            continue;
        } else if (has_length(scan->type)) {
            if (number_byte(scan, byte) != 0)
                return -EPROTO;
            at++;
            continue;
        } else {
            const char *cr = memchr(data + at, '\r', size - at);

            at = cr ? (size_t)(cr - data) : size;
            continue;
        }
        if (scan->values == 0 && scan->skip == 0 && scan->type == 0) {
            *used = at;
            return 1;
        }
    }
    *used = size;
    return 0;
}
