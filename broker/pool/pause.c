/* SPDX-License-Identifier: MIT */
/* Pausing, draining and revoking: see pause.h. */
#include "broker/pool/pause.h"

static void tell_workers(struct broker_pool *pool, enum pool_gate gate)
{
    shm_u64 *gates = &pool->site->catalog->header->gates;
    uint64_t bit = UINT64_C(1) << pool->index;

    /* What it is before that it is: who finds the bit set reads the other. */
    if (gate != GATE_OPEN)
        shm_store32(&pool->owner.catalog->gate, gate);
    if (gate != GATE_OPEN)
        atomic_fetch_or_explicit(gates, bit, memory_order_seq_cst);
    else
        atomic_fetch_and_explicit(gates, ~bit, memory_order_seq_cst);
    if (gate == GATE_OPEN)
        shm_store32(&pool->owner.catalog->gate, gate);
}

static void stop_dialling(struct broker_pool *pool)
{
    dialler_withdraw(pool->owner.dialler, &pool->turn);
    for (uint32_t i = 0; i < pool->places; i++)
        if (pool->connections[i].state == CONNECTION_DIALLING)
            connection_close(&pool->connections[i], CLOSE_paused);
    /* Other pools' turns may have waited for these. */
    dialler_give_turns(pool->owner.dialler);
}

void gate_set(struct broker_pool *pool, enum pool_gate gate)
{
    enum pool_gate before = pool->gate;

    if (before == GATE_SERVICE)
        return;
    pool->gate = gate;
    tell_workers(pool, gate);
    if (gate == GATE_OPEN) {
        /* The server may have been stopped meanwhile, and started with other modules. */
        if (before != GATE_OPEN && pool->owner.open == 0)
            broker_pool_renew(pool);
        broker_pool_look_over(pool);
        return;
    }
    stop_dialling(pool);
    gate_step(pool);
}

uint32_t gate_step(struct broker_pool *pool)
{
    return broker_pool_close_returned(pool, CLOSE_paused);
}

static bool kill_one(struct broker_pool *pool, struct broker_connection *connection,
                     uint32_t worker)
{
    /* It can be on its way from one to another: a few looks, not one for each. */
    for (int looks = 0; looks < 4; looks++) {
        uint64_t word = shm_load(connection_word(connection));

        if (!word_is_out(word) ||
            (worker != GATE_ANY && word_holder(&pool->owner.segment, word) != worker))
            return false;
        if (broker_pool_revoke(pool, connection, word, REVOKE_killed))
            return true;
    }
    return false;
}

uint32_t gate_kill(struct broker_pool *pool, uint32_t index, uint32_t worker)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < pool->places; i++)
        if ((index == GATE_ANY || index == i) && pool->connections[i].state == CONNECTION_OPEN)
            count += kill_one(pool, &pool->connections[i], worker);
    broker_pool_look_over(pool);
    return count;
}
