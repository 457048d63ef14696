/* SPDX-License-Identifier: MIT */
/* The workers of a pool: see members.h. */
#include "broker/pool/members.h"

#include <errno.h>
#include <string.h>
#include "broker/pool/internal.h"
#include "lendis/mailbox.h"

int broker_pool_descriptor(struct broker_pool *pool, uint32_t index, uint64_t generation,
                           const struct ucred *peer, int *fd)
{
    struct broker_connection *connection;

    if (index >= pool->places)
        return -EINVAL;
    connection = &pool->connections[index];
    if (connection->state != CONNECTION_OPEN || connection->generation != generation)
        return -ESTALE;
    if (redirected_drop(pool, connection))
        return -ESTALE;
    connection->holders.count++;
    connection->holders.pid = (uint32_t)peer->pid;
    connection->holders.uid = peer->uid;
    *fd = connection->fd;
    return 0;
}

int broker_pool_poll_wakeup(struct broker_pool *pool, uint32_t group, int *fd)
{
    return poll_wakeups_find(&pool->parts->poll_wakeups, group, fd);
}

/* ---- coming ---- */

void broker_pool_attach(struct broker_pool *pool, uint32_t worker, uint32_t tenant)
{
    const struct segment *segment = &pool->owner.segment;

    for (uint32_t i = 0; i < COUNTER_COUNT; i++)
        shm_store_relaxed(&segment->workers[worker].counters[i], 0);
    shm_store32(&segment->slots[worker].wake, WAKE_NONE);
    shm_store32(&segment->slots[worker].polls, 0);
    shm_store32(&segment->slots[worker].owner, 1 + worker);
    shm_store32(&segment->slots[worker].tenant, tenant);
    /* Whoever maps the segment checks its header, which another worker may have overwritten. */
    if (memcmp(segment->base, &pool->header, sizeof pool->header) != 0)
        memcpy(segment->base, &pool->header, sizeof pool->header);
    worker_set_put(&pool->parts->members.attached, worker, true);
    lease_limits_wake(pool);
    shm_add_relaxed(&pool->owner.catalog->counters[BROKER_COUNTER_attached], 1);
}

void broker_pool_adopt_worker(struct broker_pool *pool, uint32_t worker, uint32_t tenant)
{
    shm_store32(&pool->owner.segment.slots[worker].tenant, tenant);
    worker_set_put(tenant == 0 ? &pool->parts->members.expelled : &pool->parts->members.attached,
                   worker, true);
}

void broker_pool_readmit(struct broker_pool *pool, uint32_t worker, uint32_t tenant)
{
    worker_set_put(&pool->parts->members.expelled, worker, false);
    worker_set_put(&pool->parts->members.attached, worker, true);
    shm_store32(&pool->owner.segment.slots[worker].tenant, tenant);
}

/* ---- leaving ---- */

struct departure {
    const struct broker_pool *pool;
    uint32_t worker;
};

static bool departed_has(uint32_t slot, void *context)
{
    const struct departure *departure = context;

    return slot_worker(&departure->pool->owner.segment, slot) == departure->worker;
}

/* What became of a connection at the departure of a worker. */
enum taken { TAKEN_NOT, TAKEN_RETURNED, TAKEN_REVOKED };

/*
 * Takes what worker `worker` has by `word`. A worker that may live ends its commands itself, or
 * their owners get a report.
 */
static bool revoke_of(struct broker_pool *pool, struct broker_connection *connection, uint64_t word,
                      uint32_t worker)
{
    return worker_set_has(&pool->parts->members.expelled, worker)
               ? revocation_take(pool, connection, word, REVOKE_died)
               : connection_revoke(connection, word, REVOKE_died);
}

/* Takes `connection` from `worker`, which is gone or expelled, if it has it. */
static enum taken take_back(struct broker_pool *pool, struct broker_connection *connection,
                            uint32_t worker)
{
    /* A live worker can be passing it to the dead one or taking it back: a few tries, not one for
     * each. */
    for (int tries = 0; tries < 4; tries++) {
        uint64_t word = shm_load(connection_word(connection));

        if (word_holder(&pool->owner.segment, word) != worker)
            return TAKEN_NOT;
        if (word_state(word) == WORD_UNCLEAN) {
            cleaning_take(pool, connection, word);
            return TAKEN_NOT;
        }
        /* What it gave back before it went is no lease any more. */
        if (word_state(word) == WORD_RETURNED && word_reclaim(connection_word(connection), word)) {
            connection_close(connection, CLOSE_returned);
            return TAKEN_RETURNED;
        }
        if (word_state(word) != WORD_RETURNED && revoke_of(pool, connection, word, worker))
            return TAKEN_REVOKED;
    }
    return TAKEN_NOT;
}

static void free_slots(struct broker_pool *pool, uint32_t worker)
{
    const struct segment *segment = &pool->owner.segment;

    mail_owner_died(segment, worker);
    stalled_owner_died(pool, worker);
    shm_store32(&segment->slots[worker].wake, WAKE_NONE);
    shm_store32(&segment->slots[worker].polls, 0);
    for (uint32_t slot = segment->worker_max; slot < segment->slot_max; slot++)
        if (slot_worker(segment, slot) == worker) {
            mail_owner_died(segment, slot);
            stalled_owner_died(pool, slot);
            shm_store32(&segment->slots[slot].wake, WAKE_NONE);
            shm_store32(&segment->slots[slot].polls, 0);
            shm_store32(&segment->slots[slot].owner, 0);
        }
    shm_store32(&segment->slots[worker].tenant, 0);
}

/*
 * Takes all that `worker` has; what it held is added to `lost` (may be NULL). Returns how many
 * leases.
 */
static uint32_t take_all_back(struct broker_pool *pool, uint32_t worker, uint64_t *lost)
{
    struct departure departure = {.pool = pool, .worker = worker};
    uint32_t leases = 0;

    /* Out of the queue before its hand-overs are collected, so that no new one can be completed. */
    queue_evict(&pool->owner.segment, departed_has, &departure);
    for (uint32_t i = 0; i < pool->places; i++) {
        uint64_t word = word_make(WORD_LEASED, worker, pool->connections[i].generation);
        enum taken taken = TAKEN_NOT;

        if (pool->connections[i].state == CONNECTION_OPEN)
            taken = take_back(pool, &pool->connections[i], worker);
        if (taken != TAKEN_NOT && lost)
            lost[i] = word;
        leases += taken == TAKEN_REVOKED;
    }
    return leases;
}

/*
 * A worker has left. It may have been in the middle of handing over, or a hand-over to it may be
 * under way.
 */
static void serve_the_others(struct broker_pool *pool)
{
    for (uint32_t i = 0; i < pool->places; i++)
        if (pool->connections[i].state == CONNECTION_OPEN)
            passing_note(pool, &pool->connections[i],
                         shm_load(connection_word(&pool->connections[i])));
    deferred_want(pool, DEFERRED_SERVE);
}

uint32_t broker_pool_expel(struct broker_pool *pool, uint32_t worker, uint64_t *lost)
{
    uint32_t leases;

    /* First: what it begins from here on is taken from it when it is seen. */
    shm_store32(&pool->owner.segment.slots[worker].tenant, 0);
    worker_set_put(&pool->parts->members.attached, worker, false);
    worker_set_put(&pool->parts->members.expelled, worker, true);
    leases = take_all_back(pool, worker, lost);
    /* It ends its commands by itself, or their owners do without it: it may be stopped. */
    revocation_report(pool);
    serve_the_others(pool);
    return leases;
}

uint32_t broker_pool_reclaim(struct broker_pool *pool, uint32_t worker, const uint64_t *lost)
{
    const struct segment *segment = &pool->owner.segment;
    uint64_t all_lost[LENDIS_MAX_CONNECTIONS] = {0};
    uint32_t leases;

    if (lost)
        memcpy(all_lost, lost, pool->room * sizeof *lost);
    worker_set_put(&pool->parts->members.attached, worker, false);
    worker_set_put(&pool->parts->members.expelled, worker, false);
    leases = take_all_back(pool, worker, all_lost);
    free_slots(pool, worker);
    mail_taker_died(segment, worker, all_lost);
    for (uint32_t i = 0; i < COUNTER_COUNT; i++)
        shm_add_relaxed(&pool->owner.catalog->departed[i],
                        shm_load_relaxed(&segment->workers[worker].counters[i]));
    if (pool->parts->members.attached.count + pool->parts->members.expelled.count == 0 &&
        !pool->draining)
        corruption_all_left(pool);
    serve_the_others(pool);
    return leases;
}

int members_start(struct broker_pool *pool)
{
    int result = worker_set_new(&pool->parts->members.attached, pool->environment->worker_max);

    return result == 0
               ? worker_set_new(&pool->parts->members.expelled, pool->environment->worker_max)
               : result;
}

void members_stop(struct broker_pool *pool)
{
    worker_set_free(&pool->parts->members.attached);
    worker_set_free(&pool->parts->members.expelled);
}
