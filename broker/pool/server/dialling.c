/* SPDX-License-Identifier: MIT */
/* Opening connections: see dialling.h. */
#include "broker/pool/server/dialling.h"

#include "broker/pool/internal.h"
#include "broker/redis/dial_error.h"

void dialling_refill(struct broker_pool *pool)
{
    sizing_settle(pool);
    if (sizing_demand(pool) == DEMAND_NONE || !target_is_ready(pool))
        return;
    pool->parts->dialling.turn.node = pool->parts->target.node;
    dialler_ask(pool->owner.dialler, &pool->parts->dialling.turn);
}

void dialling_failed(struct broker_pool *pool, const struct broker_connection *connection,
                     const char *error)
{
    enum dial_reason reason = dial_reason(error);

    if (reason == DIAL_login)
        credential_refused(pool, connection->login);
    target_pass(pool, connection->address);
    health_dial_failed(pool, connection->probe, reason, error);
}

static void dial_next(struct dial_turn *turn)
{
    struct broker_pool *pool = ((struct dialling *)turn)->pool;
    struct dial_target target;
    struct broker_connection *connection;
    char error[DIAL_ERROR_SIZE];
    enum demand demand = sizing_demand(pool);

    /* Things may have changed while the turn was waited for. */
    if (demand == DEMAND_NONE || !target_get(pool, &target))
        return;
    target.command_info = &pool->parts->server.commands;
    connection = sizing_place(pool);
    if (!connection)
        return;
    connection->address = (uint8_t)pool->parts->target.current;
    connection->probe = pool->parts->health.failures > 0;
    connection->successor = demand == DEMAND_SUCCESSOR;
    credential_note_dial(pool, connection);
    if (connection_dial(connection, &target, error) != 0)
        dialling_failed(pool, connection, error);
    dialling_refill(pool);
}

void dialling_withdraw(struct broker_pool *pool)
{
    dialler_withdraw(pool->owner.dialler, &pool->parts->dialling.turn);
}

void dialling_end(struct broker_pool *pool, enum close_reason reason)
{
    for (uint32_t i = 0; i < pool->places; i++)
        if (pool->connections[i].state == CONNECTION_DIALLING)
            connection_close(&pool->connections[i], reason);
}

void dialling_start(struct broker_pool *pool)
{
    pool->parts->dialling = (struct dialling){.turn.run = dial_next, .pool = pool};
}
