/* SPDX-License-Identifier: MIT */
/*
 * What a request is (shared/command.h), for requests that are anything and for ones that hiredis
 * makes. The input is the differences (up to a zero byte) and the rest. For the rest must hold:
 *
 *   1  As a request: what is accepted is, byte by byte, what redisFormatCommandArgv() makes of the
 *      words in it; command by command and all at once come to the same; nothing is read beyond the
 *      end, and no beginning of a single command is a command.
 *   2  As words, separated by newlines: what redisFormatCommandArgv() makes of them is accepted, as
 *      one command, with the flags that its name has. Twice the same is a pipeline of two.
 *   3  What differs is told apart by whole names, and changes no other flag.
 */
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <string.h>
#include "libclient/shared/command.h"
#include "tests/fuzz/fuzz.h"

#define WORDS_MAX   64
#define TABLE_FLAGS (COMMAND_ARGUMENTS | COMMAND_FIXED | COMMAND_WRITES)

struct words {
    const char *text[WORDS_MAX];
    size_t size[WORDS_MAX];
    int count;
};

/* ---- as a request ---- */

/* The words of the command at *at, which was accepted. False: too many to inspect. */
static bool read_words(const char *request, size_t *at, struct words *words)
{
    long count = strtol(request + *at + 1, NULL, 10);
    const char *next = (const char *)memchr(request + *at, '\n', 24) + 1;

    words->count = 0;
    if (count > WORDS_MAX)
        return false;
    for (; count > 0; count--) {
        words->size[words->count] = strtoul(next + 1, NULL, 10);
        words->text[words->count] = (const char *)memchr(next, '\n', 24) + 1;
        next = words->text[words->count] + words->size[words->count] + 2;
        words->count++;
    }
    *at = (size_t)(next - request);
    return true;
}

static void expect_as_formatted(const char *request, size_t start, size_t end)
{
    struct words words;
    size_t at = start;
    char *formatted;
    int size;

    if (!read_words(request, &at, &words))
        return;
    REQUIRE(at == end);
    size = redisFormatCommandArgv(&formatted, words.count, words.text, words.size);
    REQUIRE(size > 0 && (size_t)size == end - start);
    REQUIRE(memcmp(formatted, request + start, end - start) == 0);
    redisFreeCommand(formatted);
}

static void expect_no_beginning_is_one(const char *request, size_t size)
{
    size_t step = size / 64 + 1;
    struct command command;
    uint32_t count;

    for (size_t cut = 0; cut < size; cut += step)
        REQUIRE(command_parse(request, cut, NULL, &command, &count) != 0);
}

static void check_request(const char *request, size_t size, const char *differences)
{
    unsigned any = 0, all = COMMAND_READ_ONLY;
    enum command_kind kind = COMMAND_OTHER;
    struct command whole, each;
    uint32_t count, found = 0;
    size_t at = 0;

    if (command_parse(request, size, differences, &whole, &count) != 0)
        return;
    REQUIRE(count > 0);
    while (at < size) {
        size_t start = at;

        REQUIRE(command_next(request, size, differences, &at, &each) == 0);
        REQUIRE(at > start && at <= size);
        REQUIRE(!(each.flags & TABLE_FLAGS));
        expect_as_formatted(request, start, at);
        any |= each.flags;
        all &= each.flags;
        if (each.kind != COMMAND_OTHER && !(each.flags & COMMAND_SESSION))
            kind = each.kind;
        found++;
    }
    REQUIRE(found == count && at == size);
    any = (any & ~(unsigned)COMMAND_READ_ONLY) | all;
    /* What comes behind a write is not told of. */
    REQUIRE((any & ~(unsigned)COMMAND_AFTER_WRITE) ==
            (whole.flags & ~(unsigned)COMMAND_AFTER_WRITE));
    REQUIRE(!(whole.flags & ~any));
    REQUIRE(whole.kind == kind);
    if (count == 1)
        expect_no_beginning_is_one(request, size);
}

/* ---- as words ---- */

static void split(const char *text, size_t size, struct words *words)
{
    words->count = 0;
    while (words->count < WORDS_MAX) {
        const char *end = memchr(text, '\n', size);
        size_t length = end ? (size_t)(end - text) : size;

        words->text[words->count] = text;
        words->size[words->count++] = length;
        if (!end)
            return;
        text = end + 1;
        size -= length + 1;
    }
}

/* Whether `differences` have `name` with `mark`, found in another way than command.c's. */
static bool has_mark(const char *differences, char mark, const char *name)
{
    char padded[300], wanted[COMMAND_NAME_SIZE + 4];

    snprintf(padded, sizeof padded, " %s ", differences);
    snprintf(wanted, sizeof wanted, " %c%s ", mark, name);
    return strstr(padded, wanted) != NULL;
}

static void check_flags(const struct words *words, const char *differences, unsigned plain,
                        unsigned flags)
{
    const unsigned touched =
        COMMAND_BLOCKING | COMMAND_EXCLUSIVE | COMMAND_SESSION | COMMAND_SUSPECT;
    char name[COMMAND_NAME_SIZE];
    bool blocks, returns;
    unsigned table;

    if (!command_name(words->text[0], words->size[0], name))
        return;
    table = command_flags(name);
    if (!(table & COMMAND_ARGUMENTS))
        REQUIRE(plain == (table & ~(unsigned)TABLE_FLAGS));
    REQUIRE((plain & ~touched) == (flags & ~touched));
    blocks = has_mark(differences, COMMAND_MARK_BLOCKS, name);
    returns = has_mark(differences, COMMAND_MARK_RETURNS, name);
    if (!blocks || !returns) /* both: the later one counts */
        REQUIRE(!!(flags & COMMAND_BLOCKING) ==
                (blocks || ((plain & COMMAND_BLOCKING) && !returns)));
    REQUIRE(!!(flags & COMMAND_EXCLUSIVE) ==
            ((plain & COMMAND_EXCLUSIVE) || has_mark(differences, COMMAND_MARK_EXCLUSIVE, name)));
}

static void check_words(const char *text, size_t size, const char *differences)
{
    struct command plain, with;
    struct words words;
    uint32_t count;
    char *request, *twice;
    int length;

    split(text, size, &words);
    length = redisFormatCommandArgv(&request, words.count, words.text, words.size);
    REQUIRE(length > 0);
    twice = malloc(2 * (size_t)length);
    REQUIRE(twice);
    memcpy(twice, request, (size_t)length);
    memcpy(twice + length, request, (size_t)length);
    REQUIRE(command_parse(request, (size_t)length, NULL, &plain, &count) == 0 && count == 1);
    REQUIRE(command_parse(request, (size_t)length, differences, &with, &count) == 0 && count == 1);
    check_flags(&words, differences, plain.flags, with.flags);
    check_request(request, (size_t)length, differences);
    REQUIRE(command_parse(twice, 2 * (size_t)length, NULL, &with, &count) == 0 && count == 2);
    REQUIRE(with.flags == plain.flags && with.kind == plain.kind);
    free(twice);
    redisFreeCommand(request);
}

/* What command_info_publish() can make: marks, names, single blanks. Others are only not to
 * crash. */
static bool is_proper(const char *differences)
{
    char name[COMMAND_NAME_SIZE];

    for (const char *at = differences; *at;) {
        size_t size = strcspn(at, " ");

        if (*at == COMMAND_MARK_SESSION && size == 2 && at[1] == '*')
            strcpy(name, COMMAND_EVERY_OTHER);
        else if (!strchr("+-!~", *at) || !command_name(at + 1, size - 1, name) ||
                 strncmp(name, at + 1, size - 1) != 0)
            return false;
        at += size;
        if (*at == ' ' && *++at == '\0')
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *end = memchr(data, 0, size);
    char differences[256] = "";
    size_t length = end ? (size_t)(end - text) : 0;

    if (end && length < sizeof differences) {
        memcpy(differences, text, length);
        text += length + 1;
        size -= length + 1;
    }
    check_request(text, size, differences);
    if (is_proper(differences))
        check_words(text, size, differences);
    return 0;
}
