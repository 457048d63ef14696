/* SPDX-License-Identifier: MIT */
/*
 * The workers: who is attached to which pool, over which socket, and when they are gone.
 *
 * A worker's socket carries one question and one answer at a time (lendis/wire.h). The broker never
 * waits for a worker: what cannot be sent at once ends the connection, and so does anything that is
 * not a proper message.
 *
 * Workers of the previous broker are known by its catalog: each keeps its index, and what it holds,
 * until it attaches again or dies. Death is seen through the pidfd or the socket, whichever comes
 * first; then the pool takes back what the worker had. Upholds I5, I6 and I8 (at most max_workers,
 * and WORKERS_UNATTACHED sockets besides).
 *
 * A socket can end and its process live on: it closed all descriptors, or it had to go. Then the
 * worker is expelled (broker/pool/pool.h): it loses its leases at once, but its place, by which
 * others know its commands, is given to nobody else before the process is dead (I4). It may come
 * back to it. Where a death cannot be seen, the place rests for a time. Only a GOODBYE frees it at
 * once.
 */
#ifndef LENDIS_BROKER_WORKER_H
#define LENDIS_BROKER_WORKER_H

#include <sys/socket.h>
#include <sys/types.h>
#include "broker/pool/pool.h"

#define WORKERS_UNATTACHED 256u

struct worker;

/* Gets a tool's first message and takes over its socket; see broker/daemon/control.h. */
typedef void worker_control(void *context, int socket, const struct ucred *peer,
                            const void *message, size_t size);

struct workers {
    sd_event *event;
    struct catalog *catalog;
    int catalog_fd;
    struct broker_pool *pools;
    uint32_t pool_count;
    uint32_t descriptors;    /* RLIMIT_NOFILE */
    bool stopping;           /* nobody may attach any more */
    worker_control *control; /* NULL: there is no control */
    void *control_context;

    struct worker **attached; /* by worker index */
    uint32_t *free;           /* ring of free indices: the one freed first is given first */
    uint32_t free_first;
    uint32_t free_count;
    uint32_t resting; /* expelled, and not known to be dead */
    uint32_t tenant;  /* the last one that was given */

    uint32_t dead;      /* died while there was no broker, and have not departed yet */
    uint32_t dead_next; /* none of them is before it */
    sd_event_source *departures;

    struct worker *oldest, *newest; /* not attached yet */
    uint32_t unattached;

    sd_event_source *listener;
    sd_event_source *resume; /* listens again after a pause */
    int spare;               /* a descriptor to give up when there are no others: see accept.c */
    struct log_limit denied_limit;
    struct log_limit refused_limit;
    struct log_limit share_limit;
    struct log_limit protocol_limit;
    struct log_limit descriptor_limit;
};

/* Results: 0, workers_free() must follow; -errno. The catalog, its descriptor and the pools are
 * borrowed. */
int workers_init(struct workers *workers, sd_event *event, struct catalog *catalog, int catalog_fd,
                 struct broker_pool *pools, uint32_t pool_count);

/*
 * Takes over the workers of the previous broker, as `previous` has them, of the pools that were
 * adopted. What those had who died meanwhile is reclaimed by the event loop, worker after worker.
 * Before workers_listen().
 */
void workers_adopt(struct workers *workers, const struct catalog *previous);

/* How many there are, absent ones included. */
uint32_t workers_count(const struct workers *workers);

/* Disconnects all. Their leases are not reclaimed: the pools are about to go. */
void workers_free(struct workers *workers);

/* Accepts from `listener`, a listening socket, which stays the caller's. */
int workers_listen(struct workers *workers, int listener);

/* What worker `index` of `workers` is doing, see process_inspect(); for
 * pool_environment.inspect. */
void workers_inspect(void *workers, uint32_t index, uint32_t thread, struct process_view *view);

/* Accepts and attaches nobody any more. */
void workers_stop(struct workers *workers);

#endif
