/* SPDX-License-Identifier: MIT */
/* Splitting a command line: see words.h. */
#include "broker/config/words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char blanks[] = " \t";

static int digit_of(char digit, int base)
{
    int value = -1;

    if (digit >= '0' && digit <= '9')
        value = digit - '0';
    else if (digit >= 'a' && digit <= 'f')
        value = digit - 'a' + 10;
    else if (digit >= 'A' && digit <= 'F')
        value = digit - 'A' + 10;
    return value < base ? value : -1;
}

/* Exactly `count` digits at *at. Results: 1 to 255; 0, it is no such number, or NUL. */
static int take_number(const char **at, int count, int base)
{
    int value = 0;

    for (int i = 0; i < count; i++) {
        int digit = digit_of((*at)[i], base);

        if (digit < 0)
            return 0;
        value = value * base + digit;
    }
    *at += count;
    return value < 256 ? value : 0;
}

/* What follows a backslash. Results: the character; 0, there is no such escape. */
static int take_escape(const char **at)
{
    static const char letters[] = "abfnrtvs\\\"'", means[] = "\a\b\f\n\r\t\v \\\"'";
    const char *letter = **at ? strchr(letters, **at) : NULL;

    if (letter) {
        (*at)++;
        return (unsigned char)means[letter - letters];
    }
    if (**at == 'x') {
        (*at)++;
        return take_number(at, 2, 16);
    }
    return take_number(at, 3, 8);
}

/* Copies the word at *at to *to, its zero included. Results: NULL; why it is none. */
static const char *take_word(const char **at, char **to)
{
    char quote = '\0';

    for (; **at && (quote || !strchr(blanks, **at));) {
        char next = *(*at)++;
        int escaped;

        if (next == quote || (!quote && (next == '"' || next == '\''))) {
            quote = quote ? '\0' : next;
            continue;
        }
        if (next != '\\') {
            *(*to)++ = next;
            continue;
        }
        escaped = take_escape(at);
        if (escaped == 0)
            return "a backslash is followed by what is no escape; write \\\\ for a backslash";
        *(*to)++ = (char)escaped;
    }
    *(*to)++ = '\0';
    return quote ? "a quotation mark is not closed" : NULL;
}

int words_split(const char *text, size_t most, char ***words, const char **why)
{
    size_t count = 0, size = strlen(text) + 1;
    char **made = malloc((most + 1) * sizeof *made + 2 * size), *to;

    if (!made)
        return -ENOMEM;
    to = (char *)(made + most + 1);
    *why = NULL;
    for (text += strspn(text, blanks); *text && !*why; text += strspn(text, blanks)) {
        if (count == most) {
            *why = "there are too many words";
            break;
        }
        made[count++] = to;
        *why = take_word(&text, &to);
    }
    if (count == 0)
        *why = "there is no word";
    if (*why) {
        free(made);
        return 0;
    }
    made[count] = NULL;
    *words = made;
    return (int)count;
}
