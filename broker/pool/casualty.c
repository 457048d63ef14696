/* SPDX-License-Identifier: MIT */
/* Connections that were lost to a command: see casualty.h. */
#include "broker/pool/casualty.h"

#include <string.h>
#include "broker/pool/internal.h"

/* Any bytes can be in the segment; names of commands are of these. */
static void copy_name(char name[LOST_COMMAND_SIZE], const char *shared)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

    memcpy(name, shared, LOST_COMMAND_SIZE);
    name[LOST_COMMAND_SIZE - 1] = '\0';
    name[strspn(name, allowed)] = '\0';
}

static void log_loss(struct broker_pool *pool, uint32_t worker, const char *name)
{
    const struct catalog *catalog = pool->environment->catalog;
    uint32_t pid = worker < catalog->worker_max ? catalog->workers[worker].pid : 0;

    log_limited(&pool->parts->casualty_limit, LOG_LEVEL_NOTICE,
                "pool %s: a connection ended while Redis answered %s of process %u; it is not sent "
                "again. Too large a reply or argument (client-output-buffer-limit, "
                "proto-max-bulk-len), or CLIENT KILL?",
                pool->config->name, *name ? name : "a command", pid);
}

void casualty_inspect(struct broker_pool *pool, struct broker_connection *connection)
{
    struct connection *shared = &pool->owner.segment.connections[connection->index];
    uint64_t lost = shm_load(&shared->lost);
    char name[LOST_COMMAND_SIZE];

    if (lost == connection->lost_seen)
        return;
    connection->lost_seen = lost;
    copy_name(name, shared->lost_command);
    shm_add_relaxed(&pool->owner.catalog->counters[BROKER_COUNTER_casualties], 1);
    health_forgive(pool);
    /* With several commands on it nobody knows yet whose fault it was. */
    if (shm_load32(&shared->lost_by) != 0)
        log_loss(pool, shm_load32(&shared->lost_by) - 1, name);
}

void casualty_inspect_all(struct broker_pool *pool)
{
    for (uint32_t i = 0; i < pool->places; i++)
        casualty_inspect(pool, &pool->connections[i]);
}
