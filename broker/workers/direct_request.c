/* SPDX-License-Identifier: MIT */
/* Connections of their own: see direct_request.h. */
#include "broker/workers/direct_request.h"

#include <errno.h>
#include <string.h>
#include "broker/workers/internal.h"
#include "broker/workers/peer.h"
#include "broker/workers/places.h"
#include "lendis.h"

bool worker_may_use(const struct worker *worker, struct broker_pool *pool)
{
    if (peer_is_allowed(worker->socket, &worker->peer, pool->config))
        return true;
    shm_add_relaxed(&pool->owner.catalog->counters[BROKER_COUNTER_denied], 1);
    log_limited(&worker->all->denied_limit, LOG_LEVEL_WARNING,
                "pool %s: process %d of user %u and group %u may not use it", pool->config->name,
                (int)worker->peer.pid, worker->peer.uid, worker->peer.gid);
    return false;
}

/*
 * Whatever the answer was, that is all. What was sent before the close can still be read: unix(7).
 */
static void answer_direct(struct worker *worker, int fd, int result)
{
    struct wire_descriptor answer = {.result = result, .what = WIRE_PRIVATE};

    wire_header(&answer.header, WIRE_DESCRIPTOR, sizeof answer);
    wire_send(worker->socket, &answer, fd);
}

/* `fd` is out, and the worker's socket says for how long. Results: 0; -errno. */
static int keep_private(struct worker *worker, int fd)
{
    int result;

    worker->messages = sd_event_source_disable_unref(worker->messages);
    result = private_keep(worker->place, worker->socket, worker->process, fd);
    if (result != 0)
        return result;
    answer_direct(worker, fd, 0);
    worker->place = NULL;
    worker->socket = worker->process = -1;
    return 0;
}

static void on_direct(void *context, int fd, int result)
{
    struct worker *worker = context;

    worker->direct = NULL;
    if (fd >= 0 && (result = keep_private(worker, fd)) != 0)
        fd = -1;
    if (fd < 0)
        answer_direct(worker, -1, result);
    worker_leave(worker, false);
}

/*
 * A place for one more. Results: 0; LENDIS_E_BUSY, which was logged; -ESRCH, the process is gone;
 * -errno.
 */
static int admit_direct(struct worker *worker, struct broker_pool *pool)
{
    int result = direct_offered(pool);

    if (result == 0 && workers_lack_descriptors(worker))
        result = -EMFILE;
    if (result == 0)
        result = peer_open_process(worker->socket, &worker->peer, &worker->process);
    if (peer_is_shortage(-result)) {
        log_limited(&worker->all->descriptor_limit, LOG_LEVEL_WARNING,
                    "pool %s: a process gets no connection of its own: %s", pool->config->name,
                    strerror(-result));
        return LENDIS_E_BUSY;
    }
    return result == 0 ? private_admit(pool, &worker->peer, &worker->place) : result;
}

void direct_request(struct worker *worker, struct broker_pool *pool)
{
    int result = -ESRCH;

    if (pool)
        result = worker->all->stopping          ? LENDIS_E_DOWN
                 : worker_may_use(worker, pool) ? admit_direct(worker, pool)
                                                : LENDIS_E_DENIED;
    /* connect_timeout limits it from now on. */
    if (result == 0)
        worker->patience = sd_event_source_disable_unref(worker->patience);
    if (result == 0)
        result = direct_start(pool, on_direct, worker, &worker->direct);
    if (result != 0)
        on_direct(worker, -1, result);
}
