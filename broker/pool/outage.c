/* SPDX-License-Identifier: MIT */
/* Failing fast: see outage.h. */
#include "broker/pool/outage.h"

#include "broker/pool/poll_bells.h"
#include "broker/pool/pool.h"

/* All who wait look at what the catalog says now. */
static void wake_all(const struct broker_pool *pool)
{
    struct wake_set everybody = {.groups = UINT64_MAX};

    for (uint32_t i = 0; i < WAKE_GROUPS; i++)
        everybody.bits[i] = UINT32_MAX;
    wake_flush(&pool->owner.segment, &everybody);
}

void outage_look(struct broker_pool *pool)
{
    uint32_t limit = pool->config->fail_fast_after;
    uint32_t failing = limit > 0 && pool->failures >= limit && pool->owner.open == 0;
    shm_u32 *mark = &pool->owner.catalog->failing;

    if (shm_load32(mark) == failing)
        return;
    shm_store32(mark, failing);
    if (!failing)
        return;
    log_limited(&pool->health_limit, LOG_LEVEL_WARNING,
                "pool %s: %u dials in a row have failed: nobody waits any more until one succeeds",
                pool->config->name, pool->failures);
    wake_all(pool);
}
