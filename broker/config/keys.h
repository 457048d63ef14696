/* SPDX-License-Identifier: MIT */
/*
 * What can be configured: one table of keys, which drives parsing, the environment, the defaults,
 * --print-config and --list-keys, and by that lendis.conf(5) and the example configuration
 * (deploy/generate.sh). It knows each key's field, type, limits, default and text, and nothing of
 * where values come from.
 */
#ifndef LENDIS_BROKER_CONFIG_KEYS_H
#define LENDIS_BROKER_CONFIG_KEYS_H

#include <stddef.h>
#include <stdint.h>
#include "lendis/segment.h"

enum key_type {
    KEY_PATH,
    KEY_SOCKET,
    KEY_LISTEN,
    KEY_TEXT,
    KEY_COMMAND_LINE,
    KEY_CHOICE,
    KEY_SWITCH,
    KEY_COUNT,
    KEY_DURATION,
    KEY_REDIS,
    KEY_ADDRESSES,
    KEY_IDS,
    KEY_NAMES,
    KEY_USERS,
    KEY_GROUPS
};

struct key {
    const char *name;
    enum key_type type;
    size_t offset;              /* of the field in its struct */
    const char *fallback;       /* the default, as it would be written; NULL: none */
    uint64_t min, max;          /* of counts, and of durations in milliseconds */
    const char *const *choices; /* of KEY_CHOICE; the first one's value is min; NULL ends them */
    /* What it is for, as the manual has it, in scdoc's marks: _key_, *value*. The help stands in
     * the example configuration, too. */
    const char *help;
    const char *more; /* NULL: the help says it all */
};

struct section {
    const char *name; /* "broker" or "pool" */
    const struct key *keys;
    size_t count;
};

enum { SECTION_BROKER, SECTION_POOL, SECTION_COUNT };

extern const struct section config_sections[SECTION_COUNT];

/* The words for enum pool_role. */
extern const char *const config_role_names[];

/* Characters of a command line: with the longest name of a key, it is a line of the file. */
#define PASSWORD_COMMAND_MAX 175u

/* Characters of a list of names: a line of the file; the catalog has room for it with all marks. */
#define CONFIG_NAMES_MAX 175u

/* Of a list of addresses: likewise. */
#define CONFIG_ADDRESSES_MAX 185u

/* Connections of a pool at most. */
#define CONFIG_SIZE_MOST (LENDIS_MAX_CONNECTIONS - LENDIS_SPARE_PLACES)

/* Results: the key of that name; NULL: there is none. */
const struct key *config_find_key(const struct section *section, const char *name);

/* How many letters must be changed, added or left out to make `b` of `a`. */
size_t config_distance(const char *a, const char *b);

/* What to do about `name`, which is no key: the key that may have been meant, or where they are. */
void config_suggest(const struct section *section, const char *name, char *text, size_t size);

#endif
