/* SPDX-License-Identifier: MIT */
/* Work that waits for the end of a call: see deferred.h. */
#include "broker/pool/deferred.h"

#include "broker/pool/internal.h"

static int on_deferred(sd_event_source *source, void *context)
{
    struct broker_pool *pool = context;
    uint32_t work = pool->parts->deferred.work;

    (void)source;
    pool->parts->deferred.work = 0;
    pool->parts->deferred.run(pool, work);
    return 0;
}

void deferred_want(struct broker_pool *pool, enum deferred_work work)
{
    pool->parts->deferred.work |= work;
    sd_event_source_set_enabled(pool->parts->deferred.source, SD_EVENT_ONESHOT);
}

int deferred_start(struct broker_pool *pool, deferred_run *run)
{
    int result =
        sd_event_add_defer(pool->owner.event, &pool->parts->deferred.source, on_deferred, pool);

    pool->parts->deferred.run = run;
    if (result >= 0)
        result = sd_event_source_set_enabled(pool->parts->deferred.source, SD_EVENT_OFF);
    if (result >= 0)
        result = sd_event_source_set_priority(pool->parts->deferred.source,
                                              SD_EVENT_PRIORITY_NORMAL - 1);
    return result < 0 ? result : 0;
}

void deferred_stop(struct broker_pool *pool)
{
    pool->parts->deferred.source = sd_event_source_disable_unref(pool->parts->deferred.source);
}
