/* SPDX-License-Identifier: MIT */
/* What becomes of connections: see events.h. */
#include "broker/pool/events.h"

#include "broker/pool/casualty.h"
#include "broker/pool/internal.h"

static void on_dialled(struct broker_connection *connection)
{
    server_dialled(broker_pool_of(connection));
}

static void on_opened(struct broker_connection *connection)
{
    struct broker_pool *pool = broker_pool_of(connection);

    sizing_note_request(pool, false);
    credential_accepted(pool);
    health_dial_succeeded(pool);
    encryption_opened(pool);
    if (connection->state == CONNECTION_OPEN)
        maintenance_opened(pool, connection);
    name_watch_opened(pool, connection);
    lease_limits_wake(pool);
    dialling_refill(pool);
}

static void on_failed(struct broker_connection *connection, const char *error)
{
    struct broker_pool *pool = broker_pool_of(connection);

    if (error == dial_again)
        server_dial_failed(pool);
    else
        dialling_failed(pool, connection, error);
    dialling_refill(pool);
}

static void on_lost(struct broker_connection *connection)
{
    struct broker_pool *pool = broker_pool_of(connection);
    uint64_t word;

    if (redirected_drop(pool, connection))
        return;
    word = revocation_take_ended(connection);
    log_limited(&pool->parts->lost_limit, LOG_LEVEL_DEBUG, "pool %s: Redis closed connection %u",
                pool->config->name, connection->index);
    health_connection_lost(pool, connection->opened_ms);
    connection_close(connection, CLOSE_lost);
    revocation_end_commands(pool, connection->index, word);
    /* The server may be restarting, with other modules. */
    if (pool->owner.open == 0) {
        server_renew(pool);
        cleaning_renew(pool);
    }
    target_forget(pool);
    health_update(pool);
    /* A server that lets us in and throws us out again, twice over: not as fast as we can. */
    if (health_is_churning(pool))
        casualty_inspect_all(pool); /* those whose doorbell was not noticed yet */
    if (health_is_churning(pool))
        health_slow_down(pool);
    dialling_refill(pool);
}

static void on_readable(struct broker_connection *connection)
{
    struct broker_pool *pool = broker_pool_of(connection);

    switch (cleaning_go_on(pool, connection)) {
    case CLEANING_LOST:
        on_lost(connection);
        return;
    case CLEANING_WELL:
        notice_checked(pool, true);
        break;
    case CLEANING_UNWELL:
        notice_checked(pool, false);
        break;
    case CLEANING_GOES_ON:
        break;
    }
    if (connection->state != CONNECTION_OPEN)
        deferred_want(pool, DEFERRED_SERVE);
}

void events_listen(struct connection_owner *owner)
{
    owner->dialled = on_dialled;
    owner->opened = on_opened;
    owner->failed = on_failed;
    owner->lost = on_lost;
    owner->readable = on_readable;
    owner->corrupted = corruption_found;
}
