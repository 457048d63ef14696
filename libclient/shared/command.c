/* SPDX-License-Identifier: MIT */
/* Classifying commands: see command.h. */
#include "libclient/shared/command.h"

#include <errno.h>
#include <string.h>

#define COMMAND_TABLE_NAME 24

static const struct command_entry {
    char name[COMMAND_TABLE_NAME];
    unsigned flags;
    enum command_kind kind;
} command_table[] = {
#include "libclient/shared/command_table.h"
};

struct word {
    char text[COMMAND_NAME_SIZE]; /* upper case, zero-terminated; "" if too long for a name */
};

/* ---- reading RESP ---- */

/* Reads "<type>NUMBER\r\n" at *at. */
static int read_number(const char *data, size_t size, size_t *at, char type, uint64_t *number)
{
    size_t i = *at;
    uint64_t value = 0;
    int digits = 0;

    if (i >= size || data[i++] != type)
        return -EINVAL;
    /* Redis takes a number with a zero before it for a broken protocol and hangs up: that must not
     * happen to those whose commands are sent with this one. */
    if (size - i > 1 && data[i] == '0' && data[i + 1] != '\r')
        return -EINVAL;
    /* 18 digits cannot overflow; one more shows that there are too many. */
    for (; i < size && data[i] >= '0' && data[i] <= '9' && digits <= 18; i++, digits++)
        value = value * 10 + (uint64_t)(data[i] - '0');
    if (digits < 1 || digits > 18 || size - i < 2 || data[i] != '\r' || data[i + 1] != '\n')
        return -EINVAL;
    *at = i + 2;
    *number = value;
    return 0;
}

/* Passes a bulk string at *at; it is the *length bytes at *text. */
static int read_bulk(const char *data, size_t size, size_t *at, const char **text, size_t *length)
{
    uint64_t number;

    if (read_number(data, size, at, '$', &number) != 0 || number > size - *at ||
        size - *at - number < 2)
        return -EINVAL;
    *text = data + *at;
    *length = (size_t)number;
    *at += number;
    if (data[*at] != '\r' || data[*at + 1] != '\n')
        return -EINVAL;
    *at += 2;
    return 0;
}

static void copy_word(struct word *word, const char *text, size_t length)
{
    size_t kept = length < sizeof word->text ? length : 0;

    for (size_t i = 0; i < kept; i++)
        word->text[i] = text[i] >= 'a' && text[i] <= 'z' ? (char)(text[i] - 'a' + 'A') : text[i];
    word->text[kept] = 0;
}

static int read_word(const char *data, size_t size, size_t *at, struct word *word)
{
    const char *text;
    size_t length;

    if (read_bulk(data, size, at, &text, &length) != 0)
        return -EINVAL;
    copy_word(word, text, length);
    return 0;
}

/* ---- names ---- */

bool command_name(const char *text, size_t size, char name[COMMAND_NAME_SIZE])
{
    struct word word;

    copy_word(&word, text, size);
    for (size_t i = 0; i < size && word.text[0]; i++) {
        char c = word.text[i];

        /* What modules use; never a blank or a mark. */
        if (!(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && (c == 0 || !strchr("._-:/", c)))
            return false;
    }
    memcpy(name, word.text, sizeof word.text);
    return name[0] != 0;
}

static const struct command_entry *find(const char *name)
{
    size_t low = 0, high = sizeof command_table / sizeof *command_table;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const char *other = command_table[middle].name;
        /* The first letter mostly decides, without a call. */
        int order = *name != *other ? *name - *other : strcmp(name, other);

        if (order == 0)
            return &command_table[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

unsigned command_flags(const char *name)
{
    const struct command_entry *entry = find(name);

    return entry ? entry->flags : 0;
}

bool command_is_known(const char *name)
{
    return find(name) != NULL;
}

/* Whether the name at `at`, which ends with a blank or the text, is `name`. */
static bool is_name(const char *at, const char *name, size_t size)
{
    return strncmp(at, name, size) == 0 && (at[size] == ' ' || at[size] == 0);
}

/* What `differences` make of the flags of `name`, "" for one that is too long. Somebody may write
 * to them meanwhile: what is read is then of no use, but nothing is read beyond their end. */
static unsigned differ(const char *differences, const char *name, bool known, unsigned flags)
{
    size_t size = strlen(name);

    for (const char *at = differences; *at; at = strchrnul(at, ' '), at += *at == ' ') {
        if (*at == COMMAND_MARK_SESSION && !known && is_name(at + 1, COMMAND_EVERY_OTHER, 1))
            flags |= COMMAND_SESSION | COMMAND_SUSPECT;
        if (size == 0 || !is_name(at + 1, name, size))
            continue;
        if (*at == COMMAND_MARK_SESSION)
            flags |= COMMAND_SESSION | COMMAND_SUSPECT;
        else if (*at == COMMAND_MARK_BLOCKS)
            flags |= COMMAND_BLOCKING;
        else if (*at == COMMAND_MARK_RETURNS)
            flags &= ~(unsigned)COMMAND_BLOCKING;
        else if (*at == COMMAND_MARK_EXCLUSIVE)
            flags |= COMMAND_EXCLUSIVE;
    }
    return flags;
}

/* ---- arguments ---- */

static bool is_one_of(const struct word *word, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(word->text, *names) == 0)
            return true;
    return false;
}

/* CLIENT is a family: most of it changes the session, some of it for the next commands alone. */
static unsigned client_flags(const struct word *sub, const struct word *argument)
{
    static const char *const readers[] = {"GETNAME", "GETREDIR",     "HELP",  "ID",
                                          "INFO",    "LIST",         "PAUSE", "UNBLOCK",
                                          "UNPAUSE", "TRACKINGINFO", NULL};
    static const char *const for_others[] = {"CACHING", "TRACKING", "NO-EVICT", "NO-TOUCH", NULL};
    static const char *const silences[] = {"OFF", "SKIP", NULL};

    if (is_one_of(sub, readers))
        return 0;
    /* It may hit the connection that it comes over, and the commands of others behind it. */
    if (strcmp(sub->text, "KILL") == 0)
        return COMMAND_EXCLUSIVE;
    if (strcmp(sub->text, "REPLY") == 0 && is_one_of(argument, silences))
        return COMMAND_SESSION | COMMAND_LEASE;
    return COMMAND_SESSION | (is_one_of(sub, for_others) ? COMMAND_NOT_ALONE : 0);
}

/*
 * XREAD and XREADGROUP wait only where they are told to: BLOCK among the options before STREAMS.
 * An option's own argument may have any name, so it is passed over.
 */
static bool stream_read_blocks(const char *request, size_t size, size_t at, uint64_t count)
{
    struct word word;

    for (uint64_t skip = 0; count > 0; count--) {
        read_word(request, size, &at, &word);
        if (skip > 0)
            skip--;
        else if (strcmp(word.text, "BLOCK") == 0)
            return true;
        else if (strcmp(word.text, "STREAMS") == 0)
            return false;
        else if (strcmp(word.text, "COUNT") == 0)
            skip = 1;
        else if (strcmp(word.text, "GROUP") == 0)
            skip = 2;
    }
    return false;
}

/* The flags of `entry` with the `count` arguments at `at`, which are whole; and *kind. */
static unsigned read_arguments(const struct command_entry *entry, const char *request, size_t size,
                               size_t at, uint64_t count, enum command_kind *kind)
{
    unsigned flags = entry->flags;
    struct word sub = {{0}}, argument = {{0}};

    if (flags & COMMAND_BLOCKING)
        return stream_read_blocks(request, size, at, count) ? flags
                                                            : flags & ~(unsigned)COMMAND_BLOCKING;
    if (count > 0)
        read_word(request, size, &at, &sub);
    if (count > 1)
        read_word(request, size, &at, &argument);
    flags &= ~(unsigned)COMMAND_SESSION;
    if (strcmp(entry->name, "CLIENT") == 0 && strcmp(sub.text, "SETNAME") == 0)
        *kind = COMMAND_RENAME;
    if (strcmp(entry->name, "CLIENT") == 0)
        return flags | client_flags(&sub, &argument);
    /* Not even RESET ends it, and CLIENT INFO does not show it. */
    if (strcmp(entry->name, "SCRIPT") == 0 && strcmp(sub.text, "DEBUG") == 0)
        return flags | COMMAND_SESSION | COMMAND_LASTING;
    /* The connection is then one between nodes. */
    if (strcmp(entry->name, "CLUSTER") == 0 && strcmp(sub.text, "SYNCSLOTS") == 0)
        return flags | COMMAND_SESSION | COMMAND_LEASE;
    return flags;
}

/* ---- commands ---- */

/* command_next(); and whether the command may write. One that nobody knows may. */
static int read_command(const char *request, size_t size, const char *differences, size_t *at,
                        struct command *command, bool *writes)
{
    const struct command_entry *entry;
    struct word name;
    size_t arguments, length;
    const char *text;
    uint64_t count;

    if (read_number(request, size, at, '*', &count) != 0 || count < 1 ||
        read_word(request, size, at, &name) != 0)
        return -EINVAL;
    arguments = *at;
    for (uint64_t i = 1; i < count; i++)
        if (read_bulk(request, size, at, &text, &length) != 0)
            return -EINVAL;

    *command = (struct command){0};
    entry = find(name.text);
    if (entry) {
        command->flags = entry->flags;
        command->kind = entry->kind;
        if (entry->flags & COMMAND_ARGUMENTS)
            command->flags =
                read_arguments(entry, request, size, arguments, count - 1, &command->kind);
        command->flags &= ~(unsigned)(COMMAND_ARGUMENTS | COMMAND_FIXED | COMMAND_WRITES);
    }
    *writes = !entry || (entry->flags & COMMAND_WRITES);
    if (differences)
        command->flags = differ(differences, name.text, entry != NULL, command->flags);
    return 0;
}

int command_next(const char *request, size_t size, const char *differences, size_t *at,
                 struct command *command)
{
    bool writes;

    return read_command(request, size, differences, at, command, &writes);
}

int command_parse(const char *request, size_t size, const char *differences,
                  struct command *command, uint32_t *count)
{
    bool writes, written = false;
    struct command each;
    size_t at = 0;

    *count = 0;
    *command = (struct command){.flags = COMMAND_READ_ONLY};
    do {
        if (*count == UINT32_MAX ||
            read_command(request, size, differences, &at, &each, &writes) != 0)
            return -EINVAL;
        if (written)
            each.flags &= ~(unsigned)COMMAND_AFTER_WRITE;
        written = written || writes;
        if (!(each.flags & COMMAND_READ_ONLY))
            command->flags &= ~(unsigned)COMMAND_READ_ONLY;
        command->flags |= each.flags & ~(unsigned)COMMAND_READ_ONLY;
        if (each.kind != COMMAND_OTHER && !(each.flags & COMMAND_SESSION))
            command->kind = each.kind;
        ++*count;
    } while (at < size);
    return 0;
}
