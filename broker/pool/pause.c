/* SPDX-License-Identifier: MIT */
/* Pausing, draining and revoking: see pause.h. */
#include "broker/pool/pause.h"

#include "broker/pool/internal.h"

static void report_to_workers(struct broker_pool *pool, enum pause_state pause)
{
    shm_u64 *paused_pools = &pool->environment->catalog->header->paused_pools;
    uint64_t bit = UINT64_C(1) << pool->index;

    /* What it is before that it is: whoever finds the bit set reads the other. */
    if (pause != PAUSE_NONE)
        shm_store32(&pool->owner.catalog->pause, pause);
    if (pause != PAUSE_NONE)
        atomic_fetch_or_explicit(paused_pools, bit, memory_order_seq_cst);
    else
        atomic_fetch_and_explicit(paused_pools, ~bit, memory_order_seq_cst);
    if (pause == PAUSE_NONE)
        shm_store32(&pool->owner.catalog->pause, pause);
}

static void stop_dialling(struct broker_pool *pool)
{
    dialling_withdraw(pool);
    dialling_end(pool, CLOSE_paused);
    /* Other pools' turns may have waited for these. */
    dialler_give_turns(pool->owner.dialler);
}

enum pause_state pause_state(const struct broker_pool *pool)
{
    return pool->parts->pause.state;
}

void pause_set(struct broker_pool *pool, enum pause_state pause)
{
    enum pause_state before = pool->parts->pause.state;

    if (before == PAUSE_SERVICE)
        return;
    pool->parts->pause.state = pause;
    report_to_workers(pool, pause);
    role_watch_renew(pool);
    if (pause == PAUSE_NONE) {
        /* The server may have been stopped meanwhile, and started with other modules. */
        if (before != PAUSE_NONE && pool->owner.open == 0)
            server_renew(pool);
        deferred_want(pool, DEFERRED_INSPECT);
        return;
    }
    stop_dialling(pool);
    pause_step(pool);
}

uint32_t pause_close_returned(struct broker_pool *pool, enum close_reason reason)
{
    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[i];
        uint64_t word;

        if (connection->state != CONNECTION_OPEN)
            continue;
        if (connection_inspect(connection, &word) != FOUND_FINE || connection->reset ||
            word_check(connection_word(connection), &word))
            connection_close(connection, reason);
    }
    return pool->owner.open;
}

uint32_t pause_step(struct broker_pool *pool)
{
    return pause_close_returned(pool, CLOSE_paused);
}

static bool kill_one(struct broker_pool *pool, struct broker_connection *connection,
                     uint32_t worker)
{
    /* It can be on its way from one to another: a few tries, not one for each. */
    for (int tries = 0; tries < 4; tries++) {
        uint64_t word = shm_load(connection_word(connection));

        if (!word_is_out(word) ||
            (worker != PAUSE_ANY && word_holder(&pool->owner.segment, word) != worker))
            return false;
        if (revocation_take(pool, connection, word, REVOKE_killed))
            return true;
    }
    return false;
}

uint32_t pause_kill(struct broker_pool *pool, uint32_t index, uint32_t worker)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < pool->places; i++)
        if ((index == PAUSE_ANY || index == i) && pool->connections[i].state == CONNECTION_OPEN)
            count += kill_one(pool, &pool->connections[i], worker);
    revocation_report(pool);
    deferred_want(pool, DEFERRED_INSPECT);
    return count;
}
