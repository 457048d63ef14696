/* SPDX-License-Identifier: MIT */
/* Whether services leave a pool: see unwell.h. */
#include "broker/pool/server/unwell.h"

#include "broker/pool/internal.h"

static void publish(struct broker_pool *pool)
{
    struct unwell *unwell = &pool->parts->unwell;
    shm_u32 *mark = &pool->owner.catalog->unwell;
    const char *ill = unwell->ill;

    if (!ill && unwell->erring)
        ill = "it answers with errors about itself";
    if (shm_load32(mark) == (ill != NULL))
        return;
    shm_store32(mark, ill != NULL);
    log_limited(&unwell->limit, LOG_LEVEL_NOTICE, "pool %s: %s%s%s", pool->config->name,
                ill ? "is unwell: " : "is well", ill ? ill : "",
                ill ? "; services leave it while another member is well" : "");
}

void unwell_assume(struct broker_pool *pool, const char *ill)
{
    pool->parts->unwell.ill = ill;
    shm_store32(&pool->owner.catalog->unwell, 1);
}

void unwell_set_role(struct broker_pool *pool, const char *ill)
{
    pool->parts->unwell.ill = ill;
    publish(pool);
}

void unwell_set_erring(struct broker_pool *pool, bool erring)
{
    pool->parts->unwell.erring = erring;
    publish(pool);
}
