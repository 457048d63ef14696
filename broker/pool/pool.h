/* SPDX-License-Identifier: MIT */
/*
 * A pool: how many connections there are to be, when to dial, and what to do about words that
 * workers changed. Owns the pool's segment, its doorbell, and the private records of its
 * connections; fills the pool's entry in the catalog. Knows workers by index only.
 *
 * Connections are opened as they are needed: as many as are out, and beyond them min_idle or as
 * many as wait, up to size (sizing.h); maintenance.h replaces and closes them. A pool whose Redis cannot be reached has one dial under way at a time,
 * with exponential backoff and full jitter. When it comes up, its first connection asks the server
 * about its commands before any is lent (command_info.h). Upholds I1, I5, I6 and I7 as far as they are the
 * broker's.
 *
 * The budget of one wake-up: a constant number of passes over the connections, the slots, the cells of the queue, whatever
 * is in them; never one table for each entry of another one. So what is found in one pass is collected (a bit or a word for
 * each connection) and the next pass does with it what is to be done: see stalled.c, mailbox.h, broker_pool_report_revoked().
 * tests/unit/test_budget.c counts that at the largest sizes.
 */
#ifndef LENDIS_BROKER_POOL_H
#define LENDIS_BROKER_POOL_H

#include "broker/pool/poll_bells.h"
#include "broker/config/config.h"
#include "broker/pool/connection.h"
#include "broker/pool/cleaning.h"
#include "broker/pool/notice.h"
#include "broker/pool/private.h"
#include "broker/base/process.h"
#include "broker/base/resolver.h"

/* What all pools share. */
struct pool_site {
    sd_event *event;
    struct dialler *dialler;
    struct resolver *resolver;
    struct catalog *catalog;
    struct store *store;
    const struct catalog *former; /* of the broker before, read-only; header NULL: there is none */
    uint32_t worker_max;
    void (*changed)(void *context); /* a backend came up or went down */
    void *context;
    /* What a worker's process is doing; see stalled.h. */
    void (*inspect)(void *workers, uint32_t worker, uint32_t thread, struct process_view *view);
    void *workers;
};

struct broker_pool {
    struct connection_owner owner; /* the first, so that a connection finds its pool */
    const struct pool_config *config;
    const struct pool_site *site;
    struct broker_connection *connections; /* `room` of them */
    uint32_t places;        /* size, and spare ones: sizing.h; the first ones of the table */
    uint32_t room;          /* length of the tables here and in the segment */
    uint32_t serial;        /* no other pool of this broker has it */
    bool leaving;           /* no longer configured: it goes when all is back */
    struct pool_config own; /* `config` is this when the pool outlives its configuration */
    uint64_t *attached;     /* a bit per worker index */
    uint64_t *expelled;     /* likewise: those whose place rests, see broker_pool_expel() */
    uint64_t *revoked; /* by connection: the word that it was revoked as and nobody told of; 0 */
    bool has_revoked;  /* there is such a connection */
    uint32_t attached_count;
    uint32_t resting_count;
    struct segment_header header; /* as it was made: workers can write the shared one */
    uint32_t index;
    int segment_fd;
    int doorbell; /* eventfd */
    struct bells bells;

    sd_event_source *bell;
    sd_event_source *retry;  /* end of `holding` */
    sd_event_source *sweep;  /* a look at hand-overs some time after a death */
    sd_event_source *repair; /* end of `paused` */
    sd_event_source *upkeep; /* the next moment at which maintenance.c has something to do */
    sd_event_source *stall;  /* stalled.h: a look at combiners */
    uint32_t stall_next;     /* the connection with whose combiner the next look begins */
    struct log_limit stall_limit;

    struct hygiene hygiene;
    struct notice notice;
    struct dial_turn turn;
    struct direct *directs; /* under way */
    struct privates privates;
    struct survey survey;
    struct rights rights;
    struct lease_watch watch;
    char client_name[CATALOG_NAME_SIZE + 8];
    bool holding; /* no dial before `retry` */
    bool paused;  /* too much is scribbled; no look before `repair` */
    bool draining;
    enum pool_gate gate;
    bool asked;                 /* the bell rang since a connection was opened last */
    bool tainted;               /* words were scribbled since the segment was new */
    uint32_t reserve;           /* of reserve_size, how many may be open now: maintenance.c's */
    bool adopted;               /* the segment is the one of the broker before */
    enum pool_gate former_gate; /* as the broker before had it */
    uint32_t failures;          /* failed dials in a row, probes only after the first */
    uint32_t churn;             /* connections in a row that did not live for a second */
    uint32_t spoiled;           /* words found scribbled since spoiled_ms */
    uint64_t spoiled_ms;
    struct log_limit health_limit;
    struct log_limit spoil_limit;
    struct log_limit lost_limit;
    struct log_limit redirected_limit;
    struct log_limit casualty_limit;
    struct log_limit survey_limit;
    struct log_limit refusal_limit;

    bool numeric;  /* the host needs no lookup, or there is none */
    bool resolved; /* `addresses` can be used */
    uint32_t address;
    uint64_t resolved_ms;
    struct lookup *lookup;
    struct addresses addresses;
};

/* A pool of the configuration: workers may attach to it. */
static inline bool broker_pool_exists(const struct broker_pool *pool)
{
    return pool->config && !pool->leaving;
}

/*
 * Makes the pool, entry `index` of the catalog, and begins to dial. Results: 0, broker_pool_stop()
 * must follow; -errno.
 */
int broker_pool_start(struct broker_pool *pool, const struct pool_config *config, uint32_t index,
                      const struct pool_site *site);

/* Closes all connections and frees everything. */
void broker_pool_stop(struct broker_pool *pool);

/* The descriptor of an open connection, borrowed, to be given to `peer`. Results: 0; -EINVAL, no such
 * index; -ESTALE. */
int broker_pool_descriptor(struct broker_pool *pool, uint32_t index, uint64_t generation,
                           const struct ucred *peer, int *fd);

/* Says in the log that a holder has connected `connection`, still open, elsewhere, and who had it. */
void broker_pool_report_redirection(struct broker_pool *pool,
                                    const struct broker_connection *connection);

/* The server may be another one from now on: what is known of it is asked anew. */
void broker_pool_renew(struct broker_pool *pool);

/* Whom to dial, without a survey. False: there is no address yet; `lookup` tells whether there will be. */
bool broker_pool_target(struct broker_pool *pool, struct dial_target *target);

/* A dial of such a target failed: that is counted, and the next address tried next. */
void broker_pool_dial_failed(struct broker_pool *pool, const char *error);

/* The bell of a group of pollers, borrowed. Results: 0; -EINVAL, no such group; -errno. */
int broker_pool_bell(struct broker_pool *pool, uint32_t group, int *fd);

/* Worker `worker` comes: its counters and its slot are made new. `tenant` tells it that the place is its
 * own, see wire_welcome. */
void broker_pool_attach(struct broker_pool *pool, uint32_t worker, uint32_t tenant);

/* Worker `worker` was one of the broker before, and is again: what it has stays as it is. `tenant` 0: it
 * was expelled. */
void broker_pool_adopt_worker(struct broker_pool *pool, uint32_t worker, uint32_t tenant);

/* After all workers of the broker before were adopted: finishes what was under way. */
void broker_pool_resume(struct broker_pool *pool);

/*
 * Worker `worker` is dead, or has said that it is gone: takes it out of the queue, shuts down what it
 * held, ends or withdraws its commands, keeps its counters. Nothing of it is left, and its place can be
 * another's. `lost`: what it lost when it was expelled (NULL: nothing, or it is not known). Returns how
 * many leases it had.
 */
uint32_t broker_pool_reclaim(struct broker_pool *pool, uint32_t worker, const uint64_t *lost);

/*
 * Worker `worker` cannot be reached any more, and its process may live. Its leases are revoked and it
 * leaves the queue, as if it were dead; but it may be in the middle of something, for however long it
 * is stopped: its place, its slots, and what it combines stay its own until broker_pool_reclaim() or
 * broker_pool_readmit(). It sees in its slot that it is to do nothing more. `lost` (may be NULL), a
 * table of `room` words: gets what it held. Returns how many leases it had.
 */
uint32_t broker_pool_expel(struct broker_pool *pool, uint32_t worker, uint64_t *lost);

/* The expelled worker `worker` is there again, as the same process. */
void broker_pool_readmit(struct broker_pool *pool, uint32_t worker, uint32_t tenant);

/*
 * Takes `connection` from whoever has it by `word`, which was read before: closes it and counts the
 * lease by `reason`. Those whose commands were on it are told by broker_pool_report_revoked(), of all
 * connections in one pass over the slots, which broker_pool_serve() calls and which must follow
 * before the loop goes on. False: the word has changed.
 */
bool broker_pool_revoke(struct broker_pool *pool, struct broker_connection *connection,
                        uint64_t word, enum revoke_reason reason);

/* Tells those whose commands were on connections that were revoked. */
void broker_pool_report_revoked(struct broker_pool *pool);

/* Looks at every word, closes what came back, serves who waits, and dials what is missing. */
void broker_pool_look_over(struct broker_pool *pool);

/* After connections were closed: waiters get what is idle, and others are opened. */
void broker_pool_serve(struct broker_pool *pool);

/* No more dials; idle connections are closed. */
void broker_pool_drain(struct broker_pool *pool);

/* Closes what nobody has. Returns how many connections are still out. */
uint32_t broker_pool_close_returned(struct broker_pool *pool, enum close_reason reason);

/* A connection was closed by somebody else: opens another one if there is need. */
void broker_pool_refill(struct broker_pool *pool);

/* Looks the configured address up anew, for connections that are dialled from now on. */
void broker_pool_set_address(struct broker_pool *pool);

/* Writes the configuration into the catalog. */
void broker_pool_publish(struct broker_pool *pool);

/* So many connections of the table are in use from now on; the caller sees to those beyond. */
void broker_pool_set_places(struct broker_pool *pool, uint32_t places);

enum backend_state broker_pool_backend(const struct broker_pool *pool);

#endif
