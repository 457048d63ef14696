/* SPDX-License-Identifier: MIT */
/*
 * The broker's life: see broker.h.
 *
 * Its death is announced by the kernel: the word `broker` in the catalog is on this thread's robust
 * futex list (set_robust_list(2)), so it gets FUTEX_OWNER_DIED however the process ends. It is no
 * lock; nobody waits for it.
 */
#include "broker/daemon/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "broker/daemon/control.h"
#include "broker/metrics/exporter.h"
#include "broker/base/listen.h"
#include "broker/pool/sizing.h"
#include "broker/pool/pause.h"
#include "broker/base/service_manager.h"
#include "broker/daemon/reload.h"
#include "broker/workers/worker.h"

#define DRAIN_STEP_US 20000u
/* What the service manager is asked to wait for the next step of draining at least. */
#define DRAIN_EXTENSION_US 5000000u
/* Descriptors besides workers and connections: standard ones, epoll, timers, signals, catalog and
 * so on. */
#define DESCRIPTORS_OWN 64u

_Static_assert(CATALOG_OWNER_DIED == FUTEX_OWNER_DIED, "the kernel's bit");

struct broker {
    struct config *config; /* in force */
    sd_event *event;
    int listener;
    bool made_socket;
    struct stat socket_stat; /* of the one we made */
    char socket_path[sizeof((struct sockaddr_un *)0)->sun_path];

    struct store store;
    struct catalog former; /* of the previous broker */
    int former_fd;
    uint64_t former_ms; /* when it was made */
    uint64_t catalog_ms;
    struct catalog catalog;
    int catalog_fd;
    struct dialler dialler;
    struct resolver resolver;
    struct pool_site site;
    struct broker_pool *pools;
    struct reload reload;
    sd_event_source *idle_timer;
    uint64_t busy_ms;             /* when a worker was attached last, as far as was seen */
    sd_event_source *sweep_timer; /* pools that were taken out of the configuration */
    struct workers workers;
    struct exporter *exporter; /* NULL: metrics are not asked for */
    struct control control;

    sd_event_source *drain_timer;
    uint64_t drain_until_ms;
    uint64_t extend_ms; /* when the service manager is asked for patience again */
    bool draining;
    bool leaving; /* all is left to the next broker */
};

/* ---- the listening socket ---- */

/* Sets socket_path to where `listener` listens. */
static void learn_path(struct broker *broker)
{
    struct sockaddr_un address = {0};
    socklen_t size = sizeof address;

    if (getsockname(broker->listener, (struct sockaddr *)&address, &size) == 0 &&
        address.sun_path[0] == '/')
        snprintf(broker->socket_path, sizeof broker->socket_path, "%.*s",
                 (int)sizeof address.sun_path - 1, address.sun_path);
}

/* Takes the socket that the previous broker made, or one of the socket unit. Results: 1, listener is
 * set; 0, there is none; -errno. */
static int take_passed_socket(struct broker *broker)
{
    broker->listener = store_take(&broker->store, STORED_LISTENER);
    broker->made_socket = broker->listener >= 0;
    if (broker->listener < 0)
        broker->listener = store_take_listener(&broker->store);
    if (broker->listener == -ENOENT)
        return 0;
    if (broker->listener < 0) {
        store_report_sockets(&broker->store);
        return -EINVAL;
    }
    if (fcntl(broker->listener, F_SETFL, fcntl(broker->listener, F_GETFL) | O_NONBLOCK) < 0)
        return -errno;
    learn_path(broker);
    if (broker->made_socket && (strcmp(broker->socket_path, broker->config->broker.socket) != 0 ||
                                stat(broker->socket_path, &broker->socket_stat) < 0)) {
        /* It is to be elsewhere now, or somebody removed it. */
        store_remove(&broker->store, STORED_LISTENER);
        close(broker->listener);
        broker->listener = -1;
        broker->made_socket = false;
        return 0;
    }
    return 1;
}

static int bind_socket(struct broker *broker, const struct sockaddr_un *address)
{
    mode_t before;
    int result;

    broker->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (broker->listener < 0)
        return -errno;
    /* 0660 from its first moment: a mode that is set afterwards comes too late. */
    before = umask(0117);
    result =
        bind(broker->listener, (const struct sockaddr *)address, sizeof *address) < 0 ? -errno : 0;
    umask(before);
    if (result == 0) {
        broker->made_socket = stat(address->sun_path, &broker->socket_stat) == 0;
        result = listen(broker->listener, SOMAXCONN) < 0 ? -errno : 0;
        if (result == 0)
            store_put(&broker->store, broker->listener, STORED_LISTENER);
    }
    if (result == -ENOENT || result == -ENOTDIR)
        log_line(LOG_LEVEL_ERR, "socket %s: its directory does not exist; make it first",
                 broker->socket_path);
    else if (result != 0)
        log_line(LOG_LEVEL_ERR, "socket %s: %s", broker->socket_path, strerror(-result));
    return result;
}

/*
 * Locks the socket's directory, so that of two brokers that start at once only one takes a stale
 * socket for dead. Somebody else may hold that lock for reasons of their own: after a second we go
 * on without.
 */
static int lock_directory(const char *path)
{
    char copy[sizeof((struct sockaddr_un *)0)->sun_path];
    int fd;

    snprintf(copy, sizeof copy, "%s", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int tries = 0; fd >= 0 && tries < 20; tries++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return fd;
}

static int open_socket(struct broker *broker)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int result, lock;

    snprintf(broker->socket_path, sizeof broker->socket_path, "%s", broker->config->broker.socket);
    result = take_passed_socket(broker);
    if (result != 0)
        return result < 0 ? result : 0;
    memcpy(address.sun_path, broker->socket_path, sizeof address.sun_path);
    lock = lock_directory(address.sun_path);
    result = listen_clear_way(&address, SOCK_SEQPACKET);
    if (result == 0)
        result = bind_socket(broker, &address);
    if (lock >= 0)
        close(lock);
    return result;
}

/* Removes the socket if it is the one that we made. */
static void remove_socket(struct broker *broker)
{
    struct stat stat;

    if (broker->made_socket && lstat(broker->socket_path, &stat) == 0 &&
        stat.st_dev == broker->socket_stat.st_dev && stat.st_ino == broker->socket_stat.st_ino)
        unlink(broker->socket_path);
    if (broker->made_socket)
        store_remove(&broker->store, STORED_LISTENER);
    broker->made_socket = false;
}

/* ---- the catalog ---- */

static void announce_death(const struct catalog *catalog)
{
    static struct robust_list node;
    static struct robust_list_head head;

    /* The kernel takes node + futex_offset for the futex; the two need not be near each other. */
    head.list.next = &node;
    head.futex_offset = (long)((uintptr_t)&catalog->header->broker - (uintptr_t)&node);
    head.list_op_pending = NULL;
    node.next = &head.list;
    shm_store32(&catalog->header->broker, (uint32_t)syscall(SYS_gettid));
    if (syscall(SYS_set_robust_list, &head, sizeof head) < 0)
        log_line(LOG_LEVEL_WARNING,
                 "set_robust_list: %s; workers will notice a crash of the broker later",
                 strerror(errno));
}

static int publish_config(struct broker *broker)
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);

    if (!memory)
        return -ENOMEM;
    config_print(broker->config, memory);
    if (fclose(memory) != 0) {
        free(text);
        return -ENOMEM;
    }
    if (size > CATALOG_CONFIG_SIZE)
        size = CATALOG_CONFIG_SIZE;
    /* A reader of the moment may see half of each; the next look is right. */
    memcpy(broker->catalog.config, text, size);
    broker->catalog.header->config_size = (uint32_t)size;
    free(text);
    return 0;
}

static void forget_former(struct broker *broker)
{
    catalog_unmap(&broker->former);
    if (broker->former_fd < 0)
        return;
    store_remove(&broker->store, STORED_CATALOG, (uintmax_t)broker->former_ms);
    close(broker->former_fd);
    broker->former_fd = -1;
}

/*
 * What the previous broker left behind of itself. There can be more than one catalog, if a broker died
 * before it had adopted everything: the oldest is complete. One that cannot be read is as good as
 * none.
 */
static void find_former(struct broker *broker)
{
    const char *rest;
    int fd;

    while (store_take_next(&broker->store, "catalog.", &fd, &rest)) {
        uint64_t made_ms = strtoull(rest, NULL, 10);

        if (broker->former_fd >= 0 && made_ms > broker->former_ms) {
            store_remove(&broker->store, STORED_CATALOG, (uintmax_t)made_ms);
            close(fd);
            continue;
        }
        forget_former(broker);
        broker->former_fd = fd;
        broker->former_ms = made_ms;
    }
    if (broker->former_fd >= 0 && catalog_map(broker->former_fd, &broker->former) != 0)
        log_line(LOG_LEVEL_NOTICE,
                 "the previous broker was of another version: what it lent stays with its holders "
                 "until they give it back");
}

static int make_catalog(struct broker *broker)
{
    struct catalog_header *header;
    uint64_t instance;
    int result;

    if (getrandom(&instance, sizeof instance, 0) != (ssize_t)sizeof instance)
        return -errno;
    result = catalog_new(instance | 1, broker->config->broker.max_workers, &broker->catalog_fd,
                         &broker->catalog);
    if (result != 0)
        return result;
    header = broker->catalog.header;
    broker->catalog_ms = clock_ms();
    store_put(&broker->store, broker->catalog_fd, STORED_CATALOG, (uintmax_t)broker->catalog_ms);
    header->started_ms = clock_realtime_ms();
    snprintf(header->socket_path, sizeof header->socket_path, "%s", broker->socket_path);
    announce_death(&broker->catalog);
    return publish_config(broker);
}

/* ---- status ---- */

static void tell_status(void *context)
{
    const struct broker *broker = context;
    uint32_t up = 0, down = 0, pools = 0;

    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        if (!broker_pool_exists(&broker->pools[i]))
            continue;
        enum backend_state state = broker_pool_backend(&broker->pools[i]);

        pools += pause_state(&broker->pools[i]) != GATE_SERVICE;
        up += state == BACKEND_UP;
        down += state == BACKEND_DOWN;
    }
    if (broker->draining)
        return;
    manager_tell("STATUS=%u of %u pools up%s", up, pools,
                 down ? "; Redis cannot be reached for the others" : "");
}

/* ---- the end ---- */

static int on_drain(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker *broker = context;
    uint32_t out = 0;

    (void)usec;
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++)
        if (broker->pools[i].config)
            out += pause_close_returned(&broker->pools[i], CLOSE_drained);
    if (out > 0 && clock_ms() < broker->drain_until_ms) {
        if (clock_ms() >= broker->extend_ms) {
            broker->extend_ms = clock_ms() + DRAIN_EXTENSION_US / 2000;
            manager_tell("EXTEND_TIMEOUT_USEC=%u", DRAIN_EXTENSION_US);
        }
        timer_set(source, DRAIN_STEP_US);
        return 0;
    }
    if (out > 0)
        log_line(LOG_LEVEL_WARNING,
                 "%u leases did not come back within drain_timeout; they are revoked", out);
    return sd_event_exit(broker->event, 0);
}

static int drain(struct broker *broker)
{
    int result;

    broker->draining = true;
    broker->drain_until_ms = clock_ms() + broker->config->broker.drain_timeout_ms;
    manager_tell("STOPPING=1\nSTATUS=waiting for leases to come back");
    workers_stop(&broker->workers);
    control_stop(&broker->control);
    shm_store32(&broker->catalog.header->draining, 1);
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        if (!broker->pools[i].config)
            continue;
        /* Newcomers wait for another broker, or for the end of their patience, but not in our way. */
        pause_set(&broker->pools[i], GATE_PAUSED);
        broker_pool_drain(&broker->pools[i]);
    }
    result = sd_event_add_time_relative(broker->event, &broker->drain_timer, CLOCK_MONOTONIC, 0,
                                        1000, on_drain, broker);
    return result < 0 ? sd_event_exit(broker->event, 0) : 0;
}

/* ---- without workers ---- */

/* Looks so often in the time of exit_after_idle, or for a change of it. */
#define IDLE_LOOKS   10u
#define IDLE_LOOK_US UINT64_C(10000000)

static void look_again(struct broker *broker)
{
    uint64_t look_us = broker->config->broker.exit_after_idle_ms * UINT64_C(1000) / IDLE_LOOKS;

    if (broker->config->broker.exit_after_idle_ms == 0)
        return;
    timer_set(broker->idle_timer, look_us < IDLE_LOOK_US ? look_us : IDLE_LOOK_US);
}

static int on_idle(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker *broker = context;
    uint64_t now_ms = clock_ms(), limit_ms = broker->config->broker.exit_after_idle_ms;

    (void)source;
    (void)usec;
    if (broker->draining || limit_ms == 0)
        return 0;
    if (workers_count(&broker->workers) > 0)
        broker->busy_ms = now_ms;
    if (now_ms - broker->busy_ms >= limit_ms) {
        log_line(LOG_LEVEL_NOTICE, "no worker was attached for exit_after_idle: exiting");
        return drain(broker);
    }
    look_again(broker);
    return 0;
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *context)
{
    struct broker *broker = context;

    (void)source;
    if (broker->leaving)
        return 0;
    if (broker->draining) {
        log_line(LOG_LEVEL_NOTICE, "told to stop again (%s): leases are revoked",
                 strsignal((int)info->ssi_signo));
        return sd_event_exit(broker->event, 0);
    }
    log_line(LOG_LEVEL_NOTICE, "told to stop (%s): waiting for leases to come back",
             strsignal((int)info->ssi_signo));
    return drain(broker);
}

/*
 * The next broker takes over what the service manager keeps: everything stays as it is, and workers
 * go on with it, as after a crash.
 */
static int on_leave(sd_event_source *source, const struct signalfd_siginfo *info, void *context)
{
    struct broker *broker = context;

    (void)source;
    (void)info;
    if (broker->draining)
        return 0;
    if (!broker->store.on) {
        log_line(LOG_LEVEL_WARNING, "told to leave everything to the next broker (SIGUSR2), but no "
                                    "service manager keeps it: ignored");
        return 0;
    }
    log_line(LOG_LEVEL_NOTICE, "everything is left to the next broker");
    broker->leaving = true;
    return sd_event_exit(broker->event, 0);
}

/* ---- another configuration ---- */

#define SWEEP_STEP_US 100000u

static int on_sweep(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker *broker = context;

    (void)usec;
    if (!broker->draining && reload_sweep(&broker->reload))
        timer_set(source, SWEEP_STEP_US);
    return 0;
}

/* The configuration in force is another one. */
static void on_published(void *context)
{
    struct broker *broker = context;

    if (publish_config(broker) != 0)
        log_line(LOG_LEVEL_WARNING, "tools are not shown the new configuration: %s",
                 strerror(ENOMEM));
    dialler_give_turns(&broker->dialler);
    look_again(broker);
    timer_set(broker->sweep_timer, SWEEP_STEP_US);
    tell_status(broker);
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *context)
{
    struct broker *broker = context;

    (void)source;
    (void)info;
    if (!broker->draining)
        control_reload(&broker->control, NULL, NULL, NULL);
    return 0;
}

static int watch_signals(struct broker *broker)
{
    sigset_t mask;
    int result;

    /* sd-event wants them blocked; threads that start later inherit that. */
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGUSR2);
    if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
        return -errno;
    signal(SIGPIPE, SIG_IGN);
    /* It has no children, but as process 1 of a container it is given those of others: the kernel
     * is to reap them, and here goes what has ended already. */
    signal(SIGCHLD, SIG_IGN);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    result = sd_event_add_signal(broker->event, NULL, SIGTERM, on_stop, broker);
    if (result >= 0)
        result = sd_event_add_signal(broker->event, NULL, SIGINT, on_stop, broker);
    if (result >= 0)
        result = sd_event_add_signal(broker->event, NULL, SIGUSR2, on_leave, broker);
    if (result >= 0)
        result = sd_event_add_signal(broker->event, NULL, SIGHUP, on_hangup, broker);
    return result;
}

/* ---- the beginning ---- */

/* Every connection, and two for each worker: its socket and its pidfd. */
static void raise_descriptor_limit(const struct config *config)
{
    uint64_t needed = DESCRIPTORS_OWN + UINT64_C(2) * config->broker.max_workers;
    struct rlimit limit;

    for (uint32_t i = 0; i < config->pool_count; i++)
        needed += sizing_places(&config->pools[i]) + 2;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < needed)
        log_line(LOG_LEVEL_WARNING,
                 "the limit of open files is %ju; max_workers and the pools' sizes may need %ju "
                 "(LimitNOFILE=)",
                 (uintmax_t)limit.rlim_cur, (uintmax_t)needed);
}

static int start_pools(struct broker *broker)
{
    const struct config *config = broker->config;

    broker->site = (struct pool_site){
        .event = broker->event,
        .dialler = &broker->dialler,
        .resolver = &broker->resolver,
        .catalog = &broker->catalog,
        .store = &broker->store,
        .previous = &broker->former,
        .worker_max = config->broker.max_workers,
        .changed = tell_status,
        .context = broker,
        .inspect = workers_inspect,
        .workers = &broker->workers,
    };
    broker->pools = calloc(CATALOG_MAX_POOLS, sizeof *broker->pools);
    if (!broker->pools)
        return -ENOMEM;
    broker->reload = (struct reload){
        .config = broker->config,
        .pools = broker->pools,
        .site = &broker->site,
        .published = on_published,
        .context = broker,
    };
    return reload_start(&broker->reload);
}

/* Where the statistics are, for the metrics. */
static void tell_source(void *context, struct statistics_source *source)
{
    const struct broker *broker = context;

    source->catalog = &broker->catalog;
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++)
        if (broker->pools[i].config)
            source->segments[broker->pools[i].index] = &broker->pools[i].owner.segment;
}

static int start(struct broker *broker)
{
    int result;

    raise_descriptor_limit(broker->config);
    result = sd_event_new(&broker->event);
    if (result >= 0)
        result = watch_signals(broker);
    if (result >= 0)
        result = manager_watch(broker->event);
    /* Before the workers' socket: who finds that one finds this one, too. */
    if (result >= 0 && broker->config->broker.metrics)
        result = exporter_start(broker->event, broker->config->broker.metrics, tell_source, broker,
                                &broker->exporter);
    if (result >= 0)
        result = store_open(&broker->store, broker->event);
    if (result >= 0)
        result = open_socket(broker);
    if (result >= 0) {
        find_former(broker);
        result = make_catalog(broker);
    }
    if (result >= 0)
        result = resolver_start(&broker->resolver, broker->event);
    if (result >= 0)
        result =
            dialler_init(&broker->dialler, broker->event, broker->config->broker.dial_concurrency,
                         broker->config->broker.dial_rate);
    if (result < 0)
        return result;
    result = timer_new(broker->event, &broker->sweep_timer, on_sweep, broker);
    if (result >= 0)
        result = sd_event_add_time_relative(broker->event, &broker->idle_timer, CLOCK_MONOTONIC, 0,
                                            100000, on_idle, broker);
    if (result < 0)
        return result;
    result = start_pools(broker);
    if (result == 0)
        result = workers_init(&broker->workers, broker->event, &broker->catalog, broker->catalog_fd,
                              broker->pools, CATALOG_MAX_POOLS);
    if (result == 0)
        result = control_init(&broker->control, broker->event, broker->pools, CATALOG_MAX_POOLS);
    broker->control.catalog_fd = broker->catalog_fd;
    if (result != 0)
        return result;
    broker->control.reload = &broker->reload;
    broker->workers.control = control_take;
    broker->workers.control_context = &broker->control;
    workers_adopt(&broker->workers, &broker->former);
    store_discard_rest(&broker->store);
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++)
        if (broker->pools[i].config)
            broker_pool_resume(&broker->pools[i]);
    return workers_listen(&broker->workers, broker->listener);
}

/* Undoes what start() did, however far it came. Connections first: that is what revokes leases. */
static void stop(struct broker *broker)
{
    if (broker->leaving)
        return;
    remove_socket(broker);
    if (broker->catalog_fd >= 0)
        store_remove(&broker->store, STORED_CATALOG, (uintmax_t)broker->catalog_ms);
    if (broker->catalog.header)
        shm_store32(&broker->catalog.header->draining, 1);
    control_free(&broker->control);
    exporter_stop(broker->exporter);
    reload_stop(&broker->reload);
    workers_free(&broker->workers);
    free(broker->pools);
    resolver_stop(&broker->resolver);
    dialler_free(&broker->dialler);
    sd_event_source_disable_unref(broker->drain_timer);
    sd_event_source_disable_unref(broker->sweep_timer);
    sd_event_source_disable_unref(broker->idle_timer);
    forget_former(broker);
    store_close(&broker->store);
    sd_event_unref(broker->event);
    if (broker->listener >= 0)
        close(broker->listener);
    /* The catalog stays mapped: the notice of our death is in it, and the kernel posts it at our
     * exit. */
    if (broker->catalog_fd >= 0)
        close(broker->catalog_fd);
}

int broker_run(struct config *config)
{
    /* Static, for a lookup that is still under way at the end holds on to the resolver. */
    static struct broker broker;
    int result;

    broker = (struct broker){
        .config = config, .listener = -1, .catalog_fd = -1, .former_fd = -1, .store.probe = -1};
    broker.resolver.wake = -1;
    log_set_level((enum log_level)config->broker.log_level);
    result = start(&broker);
    if (result < 0) {
        log_line(LOG_LEVEL_ERR, "cannot start: %s", strerror(-result));
        stop(&broker);
        return result;
    }
    broker.busy_ms = clock_ms();
    log_line(LOG_LEVEL_NOTICE, "lendisd %s lends at %s: pools %u, workers up to %u",
             LENDIS_BUILD_VERSION, broker.socket_path, config->pool_count,
             config->broker.max_workers);
    manager_tell("READY=1");
    store_begin(&broker.store);
    forget_former(&broker); /* now that ours is kept */
    result = sd_event_loop(broker.event);
    if (result < 0)
        log_line(LOG_LEVEL_ERR, "the event loop failed: %s", strerror(-result));
    stop(&broker);
    if (result >= 0)
        log_line(LOG_LEVEL_NOTICE, broker.leaving ? "left" : "stopped");
    return result;
}
