/* SPDX-License-Identifier: MIT */
/* Variables: see environment.h. */
#include "broker/config/environment.h"

#include <ctype.h>
#include <string.h>
#include "broker/config/values.h"

size_t environment_name(const char *name, char *text)
{
    size_t size = strlen(name);

    for (size_t i = 0; i <= size; i++)
        text[i] = name[i] == '-' || name[i] == '.' ? '_' : (char)toupper((unsigned char)name[i]);
    return size;
}

/* The key whose name is `text` up to the '='; the environment has them in capitals. */
static const struct key *find_variable(const struct section *section, const char *text)
{
    for (size_t i = 0; i < section->count; i++) {
        char name[64];
        size_t size = environment_name(section->keys[i].name, name);

        if (strncmp(text, name, size) == 0 && text[size] == '=')
            return &section->keys[i];
    }
    return NULL;
}

/* `rest` is where the key's name begins in `variable`. */
static void unknown_variable(struct loader *loader, const char *variable, const char *rest,
                             const struct section *section, const char *pool)
{
    char text[CONFIG_TEXT_SIZE], name[64], advice[64];

    snprintf(name, sizeof name, "%.*s", (int)strcspn(rest, "="), rest);
    config_suggest(section, name, advice, sizeof advice);
    snprintf(text, sizeof text, "%.*s: is not a key of [%s%s%s]; %s", (int)strcspn(variable, "="),
             variable, section->name, pool ? " " : "", pool ? pool : "", advice);
    loader->errors++;
    config_report_text(loader, LOG_LEVEL_ERR, text);
}

static void take_broker_variable(struct loader *loader, const char *variable)
{
    const char *rest = variable + strlen("LENDIS_BROKER_");
    struct place place = {.loader = loader, .origin.variable = variable};

    place.key = find_variable(&config_sections[SECTION_BROKER], rest);
    if (!place.key) {
        unknown_variable(loader, variable, rest, &config_sections[SECTION_BROKER], NULL);
        return;
    }
    loader->config->broker.origins[place.key - config_sections[SECTION_BROKER].keys] = place.origin;
    config_parse_value(&place, strchr(rest, '=') + 1, &loader->config->broker);
}

/* One way to read a variable's name. */
struct reading {
    struct pool_config *pool;
    const struct key *key; /* NULL: it is the pool's name, and no key follows */
    const char *rest;      /* behind the pool's name */
};

/* All ways to read `rest`, what follows LENDIS_POOL_: the first in *reading, the first other one
 * with a key in *other. Returns how many have a key. */
static unsigned read_variable(struct loader *loader, const char *rest, struct reading *reading,
                              struct reading *other)
{
    unsigned count = 0;

    *reading = *other = (struct reading){0};
    for (uint32_t i = 0; i < loader->config->pool_count; i++) {
        struct reading each = {.pool = &loader->config->pools[i]};
        char name[CATALOG_NAME_SIZE];
        size_t size = environment_name(each.pool->name, name);

        if (strncmp(rest, name, size) != 0 || rest[size] != '_')
            continue;
        each.rest = rest + size + 1;
        each.key = find_variable(&config_sections[SECTION_POOL], each.rest);
        if (each.key && count++ > 0)
            *other = each;
        else if (each.key || !reading->key)
            *reading = each;
    }
    return count;
}

/* No pool of ours: it may be of another broker, or misspelt. */
static void unknown_pool(struct loader *loader, const char *variable)
{
    const char *rest = variable + strlen("LENDIS_POOL_");
    const struct pool_config *nearest = NULL;
    char text[CONFIG_TEXT_SIZE], written[CATALOG_NAME_SIZE], best[CATALOG_NAME_SIZE];
    size_t least = SIZE_MAX;

    for (uint32_t i = 0; i < loader->config->pool_count; i++) {
        char name[CATALOG_NAME_SIZE], lower[CATALOG_NAME_SIZE];
        size_t size = environment_name(loader->config->pools[i].name, name), far;

        snprintf(written, sizeof written, "%.*s",
                 (int)(strcspn(rest, "=") < size ? strcspn(rest, "=") : size), rest);
        for (size_t at = 0; at <= size; at++)
            lower[at] = (char)tolower((unsigned char)name[at]);
        far = config_distance(written, lower);
        if (far < least) {
            least = far;
            nearest = &loader->config->pools[i];
            memcpy(best, name, sizeof best);
        }
    }
    snprintf(text, sizeof text, "%.*s: there is no such pool; it is ignored%s%s%s%s%s",
             (int)strcspn(variable, "="), variable, nearest ? ". The nearest is [pool " : "",
             nearest ? nearest->name : "", nearest ? "], LENDIS_POOL_" : "", nearest ? best : "",
             nearest ? "_..." : "");
    config_report_text(loader, LOG_LEVEL_WARNING, text);
}

static void take_pool_variable(struct loader *loader, const char *variable)
{
    const char *rest = variable + strlen("LENDIS_POOL_");
    struct place place = {.loader = loader, .origin.variable = variable};
    struct reading reading, other;
    char text[CONFIG_TEXT_SIZE];

    if (read_variable(loader, rest, &reading, &other) > 1) {
        snprintf(text, sizeof text,
                 "%.*s: can be read as %s of [pool %s] and as %s of [pool %s]; set it in the file, "
                 "or rename one of the pools",
                 (int)strcspn(variable, "="), variable, reading.key->name, reading.pool->name,
                 other.key->name, other.pool->name);
        loader->errors++;
        config_report_text(loader, LOG_LEVEL_ERR, text);
    } else if (reading.key) {
        place.pool = reading.pool;
        place.key = reading.key;
        reading.pool->origins[place.key - config_sections[SECTION_POOL].keys] = place.origin;
        config_parse_value(&place, strchr(rest, '=') + 1, reading.pool);
    } else if (reading.pool) {
        unknown_variable(loader, variable, reading.rest, &config_sections[SECTION_POOL],
                         reading.pool->name);
    } else {
        unknown_pool(loader, variable);
    }
}

/* Of others than the broker: lendis(7), and what the tests have. Or made for a service of this name
 * by whoever runs containers. */
static bool is_of_others(const char *variable)
{
    static const char *const names[] = {"LENDIS_SOCKET=", "LENDIS_LIBRARY=", "LENDIS_PRELOAD",
                                        "LENDIS_BUILD=",  "LENDIS_KEEP=",    "LENDIS_PORT",
                                        "LENDIS_SERVICE_"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static void warn_of_variable(struct loader *loader, const char *variable)
{
    char text[CONFIG_TEXT_SIZE], name[32];
    size_t broker, pool;

    snprintf(name, sizeof name, "%.*s", (int)strcspn(variable, "="), variable);
    name[strcspn(name + strlen("LENDIS_"), "_") + strlen("LENDIS_")] = '\0';
    broker = config_distance(name, "lendis_broker");
    pool = config_distance(name, "lendis_pool");
    snprintf(text, sizeof text,
             "%.*s: means nothing to the broker; it is ignored. The nearest is LENDIS_%s",
             (int)strcspn(variable, "="), variable,
             broker < pool ? "BROKER_<KEY>" : "POOL_<NAME>_<KEY>");
    config_report_text(loader, LOG_LEVEL_WARNING, text);
}

void config_read_environment(struct loader *loader)
{
    for (char *const *at = loader->environment; at && *at; at++) {
        if (!strchr(*at, '='))
            continue;
        if (strncmp(*at, "LENDIS_BROKER_", strlen("LENDIS_BROKER_")) == 0)
            take_broker_variable(loader, *at);
        else if (strncmp(*at, "LENDIS_POOL_", strlen("LENDIS_POOL_")) == 0)
            take_pool_variable(loader, *at);
        else if (strncmp(*at, "LENDIS_", strlen("LENDIS_")) == 0 && !is_of_others(*at))
            warn_of_variable(loader, *at);
    }
}

const char *environment_look_up(char *const *environment, const char *name)
{
    size_t size = strlen(name);

    for (char *const *at = environment; at && *at; at++)
        if (strncmp(*at, name, size) == 0 && (*at)[size] == '=')
            return *at + size + 1;
    return NULL;
}
