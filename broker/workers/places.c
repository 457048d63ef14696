/* SPDX-License-Identifier: MIT */
/* Places of workers: see places.h. */
#include "broker/workers/places.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/base/process.h"
#include "broker/base/timer.h"
#include "broker/workers/internal.h"
#include "broker/workers/peer.h"
#include "broker/workers/unattached.h"

/* A worker of the previous broker whose death cannot be seen has to come back within this time. */
#define ABSENCE_US UINT64_C(30000000)
/*
 * An expelled worker whose death cannot be seen (no pidfd: another PID namespace before Linux 6.5)
 * keeps its place for this time more. A process that runs sees within a second, the longest that it
 * sleeps between two scans, that it was expelled; a host that swaps or a frozen container takes
 * longer. Ten times the longest time that a call takes by default (command_timeout, and
 * wait_timeout before it) is still short enough for workers that come and go by the hundred.
 */
#define REST_US UINT64_C(150000000)
/* Descriptors that workers may not use up, besides those for connections that are not open yet: for
 * dials (two each), for accepting and reporting what is wrong. */
#define DESCRIPTORS_KEPT 32u

/* ---- leaving ---- */

void place_free(struct worker *worker)
{
    sd_event_source_disable_unref(worker->messages);
    sd_event_source_disable_unref(worker->death);
    sd_event_source_disable_unref(worker->patience);
    if (worker->socket >= 0)
        close(worker->socket);
    if (worker->process >= 0)
        close(worker->process);
    free(worker->lost);
    free(worker);
}

static bool process_is_dead(const struct worker *worker)
{
    struct pollfd poll_fd = {.fd = worker->process, .events = POLLIN};

    return worker->dead || (worker->process >= 0 && poll(&poll_fd, 1, 0) == 1);
}

static void count_departure(const struct worker *worker, uint32_t leases)
{
    if (leases > 0 || process_is_dead(worker))
        shm_add_relaxed(&worker->pool->owner.catalog->counters[BROKER_COUNTER_deaths], 1);
}

/*
 * Nobody uses its place any more: it is the next one's. Closes the socket last, so that a live
 * process that is thrown out does not attach again before all that it had is taken back.
 */
static void place_depart(struct worker *worker)
{
    struct workers *all = worker->all;
    uint32_t leases = broker_pool_reclaim(worker->pool, worker->index, worker->lost);

    if (worker->expelled)
        all->resting--;
    else
        count_departure(worker, leases);
    if (worker->dead)
        all->dead--;
    shm_store32(&all->catalog->workers[worker->index].pool, 0);
    all->attached[worker->index] = NULL;
    all->free[(all->free_first + all->free_count++) % all->catalog->worker_max] = worker->index;
    place_free(worker);
}

static int on_death(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)fd;
    (void)events;
    place_depart(context);
    return 0;
}

static void place_expel(struct worker *worker);

/* It did not come back, and its death cannot be seen from here. */
static int on_absence(sd_event_source *source, uint64_t usec, void *context)
{
    struct worker *worker = context;

    (void)source;
    (void)usec;
    if (worker->expelled)
        place_depart(worker);
    else
        place_expel(worker);
    return 0;
}

/* Nobody reports when `absent` is gone. False: nor can its absence be limited. */
static bool limit_absence(struct worker *absent)
{
    absent->patience = sd_event_source_disable_unref(absent->patience);
    return sd_event_add_time_relative(absent->all->event, &absent->patience, CLOCK_MONOTONIC,
                                      absent->expelled ? REST_US : ABSENCE_US, 0, on_absence,
                                      absent) >= 0;
}

static void hang_up(struct worker *worker)
{
    worker->messages = sd_event_source_disable_unref(worker->messages);
    if (worker->socket >= 0)
        close(worker->socket);
    worker->socket = -1;
}

/*
 * It hung up, or has to go, and its process may live: it loses what it has, and keeps its place.
 * That is free when the process is dead, or has rested for so long that it must be.
 */
static void place_expel(struct worker *worker)
{
    worker->expelled = true;
    worker->all->resting++;
    free(worker->lost);
    worker->lost = calloc(worker->pool->room, sizeof *worker->lost);
    count_departure(worker, broker_pool_expel(worker->pool, worker->index, worker->lost));
    shm_store32(&worker->all->catalog->workers[worker->index].tenant, 0);
    hang_up(worker);
    if (worker->process < 0 && !limit_absence(worker))
        log_limited(&worker->all->descriptor_limit, LOG_LEVEL_ERR,
                    "pool %s: no memory for a timer; the place of a worker rests for good",
                    worker->pool->config->name);
}

/*
 * It hung up before it had all that it came back for: it may come again, and has its leases still.
 */
static void go_absent(struct worker *worker)
{
    worker->returning = false;
    hang_up(worker);
    if (worker->process < 0 && !limit_absence(worker))
        place_expel(worker);
}

void worker_leave(struct worker *worker, bool goodbye)
{
    direct_abandon(worker->direct);
    private_free(worker->place);
    worker->place = NULL;
    if (!worker->pool) {
        unattached_remove(worker);
        place_free(worker);
    } else if (goodbye || process_is_dead(worker) || !worker->mapped) {
        place_depart(worker);
    } else if (worker->returning) {
        go_absent(worker);
    } else {
        place_expel(worker);
    }
}

void worker_disconnect(struct worker *worker, const char *why)
{
    log_limited(&worker->all->protocol_limit, LOG_LEVEL_INFO,
                "process %d of user %u is disconnected: %s", (int)worker->peer.pid,
                worker->peer.uid, why);
    worker_leave(worker, false);
}

/* ---- coming ---- */

struct broker_pool *workers_find_pool(struct workers *all, const char *name)
{
    for (uint32_t i = 0; i < all->pool_count; i++)
        if (broker_pool_exists(&all->pools[i]) && strcmp(all->pools[i].config->name, name) == 0)
            return &all->pools[i];
    return NULL;
}

bool workers_lack_descriptors(const struct worker *worker)
{
    const struct workers *all = worker->all;
    uint32_t kept = DESCRIPTORS_KEPT;

    for (uint32_t i = 0; i < all->pool_count; i++)
        kept += all->pools[i].places - all->pools[i].owner.open;
    if (kept > all->descriptors / 2)
        kept = all->descriptors / 2;
    return (uint32_t)worker->socket >= all->descriptors - kept;
}

/* How many processes of `uid` are attached to `pool`. */
static uint32_t attached_of(const struct workers *all, const struct broker_pool *pool, uid_t uid)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < all->catalog->worker_max; i++)
        count += all->attached[i] && !all->attached[i]->dead && all->attached[i]->pool == pool &&
                 all->attached[i]->peer.uid == uid;
    return count;
}

bool place_is_beyond_share(const struct worker *worker, const struct broker_pool *pool)
{
    uint32_t most = pool->config->per_uid_workers;

    return most > 0 && attached_of(worker->all, pool, worker->peer.uid) >= most;
}

int place_watch(struct worker *worker)
{
    int result;

    if (workers_lack_descriptors(worker))
        return -EMFILE;
    result = peer_open_process(worker->socket, &worker->peer, &worker->process);
    if (result == 0 && worker->process >= 0)
        result = sd_event_add_io(worker->all->event, &worker->death, worker->process, EPOLLIN,
                                 on_death, worker);
    return result < 0 ? result : 0;
}

/* It has its index; from here on it is attached. */
static void enter(struct worker *worker, struct broker_pool *pool)
{
    struct workers *all = worker->all;

    unattached_remove(worker);
    worker->patience = sd_event_source_disable_unref(worker->patience);
    worker->pool = pool;
    all->attached[worker->index] = worker;
}

/* What no worker had before, as good as certain: the first one is random. */
static uint32_t next_tenant(struct workers *all)
{
    all->tenant++;
    if (all->tenant == 0)
        all->tenant++;
    return all->tenant;
}

void place_enter(struct worker *worker, struct broker_pool *pool)
{
    struct workers *all = worker->all;
    struct catalog_worker *entry;

    worker->tenant = next_tenant(all);
    worker->index = all->free[all->free_first];
    all->free_first = (all->free_first + 1) % all->catalog->worker_max;
    all->free_count--;
    enter(worker, pool);
    broker_pool_attach(pool, worker->index, worker->tenant);

    entry = &all->catalog->workers[worker->index];
    entry->pid = worker->peer.pid > 0 ? (uint32_t)worker->peer.pid : 0;
    entry->uid = worker->peer.uid;
    entry->gid = worker->peer.gid;
    entry->since_ms = clock_realtime_ms();
    entry->started = process_started(worker->peer.pid);
    shm_store32(&entry->tenant, worker->tenant);
    shm_store32(&entry->pool, 1 + pool->index); /* last: it makes the entry valid */
}

struct worker *place_find_absent(const struct worker *worker, const struct broker_pool *pool,
                                 const struct wire_hello *hello)
{
    const struct workers *all = worker->all;
    struct worker *absent;

    if (hello->tenant == 0 || hello->segment != pool->owner.segment.instance ||
        hello->worker >= all->catalog->worker_max)
        return NULL;
    absent = all->attached[hello->worker];
    return absent && absent->socket < 0 && !absent->dead && absent->pool == pool &&
                   absent->tenant == hello->tenant && absent->peer.uid == worker->peer.uid &&
                   absent->peer.pid == worker->peer.pid
               ? absent
               : NULL;
}

void place_resume(struct worker *worker, struct worker *absent)
{
    struct workers *all = worker->all;

    worker->index = absent->index;
    worker->tenant = absent->tenant;
    worker->returning = true;
    enter(worker, absent->pool);
    if (absent->expelled) {
        all->resting--;
        worker->tenant = next_tenant(all);
        worker->lost = absent->lost;
        absent->lost = NULL;
        broker_pool_readmit(worker->pool, worker->index, worker->tenant);
        shm_store32(&all->catalog->workers[worker->index].tenant, worker->tenant);
    }
    place_free(absent);
}

/* ---- those of the previous broker ---- */

/* Watches for the death of an absent worker. False: it is dead. */
static bool watch_absent(struct worker *absent, const struct catalog_worker *entry)
{
    uint64_t started;

    if (absent->peer.pid > 0)
        absent->process = (int)syscall(SYS_pidfd_open, absent->peer.pid, 0);
    if (absent->process < 0)
        return (absent->peer.pid <= 0 || errno != ESRCH) && limit_absence(absent);
    /* After the pidfd was opened: that one is the same from now on. */
    started = process_started(absent->peer.pid);
    if (!process_started_alike(started, entry->started))
        return false;
    return sd_event_add_io(absent->all->event, &absent->death, absent->process, EPOLLIN, on_death,
                           absent) >= 0;
}

/*
 * The next of those that died while there was no broker departs. One a wake-up: each is a pass over
 * the tables of its pool, and all could have died.
 */
static void depart_next(struct workers *workers)
{
    while (!workers->attached[workers->dead_next] || !workers->attached[workers->dead_next]->dead)
        workers->dead_next++;
    place_depart(workers->attached[workers->dead_next]);
}

int places_on_dead(sd_event_source *source, uint64_t usec, void *context)
{
    struct workers *workers = context;

    (void)usec;
    if (workers->dead > 0)
        depart_next(workers);
    if (workers->dead > 0)
        timer_set(source, 0);
    return 0;
}

bool places_have_room(struct workers *workers)
{
    if (workers->free_count == 0 && workers->dead > 0)
        depart_next(workers);
    return workers->free_count > 0;
}

/* Makes the place of worker `index`. False: there is no memory. */
static bool adopt(struct workers *workers, struct broker_pool *pool, uint32_t index,
                  const struct catalog_worker *entry)
{
    struct catalog_worker *now = &workers->catalog->workers[index];
    struct worker *absent = calloc(1, sizeof *absent);
    uint32_t tenant = shm_load32(&entry->tenant);

    if (!absent)
        return false;
    *absent = (struct worker){
        .all = workers,
        .pool = pool,
        .index = index,
        .tenant = tenant,
        .mapped = true,
        .expelled = tenant == 0,
        .socket = -1,
        .process = -1,
        .peer = {.pid = (pid_t)entry->pid, .uid = entry->uid, .gid = entry->gid},
    };
    workers->attached[index] = absent;
    workers->resting += absent->expelled;
    broker_pool_adopt_worker(pool, index, tenant);
    *now = (struct catalog_worker){.pid = entry->pid,
                                   .uid = entry->uid,
                                   .gid = entry->gid,
                                   .since_ms = entry->since_ms,
                                   .started = entry->started,
                                   .tenant = tenant};
    shm_store32(&now->pool, 1 + pool->index);
    return true;
}

/* The pool of an entry in the previous catalog, if its segment was adopted. */
static struct broker_pool *adopted_pool(struct workers *workers, const struct catalog *previous,
                                        const struct catalog_worker *entry)
{
    uint32_t index = entry->pool - 1;
    struct broker_pool *pool;

    if (index >= previous->pool_max)
        return NULL;
    pool = workers_find_pool(workers, previous->pools[index].name);
    return pool && pool->adopted ? pool : NULL;
}

void workers_adopt(struct workers *workers, const struct catalog *previous)
{
    uint32_t count = 0;

    if (!previous->header || previous->worker_max != workers->catalog->worker_max)
        return;
    for (uint32_t i = 0; i < previous->worker_max; i++) {
        struct broker_pool *pool = adopted_pool(workers, previous, &previous->workers[i]);

        if (!pool || !adopt(workers, pool, i, &previous->workers[i]))
            continue;
        count++;
    }
    if (count == 0)
        return;
    /* Free are those that have no worker. */
    workers->free_first = workers->free_count = 0;
    for (uint32_t i = 0; i < previous->worker_max; i++)
        if (!workers->attached[i])
            workers->free[workers->free_count++] = i;
    /* Now that all are known: the dead may have passed something to the living. */
    for (uint32_t i = 0; i < previous->worker_max; i++) {
        struct worker *absent = workers->attached[i];

        if (!absent || watch_absent(absent, &previous->workers[i]))
            continue;
        absent->dead = true;
        workers->dead++;
    }
    /* unprovoked: once, when the broker starts */
    log_line(LOG_LEVEL_NOTICE, "%u workers of the previous broker; %u of them have died", count,
             workers->dead);
    workers->dead_next = 0;
    if (workers->dead > 0 && timer_set(workers->departures, 0) != 0)
        while (workers->dead > 0)
            depart_next(workers);
}
