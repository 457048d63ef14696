/* SPDX-License-Identifier: MIT */
/* Connections that lead elsewhere: see redirected.h. */
#include "broker/pool/server/redirected.h"

#include "broker/pool/internal.h"

static void report(struct broker_pool *pool, const struct broker_connection *connection)
{
    char who[128];

    socket_holders_text(&connection->holders, who, sizeof who);
    log_limited(&pool->parts->redirected.limit, LOG_LEVEL_WARNING,
                "pool %s: connection %u was connected elsewhere by one of its holders, and is "
                "replaced; %s",
                pool->config->name, connection->index, who);
}

bool redirected_close(struct broker_pool *pool, struct broker_connection *connection)
{
    if (!connection_is_redirected(connection))
        return false;
    report(pool, connection);
    connection_close(connection, CLOSE_redirected);
    return true;
}

bool redirected_drop(struct broker_pool *pool, struct broker_connection *connection)
{
    uint64_t word;

    if (!connection_is_redirected(connection))
        return false;
    word = revocation_take_ended(connection);
    redirected_close(pool, connection);
    revocation_end_commands(pool, connection->index, word);
    deferred_want(pool, DEFERRED_SERVE);
    return true;
}
