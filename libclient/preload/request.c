/* SPDX-License-Identifier: MIT */
/* Commands in pieces: see request.h. */
#include "libclient/preload/request.h"

#include <errno.h>
#include <string.h>

/* More than any command has: Redis takes a million arguments, and 512 MB each unless it is told
 * otherwise. */
#define ARGUMENTS_MAX (UINT64_C(1) << 31)
#define BULK_MAX      (UINT64_C(1) << 40)

void request_end(struct request *request)
{
    request->arguments = request->skip = request->number = 0;
    request->digits = 0;
    request->type = 0;
    request->cr = false;
    request->count = request->words = 0;
}

/* A line has ended. Results: 0; -EPROTO. */
static int line_done(struct request *request)
{
    char type = request->type;

    request->type = 0;
    request->cr = false;
    if (request->digits == 0)
        return -EPROTO;
    if (type == '*') {
        if (request->number < 1 || request->number > ARGUMENTS_MAX)
            return -EPROTO;
        request->count = (uint32_t)request->number;
        request->arguments = request->number;
        return 0;
    }
    if (request->number > BULK_MAX)
        return -EPROTO;
    request->skip = request->number + 2;
    if (request->words < REQUEST_WORDS)
        request->sizes[request->words++] = (uint32_t)request->number;
    return 0;
}

/* One byte of a line. Results: 0; -EPROTO. */
static int line_byte(struct request *request, char byte)
{
    if (request->type == 0) {
        request->type = byte;
        request->number = 0;
        request->digits = 0;
        return byte == (request->count == 0 ? '*' : '$') ? 0 : -EPROTO;
    }
    if (request->cr)
        return byte == '\n' ? line_done(request) : -EPROTO;
    if (byte == '\r') {
        request->cr = true;
        return 0;
    }
    if (byte < '0' || byte > '9' || request->digits >= 18)
        return -EPROTO;
    request->digits++;
    request->number = request->number * 10 + (uint64_t)(byte - '0');
    return 0;
}

/* `size` bytes of a payload, or of its end. */
static void keep_word(struct request *request, const char *data, size_t size)
{
    uint32_t at = request->words - 1;
    uint64_t length = request->sizes[at], place = length + 2 - request->skip;

    /* Not of a word that is kept: there are more of them. */
    if (request->count - request->arguments != at || place >= REQUEST_WORD_SIZE || place >= length)
        return;
    if (size > length - place)
        size = (size_t)(length - place);
    if (size > REQUEST_WORD_SIZE - place)
        size = (size_t)(REQUEST_WORD_SIZE - place);
    memcpy(request->text[at] + place, data, size);
}

int request_feed(struct request *request, const char *data, size_t size, size_t *used)
{
    size_t at = 0;

    while (at < size) {
        if (request->skip > 0) {
            size_t step = size - at < request->skip ? size - at : (size_t)request->skip;

            keep_word(request, data + at, step);
            at += step;
            request->skip -= step;
            if (request->skip == 0 && --request->arguments == 0) {
                *used = at;
                return 1;
            }
            continue;
        }
        if (line_byte(request, data[at]) != 0)
            return -EPROTO;
        at++;
    }
    *used = size;
    return 0;
}

/* How many of the words have all their bytes. */
static uint32_t whole_words(const struct request *request)
{
    uint32_t passed = request->count - (uint32_t)request->arguments;

    return passed < request->words ? passed : request->words;
}

bool request_word_is(const struct request *request, unsigned at, const char *name)
{
    return at < whole_words(request) && request->sizes[at] == strlen(name) &&
           strncasecmp(request->text[at], name, request->sizes[at]) == 0;
}

int request_number(const struct request *request, unsigned at)
{
    int number = 0;

    if (at >= whole_words(request) || request->sizes[at] < 1 || request->sizes[at] > 5)
        return -1;
    for (uint32_t i = 0; i < request->sizes[at]; i++) {
        if (request->text[at][i] < '0' || request->text[at][i] > '9')
            return -1;
        number = number * 10 + (request->text[at][i] - '0');
    }
    return number;
}

/* "<type>NUMBER\r\n" of a number below 100. */
static size_t write_line(char *text, char type, uint32_t number)
{
    size_t used = 0;

    text[used++] = type;
    if (number >= 10)
        text[used++] = (char)('0' + number / 10);
    text[used++] = (char)('0' + number % 10);
    text[used++] = '\r';
    text[used++] = '\n';
    return used;
}

size_t request_text(const struct request *request, char text[REQUEST_TEXT_SIZE])
{
    uint32_t words = whole_words(request);
    size_t used;

    if (words == 0)
        return 0;
    used = write_line(text, '*', words);
    for (uint32_t i = 0; i < words; i++) {
        /* A word that is longer is no name that means anything. */
        uint32_t size = request->sizes[i] < REQUEST_WORD_SIZE ? request->sizes[i] : 0;

        used += write_line(text + used, '$', size);
        memcpy(text + used, request->text[i], size);
        used += size;
        memcpy(text + used, "\r\n", 2);
        used += 2;
    }
    return used;
}
