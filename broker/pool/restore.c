/* SPDX-License-Identifier: MIT */
/*
 * Taking over a pool: see restore.h. What is in a segment was written by workers: it is compared
 * with what the previous catalog says, which only a broker can have written (I5).
 */
#include "broker/pool/restore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "broker/pool/internal.h"

/*
 * The previous entry of this pool, if the pool is still the same; NULL: it is not, or there was
 * none.
 */
static const struct catalog_pool *previous_entry(const struct broker_pool *pool)
{
    const struct catalog *previous = pool->environment->previous;
    const struct pool_config *config = pool->config;
    const struct catalog_pool *entry;
    int index;

    if (!previous->header || previous->worker_max != pool->environment->worker_max)
        return NULL;
    index = catalog_find_pool(previous, config->name);
    if (index < 0)
        return NULL;
    entry = &previous->pools[index];
    return entry->db == config->redis.db && strcmp(entry->address, config->redis.text) == 0 &&
                   strcmp(entry->username, config->username ? config->username : "") == 0
               ? entry
               : NULL;
}

/* Takes a descriptor of this pool out of the descriptor store, or -1. */
static int take(const struct broker_pool *pool, const char *format)
{
    char name[CATALOG_NAME_SIZE + 32];

    snprintf(name, sizeof name, format, pool->config->name);
    return fd_store_take(pool->environment->store, name);
}

static bool adopt_segment(struct broker_pool *pool, const struct catalog_pool *previous)
{
    struct segment *segment = &pool->owner.segment;
    int fd = take(pool, STORED_SEGMENT);

    if (fd < 0)
        return false;
    if (segment_map(fd, true, segment) == 0 && segment->connection_max == pool->room &&
        segment->worker_max == pool->environment->worker_max &&
        segment->instance == previous->segment_instance) {
        pool->segment_fd = fd;
        ((struct segment_header *)segment->base)->pool = pool->index;
        return true;
    }
    segment_unmap(segment);
    fd_store_remove(pool->environment->store, STORED_SEGMENT, pool->config->name);
    close(fd);
    return false;
}

/* A number that ends with `end`; *text then goes on behind it. */
static bool take_number(const char **text, char end, uintmax_t *number)
{
    char *stop;

    errno = 0;
    *number = strtoumax(*text, &stop, 10);
    if (errno != 0 || stop == *text || *stop != end)
        return false;
    *text = stop + 1;
    return true;
}

/* One whose name ends with `name`. False: it is of no use and was closed. */
static bool adopt_connection(struct broker_pool *pool, int fd, const char *name)
{
    uintmax_t index = 0, generation = 0, opened_ms = 0;
    bool good = take_number(&name, '.', &index) && take_number(&name, '.', &generation) &&
                take_number(&name, '\0', &opened_ms);

    if (good && index < pool->room && generation <= WORD_GENERATION_MAX &&
        pool->connections[index].state == CONNECTION_CLOSED &&
        pool->connections[index].generation == 0)
        return connection_adopt(&pool->connections[index], fd, generation, opened_ms);
    if (good)
        fd_store_remove(pool->environment->store, STORED_CONNECTION, pool->config->name,
                        (unsigned)index, generation, opened_ms);
    close(fd);
    return false;
}

static void adopt_connections(struct broker_pool *pool)
{
    uint32_t adopted = 0, refused = 0;
    char prefix[CATALOG_NAME_SIZE + 32];
    const char *rest;
    int fd;

    snprintf(prefix, sizeof prefix, "connection.%s.", pool->config->name);
    while (fd_store_take_next(pool->environment->store, prefix, &fd, &rest)) {
        bool good = adopt_connection(pool, fd, rest);

        adopted += good;
        refused += !good;
    }
    for (uint32_t i = 0; i < pool->room; i++)
        if (pool->connections[i].state == CONNECTION_CLOSED && pool->connections[i].generation == 0)
            connection_renew(&pool->connections[i]);
    /* unprovoked: once, when the broker starts */
    log_line(LOG_LEVEL_NOTICE,
             "pool %s: %u connections of the previous broker taken over, %u closed",
             pool->config->name, adopted, refused);
}

bool restore_pool(struct broker_pool *pool)
{
    const struct catalog_pool *previous = previous_entry(pool);

    if (!previous || !adopt_segment(pool, previous))
        return false;
    pool->doorbell = take(pool, STORED_DOORBELL);
    pool->previous_pause = (enum pause_state)previous->pause;
    catalog_continue(pool->owner.catalog, previous);
    pool->places = sizing_places(pool->config);
    /* What a smaller pool does not need goes when it is free: sizing_settle(). */
    if (previous->places > pool->places && previous->places <= pool->room)
        pool->places = previous->places;
    shm_store32(&pool->owner.catalog->places, pool->places);
    adopt_connections(pool);
    return true;
}
