/* SPDX-License-Identifier: MIT */
/*
 * Walking through one reply as it comes, value by value, without keeping it: for replies that are
 * large (COMMAND) or of which a single string matters (ROLE). RESP2, which is what a connection
 * speaks before anybody asks for more.
 *
 * A server is not trusted: bytes and depth are limited, a string is kept up to WALK_TEXT_SIZE
 * bytes, and an array costs nothing but its place in the path, however many values it announces.
 * Nothing is allocated.
 */
#ifndef LENDIS_BROKER_REPLY_WALK_H
#define LENDIS_BROKER_REPLY_WALK_H

#include <stddef.h>
#include <stdint.h>

/* COMMAND of Redis 7 and 8 is nested up to 9 deep. */
#define WALK_DEPTH_MAX 16u
/* COMMAND of Redis 7.0 has 190 kB; with all modules of Redis 8 it is less than three times as
 * much. */
#define WALK_BYTES_MAX (8u << 20)
/* More than any name that matters. */
#define WALK_TEXT_SIZE 128u

struct reply_walk {
    /* A string ('+', '$') or an error ('-'): `path` are its index in the outermost array and so on,
     * depth of them, 0 for the reply itself. What is longer than WALK_TEXT_SIZE was cut. */
    void (*string)(void *context, char type, const uint32_t *path, uint32_t depth, const char *text,
                   size_t size);
    void *context;

    /* All zero at first. */
    uint64_t bytes;                /* of it so far */
    uint64_t skip;                 /* of a bulk string and its CRLF, still to come */
    uint64_t left[WALK_DEPTH_MAX]; /* values still to come in each array that is open */
    uint32_t path[WALK_DEPTH_MAX];
    uint32_t depth;
    char type;        /* of the value under way; 0: none */
    size_t line_size; /* of the line under way, without its type; what is kept of it is in text */
    uint32_t text_size;
    char text[WALK_TEXT_SIZE];
};

/*
 * Goes on with `size` bytes. Results: 1, the reply ends after *used of them; 0, all are used and
 * more must come; -EPROTO, this is not RESP2; -EMSGSIZE, it is larger or nested deeper than is
 * allowed.
 */
int reply_walk(struct reply_walk *walk, const char *data, size_t size, size_t *used);

#endif
