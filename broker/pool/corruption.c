/* SPDX-License-Identifier: MIT */
/* What workers overwrote: see corruption.h. */
#include "broker/pool/corruption.h"

#include <string.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "broker/pool/internal.h"
#include "lendis/mailbox.h"

/*
 * Corrupted words that are repaired at once, per connection and window; then the pool has to wait.
 */
#define PER_CONNECTION 4u
#define WINDOW_MS      10000u
#define PAUSE_US       1000000u

static void pause_repairs(struct broker_pool *pool)
{
    pool->parts->corruption.paused = true;
    timer_set(pool->parts->corruption.repair, PAUSE_US);
    log_limited(&pool->parts->corruption.limit, LOG_LEVEL_WARNING,
                "pool %s: its shared memory is being overwritten by one of its workers; repairs "
                "are slowed down",
                pool->config->name);
}

void corruption_found(struct broker_connection *connection)
{
    struct broker_pool *pool = broker_pool_of(connection);
    uint64_t now = clock_ms();

    pool->parts->corruption.tainted = true;
    if (connection->state == CONNECTION_OPEN)
        connection_close(connection, CLOSE_corrupted);
    else
        connection_restore(connection);
    if (now - pool->parts->corruption.since_ms > WINDOW_MS) {
        pool->parts->corruption.since_ms = now;
        pool->parts->corruption.count = 0;
    }
    pool->parts->corruption.count++;
    if (pool->parts->corruption.count > PER_CONNECTION * pool->config->size &&
        !pool->parts->corruption.paused)
        pause_repairs(pool);
}

static int on_repair(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;

    (void)source;
    (void)usec;
    pool->parts->corruption.paused = false;
    pool->parts->corruption.count = 0;
    pool->parts->corruption.since_ms = clock_ms();
    if (!pool->draining)
        deferred_want(pool, DEFERRED_INSPECT);
    return 0;
}

/* ---- the whole segment ---- */

/* Whether somebody could queue up and be found, now that nobody waits. */
static bool queue_works(const struct segment *segment)
{
    uint64_t ticket, found;
    uint32_t slot;
    bool good;

    if (segment_is_closed(segment))
        return true; /* it serves nobody now; when the next one leaves it may */
    if (queue_push(segment, 0, CELL_WAITING, &ticket) != 0)
        return false;
    good = queue_head(segment, &found, &slot) != CELL_FREE && found == ticket && slot == 0;
    return queue_leave(segment, 0, ticket) && good;
}

/*
 * The last worker has left a segment that was corrupted: what it corrupted is put right. It is the
 * same memory, for a child of that worker may still have it mapped and attach later. What was open
 * is not to be trusted.
 */
static void restore(struct broker_pool *pool)
{
    const struct segment *segment = &pool->owner.segment;

    memcpy(segment->base, &pool->header, sizeof pool->header);
    shm_store(&segment->queue->head, 0);
    shm_store(&segment->queue->tail, 0);
    for (uint32_t i = 0; i < segment->cell_count; i++)
        shm_store(&segment->cells[i], cell_make(CELL_FREE, 0, 0));
    for (uint32_t i = 0; i < segment->slot_max; i++) {
        shm_store32(&segment->slots[i].wake, WAKE_NONE);
        shm_store32(&segment->slots[i].polls, 0);
        shm_store32(&segment->slots[i].owner, i < segment->worker_max ? 1 + i : 0);
        /* Its next sequence: whoever remembers an earlier one is not to find it again. */
        shm_store(&segment->slots[i].mail,
                  mail_with(mail_next(shm_load(&segment->slots[i].mail)), MAIL_FREE));
    }
    for (uint32_t i = 0; i < CHUNKS; i++)
        shm_store32(&segment->chunk_owners[i].slot, 0);
    memset(segment->shards, 0, sizeof *segment->shards * HISTOGRAM_SHARDS);
    for (uint32_t i = 0; i < pool->places; i++)
        if (pool->connections[i].state == CONNECTION_OPEN)
            connection_close(&pool->connections[i], CLOSE_corrupted);
        else
            connection_restore(&pool->connections[i]);
    pool->parts->corruption.tainted = false;
    log_limited(
        &pool->parts->corruption.limit, LOG_LEVEL_NOTICE,
        "pool %s: its shared memory was overwritten by a worker that has left; it is restored",
        pool->config->name);
}

void corruption_all_left(struct broker_pool *pool)
{
    if (pool->parts->corruption.tainted || !queue_works(&pool->owner.segment))
        restore(pool);
}

int corruption_start(struct broker_pool *pool)
{
    return timer_new(pool->owner.event, &pool->parts->corruption.repair, on_repair, pool);
}

void corruption_stop(struct broker_pool *pool)
{
    pool->parts->corruption.repair = sd_event_source_disable_unref(pool->parts->corruption.repair);
}
