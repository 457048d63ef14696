/* SPDX-License-Identifier: MIT */
/* Classifying commands: see command.h. */
#include "command.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#define NAME_MAX_SIZE 20

static const struct command_entry {
    char name[NAME_MAX_SIZE];
    unsigned flags;
    enum command_kind kind;
} command_table[] = {
#include "command_table.h"
};

struct word {
    char text[NAME_MAX_SIZE]; /* upper case, zero-terminated; "" if longer than any name we know */
};

/* Reads "<type>NUMBER\r\n" at *at. */
static int read_number(const char *data, size_t size, size_t *at, char type, uint64_t *number)
{
    size_t i = *at;
    uint64_t value = 0;
    int digits = 0;

    if (i >= size || data[i++] != type)
        return -EINVAL;
    for (; i < size && data[i] >= '0' && data[i] <= '9'; i++, digits++)
        value = value * 10 + (uint64_t)(data[i] - '0');
    if (digits < 1 || digits > 18 || size - i < 2 || data[i] != '\r' || data[i + 1] != '\n')
        return -EINVAL;
    *at = i + 2;
    *number = value;
    return 0;
}

/* Reads a bulk string at *at; a short one into *word. */
static int read_word(const char *data, size_t size, size_t *at, struct word *word)
{
    uint64_t length;

    word->text[0] = 0;
    if (read_number(data, size, at, '$', &length) != 0 || length > size - *at ||
        size - *at - length < 2)
        return -EINVAL;
    if (length < sizeof word->text) {
        for (size_t i = 0; i < length; i++) {
            char c = data[*at + i];

            word->text[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
        }
        word->text[length] = 0;
    }
    *at += length;
    if (data[*at] != '\r' || data[*at + 1] != '\n')
        return -EINVAL;
    *at += 2;
    return 0;
}

static const struct command_entry *find(const char *name)
{
    size_t low = 0, high = sizeof command_table / sizeof *command_table;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(name, command_table[middle].name);

        if (order == 0)
            return &command_table[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* CLIENT is a family: these only look or act on others. */
static bool client_keeps_session(const char *subcommand)
{
    static const char *const names[] = {"GETNAME", "GETREDIR", "HELP",        "ID",
                                        "INFO",    "KILL",     "LIST",        "PAUSE",
                                        "UNBLOCK", "UNPAUSE",  "TRACKINGINFO"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(subcommand, names[i]) == 0)
            return true;
    return false;
}

int command_next(const char *request, size_t size, size_t *at, struct command *command)
{
    const struct command_entry *entry;
    struct word name, subcommand = {{0}}, other;
    uint64_t count;

    if (read_number(request, size, at, '*', &count) != 0 || count < 1 ||
        read_word(request, size, at, &name) != 0)
        return -EINVAL;
    for (uint64_t i = 1; i < count; i++)
        if (read_word(request, size, at, i == 1 ? &subcommand : &other) != 0)
            return -EINVAL;

    *command = (struct command){0};
    entry = find(name.text);
    if (!entry)
        return 0;
    command->flags = entry->flags;
    command->kind = entry->kind;
    if ((entry->flags & COMMAND_SESSION) && strcmp(entry->name, "CLIENT") == 0 &&
        client_keeps_session(subcommand.text))
        command->flags &= ~(unsigned)COMMAND_SESSION;
    return 0;
}

int command_parse(const char *request, size_t size, struct command *command, uint32_t *count)
{
    struct command each;
    size_t at = 0;

    *count = 0;
    *command = (struct command){.flags = COMMAND_READ_ONLY};
    do {
        if (*count == UINT32_MAX || command_next(request, size, &at, &each) != 0)
            return -EINVAL;
        if (!(each.flags & COMMAND_READ_ONLY))
            command->flags &= ~(unsigned)COMMAND_READ_ONLY;
        command->flags |= each.flags & ~(unsigned)COMMAND_READ_ONLY;
        if (each.kind != COMMAND_OTHER)
            command->kind = each.kind;
        ++*count;
    } while (at < size);
    return 0;
}
