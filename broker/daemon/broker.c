/* SPDX-License-Identifier: MIT */
/* The broker's life: see broker.h. */
#include "broker/daemon/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "broker/daemon/catalog_writer.h"
#include "broker/daemon/control.h"
#include "broker/daemon/listener.h"
#include "broker/metrics/exporter.h"
#include "broker/pool/sizing.h"
#include "broker/pool/pause.h"
#include "broker/redis/channel.h"
#include "broker/base/service_manager.h"
#include "broker/daemon/reload.h"
#include "broker/workers/worker.h"

#define DRAIN_STEP_US 20000u
/* What the service manager is asked to wait for the next step of draining at least. */
#define DRAIN_EXTENSION_US 5000000u
/* Descriptors besides workers and connections: standard ones, epoll, timers, signals, catalog and
 * so on. */
#define DESCRIPTORS_OWN 64u

struct broker {
    struct config *config; /* in force */
    sd_event *event;
    struct fd_store store;
    struct listener listener;
    struct catalog_writer writer;
    struct dialler dialler;
    struct background background;
    struct pool_environment environment;
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

/* ---- status ---- */

static void report_status(void *context)
{
    const struct broker *broker = context;
    uint32_t up = 0, down = 0, pools = 0;

    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        if (!broker_pool_exists(&broker->pools[i]))
            continue;
        enum backend_state state = broker_pool_backend(&broker->pools[i]);

        pools += pause_state(&broker->pools[i]) != PAUSE_SERVICE;
        up += state == BACKEND_UP;
        down += state == BACKEND_DOWN;
    }
    if (broker->draining)
        return;
    manager_notify("STATUS=%u of %u pools up%s", up, pools,
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
            manager_notify("EXTEND_TIMEOUT_USEC=%u", DRAIN_EXTENSION_US);
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
    manager_notify("STOPPING=1\nSTATUS=waiting for leases to come back");
    workers_stop(&broker->workers);
    control_stop(&broker->control);
    shm_store32(&broker->writer.catalog.header->draining, 1);
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        if (!broker->pools[i].config)
            continue;
        /* Newcomers wait for another broker or for the end of their patience, not in our way. */
        pause_set(&broker->pools[i], PAUSE_PAUSED);
        broker_pool_drain(&broker->pools[i]);
    }
    result = sd_event_add_time_relative(broker->event, &broker->drain_timer, CLOCK_MONOTONIC, 0,
                                        1000, on_drain, broker);
    return result < 0 ? sd_event_exit(broker->event, 0) : 0;
}

/* ---- without workers ---- */

/* Checks so often in the time of exit_after_idle, or for a change of it. */
#define IDLE_CHECKS   10u
#define IDLE_CHECK_US UINT64_C(10000000)

static void set_idle_timer(struct broker *broker)
{
    uint64_t check_us = broker->config->broker.exit_after_idle_ms * UINT64_C(1000) / IDLE_CHECKS;

    if (broker->config->broker.exit_after_idle_ms == 0)
        return;
    timer_set(broker->idle_timer, check_us < IDLE_CHECK_US ? check_us : IDLE_CHECK_US);
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
    set_idle_timer(broker);
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

    if (catalog_writer_publish(&broker->writer, broker->config) != 0)
        log_line(LOG_LEVEL_WARNING, "tools are not shown the new configuration: %s",
                 strerror(ENOMEM));
    dialler_give_turns(&broker->dialler);
    set_idle_timer(broker);
    timer_set(broker->sweep_timer, SWEEP_STEP_US);
    report_status(broker);
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

/*
 * Makes the kernel's table of our descriptors as large as it gets. With more than one thread (the
 * log has one) every time that it grows later waits for a grace period of RCU (expand_fdtable() in
 * the kernel's fs/file.c): on a host that is overloaded that is seconds, in which nobody is served.
 */
static void grow_descriptor_table(uint64_t count)
{
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, (int)count - 1);

    if (fd >= 0)
        close(fd);
}

/* Of a connection with a relay: the worker's end, its other end, the server's. */
#define DESCRIPTORS_RELAYED 3

/* Every connection, and two for each worker: its socket and its pidfd. */
static void raise_descriptor_limit(const struct config *config)
{
    uint64_t needed = DESCRIPTORS_OWN + UINT64_C(2) * config->broker.max_workers, most;
    struct rlimit limit;

    for (uint32_t i = 0; i < config->pool_count; i++)
        needed += sizing_places(&config->pools[i]) *
                      (config->pools[i].redis.tls ? DESCRIPTORS_RELAYED : 1) +
                  2;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    most = needed + WORKERS_UNATTACHED;
    grow_descriptor_table(limit.rlim_cur < most ? limit.rlim_cur : most);
    if (limit.rlim_cur < needed)
        log_line(LOG_LEVEL_WARNING,
                 "the limit of open files is %ju; max_workers and the pools' sizes may need %ju "
                 "(LimitNOFILE=)",
                 (uintmax_t)limit.rlim_cur, (uintmax_t)needed);
}

/* Of the table of pools, in bytes. */
#define POOLS_SIZE (CATALOG_MAX_POOLS * sizeof(struct broker_pool))

static int start_pools(struct broker *broker)
{
    const struct config *config = broker->config;

    broker->environment = (struct pool_environment){
        .event = broker->event,
        .dialler = &broker->dialler,
        .background = &broker->background,
        .catalog = &broker->writer.catalog,
        .store = &broker->store,
        .previous = &broker->writer.previous,
        .worker_max = config->broker.max_workers,
        .changed = report_status,
        .context = broker,
        .inspect = workers_inspect,
        .workers = &broker->workers,
    };
    /* A mapping: calloc() would write zeros to pages that most brokers never use. */
    broker->pools =
        mmap(NULL, POOLS_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (broker->pools == MAP_FAILED) {
        broker->pools = NULL;
        return -ENOMEM;
    }
    broker->reload = (struct reload){
        .config = broker->config,
        .pools = broker->pools,
        .environment = &broker->environment,
        .published = on_published,
        .context = broker,
    };
    return reload_start(&broker->reload);
}

/* Where the statistics are, for the metrics. */
static void fill_source(void *context, struct statistics_source *source)
{
    const struct broker *broker = context;

    source->catalog = &broker->writer.catalog;
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
    /* Before the workers' socket: whoever finds that one finds this one, too. */
    if (result >= 0 && broker->config->broker.metrics)
        result = exporter_start(broker->event, broker->config->broker.metrics, fill_source, broker,
                                &broker->exporter);
    if (result >= 0)
        result = fd_store_open(&broker->store, broker->event);
    if (result >= 0)
        result = listener_open(&broker->listener, broker->config->broker.socket);
    if (result >= 0) {
        catalog_writer_find_previous(&broker->writer);
        result = catalog_writer_make(&broker->writer, broker->config, broker->listener.path);
    }
    if (result >= 0)
        result = background_start(&broker->background, broker->event);
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
        result = workers_init(&broker->workers, broker->event, &broker->writer.catalog,
                              broker->writer.fd, broker->pools, CATALOG_MAX_POOLS);
    if (result == 0)
        result = control_init(&broker->control, broker->event, broker->pools, CATALOG_MAX_POOLS);
    broker->control.catalog_fd = broker->writer.fd;
    if (result != 0)
        return result;
    broker->control.reload = &broker->reload;
    broker->workers.control = control_take;
    broker->workers.control_context = &broker->control;
    workers_adopt(&broker->workers, &broker->writer.previous);
    fd_store_discard_rest(&broker->store);
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++)
        if (broker->pools[i].config)
            broker_pool_resume(&broker->pools[i]);
    return workers_listen(&broker->workers, broker->listener.fd);
}

/* Undoes what start() did, however far it came. Connections first: that is what revokes leases. */
static void stop(struct broker *broker)
{
    if (broker->leaving)
        return;
    listener_remove(&broker->listener);
    if (broker->writer.fd >= 0)
        fd_store_remove(&broker->store, STORED_CATALOG, (uintmax_t)broker->writer.made_ms);
    if (broker->writer.catalog.header)
        shm_store32(&broker->writer.catalog.header->draining, 1);
    control_free(&broker->control);
    exporter_stop(broker->exporter);
    reload_stop(&broker->reload);
    workers_free(&broker->workers);
    if (broker->pools)
        munmap(broker->pools, POOLS_SIZE);
    channel_stop();
    background_stop(&broker->background);
    dialler_free(&broker->dialler);
    sd_event_source_disable_unref(broker->drain_timer);
    sd_event_source_disable_unref(broker->sweep_timer);
    sd_event_source_disable_unref(broker->idle_timer);
    catalog_writer_forget_previous(&broker->writer);
    fd_store_close(&broker->store);
    sd_event_unref(broker->event);
    if (broker->listener.fd >= 0)
        close(broker->listener.fd);
    /* The catalog stays mapped: the notice of our death is in it, and the kernel posts it at our
     * exit. */
    if (broker->writer.fd >= 0)
        close(broker->writer.fd);
}

int broker_run(struct config *config)
{
    /* Static, for a task that is still in the background at the end holds on to it. */
    static struct broker broker;
    int result;

    broker = (struct broker){.config = config, .store.probe = -1};
    broker.listener = (struct listener){.store = &broker.store, .fd = -1};
    broker.writer = (struct catalog_writer){.store = &broker.store, .fd = -1, .previous_fd = -1};
    broker.background = (struct background)BACKGROUND_NONE;
    log_set_level((enum log_level)config->broker.log_level);
    result = start(&broker);
    if (result < 0) {
        log_line(LOG_LEVEL_ERR, "cannot start: %s", strerror(-result));
        stop(&broker);
        return result;
    }
    broker.busy_ms = clock_ms();
    log_line(LOG_LEVEL_NOTICE, "lendisd %s lends at %s: pools %u, workers up to %u",
             LENDIS_BUILD_VERSION, broker.listener.path, config->pool_count,
             config->broker.max_workers);
    manager_notify("READY=1");
    fd_store_begin(&broker.store);
    catalog_writer_forget_previous(&broker.writer); /* now that ours is kept */
    result = sd_event_loop(broker.event);
    if (result < 0)
        log_line(LOG_LEVEL_ERR, "the event loop failed: %s", strerror(-result));
    stop(&broker);
    if (result >= 0)
        log_line(LOG_LEVEL_NOTICE, broker.leaving ? "left" : "stopped");
    return result;
}
