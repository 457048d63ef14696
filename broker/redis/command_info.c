/* SPDX-License-Identifier: MIT */
/* What a server says of its commands: see command_info.h. */
#include "broker/redis/command_info.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The reply to COMMAND is an array with an array for each command: name, arity, flags, first and
 * last key, step, since Redis 6 the ACL categories, since 7 tips, key specifications, and
 * subcommands, which look like commands. */
#define AT_NAME        0u
#define AT_FLAGS       2u
#define AT_CATEGORIES  6u
#define AT_SUBCOMMANDS 9u

void command_info_renew(struct command_info *info)
{
    info->due = true;
    if (info->failures >= COMMAND_INFO_TRIES)
        info->failures = COMMAND_INFO_TRIES - 1;
}

bool command_info_begin(struct command_info *info)
{
    if (!info->due || info->asking)
        return false;
    *info = (struct command_info){.due = true, .asking = true, .failures = info->failures};
    return true;
}

/* Appends `name` to `names`, or notes in *left_out that it did not fit. */
static void add_name(char names[CATALOG_COMMANDS_SIZE], const char *name, bool *left_out)
{
    size_t used = strlen(names), size = strlen(name);

    if (used + 1 + size >= CATALOG_COMMANDS_SIZE) {
        *left_out = true;
        return;
    }
    snprintf(names + used, CATALOG_COMMANDS_SIZE - used, "%s%s", used ? " " : "", name);
}

/* All is known about the command under way. */
static void finish_command(struct command_info *info)
{
    unsigned flags = command_flags(info->name);

    if (info->name[0] && info->blocks && !(flags & COMMAND_BLOCKING))
        add_name(info->blocking, info->name, &info->left_out);
    if (info->name[0] && !info->blocks && (flags & COMMAND_BLOCKING) && !(flags & COMMAND_FIXED))
        add_name(info->returning, info->name, &info->left_out);
    if (info->name[0] && info->suspect && !command_is_known(info->name))
        add_name(info->suspects, info->name, &info->more_suspects);
    info->name[0] = '\0';
    info->blocks = info->suspect = false;
}

static bool is_text(const char *text, size_t size, const char *expected)
{
    return size == strlen(expected) && strncasecmp(text, expected, size) == 0;
}

static bool is_one_of(const char *text, size_t size, const char *const *expected)
{
    for (; *expected; expected++)
        if (is_text(text, size, *expected))
            return true;
    return false;
}

/* A flag or an ACL category of commands whose meaning depends on the connection. */
static bool is_of_sessions(uint32_t at, const char *text, size_t size)
{
    static const char *const flags[] = {"pubsub", "no_multi", "no_auth", "no-auth", "asking", NULL};
    static const char *const categories[] = {"@connection", "@transaction", "@pubsub", NULL};

    return (at == AT_FLAGS && is_one_of(text, size, flags)) ||
           (at == AT_CATEGORIES && is_one_of(text, size, categories));
}

void command_info_string(struct command_info *info, const uint32_t *path, uint32_t depth,
                         const char *text, size_t size)
{
    if (depth == 2 && path[1] == AT_NAME) {
        finish_command(info);
        if (!command_name(text, size, info->name))
            info->name[0] = '\0'; /* nobody can ask for it by that name */
        /* Redis makes it a command of Sentinels only. */
        if (strcmp(info->name, "SENTINEL") == 0)
            info->sentinel = true;
        else if (strcmp(info->name, "GET") == 0)
            info->data = true;
        return;
    }
    if (depth == 4 && path[1] == AT_SUBCOMMANDS && path[3] == AT_NAME)
        info->suspect = true;
    /* A subcommand's flags count for the whole family. */
    if (depth == 5 && path[1] == AT_SUBCOMMANDS) {
        path += 2;
        depth -= 2;
    }
    if (depth != 3)
        return;
    info->suspect = info->suspect || is_of_sessions(path[1], text, size);
    /* Redis 6 says it by the category alone. */
    if ((path[1] == AT_FLAGS && is_text(text, size, "blocking")) ||
        (path[1] == AT_CATEGORIES && is_text(text, size, "@blocking"))) {
        info->blocks = true;
        info->speaks = true;
    }
}

void command_info_refuse(struct command_info *info)
{
    info->refused = true;
}

void command_info_end(struct command_info *info)
{
    finish_command(info);
    info->due = info->asking = false;
    info->fresh = true;
    info->failures = 0;
    /* Older than Redis 6: it has no word for it. */
    if (!info->speaks)
        info->returning[0] = '\0';
}

void command_info_put_off(struct command_info *info)
{
    info->asking = false;
    info->blocking[0] = info->returning[0] = '\0';
}

void command_info_fail(struct command_info *info)
{
    info->asking = false;
    info->blocking[0] = info->returning[0] = info->suspects[0] = '\0';
    info->more_suspects = false;
    info->due = ++info->failures < COMMAND_INFO_TRIES;
    info->given_up = !info->due;
}

/* ---- what workers get to see ---- */

struct entry {
    char mark;
    char name[COMMAND_NAME_SIZE];
};

/* As many as can have room. */
#define ENTRIES_MAX (CATALOG_COMMANDS_SIZE / 3)

struct entries {
    struct entry entry[ENTRIES_MAX];
    size_t count;
    size_t size; /* of the text */
    bool all;
};

/* Adds the words of `names` as long as there is room. */
static void collect(struct entries *entries, char mark, const char *names)
{
    for (const char *at = names; *at; at += strspn(at, " ")) {
        size_t size = strcspn(at, " "), needed = size + 1 + (entries->count > 0);

        if (size >= COMMAND_NAME_SIZE || entries->size + needed >= CATALOG_COMMANDS_SIZE) {
            entries->all = false;
        } else {
            struct entry *entry = &entries->entry[entries->count++];

            *entry = (struct entry){.mark = mark};
            memcpy(entry->name, at, size);
            entries->size += needed;
        }
        at += size;
    }
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    int order = strcmp(left->name, right->name);

    return order != 0 ? order : left->mark - right->mark;
}

/* Adds what must not be left out: the suspects, with `by_name` each, and `exclusive`. False: there
 * is no room for the suspects. */
static bool collect_first(struct entries *entries, const struct command_info *info,
                          const char *exclusive, bool by_name)
{
    bool all, room;

    if (!by_name)
        collect(entries, COMMAND_MARK_SESSION, COMMAND_EVERY_OTHER);
    collect(entries, COMMAND_MARK_EXCLUSIVE, exclusive ? exclusive : "");
    if (!by_name)
        return true;
    all = entries->all;
    entries->all = true;
    collect(entries, COMMAND_MARK_SESSION, info->suspects);
    room = entries->all && !info->more_suspects;
    entries->all = all;
    return room;
}

size_t command_info_publish(const struct command_info *info, const char *exclusive,
                            char text[CATALOG_COMMANDS_SIZE], bool *all)
{
    struct entries entries = {.all = !info->left_out};
    size_t used = 0;

    /* What is left out must be what matters least: a connection too many for a command. */
    if (!collect_first(&entries, info, exclusive, true)) {
        entries = (struct entries){.all = !info->left_out};
        collect_first(&entries, info, exclusive, false);
    }
    collect(&entries, COMMAND_MARK_BLOCKS, info->blocking);
    collect(&entries, COMMAND_MARK_RETURNS, info->returning);
    qsort(entries.entry, entries.count, sizeof *entries.entry, compare_entries);
    memset(text, 0, CATALOG_COMMANDS_SIZE);
    for (size_t i = 0; i < entries.count; i++)
        used += (size_t)snprintf(text + used, CATALOG_COMMANDS_SIZE - used, "%s%c%s",
                                 used ? " " : "", entries.entry[i].mark, entries.entry[i].name);
    *all = entries.all;
    return used;
}
