/* SPDX-License-Identifier: MIT */
/*
 * Where replies end (resp.h), for any bytes in any pieces. The first byte of the input says how
 * many of the next ones are the sizes of pieces, used in turn; the rest is what the server sends.
 * For it must hold:
 *
 *   1  The pieces do not matter: the same replies end at the same places, and what is wrong is
 *      wrong.
 *   2  It is as the small parser below has it, which knows all of RESP2 and RESP3, has the whole
 *      text and recurses. Only counts above COUNT_MAX are left out of this: nobody can send so
 *      much.
 *   3  Where hiredis finds a reply, there is one, and it ends at the same byte. Where hiredis waits
 *      for more, so do we, or we say that it is wrong. After what hiredis takes for an error
 *      there is nothing to compare: 0.14 knows no RESP3, no depth beyond 7, and is
 *      stricter about numbers.
 */
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <string.h>
#include "libclient/connection/resp.h"
#include "tests/fuzz/fuzz.h"

#define COUNT_MAX 1000000000

/* ---- what is scanned, in pieces ---- */

#define REPLIES_MAX 4096u

enum end { END_MORE, END_ERROR };

struct outcome {
    size_t ends[REPLIES_MAX]; /* of replies */
    char firsts[REPLIES_MAX];
    size_t count;
    enum end end; /* behind them */
};

/* `sizes` are those of the pieces, 0 standing for 256; without any it is one piece. */
static void scan(const char *text, size_t size, const uint8_t *sizes, size_t size_count,
                 struct outcome *outcome)
{
    struct resp_scan scan = {0};
    size_t at = 0, piece = 0;

    outcome->count = 0;
    outcome->end = END_MORE;
    while (at < size) {
        size_t step = size - at, done = 0;

        if (size_count > 0 && step > (sizes[piece % size_count] ? sizes[piece % size_count] : 256))
            step = sizes[piece % size_count] ? sizes[piece % size_count] : 256;
        piece++;
        while (done < step) {
            size_t used = SIZE_MAX;
            int result = resp_scan(&scan, text + at + done, step - done, &used);

            if (result < 0) {
                outcome->end = END_ERROR;
                return;
            }
            REQUIRE(used <= step - done);
            REQUIRE(result == 1 || used == step - done);
            done += used;
            if (result != 1)
                continue;
            REQUIRE(used > 0 && scan.values == 0 && scan.skip == 0 && scan.type == 0);
            if (outcome->count == REPLIES_MAX)
                return;
            outcome->firsts[outcome->count] = scan.first;
            outcome->ends[outcome->count++] = at + done;
        }
        at += step;
    }
}

/* ---- the reference ---- */

enum parsed { PARSED, PARSED_MORE, PARSED_ERROR, PARSED_HUGE };

struct parser {
    const char *text;
    size_t size;
    size_t at;
};

/* Passes a line of any text. */
static enum parsed parse_line(struct parser *parser)
{
    const char *end = memmem(parser->text + parser->at, parser->size - parser->at, "\r\n", 2);

    if (!end)
        return PARSED_MORE;
    parser->at = (size_t)(end - parser->text) + 2;
    return PARSED;
}

/* Passes "-"?, digits, CR LF. */
static enum parsed parse_number(struct parser *parser, long long *number)
{
    bool negative = false;
    int digits = 0;

    *number = 0;
    if (parser->at < parser->size && parser->text[parser->at] == '-') {
        negative = true;
        parser->at++;
    }
    for (; parser->at < parser->size; parser->at++, digits++) {
        char byte = parser->text[parser->at];

        if (byte < '0' || byte > '9')
            break;
        if (digits == 18)
            return PARSED_ERROR;
        *number = *number * 10 + byte - '0';
    }
    if (negative)
        *number = -*number;
    if (parser->at == parser->size)
        return PARSED_MORE;
    if (parser->text[parser->at++] != '\r')
        return PARSED_ERROR;
    if (parser->at == parser->size)
        return PARSED_MORE;
    if (parser->text[parser->at++] != '\n' || digits == 0)
        return PARSED_ERROR;
    return PARSED;
}

static enum parsed parse_value(struct parser *parser);

static enum parsed parse_values(struct parser *parser, long long count)
{
    enum parsed result = PARSED;

    for (; count > 0 && result == PARSED; count--)
        result = parse_value(parser);
    return result;
}

static enum parsed parse_bulk(struct parser *parser, long long length)
{
    if (length > COUNT_MAX)
        return PARSED_HUGE;
    if ((size_t)length + 2 > parser->size - parser->at)
        return PARSED_MORE;
    /* As with hiredis, what stands in the place of CR LF is not checked. */
    parser->at += (size_t)length + 2;
    return PARSED;
}

static enum parsed parse_value(struct parser *parser)
{
    enum parsed result;
    long long number;
    char type;

    if (parser->at == parser->size)
        return PARSED_MORE;
    type = parser->text[parser->at++];
    if (type == '+' || type == '-' || type == ':' || type == '_' || type == '#' || type == ',' ||
        type == '(')
        return parse_line(parser);
    if (type != '$' && type != '!' && type != '=' && type != '*' && type != '~' && type != '>' &&
        type != '%' && type != '|')
        return PARSED_ERROR;
    result = parse_number(parser, &number);
    if (result != PARSED)
        return result;
    if (number < 0)
        return number == -1 && (type == '$' || type == '*') ? PARSED : PARSED_ERROR;
    if (type == '$' || type == '!' || type == '=')
        return parse_bulk(parser, number);
    if (number > COUNT_MAX)
        return PARSED_HUGE;
    if (type == '%')
        number *= 2;
    if (type == '|')
        number = number * 2 + 1;
    return parse_values(parser, number);
}

/* ---- the comparison ---- */

static void compare_with_parser(const char *text, size_t size, const struct outcome *outcome)
{
    struct parser parser = {.text = text, .size = size};

    for (size_t i = 0; i <= outcome->count; i++) {
        size_t start = parser.at;
        enum parsed result = parse_value(&parser);

        if (result == PARSED_HUGE || i == REPLIES_MAX)
            return;
        if (i < outcome->count) {
            REQUIRE(result == PARSED);
            REQUIRE(parser.at == outcome->ends[i]);
            REQUIRE(outcome->firsts[i] == text[start]);
        } else {
            REQUIRE(result == (outcome->end == END_ERROR ? PARSED_ERROR : PARSED_MORE));
        }
    }
}

static void compare_with_hiredis(const char *text, size_t size, const struct outcome *outcome)
{
    /* Without functions it makes no objects: an array's length alone could use up the memory. */
    redisReader *reader = redisReaderCreateWithFunctions(NULL);

    REQUIRE(reader && redisReaderFeed(reader, text, size) == REDIS_OK);
    for (size_t i = 0; i < REPLIES_MAX; i++) {
        void *reply = NULL;

        if (redisReaderGetReply(reader, &reply) != REDIS_OK)
            break;
        if (!reply) {
            REQUIRE(outcome->count == i);
            break;
        }
        REQUIRE(outcome->count > i);
        REQUIRE(outcome->ends[i] == size - (reader->len - reader->pos));
    }
    redisReaderFree(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome whole, pieces;
    const uint8_t *sizes = data + 1;
    size_t count = size > 0 ? data[0] % 16 : 0;
    const char *text;

    if (size < 1 + count)
        return 0;
    text = (const char *)data + 1 + count;
    size -= 1 + count;
    scan(text, size, NULL, 0, &whole);
    scan(text, size, sizes, count, &pieces);
    REQUIRE(whole.count == pieces.count && whole.end == pieces.end);
    REQUIRE(memcmp(whole.ends, pieces.ends, whole.count * sizeof *whole.ends) == 0);
    REQUIRE(memcmp(whole.firsts, pieces.firsts, whole.count) == 0);
    compare_with_parser(text, size, &whole);
    compare_with_hiredis(text, size, &whole);
    return 0;
}
