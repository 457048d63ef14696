/* SPDX-License-Identifier: MIT */
/*
 * Attaching workers, answering them, and noticing that they are gone: see worker.h.
 *
 * One message is handled per turn of the event loop, and all sources have the same priority, which
 * sd-event serves first come, first served: a worker that sends without end gets its share and no
 * more.
 */
#include "broker/workers/worker.h"
#include "broker/pool/direct.h"
#include "broker/base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "lendis.h"
#include "lendis/wire.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* <asm-generic/socket.h>, Linux 6.5 */
#endif
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59 /* <asm-generic/socket.h>, Linux 4.13 */
#endif

/* A worker says HELLO right after connect(2); this long even on a host that swaps. */
#define HELLO_TIMEOUT_US UINT64_C(10000000)
/* When all places for those without HELLO are taken, one that is this old has to go. */
#define HELLO_GRACE_MS 1000u
/* The same if one user has most of them, so that a crowd that says nothing delays no other user. */
#define CROWD_GRACE_MS 20u
/* A worker of the previous broker whose death cannot be seen has to come back within this time. */
#define ABSENCE_US UINT64_C(30000000)
/*
 * An expelled worker whose death cannot be seen (no pidfd: another PID namespace before Linux 6.5) keeps
 * its place for this time more. A process that runs sees within a second, the longest that it sleeps
 * between two looks, that it was expelled; a host that swaps or a frozen container takes longer. Ten
 * times the longest time that a call takes by default (command_timeout, and wait_timeout before it) is
 * still short enough for workers that come and go by the hundred.
 */
#define REST_US UINT64_C(150000000)
/* Messages that are looked through for a GOODBYE: one that the worker asked and gave up waiting for, and that. */
#define LAST_MESSAGES 4
/* How long nobody is accepted when descriptors or memory are short. */
#define PAUSE_US UINT64_C(100000)
/* More than any message of ours, so that those of other versions can be answered. */
#define MESSAGE_ROOM 512u
/* Descriptors that workers may not use up, besides those for connections that are not open yet: for
 * dials (two each), for accepting and telling what is wrong. */
#define DESCRIPTORS_KEPT 32u
/* Supplementary groups that are looked up without asking for memory. */
#define GROUPS_ON_STACK 128u

struct worker {
    struct workers *all;
    struct worker *older, *newer; /* while it is not attached */
    sd_event_source *messages;
    sd_event_source *death; /* of its pidfd */
    sd_event_source *patience;
    struct broker_pool *pool; /* NULL: not attached */
    struct direct *direct;    /* it waits for a connection of its own */
    struct private *place;    /* which is counted already */
    uint64_t since_ms;
    uint32_t index;
    uint32_t tenant; /* as in wire_welcome */
    int socket;      /* -1: it is absent */
    int process;     /* pidfd, or -1 */
    bool mapped;     /* it may have the segment */
    bool returning;  /* it was absent, and has not fetched all that it needs yet */
    bool expelled;   /* see broker_pool_expel() */
    uint64_t *lost;  /* what it held then; NULL: it is not known */
    struct ucred peer;
};

static void listen_again(struct workers *workers);

/* ---- coming and going ---- */

static void unlink_unattached(struct worker *worker)
{
    struct workers *all = worker->all;

    *(worker->older ? &worker->older->newer : &all->oldest) = worker->newer;
    *(worker->newer ? &worker->newer->older : &all->newest) = worker->older;
    worker->older = worker->newer = NULL;
    all->unattached--;
    listen_again(all);
}

static void link_unattached(struct worker *worker)
{
    struct workers *all = worker->all;

    worker->older = all->newest;
    *(all->newest ? &all->newest->newer : &all->oldest) = worker;
    all->newest = worker;
    all->unattached++;
}

/* Closes and frees, and nothing else. */
static void worker_free(struct worker *worker)
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

    return worker->process >= 0 && poll(&poll_fd, 1, 0) == 1;
}

static void count_departure(const struct worker *worker, uint32_t leases)
{
    if (leases > 0 || process_is_dead(worker))
        shm_add_relaxed(&worker->pool->owner.catalog->counters[BROKER_COUNTER_deaths], 1);
}

/* Nobody uses its place any more: it is the next one's. Closes the socket last, so that a live process
 * that is thrown out does not attach again before all that it had is taken back. */
static void worker_depart(struct worker *worker)
{
    struct workers *all = worker->all;
    uint32_t leases = broker_pool_reclaim(worker->pool, worker->index, worker->lost);

    if (worker->expelled)
        all->resting--;
    else
        count_departure(worker, leases);
    shm_store32(&all->catalog->workers[worker->index].pool, 0);
    all->attached[worker->index] = NULL;
    all->free[(all->free_first + all->free_count++) % all->catalog->worker_max] = worker->index;
    worker_free(worker);
}

static int on_death(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)fd;
    (void)events;
    worker_depart(context);
    return 0;
}

static void worker_expel(struct worker *worker);

/* It did not come back, and its death cannot be seen from here. */
static int on_absence(sd_event_source *source, uint64_t usec, void *context)
{
    struct worker *worker = context;

    (void)source;
    (void)usec;
    if (worker->expelled)
        worker_depart(worker);
    else
        worker_expel(worker);
    return 0;
}

/* Nobody tells when `absent` is gone. False: nor can its absence be limited. */
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
 * It hung up, or has to go, and its process may live: it loses what it has, and keeps its place. That is
 * free when the process is dead, or has rested for so long that it must be.
 */
static void worker_expel(struct worker *worker)
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

/* It hung up before it had all that it came back for: it may come again, and has its leases still. */
static void go_absent(struct worker *worker)
{
    worker->returning = false;
    hang_up(worker);
    if (worker->process < 0 && !limit_absence(worker))
        worker_expel(worker);
}

/* The worker is gone, or has to go. `goodbye`: it says so itself. */
static void worker_leave(struct worker *worker, bool goodbye)
{
    direct_abandon(worker->direct);
    private_free(worker->place);
    worker->place = NULL;
    if (!worker->pool) {
        unlink_unattached(worker);
        worker_free(worker);
    } else if (goodbye || process_is_dead(worker) || !worker->mapped) {
        worker_depart(worker);
    } else if (worker->returning) {
        go_absent(worker);
    } else {
        worker_expel(worker);
    }
}

static void disconnect(struct worker *worker, const char *why)
{
    log_limited(&worker->all->protocol_limit, LOG_LEVEL_INFO,
                "process %d of user %u is disconnected: %s", (int)worker->peer.pid,
                worker->peer.uid, why);
    worker_leave(worker, false);
}

static int on_impatience(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    disconnect(context, "it did not say HELLO in time");
    return 0;
}

/* ---- who it is ---- */

static bool groups_allowed(const struct worker *worker, const struct id_list *allowed)
{
    gid_t on_stack[GROUPS_ON_STACK], *groups = on_stack, *more = NULL;
    socklen_t size = sizeof on_stack;
    bool found = false;

    if (id_list_contains(allowed, worker->peer.gid))
        return true;
    if (getsockopt(worker->socket, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0) {
        if (errno != ERANGE)
            return false;
        groups = more = malloc(size);
        if (!more || getsockopt(worker->socket, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
            size = 0;
    }
    for (size_t i = 0; i < size / sizeof *groups; i++)
        found |= id_list_contains(allowed, groups[i]);
    free(more);
    return found;
}

static bool is_allowed(const struct worker *worker, const struct pool_config *config)
{
    const struct id_list *gids = &config->allow_gids, *groups = &config->allow_groups.ids;

    if (config->allow_uids.count == 0 && config->allow_users.ids.count == 0 && gids->count == 0 &&
        groups->count == 0)
        return true;
    if (id_list_contains(&config->allow_uids, worker->peer.uid) ||
        id_list_contains(&config->allow_users.ids, worker->peer.uid))
        return true;
    return (gids->count > 0 && groups_allowed(worker, gids)) ||
           (groups->count > 0 && groups_allowed(worker, groups));
}

/* How many processes of `uid` are attached to `pool`. */
static uint32_t attached_of(const struct workers *all, const struct broker_pool *pool, uid_t uid)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < all->catalog->worker_max; i++)
        count +=
            all->attached[i] && all->attached[i]->pool == pool && all->attached[i]->peer.uid == uid;
    return count;
}

static bool has_its_share(const struct worker *worker, const struct broker_pool *pool)
{
    uint32_t most = pool->config->per_uid_workers;

    return most > 0 && attached_of(worker->all, pool, worker->peer.uid) >= most;
}

/* The same, and counts and logs if not. */
static bool may_use(const struct worker *worker, struct broker_pool *pool)
{
    if (is_allowed(worker, pool->config))
        return true;
    shm_add_relaxed(&pool->owner.catalog->counters[BROKER_COUNTER_denied], 1);
    log_limited(&worker->all->denied_limit, LOG_LEVEL_WARNING,
                "pool %s: process %d of user %u and group %u may not use it", pool->config->name,
                (int)worker->peer.pid, worker->peer.uid, worker->peer.gid);
    return false;
}

static bool hung_up(int socket)
{
    struct pollfd poll_fd = {.fd = socket, .events = 0};

    return poll(&poll_fd, 1, 0) == 1;
}

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

/*
 * The peer's pidfd. Results: 0 and *process, -1 if the peer cannot be had as a process (another PID
 * namespace on an old kernel) and its socket must do; -ESRCH, it is gone; -EMFILE and the like.
 */
static int open_process(const struct worker *worker, int *process)
{
    socklen_t size = sizeof *process;

    *process = -1;
    if (getsockopt(worker->socket, SOL_SOCKET, SO_PEERPIDFD, process, &size) == 0)
        return 0;
    *process = -1;
    if (is_shortage(errno))
        return -errno;
    if (errno == ESRCH || errno == EINVAL || errno == ENODATA)
        return -ESRCH; /* Linux 6.5 and later: reaped already */
    if (worker->peer.pid <= 0)
        return 0;
    *process = (int)syscall(SYS_pidfd_open, worker->peer.pid, 0);
    if (*process < 0)
        return errno == ESRCH ? -ESRCH : is_shortage(errno) ? -errno : 0;
    /* The number may have been another's by then; but whoever connected was alive if its socket
     * still is. */
    if (hung_up(worker->socket)) {
        close(*process);
        *process = -1;
        return -ESRCH;
    }
    return 0;
}

/* ---- HELLO ---- */

static struct broker_pool *find_pool(struct workers *all, const char *name)
{
    for (uint32_t i = 0; i < all->pool_count; i++)
        if (broker_pool_exists(&all->pools[i]) && strcmp(all->pools[i].config->name, name) == 0)
            return &all->pools[i];
    return NULL;
}

static void __attribute__((format(printf, 3, 4)))
refuse(struct worker *worker, int result, const char *format, ...)
{
    struct wire_welcome welcome = {.result = result};
    va_list arguments;

    wire_header(&welcome.header, WIRE_WELCOME, sizeof welcome);
    va_start(arguments, format);
    vsnprintf(welcome.text, sizeof welcome.text, format, arguments);
    va_end(arguments);
    /* What was sent before the close can still be read: unix(7). */
    wire_send(worker->socket, &welcome, -1);
    worker_leave(worker, false);
}

static void refuse_unknown_pool(struct worker *worker, const char *name)
{
    struct workers *all = worker->all;
    char names[128];
    size_t at = 0;

    for (uint32_t i = 0; i < all->pool_count && at < sizeof names; i++)
        if (broker_pool_exists(&all->pools[i]))
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", at ? ", " : "",
                                   all->pools[i].config->name);
    refuse(worker, -ESRCH, "there is no pool \"%.40s\"; there is %s", name, names);
}

/*
 * The kernel gives the lowest number that is free (open(2)), so a high one means that all below are
 * in use. Workers stop well before the limit: then they can be told why, and connections can still
 * be opened.
 */
static bool descriptors_are_short(const struct worker *worker)
{
    const struct workers *all = worker->all;
    uint32_t kept = DESCRIPTORS_KEPT;

    for (uint32_t i = 0; i < all->pool_count; i++)
        kept += all->pools[i].places - all->pools[i].owner.open;
    if (kept > all->descriptors / 2)
        kept = all->descriptors / 2;
    return (uint32_t)worker->socket >= all->descriptors - kept;
}

static int watch_process(struct worker *worker)
{
    int result;

    if (descriptors_are_short(worker))
        return -EMFILE;
    result = open_process(worker, &worker->process);
    if (result == 0 && worker->process >= 0)
        result = sd_event_add_io(worker->all->event, &worker->death, worker->process, EPOLLIN,
                                 on_death, worker);
    return result < 0 ? result : 0;
}

/* It has its index; from here on it is attached. */
static void enter(struct worker *worker, struct broker_pool *pool)
{
    struct workers *all = worker->all;

    unlink_unattached(worker);
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

static void enter_new(struct worker *worker, struct broker_pool *pool)
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

/* ---- those who are absent: of the previous broker, or expelled ---- */

/* The place of an absent worker who says that it is `worker`; NULL: it is not. */
static struct worker *find_absent(const struct worker *worker, const struct broker_pool *pool,
                                  const struct wire_hello *hello)
{
    const struct workers *all = worker->all;
    struct worker *absent;

    if (hello->tenant == 0 || hello->segment != pool->owner.segment.instance ||
        hello->worker >= all->catalog->worker_max)
        return NULL;
    absent = all->attached[hello->worker];
    return absent && absent->socket < 0 && absent->pool == pool &&
                   absent->tenant == hello->tenant && absent->peer.uid == worker->peer.uid &&
                   absent->peer.pid == worker->peer.pid
               ? absent
               : NULL;
}

/* `worker` takes the place of `absent`, which is itself. */
static void resume(struct worker *worker, struct worker *absent)
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
    worker_free(absent);
}

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

/* The pool of an entry in the former catalog, if its segment was adopted. */
static struct broker_pool *adopted_pool(struct workers *workers, const struct catalog *former,
                                        const struct catalog_worker *entry)
{
    uint32_t index = entry->pool - 1;
    struct broker_pool *pool;

    if (index >= former->pool_max)
        return NULL;
    pool = find_pool(workers, former->pools[index].name);
    return pool && pool->adopted ? pool : NULL;
}

void workers_adopt(struct workers *workers, const struct catalog *former)
{
    uint32_t count = 0;

    if (!former->header || former->worker_max != workers->catalog->worker_max)
        return;
    for (uint32_t i = 0; i < former->worker_max; i++) {
        struct broker_pool *pool = adopted_pool(workers, former, &former->workers[i]);

        if (!pool || !adopt(workers, pool, i, &former->workers[i]))
            continue;
        count++;
    }
    if (count == 0)
        return;
    /* Free are those that have no worker. */
    workers->free_first = workers->free_count = 0;
    for (uint32_t i = 0; i < former->worker_max; i++)
        if (!workers->attached[i])
            workers->free[workers->free_count++] = i;
    /* Now that all are known: the dead may have handed something to the living. */
    for (uint32_t i = 0; i < former->worker_max; i++) {
        struct worker *absent = workers->attached[i];

        if (absent && !watch_absent(absent, &former->workers[i]))
            worker_depart(absent);
    }
    /* unprovoked: once, when the broker starts */
    log_line(LOG_LEVEL_NOTICE, "%u workers of the previous broker; %u of them have died", count,
             count - (workers->catalog->worker_max - workers->free_count));
}

static void welcome(struct worker *worker, bool resumed)
{
    struct wire_welcome message = {
        .worker = worker->index,
        .pool = worker->pool->index,
        .serial = worker->pool->serial,
        .resumed = resumed,
        .tenant = worker->tenant,
        .instance = worker->all->catalog->instance,
    };

    wire_header(&message.header, WIRE_WELCOME, sizeof message);
    if (wire_send(worker->socket, &message, -1) != 0)
        disconnect(worker, "it does not read what it asked for");
}

static void attach(struct worker *worker, struct broker_pool *pool, const struct wire_hello *hello)
{
    struct workers *all = worker->all;
    struct worker *absent = find_absent(worker, pool, hello);
    int result;

    if (all->stopping) {
        refuse(worker, LENDIS_E_DOWN, "the broker is stopping");
    } else if (!may_use(worker, pool)) {
        refuse(worker, LENDIS_E_DENIED,
               "user %u may not use pool %s: see allow_users and allow_groups", worker->peer.uid,
               pool->config->name);
    } else if (!absent && has_its_share(worker, pool)) {
        log_limited(&all->share_limit, LOG_LEVEL_WARNING,
                    "pool %s: process %d is refused, per_uid_workers = %u of user %u are attached",
                    pool->config->name, (int)worker->peer.pid, pool->config->per_uid_workers,
                    worker->peer.uid);
        refuse(worker, LENDIS_E_BUSY,
               "%u processes of user %u use pool %.40s, and no more may: see per_uid_workers",
               pool->config->per_uid_workers, worker->peer.uid, pool->config->name);
    } else if (all->free_count == 0 && !absent) {
        log_limited(
            &all->refused_limit, LOG_LEVEL_WARNING,
            "pool %s: a worker is refused, max_workers = %u are attached; %u of them hung up "
            "and keep their places as long as their processes live",
            pool->config->name, all->catalog->worker_max, all->resting);
        refuse(worker, LENDIS_E_BUSY,
               "all %u places for workers are taken, %u of them by processes that hung up and live "
               "on: see max_workers",
               all->catalog->worker_max, all->resting);
    } else if ((result = watch_process(worker)) == -ESRCH) {
        disconnect(worker, "the process that connected is gone");
    } else if (result != 0) {
        log_limited(&all->descriptor_limit, LOG_LEVEL_WARNING, "pool %s: a worker is refused: %s",
                    pool->config->name, strerror(-result));
        refuse(worker, LENDIS_E_BUSY, "the broker is short of descriptors or memory: %s",
               strerror(-result));
    } else {
        /* Who inherited the segment or was a worker before need not fetch it. */
        worker->mapped = hello->segment != 0;
        if (absent)
            resume(worker, absent);
        else
            enter_new(worker, pool);
        welcome(worker, absent != NULL);
    }
}

/* ---- DIRECT ---- */

/* Whatever the answer was, that is all. What was sent before the close can still be read: unix(7). */
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

static bool is_direct(const void *message, size_t size)
{
    return wire_is(message, size, WIRE_DIRECT, sizeof(struct wire_hello));
}

/* A place for one more. Results: 0; LENDIS_E_BUSY, which was logged; -ESRCH, the process is gone; -errno. */
static int admit_direct(struct worker *worker, struct broker_pool *pool)
{
    int result = direct_offered(pool);

    if (result == 0 && descriptors_are_short(worker))
        result = -EMFILE;
    if (result == 0)
        result = open_process(worker, &worker->process);
    if (is_shortage(-result)) {
        log_limited(&worker->all->descriptor_limit, LOG_LEVEL_WARNING,
                    "pool %s: a process gets no connection of its own: %s", pool->config->name,
                    strerror(-result));
        return LENDIS_E_BUSY;
    }
    return result == 0 ? private_admit(pool, &worker->peer, &worker->place) : result;
}

static void give_direct(struct worker *worker, struct broker_pool *pool)
{
    int result = -ESRCH;

    if (pool)
        result = worker->all->stopping   ? LENDIS_E_DOWN
                 : may_use(worker, pool) ? admit_direct(worker, pool)
                                         : LENDIS_E_DENIED;
    /* connect_timeout limits it from now on. */
    if (result == 0)
        worker->patience = sd_event_source_disable_unref(worker->patience);
    if (result == 0)
        result = direct_start(pool, on_direct, worker, &worker->direct);
    if (result != 0)
        on_direct(worker, -1, result);
}

/* HELLO of another ABI still begins with the header; all else of it may differ. */
static bool is_foreign_hello(const void *message, size_t size)
{
    struct wire_header header;

    if (size < sizeof header)
        return false;
    memcpy(&header, message, sizeof header);
    return header.magic == WIRE_MAGIC && header.type == WIRE_HELLO && header.size == size &&
           header.abi_major != LENDIS_ABI_MAJOR;
}

/* No worker, but a tool: from here on it is control's. */
static void pass_to_control(struct worker *worker, const void *message, size_t size)
{
    struct workers *all = worker->all;
    struct ucred peer = worker->peer;
    int socket = worker->socket;

    worker->messages = sd_event_source_disable_unref(worker->messages);
    worker->socket = -1;
    worker_leave(worker, false);
    all->control(all->control_context, socket, &peer, message, size);
}

static void handle_hello(struct worker *worker, const void *message, size_t size, bool direct)
{
    struct wire_hello hello;
    struct broker_pool *pool;

    if (is_foreign_hello(message, size)) {
        refuse(worker, LENDIS_E_ABI,
               "this broker speaks version %u of the protocol; restart it or the program after an "
               "upgrade",
               LENDIS_ABI_MAJOR);
        return;
    }
    if (!wire_is(message, size, direct ? WIRE_DIRECT : WIRE_HELLO, sizeof hello)) {
        disconnect(worker, "its first message is not HELLO");
        return;
    }
    memcpy(&hello, message, sizeof hello);
    if (!memchr(hello.pool, '\0', sizeof hello.pool)) {
        disconnect(worker, "its HELLO is malformed");
        return;
    }
    pool = find_pool(worker->all, hello.pool);
    if (direct)
        give_direct(worker, pool);
    else if (pool)
        attach(worker, pool, &hello);
    else
        refuse_unknown_pool(worker, hello.pool);
}

/* ---- FETCH ---- */

/* The descriptor that is asked for, borrowed. Results: 0; -EINVAL; -ESTALE. */
static int find_descriptor(struct worker *worker, const struct wire_fetch *fetch, int *fd)
{
    switch (fetch->what) {
    case WIRE_CATALOG:
        *fd = worker->all->catalog_fd;
        return 0;
    case WIRE_SEGMENT:
        worker->mapped = true;
        *fd = worker->pool->segment_fd;
        return 0;
    case WIRE_DOORBELL:
        worker->returning = false; /* the last thing that it needs */
        *fd = worker->pool->doorbell;
        return 0;
    case WIRE_BELL:
        return broker_pool_bell(worker->pool, fetch->index, fd);
    case WIRE_CONNECTION:
        return broker_pool_descriptor(worker->pool, fetch->index, fetch->generation, &worker->peer,
                                      fd);
    default:
        return -EINVAL;
    }
}

/* At most one descriptor is in flight per worker: the kernel counts them against our user
 * (unix(7)). */
static bool last_answer_unread(const struct worker *worker)
{
    int unread = 0;

    return ioctl(worker->socket, SIOCOUTQ, &unread) < 0 || unread > 0;
}

static void handle_fetch(struct worker *worker, const void *message, size_t size)
{
    struct wire_fetch fetch;
    struct wire_descriptor answer;
    int fd = -1, result;

    if (!wire_is(message, size, WIRE_FETCH, sizeof fetch)) {
        disconnect(worker, "its message is not FETCH");
        return;
    }
    if (last_answer_unread(worker)) {
        disconnect(worker, "it asks again before it reads the last answer");
        return;
    }
    memcpy(&fetch, message, sizeof fetch);
    answer = (struct wire_descriptor){.what = fetch.what, .index = fetch.index};
    answer.generation = fetch.generation;
    wire_header(&answer.header, WIRE_DESCRIPTOR, sizeof answer);
    answer.result = find_descriptor(worker, &fetch, &fd);
    result = wire_send(worker->socket, &answer, fd);
    if (fd >= 0 && (result == -ETOOMANYREFS || is_shortage(-result))) {
        log_limited(&worker->all->descriptor_limit, LOG_LEVEL_WARNING,
                    "pool %s: a descriptor cannot be passed: %s", worker->pool->config->name,
                    strerror(-result));
        answer.result = result;
        result = wire_send(worker->socket, &answer, -1);
    }
    if (result != 0)
        disconnect(worker, "it does not read what it asked for");
}

/* ---- messages ---- */

static bool is_goodbye(const void *message, size_t size)
{
    return wire_is(message, size, WIRE_GOODBYE, sizeof(struct wire_goodbye));
}

/* The worker has hung up: whether it said goodbye before. */
static bool said_goodbye(const struct worker *worker)
{
    _Alignas(struct wire_header) char message[MESSAGE_ROOM];

    for (int i = 0; i < LAST_MESSAGES; i++) {
        int got = wire_receive(worker->socket, message, sizeof message, NULL, 0);

        if (got <= 0)
            return false;
        if (is_goodbye(message, (size_t)got))
            return true;
    }
    return false;
}

static int on_message(sd_event_source *source, int fd, uint32_t events, void *context)
{
    _Alignas(struct wire_header) char message[MESSAGE_ROOM];
    struct worker *worker = context;
    int got;

    (void)source;
    if (events & (EPOLLHUP | EPOLLERR)) {
        /* Whatever else it said before, it does not read the answer. */
        worker_leave(worker, said_goodbye(worker));
        return 0;
    }
    got = wire_receive(fd, message, sizeof message, NULL, 0);
    if (got == -EAGAIN)
        return 0;
    if (got == 0 || got == -ECONNRESET)
        worker_leave(worker, false);
    else if (got < 0)
        disconnect(worker, strerror(-got));
    else if (worker->pool && is_goodbye(message, (size_t)got))
        worker_leave(worker, true);
    else if (worker->pool)
        handle_fetch(worker, message, (size_t)got);
    else if (worker->direct)
        disconnect(worker, "it asks again before its connection is open");
    else if (worker->all->control &&
             wire_is(message, (size_t)got, WIRE_CONTROL, sizeof(struct wire_control)))
        pass_to_control(worker, message, (size_t)got);
    else
        handle_hello(worker, message, (size_t)got, is_direct(message, (size_t)got));
    return 0;
}

/* ---- accepting ---- */

/* Takes over `fd`. Results: 0; -errno, it was closed. */
static int admit(struct workers *workers, int fd)
{
    struct worker *worker = calloc(1, sizeof *worker);
    socklen_t size = sizeof worker->peer;
    int result;

    if (!worker) {
        close(fd);
        return -ENOMEM;
    }
    worker->all = workers;
    worker->socket = fd;
    worker->process = -1;
    worker->since_ms = clock_ms();
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &worker->peer, &size) < 0)
        result = -errno;
    else
        result =
            sd_event_add_io(workers->event, &worker->messages, fd, EPOLLIN, on_message, worker);
    if (result >= 0)
        result = sd_event_add_time_relative(workers->event, &worker->patience, CLOCK_MONOTONIC,
                                            HELLO_TIMEOUT_US, 0, on_impatience, worker);
    if (result < 0) {
        worker_free(worker);
        return result;
    }
    link_unattached(worker);
    return 0;
}

static void pause_listening(struct workers *workers, uint64_t usec)
{
    if (timer_set(workers->resume, usec) != 0)
        return; /* rather busy than deaf */
    sd_event_source_set_enabled(workers->listener, SD_EVENT_OFF);
}

static void listen_again(struct workers *workers)
{
    if (!workers->listener || workers->stopping)
        return;
    timer_stop(workers->resume);
    sd_event_source_set_enabled(workers->listener, SD_EVENT_ON);
}

static int on_resume(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    listen_again(context);
    return 0;
}

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/*
 * No descriptor is free, so the peer would wait in the backlog and the loop would spin on it. The
 * spare one lets us accept it and hang up. Without one, the listener rests.
 */
static void shed(struct workers *workers, int listener, int error)
{
    int fd;

    log_limited(&workers->descriptor_limit, LOG_LEVEL_WARNING, "a worker is turned away: %s",
                strerror(error));
    if (workers->spare >= 0) {
        close(workers->spare);
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
        workers->spare = open_spare();
    } else {
        workers->spare = open_spare();
        pause_listening(workers, PAUSE_US);
    }
}

static bool is_silent(const struct worker *worker)
{
    struct pollfd poll_fd = {.fd = worker->socket, .events = POLLIN};

    return poll(&poll_fd, 1, 0) == 0;
}

/* Of a user who has more than half of the places for those without HELLO: the one that has said
 * nothing for longest. NULL: there is none. */
static struct worker *find_silent_crowd(const struct workers *workers)
{
    uint32_t votes = 0, count = 0;
    uid_t uid = 0;

    /* Whoever has the majority is left over: Boyer and Moore, 1981. */
    for (const struct worker *each = workers->oldest; each; each = each->newer) {
        if (votes == 0)
            uid = each->peer.uid;
        votes = each->peer.uid == uid ? votes + 1 : votes - 1;
    }
    for (const struct worker *each = workers->oldest; each; each = each->newer)
        count += each->peer.uid == uid;
    if (count <= WORKERS_UNATTACHED / 2)
        return NULL;
    for (struct worker *each = workers->oldest; each; each = each->newer)
        if (each->peer.uid == uid && is_silent(each))
            return each;
    return NULL;
}

/* True: there is a place for one more without HELLO. */
static bool make_room(struct workers *workers)
{
    struct worker *goes;
    uint64_t age, grace;

    if (workers->unattached < WORKERS_UNATTACHED)
        return true;
    goes = find_silent_crowd(workers);
    grace = goes ? CROWD_GRACE_MS : HELLO_GRACE_MS;
    if (!goes)
        goes = workers->oldest;
    age = clock_ms() - goes->since_ms;
    if (age < grace) {
        pause_listening(workers, (grace - age) * 1000);
        return false;
    }
    disconnect(goes, "it did not say HELLO, and others want to");
    return true;
}

static int on_connection(sd_event_source *source, int listener, uint32_t events, void *context)
{
    struct workers *workers = context;
    int fd, result;

    (void)source;
    (void)events;
    if (!make_room(workers))
        return 0;
    fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE)
            shed(workers, listener, errno);
        else if (is_shortage(errno))
            pause_listening(workers, PAUSE_US);
        return 0;
    }
    result = admit(workers, fd);
    if (result != 0)
        log_limited(&workers->descriptor_limit, LOG_LEVEL_WARNING, "a worker is turned away: %s",
                    strerror(-result));
    return 0;
}

int workers_listen(struct workers *workers, int listener)
{
    int result = timer_new(workers->event, &workers->resume, on_resume, workers);

    if (result >= 0)
        result = sd_event_add_io(workers->event, &workers->listener, listener, EPOLLIN,
                                 on_connection, workers);
    return result < 0 ? result : 0;
}

uint32_t workers_count(const struct workers *workers)
{
    return workers->catalog->worker_max - workers->free_count;
}

void workers_inspect(void *context, uint32_t index, uint32_t thread, struct process_view *view)
{
    const struct workers *workers = context;
    const struct worker *worker =
        index < workers->catalog->worker_max ? workers->attached[index] : NULL;

    *view = (struct process_view){.state = PROCESS_UNSEEN};
    if (worker)
        process_inspect(worker->process, worker->peer.pid, (pid_t)thread, view);
}

void workers_stop(struct workers *workers)
{
    workers->stopping = true;
    sd_event_source_set_enabled(workers->listener, SD_EVENT_OFF);
    timer_stop(workers->resume);
}

/* ---- all of them ---- */

int workers_init(struct workers *workers, sd_event *event, struct catalog *catalog, int catalog_fd,
                 struct broker_pool *pools, uint32_t pool_count)
{
    struct rlimit limit;

    *workers = (struct workers){
        .event = event,
        .catalog = catalog,
        .catalog_fd = catalog_fd,
        .pools = pools,
        .pool_count = pool_count,
        .free_count = catalog->worker_max,
        .descriptors = UINT32_MAX,
        .spare = open_spare(),
    };
    if (getrandom(&workers->tenant, sizeof workers->tenant, 0) < 0)
        workers->tenant = (uint32_t)clock_realtime_ms();
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < UINT32_MAX)
        workers->descriptors = (uint32_t)limit.rlim_cur;
    workers->attached = calloc(catalog->worker_max, sizeof *workers->attached);
    workers->free = calloc(catalog->worker_max, sizeof *workers->free);
    if (!workers->attached || !workers->free || workers->spare < 0) {
        int result = workers->spare < 0 ? -errno : -ENOMEM;

        workers_free(workers);
        return result;
    }
    for (uint32_t i = 0; i < catalog->worker_max; i++)
        workers->free[i] = i;
    return 0;
}

void workers_free(struct workers *workers)
{
    if (!workers->catalog)
        return;
    workers->stopping = true;
    while (workers->oldest)
        worker_leave(workers->oldest, false);
    for (uint32_t i = 0; workers->attached && i < workers->catalog->worker_max; i++)
        if (workers->attached[i])
            worker_free(workers->attached[i]);
    workers->listener = sd_event_source_disable_unref(workers->listener);
    workers->resume = sd_event_source_disable_unref(workers->resume);
    if (workers->spare >= 0)
        close(workers->spare);
    free(workers->attached);
    free(workers->free);
    *workers = (struct workers){.spare = -1};
}
