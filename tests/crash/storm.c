/* SPDX-License-Identifier: MIT */
/*
 * The storm: many workers, forked from one attached master, do a random mix of everything with a
 * data-identity oracle (load.h), while one of them, at random, is killed every 10 ms and replaced;
 * now and then one is stopped for a while. Some have threads, some have children of their own.
 *
 * At the end nothing may be wrong, lost or leaked: no reply was another's (I4), no command of a
 * live worker failed, every worker goes on (I7), the pool is full (I6), and broker, workers and
 * Redis have as many descriptors and connections as at the start (I8).
 *
 * Environment: STRESS_SECONDS (30), STORM_WORKERS (56), STORM_CONNECTIONS (6), STORM_THINK (1000,
 * in microseconds: a worker rests for up to so long after every other command), STORM_SEED (random,
 * printed), STORM_KILL_MS (10), STORM_CALM_MS (4000).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/crash/load.h"

#define SIZE_LIMIT  64u
#define STOP_EVERY  50u /* kills */
#define STOP_LENGTH 5u  /* kills */
#define THREADS_MAX 4u
/* A sanitizer's allocator is not safe in the child of a process with threads. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define THREADS_FORK false
#else
#define THREADS_FORK true
#endif
/* Every fourth worker has threads. */
#define THREADED(number) ((number) % 4 == 3)
/* When nobody is killed any more, everybody gets on within this time. */
#define PROGRESS_MS 1000

static struct {
    struct redis_server redis;
    struct lendisd broker;
    struct observer observer;
    struct crew crew;
    struct lendis_pool *pool; /* the master's */
    pid_t nursery;            /* the group of workers' children: those left behind come to us */
    uint64_t seed, random;
    unsigned workers;
    unsigned size; /* connections of the pool */
    unsigned think_us;
    int seconds;
    int kill_ms;
    int calm_ms;
    unsigned kills, died, orphans, bad_orphans;
    int fds;        /* of this process, before it attached */
    int broker_fds; /* before the storm */
    unsigned registered;
} storm;

static bool failed;
static unsigned tests;

static void verdict(bool right, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void verdict(bool right, const char *format, ...)
{
    va_list arguments;

    printf("%sok %u - ", right ? "" : "not ", ++tests);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    failed = failed || !right;
}

static unsigned long long setting(const char *name, unsigned long long otherwise)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

/* ---- a worker ---- */

struct thread {
    pthread_t id;
    struct crew *crew;
    struct load load;
};

static void *work(void *context)
{
    struct thread *thread = context;

    while (!crew_stopping(thread->crew)) {
        uint64_t dice = load_random(&thread->load.random);

        load_step(&thread->load);
        if ((dice & 1) && storm.think_us > 0)
            sleep_us((int64_t)((dice >> 32) % storm.think_us));
    }
    return NULL;
}

/* What it may have: what we had, socket, doorbell and the connections; at the end not even those.
 */
static bool has_leaked(struct lendis_pool *pool)
{
    int before = count_fds(getpid()), after;
    bool leaked = before > storm.fds + 2 + (int)storm.size;

    lendis_detach(pool);
    after = count_fds(getpid());
    leaked = leaked || after != storm.fds;
    if (leaked) {
        fprintf(stderr, "a worker has %d descriptors, %d without its pool, instead of %d:\n",
                before, after, storm.fds);
        print_fds(getpid());
    }
    return leaked;
}

static int run_worker(struct crew *crew, unsigned number)
{
    struct load_report *report = crew_result(crew, number);
    unsigned process = atomic_fetch_add(&report->processes, 1);
    uint64_t seed = storm.seed ^ (uint64_t)number << 48 ^ (uint64_t)process << 16;
    unsigned count = THREADED(number) ? 2 + process % (THREADS_MAX - 1) : 1;
    struct thread threads[THREADS_MAX];

    for (unsigned i = 0; i < count; i++) {
        char owner[40];

        snprintf(owner, sizeof owner, "w%u.%u.%u", number, process, i);
        threads[i].crew = crew;
        load_init(&threads[i].load, storm.pool, report,
                  count == 1 || THREADS_FORK ? storm.nursery : 0, seed + i, owner);
        if (i > 0 && pthread_create(&threads[i].id, NULL, work, &threads[i]) != 0)
            return 2;
    }
    work(&threads[0]);
    for (unsigned i = 1; i < count; i++)
        pthread_join(threads[i].id, NULL);
    return has_leaked(storm.pool) ? 3 : 0;
}

/* ---- the killer ---- */

static struct load_report *report_of(unsigned number)
{
    return crew_result(&storm.crew, number);
}

/* Before the storm: nobody dies but children that have done their work. So nothing can be uncertain.
 */
static void be_calm(void)
{
    unsigned long long uncertain = 0;

    sleep_us(storm.calm_ms * 1000);
    for (unsigned i = 0; i < storm.workers; i++)
        uncertain += atomic_load(&report_of(i)->uncertain);
    verdict(uncertain == 0, "%llu writes are uncertain while nobody is killed", uncertain);
}

/* Children of workers that were killed. */
static void reap_orphans(void)
{
    int status;

    while (waitpid(-storm.nursery, &status, WNOHANG) > 0) {
        storm.orphans++;
        if (status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
            continue;
        storm.bad_orphans++;
        fprintf(stderr, "a worker's child ended with status %#x\n", (unsigned)status);
    }
}

static void replace_one(void)
{
    unsigned number = (unsigned)((load_random(&storm.random) >> 32) % storm.workers);

    if (program_ended(storm.crew.pids[number])) {
        storm.died++;
        fprintf(stderr, "worker %u ended by itself\n", number);
    }
    crew_replace(&storm.crew, number);
    storm.kills++;
}

static void rage(void)
{
    int64_t until_ms = now_ms() + storm.seconds * 1000, next_ms = now_ms();
    unsigned stopped = 0;

    while (now_ms() < until_ms && !program_ended(storm.broker.pid)) {
        next_ms += storm.kill_ms;
        if (next_ms > now_ms())
            sleep_us((next_ms - now_ms()) * 1000);
        replace_one();
        reap_orphans();
        if (storm.kills % STOP_EVERY == 0) {
            stopped = (unsigned)((load_random(&storm.random) >> 32) % storm.workers);
            crew_signal(&storm.crew, stopped, SIGSTOP);
        } else if (storm.kills % STOP_EVERY == STOP_LENGTH) {
            crew_signal(&storm.crew, stopped, SIGCONT);
        }
    }
    crew_signal(&storm.crew, stopped, SIGCONT);
}

/* ---- the end ---- */

/* How many workers got no reply since then. */
static unsigned stuck_since(int64_t since_ms)
{
    unsigned stuck = 0;

    for (unsigned i = 0; i < storm.workers; i++)
        stuck += atomic_load(&report_of(i)->progress_ms) < since_ms;
    return stuck;
}

static bool all_go_on(void)
{
    int64_t since_ms = now_ms();

    if (eventually(stuck_since(since_ms) == 0, PROGRESS_MS))
        return true;
    for (unsigned i = 0; i < storm.workers; i++)
        if (atomic_load(&report_of(i)->progress_ms) < since_ms)
            fprintf(stderr, "worker %u (%d) got its last reply %lld ms ago\n", i,
                    (int)storm.crew.pids[i],
                    (long long)(now_ms() - atomic_load(&report_of(i)->progress_ms)));
    print_words(&storm.observer);
    return false;
}

static unsigned registered(void)
{
    unsigned count = 0;

    for (uint32_t i = 0; i < storm.observer.catalog.worker_max; i++)
        count += atomic_load(&storm.observer.catalog.workers[i].pool) != 0;
    return count;
}

static void tell_sums(void)
{
    struct load_report sum = {0};
    struct catalog_pool pool;

    for (unsigned i = 0; i < storm.workers; i++) {
        struct load_report *each = report_of(i);

        sum.commands += each->commands;
        sum.leases += each->leases;
        sum.timeouts += each->timeouts;
        sum.uncertain += each->uncertain;
        sum.replaced += each->replaced;
        sum.children += each->children;
        sum.wrong += each->wrong;
        sum.failed += each->failed;
        if (each->told)
            fprintf(stderr, "worker %u: %s\n", i, each->text);
    }
    observe_pool(&storm.observer, &pool);
    printf("# %u kills, %llu children, %u of them left behind; %llu leases taken from the dead, "
           "%llu connections replaced, %llu writes uncertain\n",
           storm.kills, sum.children, storm.orphans, (unsigned long long)CATALOG_SUM(pool.revoked),
           sum.replaced, sum.uncertain);
    verdict(sum.wrong == 0, "%llu wrong replies of %llu, on %llu leases and on the pool", sum.wrong,
            sum.commands, sum.leases);
    verdict(sum.failed == 0, "%llu calls failed (and %llu short limits passed)", sum.failed,
            sum.timeouts);
    verdict(sum.commands > 0 && CATALOG_SUM(pool.revoked) > 0, "the storm was one");
    verdict(storm.died == 0 && storm.bad_orphans == 0, "%u workers and %u children crashed",
            storm.died, storm.bad_orphans);
}

/* Children that were left behind end soon, and with them what the broker keeps for them. */
static void assess_broker(void)
{
    bool registered_as_before =
        eventually((reap_orphans(), registered() == storm.registered), 10000);
    bool fds_as_before = eventually(count_fds(storm.broker.pid) == storm.broker_fds, 1000);

    verdict(registered_as_before, "%u workers are registered, %u before", registered(),
            storm.registered);
    for (uint32_t i = 0; !registered_as_before && i < storm.observer.catalog.worker_max; i++) {
        const struct catalog_worker *worker = &storm.observer.catalog.workers[i];

        if (atomic_load(&worker->pool) != 0)
            fprintf(stderr, "worker %u is process %u, leased %u\n", i, worker->pid,
                    leased_by(&storm.observer, i));
    }
    verdict(fds_as_before, "the broker has %d descriptors, %d before", count_fds(storm.broker.pid),
            storm.broker_fds);
    if (!fds_as_before)
        print_fds(storm.broker.pid);
}

static void assess(void)
{
    verdict(!program_ended(storm.broker.pid), "the broker lives");
    verdict(all_go_on(), "every worker gets a reply within %d ms", PROGRESS_MS);
    crew_stop(&storm.crew);
    verdict(crew_wait(&storm.crew, 30000) && crew_failures(&storm.crew) == 0,
            "every worker ends, without a descriptor too many");
    tell_sums();
    verdict(pool_fills(&storm.observer, storm.size, 2000), "the pool is full again");
    assess_broker();
    verdict(eventually(redis_info(&storm.redis, "connected_clients") == storm.size, 5000),
            "Redis has the pool's %u connections", storm.size);
    printf("1..%u\n", tests);
}

/* ---- the beginning ---- */

static void start_nursery(void)
{
    storm.nursery = fork();
    if (storm.nursery < 0)
        give_up("fork: %s", strerror(errno));
    if (storm.nursery == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    if (setpgid(storm.nursery, storm.nursery) < 0)
        give_up("setpgid: %s", strerror(errno));
}

/* The master's connections are in its cache, and so in every worker's. */
static void attach_master(void)
{
    struct lendis_lease *leases[SIZE_LIMIT];
    int result = lendis_attach(storm.broker.socket_path, "p", NULL, &storm.pool);

    for (unsigned i = 0; i < storm.size && result == 0; i++)
        result = lendis_acquire(storm.pool, 5000, &leases[i]);
    for (unsigned i = 0; i < storm.size && result == 0; i++)
        result = lendis_release(leases[i]);
    if (result != 0)
        give_up("the master: %s", lendis_strerror(result));
}

static void begin(void)
{
    redis_start(&storm.redis);
    load_prepare(&storm.redis);
    lendisd_start(&storm.broker,
                  "[pool p]\nredis = %s\nsize = %u\nmin_idle = %u\nwait_timeout = 20s\n"
                  "command_timeout = 20s\n",
                  storm.redis.unix_url, storm.size, storm.size);
    segment_observe(&storm.observer, storm.broker.socket_path, "p");
    if (!pool_fills(&storm.observer, storm.size, 10000))
        give_up("the pool does not fill");
    start_nursery();
    storm.fds = count_fds(getpid());
    attach_master();
    storm.broker_fds = count_fds(storm.broker.pid);
    storm.registered = registered();
}

int main(void)
{
    storm.seconds = (int)setting("STRESS_SECONDS", 30);
    storm.kill_ms = (int)setting("STORM_KILL_MS", 10);
    storm.calm_ms = (int)setting("STORM_CALM_MS", 4000);
    storm.workers = (unsigned)setting("STORM_WORKERS", 56);
    storm.size = (unsigned)setting("STORM_CONNECTIONS", 6);
    storm.think_us = (unsigned)setting("STORM_THINK", 1000);
    if (storm.workers == 0 || storm.kill_ms <= 0 || storm.size == 0 || storm.size > SIZE_LIMIT)
        give_up("STORM_WORKERS and STORM_KILL_MS at least 1, STORM_CONNECTIONS 1 to %u",
                SIZE_LIMIT);
    storm.seed = setting("STORM_SEED", (unsigned long long)now_ns() ^ (unsigned long long)getpid());
    storm.random = storm.seed | 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("# STORM_SEED=%llu: %u workers, %u connections, %d s\n", (unsigned long long)storm.seed,
           storm.workers, storm.size, storm.seconds);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        give_up("prctl: %s", strerror(errno));
    begin();
    crew_start(&storm.crew, storm.workers, sizeof(struct load_report), run_worker, NULL);
    be_calm();
    rage();
    assess();
    kill(-storm.nursery, SIGKILL); /* and children that hang */
    while (waitpid(-storm.nursery, NULL, 0) > 0)
        continue;
    crew_end(&storm.crew);
    lendis_detach(storm.pool);
    observer_close(&storm.observer);
    lendisd_stop(&storm.broker);
    return failed ? 1 : 0;
}
