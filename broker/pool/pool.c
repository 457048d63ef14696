/* SPDX-License-Identifier: MIT */
/* A pool's beginning and end: see pool.h. */
#include "broker/pool/pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>
#include "broker/pool/events.h"
#include "broker/pool/internal.h"
#include "broker/pool/restore.h"

bool broker_pool_exists(const struct broker_pool *pool)
{
    return pool->config && !pool->leaving;
}

bool broker_pool_is_deserted(const struct broker_pool *pool)
{
    return pool->parts->members.attached.count + pool->parts->members.expelled.count == 0 &&
           !pool->parts->directs.first;
}

void broker_pool_resume(struct broker_pool *pool)
{
    if (!pool->adopted)
        return;
    /* Whoever handed over may have died meanwhile. */
    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[i];

        if (connection->state != CONNECTION_OPEN)
            continue;
        maintenance_begin(pool, connection);
        passing_note(pool, connection, shm_load(connection_word(connection)));
    }
    if (pool->previous_pause != PAUSE_NONE)
        pause_set(pool, pool->previous_pause);
    maintenance_inspect(pool);
    deferred_want(pool, DEFERRED_INSPECT);
}

/* ---- the end ---- */

void broker_pool_drain(struct broker_pool *pool)
{
    pool->draining = true;
    dialling_withdraw(pool);
    target_cancel(pool);
    role_watch_renew(pool);
    dialling_end(pool, CLOSE_drained);
    pause_close_returned(pool, CLOSE_drained);
}

/* Closes it, whoever has it. */
static void end_connection(struct broker_connection *connection)
{
    uint64_t word;

    if (connection->state == CONNECTION_OPEN &&
        connection_inspect(connection, &word) == FOUND_FINE && word_state(word) != WORD_IDLE &&
        connection_revoke(connection, word, REVOKE_drained))
        return;
    connection_close(connection, CLOSE_drained);
}

void broker_pool_stop(struct broker_pool *pool)
{
    pool->draining = true;
    dialling_withdraw(pool);
    target_cancel(pool);
    for (uint32_t i = 0; pool->connections && i < pool->room; i++)
        if (pool->connections[i].state != CONNECTION_CLOSED)
            end_connection(&pool->connections[i]);
    scan_stop(pool);
    health_stop(pool);
    passing_stop(pool);
    stalled_stop(pool);
    corruption_stop(pool);
    maintenance_stop(pool);
    cleaning_stop(pool);
    notice_stop(pool);
    role_watch_stop(pool);
    name_watch_stop(pool);
    credential_stop(pool);
    direct_stop(pool);
    encryption_stop(pool);
    private_forget(pool);
    poll_wakeups_close(&pool->parts->poll_wakeups);
    lease_limits_stop(pool);
    if (pool->doorbell >= 0) {
        fd_store_remove(pool->environment->store, STORED_DOORBELL, pool->config->name);
        close(pool->doorbell);
    }
    if (pool->segment_fd >= 0) {
        fd_store_remove(pool->environment->store, STORED_SEGMENT, pool->config->name);
        close(pool->segment_fd);
    }
    segment_unmap(&pool->owner.segment);
    free(pool->connections);
    members_stop(pool);
    revocation_stop(pool);
    free(pool->parts);
    pool->parts = NULL;
}

/* ---- the beginning ---- */

void broker_pool_publish(struct broker_pool *pool)
{
    struct catalog_pool *entry = pool->owner.catalog;
    const struct pool_config *config = pool->config;

    if (config->client_name)
        snprintf(pool->client_name, sizeof pool->client_name, "%s", config->client_name);
    else
        snprintf(pool->client_name, sizeof pool->client_name, "lendis-%s", config->name);
    catalog_write_begin(entry);
    snprintf(entry->name, sizeof entry->name, "%s", config->name);
    snprintf(entry->address, sizeof entry->address, "%s",
             config->redis.text ? config->redis.text : "");
    snprintf(entry->primary, sizeof entry->primary, "%s", config->primary ? config->primary : "");
    snprintf(entry->replicas, sizeof entry->replicas, "%s",
             config->replicas ? config->replicas : "");
    snprintf(entry->serves, sizeof entry->serves, "%s", config->serves ? config->serves : "");
    entry->role = config->role;
    snprintf(entry->username, sizeof entry->username, "%s",
             config->username ? config->username : "");
    entry->size = config->size;
    entry->min_idle = config->min_idle;
    entry->db = config->redis.db;
    entry->connect_timeout_ms = config->connect_timeout_ms;
    shm_store32(&entry->wait_timeout_ms, config->wait_timeout_ms);
    shm_store32(&entry->command_timeout_ms, config->command_timeout_ms);
    shm_store32(&entry->stall_timeout_ms, config->stall_timeout_ms);
    shm_store32(&entry->reset, config->reset);
    shm_store32(&entry->per_uid_leases, config->per_uid_leases);
    shm_store32(&entry->fallback, config->enabled ? FALLBACK_ERROR : config->fallback);
    entry->segment_pool = pool->index;
    entry->segment_instance = pool->owner.segment.instance;
    shm_store32(&entry->max_uses, config->max_uses);
    shm_store32(&entry->order, config->order);
    shm_store32(&entry->check_on_lease, config->check_on_lease);
    shm_store32(&entry->wait_queue, config->wait_queue);
    shm_store32(&entry->reserve_after_ms, config->reserve_size ? config->reserve_after_ms : 0);
    catalog_write_end(entry);
    /* After an adoption what the server said stays known until it is asked again. */
    if (!pool->adopted)
        server_publish_commands(pool);
}

static int make_sources(struct broker_pool *pool)
{
    static int (*const parts[])(struct broker_pool *) = {
        scan_start,       health_start,     passing_start,    corruption_start,   maintenance_start,
        cleaning_start,   notice_start,     stalled_start,    lease_limits_start, role_watch_start,
        name_watch_start, encryption_start, credential_start,
    };
    int result = 0;

    poll_wakeups_init(&pool->parts->poll_wakeups, &pool->owner.segment);
    if (pool->doorbell < 0) {
        pool->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (pool->doorbell < 0)
            return -errno;
        fd_store_put(pool->environment->store, pool->doorbell, STORED_DOORBELL, pool->config->name);
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts && result == 0; i++)
        result = parts[i](pool);
    return result;
}

static int make_segment(struct broker_pool *pool)
{
    uint64_t instance;
    int result;

    if (getrandom(&instance, sizeof instance, 0) != (ssize_t)sizeof instance)
        return -errno;
    result = segment_new(pool->index, instance | 1, pool->room, pool->environment->worker_max,
                         &pool->segment_fd, &pool->owner.segment);
    if (result == 0)
        fd_store_put(pool->environment->store, pool->segment_fd, STORED_SEGMENT,
                     pool->config->name);
    return result;
}

static int make_tables(struct broker_pool *pool)
{
    int result = 0;

    pool->room = sizing_room(pool->config);
    pool->connections = calloc(pool->room, sizeof *pool->connections);
    if (!pool->connections || members_start(pool) != 0 || revocation_start(pool) != 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < pool->room; i++)
        connection_init(&pool->connections[i], &pool->owner, i);
    pool->adopted = restore_pool(pool);
    if (!pool->adopted)
        result = make_segment(pool);
    if (result != 0)
        return result;
    memcpy(&pool->header, pool->owner.segment.base, sizeof pool->header);
    for (uint32_t i = 0; i < pool->room; i++) /* what the previous broker knew of is no news */
        pool->connections[i].lost_seen = shm_load(&pool->owner.segment.connections[i].lost);
    pool->owner.segment.paused_pools = &pool->environment->catalog->header->paused_pools;
    pool->owner.segment.pause_bit = UINT64_C(1) << pool->index;
    pool->owner.segment.places = &pool->owner.catalog->places;
    if (!pool->adopted)
        sizing_set_places(pool, sizing_places(pool->config));
    return 0;
}

/* Whoever waited for the addresses has them, or may ask again. */
static void on_settled(struct broker_pool *pool, bool found)
{
    direct_resolved(pool, found);
    if (found)
        role_watch_settled(pool);
    deferred_want(pool, DEFERRED_SERVE);
}

static void on_addresses(struct broker_pool *pool)
{
    name_watch_found(pool);
    role_watch_hurry(pool);
}

static const struct target_events target_events = {.begun = name_watch_begun,
                                                   .found = on_addresses,
                                                   .failed = name_watch_failed,
                                                   .settled = on_settled};

int broker_pool_start(struct broker_pool *pool, const struct pool_config *config, uint32_t index,
                      const struct pool_environment *environment)
{
    static uint32_t serials;
    int result;

    *pool = (struct broker_pool){
        .owner = {.event = environment->event,
                  .dialler = environment->dialler,
                  .catalog = &environment->catalog->pools[index],
                  .store = environment->store},
        .config = config,
        .environment = environment,
        .index = index,
        .segment_fd = -1,
        .doorbell = -1,
        .serial = ++serials,
    };
    pool->parts = calloc(1, sizeof *pool->parts);
    if (!pool->parts)
        return -ENOMEM;
    events_listen(&pool->owner);
    dialling_start(pool);
    pool->parts->target.events = &target_events;
    target_set(pool);
    snprintf(pool->owner.pool, sizeof pool->owner.pool, "%s", config->name);
    result = make_tables(pool);
    if (result == 0)
        result = make_sources(pool);
    if (result < 0) {
        broker_pool_stop(pool);
        return result;
    }
    broker_pool_publish(pool);
    server_renew(pool);
    health_update(pool);
    if (config->primary)
        pause_set(pool, PAUSE_SERVICE);
    else if (!config->enabled)
        pause_set(pool, PAUSE_DRAINED);
    dialling_refill(pool);
    return 0;
}
