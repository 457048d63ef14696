/* SPDX-License-Identifier: MIT */
/* Whole configurations, and setting keys of one that is in force: see config.h. */
#include "broker/config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "broker/base/secret.h"
#include "broker/config/accounts.h"
#include "broker/config/checks.h"
#include "broker/config/encryption.h"
#include "broker/config/environment.h"
#include "broker/config/file.h"
#include "broker/config/values.h"

int config_load(const char *path, char *const *environment, config_report *report, void *context,
                struct config *config)
{
    struct loader loader = {.config = config,
                            .report = report,
                            .context = context,
                            .environment = environment,
                            .line_max = config_line_max()};

    *config = (struct config){0};
    config->path = config_keep(&loader, path);
    if (!config->path)
        return -ENOMEM;
    config_set_defaults(&loader, &config_sections[SECTION_BROKER], &config->broker);
    if (config_read_file(&loader) == 0) {
        config_read_environment(&loader);
        if (!loader.no_memory)
            config_check(&loader);
    }
    free(loader.buffer);
    if (loader.errors == 0 && !loader.no_memory)
        return 0;
    config_free(config);
    return loader.no_memory ? -ENOMEM : -EINVAL;
}

void pool_config_free(struct pool_config *pool)
{
    secret_free(pool->password, pool->password_size);
    free(pool->password_file);
    free(pool->password_path);
    free(pool->password_command);
    free(pool->username);
    free(pool->client_name);
    free(pool->primary);
    free(pool->replicas);
    free(pool->serves);
    free(pool->allow_uids.ranges);
    free(pool->allow_gids.ranges);
    id_names_free(&pool->allow_users);
    id_names_free(&pool->allow_groups);
    free(pool->exclusive_commands);
    redis_address_free(&pool->redis);
    pool_tls_free(&pool->tls);
}

void config_free(struct config *config)
{
    for (uint32_t i = 0; i < config->pool_count; i++)
        pool_config_free(&config->pools[i]);
    free(config->pools);
    free(config->broker.socket);
    free(config->broker.metrics);
    free(config->path);
    *config = (struct config){0};
}

/* What a running broker is built on. */
static bool is_fixed(const struct key *key)
{
    return key->offset == offsetof(struct broker_config, max_workers);
}

const char *config_needs_restart(const struct broker_config *now, const struct broker_config *then)
{
    if (strcmp(now->socket, then->socket) != 0)
        return "socket";
    if (strcmp(now->metrics ? now->metrics : "", then->metrics ? then->metrics : "") != 0)
        return "metrics";
    return now->max_workers != then->max_workers ? "max_workers" : NULL;
}

/* The size of a value that is nothing but itself; 0: it is text, or a list. */
static size_t plain_size(const struct key *key)
{
    switch (key->type) {
    case KEY_SWITCH:
        return sizeof(bool);
    case KEY_CHOICE:
    case KEY_COUNT:
    case KEY_DURATION:
        return sizeof(uint32_t);
    default:
        return 0;
    }
}

/* Results: 0, the section is as it is to be; -EINVAL, it was reported. */
static int try_value(struct place *place, struct pool_config *pool, struct broker_config *broker,
                     const char *value)
{
    struct loader *loader = place->loader;

    if (plain_size(place->key) == 0 || (!pool && is_fixed(place->key))) {
        config_complain(place, "cannot be set while the broker runs; %s",
                        pool ? "change the configuration and reload it"
                             : "change the configuration and restart the broker");
        return -EINVAL;
    }
    config_parse_value(place, value, pool ? (void *)pool : (void *)broker);
    if (pool && loader->errors == 0)
        config_check_pool(loader, pool);
    return loader->errors == 0 ? 0 : -EINVAL;
}

int config_set(struct config *config, struct pool_config *pool, const char *name, const char *value,
               config_report *report, void *context)
{
    struct loader loader = {
        .config = config, .report = report, .context = context, .line_max = config_line_max()};
    const struct section *section = &config_sections[pool ? SECTION_POOL : SECTION_BROKER];
    struct place place = {.loader = &loader, .pool = pool, .origin.variable = "lendisctl set="};
    struct pool_config trial = {0};
    struct broker_config trial_broker = config->broker;
    char text[CONFIG_TEXT_SIZE], advice[64];

    place.key = config_find_key(section, name);
    if (!place.key) {
        config_suggest(section, name, advice, sizeof advice);
        snprintf(text, sizeof text, "%.40s is not a key of %s; %s", name,
                 pool ? "a pool" : "[broker]", advice);
        config_report_text(&loader, LOG_LEVEL_ERR, text);
        return -EINVAL;
    }
    if (pool)
        trial = *pool;
    if (try_value(&place, pool ? &trial : NULL, &trial_broker, value) != 0)
        return -EINVAL;
    if (pool)
        memcpy((char *)pool + place.key->offset, (char *)&trial + place.key->offset,
               plain_size(place.key));
    else
        memcpy((char *)&config->broker + place.key->offset,
               (char *)&trial_broker + place.key->offset, plain_size(place.key));
    return 0;
}

bool id_list_contains(const struct id_list *list, uint32_t id)
{
    for (size_t i = 0; i < list->count; i++)
        if (id >= list->ranges[i].first && id <= list->ranges[i].last)
            return true;
    return false;
}
