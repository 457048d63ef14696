/* SPDX-License-Identifier: MIT */
/*
 * One command of a byte stream that comes in pieces, cut anywhere: where it ends, and what it is by
 * its first words. Payloads are passed over, not kept: a SET of 100 MB costs no memory here.
 */
#ifndef LENDIS_PRELOAD_REQUEST_H
#define LENDIS_PRELOAD_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libclient/shared/command.h"

/* Enough for the options of XREADGROUP before STREAMS: the most that a class depends on. */
#define REQUEST_WORDS     9
#define REQUEST_WORD_SIZE 64

struct request {
    uint64_t arguments; /* still to come, the one under way included; 0: none is under way */
    uint64_t skip;      /* bytes of the one under way still to come, its CR LF included */
    uint64_t number;    /* of the line under way */
    uint8_t digits;
    char type; /* of the line under way; 0: none */
    bool cr;
    uint32_t count;                /* arguments, as it says */
    uint32_t words;                /* that are kept, the last one perhaps not whole yet */
    uint32_t sizes[REQUEST_WORDS]; /* as they are; a longer one than a word is kept in part */
    char text[REQUEST_WORDS][REQUEST_WORD_SIZE];
};

/*
 * Goes on with `size` bytes. Results: 1, the command ends after *used of them; 0, all are used and
 * more must come; -EPROTO, it is no array of bulk strings: an inline command, or nonsense.
 */
int request_feed(struct request *request, const char *data, size_t size, size_t *used);

/* Forgets it: the next command begins. */
void request_end(struct request *request);

/* No byte of a command has come. */
static inline bool request_is_between(const struct request *request)
{
    return request->count == 0 && request->type == 0;
}

/* Whether word `at` is `name`, in capitals; case does not matter. */
bool request_word_is(const struct request *request, unsigned at, const char *name);

/* Word `at` as a number that fits 16 bits; -1: it is none. */
int request_number(const struct request *request, unsigned at);

/*
 * The words that are known as a request of their own: what command_next() makes of it is what the
 * whole would be. Results: its size; 0, not even the name is known.
 */
#define REQUEST_TEXT_SIZE (REQUEST_WORDS * (REQUEST_WORD_SIZE + 16) + 16)
size_t request_text(const struct request *request, char text[REQUEST_TEXT_SIZE]);

#endif
