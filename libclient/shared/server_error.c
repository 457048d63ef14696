/* SPDX-License-Identifier: MIT */
/* What a server says about itself: see server_error.h. */
#include "libclient/shared/server_error.h"

#include <string.h>

struct entry {
    const char *begin;
    size_t size;
    uint32_t flags;
    const char *name;
    const char *text;
};

static const struct entry entries[SERVER_ERROR_COUNT] = {[SERVER_ERROR_none] = {"", 0, 0, "", ""},
#define SERVER_ERROR_ENTRY(name, begin, flags, text)                                               \
    [SERVER_ERROR_##name] = {begin, sizeof(begin) - 1, flags, #name, text},
                                                         SERVER_ERRORS(SERVER_ERROR_ENTRY)
#undef SERVER_ERROR_ENTRY
};

#define SERVER_ERROR_FITS(name, begin, flags, text)                                                \
    _Static_assert(sizeof(begin) <= SERVER_ERROR_SIZE, "SERVER_ERROR_SIZE is too small");
SERVER_ERRORS(SERVER_ERROR_FITS)

enum server_error server_error_classify(const char *text, size_t size)
{
    if (size > 0 && *text == '-') {
        text++;
        size--;
    }
    for (uint32_t i = 1; i < SERVER_ERROR_COUNT; i++)
        if (size >= entries[i].size && memcmp(text, entries[i].begin, entries[i].size) == 0)
            return (enum server_error)i;
    return SERVER_ERROR_none;
}

enum server_error server_error_find(const char *text)
{
    for (uint32_t i = 1; i < SERVER_ERROR_COUNT; i++)
        if (strstr(text, entries[i].begin))
            return (enum server_error)i;
    return SERVER_ERROR_none;
}

static const struct entry *entry_of(enum server_error error)
{
    return &entries[(uint32_t)error < SERVER_ERROR_COUNT ? error : SERVER_ERROR_none];
}

uint32_t server_error_flags(enum server_error error)
{
    return entry_of(error)->flags;
}

const char *server_error_name(enum server_error error)
{
    return entry_of(error)->name;
}

const char *server_error_text(enum server_error error)
{
    return entry_of(error)->text;
}
