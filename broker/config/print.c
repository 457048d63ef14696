/* SPDX-License-Identifier: MIT */
/* Printing a configuration, and the table of keys: see config.h. */
#include "broker/config/config.h"
#include "broker/config/keys.h"
#include "broker/config/values.h"

static const char *const type_names[] = {
    [KEY_PATH] = "path",
    [KEY_SOCKET] = "path",
    [KEY_TEXT] = "text",
    [KEY_CHOICE] = "choice",
    [KEY_SWITCH] = "yes-or-no",
    [KEY_COUNT] = "count",
    [KEY_DURATION] = "duration",
    [KEY_REDIS] = "redis-url",
    [KEY_ADDRESSES] = "address-list",
    [KEY_IDS] = "id-list",
    [KEY_NAMES] = "name-list",
    [KEY_USERS] = "user-list",
    [KEY_GROUPS] = "group-list",
    [KEY_LISTEN] = "listen-address",
    [KEY_COMMAND_LINE] = "command-line",
};

static void print_ids(const struct id_list *list, FILE *out)
{
    for (size_t i = 0; i < list->count; i++) {
        fprintf(out, "%s%u", i ? " " : "", list->ranges[i].first);
        if (list->ranges[i].last != list->ranges[i].first)
            fprintf(out, "-%u", list->ranges[i].last);
    }
}

/* What is printed as it was written; NULL: it is not set, or is of another kind. */
static const char *text_of(const struct key *key, const void *field)
{
    switch (key->type) {
    case KEY_PATH:
    case KEY_SOCKET:
    case KEY_LISTEN:
    case KEY_TEXT:
    case KEY_COMMAND_LINE:
    case KEY_NAMES:
    case KEY_ADDRESSES:
        return *(char *const *)field;
    case KEY_REDIS:
        return ((const struct redis_address *)field)->text;
    case KEY_USERS:
    case KEY_GROUPS:
        return ((const struct id_names *)field)->text;
    default:
        return NULL;
    }
}

static bool is_set(const struct key *key, const void *field)
{
    switch (key->type) {
    case KEY_CHOICE:
    case KEY_SWITCH:
    case KEY_COUNT:
    case KEY_DURATION:
        return true;
    case KEY_IDS:
        return ((const struct id_list *)field)->count != 0;
    default:
        return text_of(key, field) != NULL;
    }
}

static void print_value(const struct key *key, const void *field, FILE *out)
{
    char text[32];

    switch (key->type) {
    case KEY_CHOICE:
        fputs(key->choices[*(const uint32_t *)field - key->min], out);
        break;
    case KEY_SWITCH:
        fputs(*(const bool *)field ? "yes" : "no", out);
        break;
    case KEY_COUNT:
        fprintf(out, "%u", *(const uint32_t *)field);
        break;
    case KEY_DURATION:
        config_format_duration(*(const uint32_t *)field, text, sizeof text);
        fputs(text, out);
        break;
    case KEY_IDS:
        print_ids(field, out);
        break;
    default:
        fputs(text_of(key, field), out);
    }
}

static void print_keys(const struct section *section, const void *target, FILE *out)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct key *key = &section->keys[i];
        const void *field = (const char *)target + key->offset;

        if (!is_set(key, field)) {
            fprintf(out, "# %s =\n", key->name);
            continue;
        }
        fprintf(out, "%s = ", key->name);
        print_value(key, field, out);
        fputc('\n', out);
    }
}

void config_print(const struct config *config, FILE *out)
{
    fprintf(out, "[broker]\n");
    print_keys(&config_sections[SECTION_BROKER], &config->broker, out);
    for (uint32_t i = 0; i < config->pool_count; i++) {
        fprintf(out, "\n[pool %s]\n", config->pools[i].name);
        print_keys(&config_sections[SECTION_POOL], &config->pools[i], out);
    }
}

/* What is allowed, in words; nothing where the type says it all. */
static void print_range(const struct key *key, FILE *out)
{
    char least[32], most[32];

    switch (key->type) {
    case KEY_CHOICE:
        for (size_t i = 0; key->choices[i]; i++)
            fprintf(out, "%s%s",
                    i == 0                        ? ""
                    : key->choices[i + 1] != NULL ? ", "
                                                  : " or ",
                    key->choices[i]);
        break;
    case KEY_COUNT:
        fprintf(out, "%ju to %ju", (uintmax_t)key->min, (uintmax_t)key->max);
        break;
    case KEY_DURATION:
        config_format_duration(key->min, least, sizeof least);
        config_format_duration(key->max, most, sizeof most);
        fprintf(out, "%s to %s", least, most);
        break;
    case KEY_TEXT:
    case KEY_COMMAND_LINE:
    case KEY_NAMES:
    case KEY_ADDRESSES:
        fprintf(out, "up to %ju characters", (uintmax_t)key->max);
        break;
    default:
        break;
    }
}

void config_list_keys(FILE *out)
{
    for (size_t i = 0; i < SECTION_COUNT; i++)
        for (size_t j = 0; j < config_sections[i].count; j++) {
            const struct key *key = &config_sections[i].keys[j];

            fprintf(out, "%s\t%s\t%s\t%s\t", config_sections[i].name, key->name,
                    type_names[key->type], key->fallback ? key->fallback : "");
            print_range(key, out);
            fprintf(out, "\t%s\t%s\n", key->help, key->more ? key->more : "");
        }
}
