/* SPDX-License-Identifier: MIT */
/*
 * A pool: how many connections there are to be, when to dial, and what to do about words that
 * workers changed. Owns the pool's segment, its doorbell, and the private records of its
 * connections; fills the pool's entry in the catalog. Knows workers by index only. What it is made
 * of is internal.h's.
 *
 * Connections are opened as they are needed: as many as are out, and beyond them min_idle or as
 * many as wait, up to size (sizing.h); maintenance.h replaces and closes them. When Redis comes up,
 * the first connection asks the server about its commands before any is lent (command_info.h).
 * Upholds I1, I5, I6 and I7 as far as they are the broker's.
 *
 * The budget of one wake-up: a constant number of passes over the connections, the slots, the cells
 * of the queue, whatever is in them; never one table for each entry of another one. So what is
 * found in one pass is collected (a bit or a word for each connection) and the next pass does with
 * it what is to be done: see stalled.c, mailbox.h, revocation.h. tests/unit/broker/test_budget.c
 * counts that at the largest sizes.
 */
#ifndef LENDIS_BROKER_POOL_H
#define LENDIS_BROKER_POOL_H

#include "broker/base/fd_store.h"
#include "broker/base/process.h"
#include "broker/base/resolver.h"
#include "broker/config/config.h"
#include "broker/pool/connection.h"
#include "broker/redis/dialler.h"
#include "lendis/catalog.h"
#include "lendis/segment.h"

struct pool_parts;

/* What all pools share. */
struct pool_environment {
    sd_event *event;
    struct dialler *dialler;
    struct background *background;
    struct catalog *catalog;
    struct fd_store *store;
    const struct catalog *previous; /* of the previous broker, read-only; header NULL: none */
    uint32_t worker_max;
    void (*changed)(void *context); /* a backend came up or went down */
    void *context;
    /* What a worker's process is doing; see stalled.h. */
    void (*inspect)(void *workers, uint32_t worker, uint32_t thread, struct process_view *view);
    void *workers;
};

/* What a pool is. Only the files of broker/pool and daemon/reload.c write it. */
struct broker_pool {
    struct connection_owner owner; /* the first, so that a connection finds its pool */
    const struct pool_config *config;
    const struct pool_environment *environment;
    struct broker_connection *connections; /* `room` of them */
    uint32_t places;              /* size, and spare ones: sizing.h; the first ones of the table */
    uint32_t room;                /* length of the tables here and in the segment */
    uint32_t index;               /* in the catalog */
    uint32_t serial;              /* no other pool of this broker has it */
    struct segment_header header; /* as it was made: workers can write the shared one */
    int segment_fd;
    int doorbell; /* eventfd */
    bool leaving; /* no longer configured: it goes when all is back */
    bool draining;
    bool adopted;                    /* the segment is the one of the previous broker */
    enum pause_state previous_pause; /* as that had it */
    struct pool_config own;          /* `config` is this when the pool outlives its configuration */
    char client_name[CATALOG_NAME_SIZE + 8];
    struct pool_parts *parts; /* internal.h */
};

/*
 * Makes the pool, entry `index` of the catalog, and begins to dial. Results: 0, broker_pool_stop()
 * must follow; -errno.
 */
int broker_pool_start(struct broker_pool *pool, const struct pool_config *config, uint32_t index,
                      const struct pool_environment *environment);

/* Closes all connections and frees everything. */
void broker_pool_stop(struct broker_pool *pool);

/* After all workers of the previous broker were adopted: finishes what was under way. */
void broker_pool_resume(struct broker_pool *pool);

/* No more dials; idle connections are closed. */
void broker_pool_drain(struct broker_pool *pool);

/* Writes the configuration into the catalog. */
void broker_pool_publish(struct broker_pool *pool);

enum backend_state broker_pool_backend(const struct broker_pool *pool);

/* A pool of the configuration: workers may attach to it. */
bool broker_pool_exists(const struct broker_pool *pool);

/* Nobody uses it or waits for something of it any more, but for what is out. */
bool broker_pool_is_deserted(const struct broker_pool *pool);

#endif
