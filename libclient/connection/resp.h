/* SPDX-License-Identifier: MIT */
/*
 * Where a RESP reply ends, for replies that arrive in pieces. It counts values and skips payloads;
 * it neither copies nor keeps bytes. RESP2 and RESP3 (the Redis serialization protocol
 * specification, redis.io).
 */
#ifndef LENDIS_RESP_H
#define LENDIS_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct resp_scan {
    uint64_t values; /* still to come, the one under way included; 0: not started */
    uint64_t skip;   /* bytes of a bulk string and its CRLF still to come */
    int64_t number;  /* of the line under way */
    char type;       /* of the line under way; 0: none */
    uint8_t digits;
    uint8_t negative;
    uint8_t cr; /* the line's CR was seen */
    char first; /* type of the reply's first value: '-' or '!' is an error reply */
};

/*
 * Goes on with `size` bytes. Results: 1, the reply ends after *used of them (and *scan is fresh for
 * the next, but for `first`); 0, all are used and more must come; -EPROTO, this is not RESP.
 */
int resp_scan(struct resp_scan *scan, const char *data, size_t size, size_t *used);

/* No value is under way. */
static inline bool resp_is_between(const struct resp_scan *scan)
{
    return scan->values == 0 && scan->skip == 0;
}

#endif
