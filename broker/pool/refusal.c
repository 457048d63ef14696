/* SPDX-License-Identifier: MIT */
/* Reporting what a server refuses: see refusal.h. */
#include "broker/pool/refusal.h"

#include "broker/pool/pool.h"

void refusal_report(struct broker_pool *pool)
{
    uint32_t fresh = rights_report(&pool->rights);

    shm_store32(&pool->owner.catalog->refused, pool->rights.refused);
    for (uint32_t i = 0; i < RIGHT_COUNT; i++)
        if (fresh >> i & 1)
            log_limited(&pool->refusal_limit, LOG_LEVEL_NOTICE, "pool %s: %s %s %s: %s",
                        pool->config->name, pool->config->redis.text,
                        pool->rights.costly >> i & 1 ? "closes the connection at" : "refuses",
                        right_command((enum right)i), right_lost((enum right)i));
}
