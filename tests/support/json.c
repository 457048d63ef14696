/* SPDX-License-Identifier: MIT */
/* Whether a text is JSON: a few lines of RFC 8259, so that no other program is needed. */
#include <string.h>
#include "tests/support/support.h"

/* Skips a JSON value at `at`; NULL: it is none. */
static const char *skip_json(const char *at, int depth);

static const char *skip_blanks(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

static const char *skip_string(const char *at)
{
    if (*at++ != '"')
        return NULL;
    for (; *at != '"'; at++) {
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at == '\\' && !strchr("\"\\/bfnrtu", *++at))
            return NULL;
    }
    return at + 1;
}

static const char *skip_members(const char *at, int depth, char end, bool named)
{
    at = skip_blanks(at + 1);
    if (*at == end)
        return at + 1;
    for (;;) {
        if (named) {
            at = skip_string(skip_blanks(at));
            if (!at || *(at = skip_blanks(at)) != ':')
                return NULL;
            at++;
        }
        at = skip_json(at, depth + 1);
        if (!at)
            return NULL;
        at = skip_blanks(at);
        if (*at == end)
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
}

static const char *skip_json(const char *at, int depth)
{
    static const char *const words[] = {"null", "true", "false"};
    size_t digits;

    at = skip_blanks(at);
    if (depth > 20)
        return NULL;
    if (*at == '{')
        return skip_members(at, depth, '}', true);
    if (*at == '[')
        return skip_members(at, depth, ']', false);
    if (*at == '"')
        return skip_string(at);
    for (size_t i = 0; i < 3; i++)
        if (strncmp(at, words[i], strlen(words[i])) == 0)
            return at + strlen(words[i]);
    at += *at == '-';
    digits = strspn(at, "0123456789");
    if (digits == 0 || (digits > 1 && *at == '0'))
        return NULL;
    at += digits;
    if (*at == '.') {
        digits = strspn(at + 1, "0123456789");
        at += 1 + digits;
    }
    return digits > 0 ? at : NULL;
}

bool json_is_valid(const char *text)
{
    const char *end = skip_json(text, 0);

    return end && *skip_blanks(end) == '\0';
}
