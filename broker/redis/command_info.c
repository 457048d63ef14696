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

void survey_renew(struct survey *survey)
{
    survey->due = true;
    if (survey->failures >= SURVEY_TRIES)
        survey->failures = SURVEY_TRIES - 1;
}

bool survey_begin(struct survey *survey)
{
    if (!survey->due || survey->asking)
        return false;
    *survey = (struct survey){.due = true, .asking = true, .failures = survey->failures};
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
static void finish_command(struct survey *survey)
{
    unsigned flags = command_flags(survey->name);

    if (survey->name[0] && survey->blocks && !(flags & COMMAND_BLOCKING))
        add_name(survey->blocking, survey->name, &survey->left_out);
    if (survey->name[0] && !survey->blocks && (flags & COMMAND_BLOCKING) &&
        !(flags & COMMAND_FIXED))
        add_name(survey->returning, survey->name, &survey->left_out);
    if (survey->name[0] && survey->suspect && !command_is_known(survey->name))
        add_name(survey->suspects, survey->name, &survey->more_suspects);
    survey->name[0] = '\0';
    survey->blocks = survey->suspect = false;
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

void survey_string(struct survey *survey, const uint32_t *path, uint32_t depth, const char *text,
                   size_t size)
{
    if (depth == 2 && path[1] == AT_NAME) {
        finish_command(survey);
        if (!command_name(text, size, survey->name))
            survey->name[0] = '\0'; /* nobody can ask for it by that name */
        /* Redis makes it a command of Sentinels only. */
        if (strcmp(survey->name, "SENTINEL") == 0)
            survey->sentinel = true;
        else if (strcmp(survey->name, "GET") == 0)
            survey->data = true;
        return;
    }
    if (depth == 4 && path[1] == AT_SUBCOMMANDS && path[3] == AT_NAME)
        survey->suspect = true;
    /* A subcommand's flags count for the whole family. */
    if (depth == 5 && path[1] == AT_SUBCOMMANDS) {
        path += 2;
        depth -= 2;
    }
    if (depth != 3)
        return;
    survey->suspect = survey->suspect || is_of_sessions(path[1], text, size);
    /* Redis 6 says it by the category alone. */
    if ((path[1] == AT_FLAGS && is_text(text, size, "blocking")) ||
        (path[1] == AT_CATEGORIES && is_text(text, size, "@blocking"))) {
        survey->blocks = true;
        survey->speaks = true;
    }
}

void survey_refuse(struct survey *survey)
{
    survey->refused = true;
}

void survey_end(struct survey *survey)
{
    finish_command(survey);
    survey->due = survey->asking = false;
    survey->fresh = true;
    survey->failures = 0;
    /* Older than Redis 6: it has no word for it. */
    if (!survey->speaks)
        survey->returning[0] = '\0';
}

void survey_put_off(struct survey *survey)
{
    survey->asking = false;
    survey->blocking[0] = survey->returning[0] = '\0';
}

void survey_fail(struct survey *survey)
{
    survey->asking = false;
    survey->blocking[0] = survey->returning[0] = survey->suspects[0] = '\0';
    survey->more_suspects = false;
    survey->due = ++survey->failures < SURVEY_TRIES;
    survey->given_up = !survey->due;
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
static bool collect_first(struct entries *entries, const struct survey *survey,
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
    collect(entries, COMMAND_MARK_SESSION, survey->suspects);
    room = entries->all && !survey->more_suspects;
    entries->all = all;
    return room;
}

size_t survey_publish(const struct survey *survey, const char *exclusive,
                      char text[CATALOG_COMMANDS_SIZE], bool *all)
{
    struct entries entries = {.all = !survey->left_out};
    size_t used = 0;

    /* What is left out must be what matters least: a connection too many for a command. */
    if (!collect_first(&entries, survey, exclusive, true)) {
        entries = (struct entries){.all = !survey->left_out};
        collect_first(&entries, survey, exclusive, false);
    }
    collect(&entries, COMMAND_MARK_BLOCKS, survey->blocking);
    collect(&entries, COMMAND_MARK_RETURNS, survey->returning);
    qsort(entries.entry, entries.count, sizeof *entries.entry, compare_entries);
    memset(text, 0, CATALOG_COMMANDS_SIZE);
    for (size_t i = 0; i < entries.count; i++)
        used += (size_t)snprintf(text + used, CATALOG_COMMANDS_SIZE - used, "%s%c%s",
                                 used ? " " : "", entries.entry[i].mark, entries.entry[i].name);
    *all = entries.all;
    return used;
}
