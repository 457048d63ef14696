/* SPDX-License-Identifier: MIT */
/* What is known of a server: see server.h. */
#include "broker/pool/server/server.h"

#include <string.h>
#include "broker/pool/internal.h"

void server_renew(struct broker_pool *pool)
{
    command_info_renew(&pool->parts->server.commands);
    rights_renew(&pool->parts->server.rights);
}

static void report_refusals(struct broker_pool *pool)
{
    uint32_t fresh = rights_report(&pool->parts->server.rights);

    shm_store32(&pool->owner.catalog->refused, pool->parts->server.rights.refused);
    for (uint32_t i = 0; i < RIGHT_COUNT; i++)
        if (fresh >> i & 1)
            log_limited(&pool->parts->server.refusal_limit, LOG_LEVEL_NOTICE,
                        "pool %s: %s %s %s: %s", pool->config->name, pool->config->redis.text,
                        pool->parts->server.rights.costly >> i & 1 ? "closes the connection at"
                                                                   : "refuses",
                        right_command((enum right)i), right_lost((enum right)i));
}

void server_refuses(struct broker_pool *pool, uint32_t rights)
{
    rights_refuse(&pool->parts->server.rights, rights);
    pool->parts->server.rights.reported |= rights;
    report_refusals(pool);
}

void server_publish_commands(struct broker_pool *pool)
{
    struct catalog_pool *entry = pool->owner.catalog;
    char text[CATALOG_COMMANDS_SIZE];
    size_t size;
    bool all;

    size = command_info_publish(&pool->parts->server.commands, pool->config->exclusive_commands,
                                text, &all);
    if (!all)
        log_limited(&pool->parts->server.commands_limit, LOG_LEVEL_WARNING,
                    "pool %s: more commands need a connection for themselves than there is room "
                    "for; list those that matter in exclusive_commands",
                    pool->config->name);
    if (memcmp(text, entry->commands, sizeof text) == 0)
        return;
    log_limited(&pool->parts->server.commands_limit, LOG_LEVEL_INFO,
                "pool %s: commands other than in lendis' own table: %s", pool->config->name,
                size > 0 ? text : "none");
    catalog_write_begin(entry);
    memcpy(entry->commands, text, sizeof text);
    shm_store32(&entry->commands_size, (uint32_t)size);
    catalog_write_end(entry);
}

void server_dial_failed(struct broker_pool *pool)
{
    if (!pool->parts->server.commands.given_up)
        return;
    pool->parts->server.commands.given_up = false;
    log_limited(&pool->parts->server.commands_limit, LOG_LEVEL_WARNING,
                "pool %s: %s does not answer COMMAND; what it says of blocking commands stays "
                "unknown",
                pool->config->name, pool->config->redis.text);
    server_refuses(pool, RIGHT_BIT(command));
}

void server_dialled(struct broker_pool *pool)
{
    struct server *server = &pool->parts->server;

    if (server->commands.fresh && server->commands.refused)
        rights_refuse(&server->rights, RIGHT_BIT(command));
    report_refusals(pool);
    if (!server->commands.fresh)
        return;
    server->commands.fresh = false;
    server_publish_commands(pool);
}
