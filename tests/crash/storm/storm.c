/* SPDX-License-Identifier: MIT */
/*
 * The storm: 200 workers, forked from one attached master, do a random mix of everything with a
 * data-identity oracle (load.h) on a few connections, while every few milliseconds one of them is
 * killed and replaced: any of them, or one that has others' commands in its hands (hunter.h). Now
 * and then one is stopped for a while, a combiner until the broker has taken its connection away.
 * Some have threads, some have children of their own.
 *
 * It lasts until a million replies were checked. Nothing may be wrong, lost or leaked then: no
 * reply was another's (I4), no command of a live worker failed, what is uncertain was executed or
 * not (ledger.h), every worker goes on (I7), the pool is full (I6), and broker, workers and Redis
 * have as many descriptors and connections as at the start (I8). And everything that a storm is for
 * did occur: one in which no combiner was killed proves nothing.
 *
 * Environment: STORM_COMMANDS (1000000), STORM_LIMIT (150: seconds, after which it fails without
 * them), STRESS_SECONDS (0: at least so long), STORM_WORKERS (200), STORM_CONNECTIONS (4),
 * STORM_THINK (1000, in microseconds: a worker rests for up to so long after every other step),
 * STORM_SEED (random, printed), STORM_KILL_MS (10), STORM_CALM_MS (2000).
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
#include "tests/crash/storm/hunter.h"
#include "tests/crash/storm/load.h"

#define SIZE_LIMIT  64u
#define ATTACH_MS   10000
#define HUNT_EVERY  3u  /* every third that is killed is a combiner */
#define STALL_EVERY 8u  /* of these, every eighth is only stopped */
#define STOP_EVERY  50u /* kills */
#define STOP_LENGTH 5u  /* kills */
/* Nobody is taken for stopped sooner, however slow the machine: half the pool's stall_timeout. */
#define LONG_STOP_MS 500
/* A stopped combiner is found after the pool's stall_timeout, 1 s; the broker looks now and
 * then. */
#define STALL_LIMIT_MS 4000
/* Hand-overs of single commands: a good part of the replies. */
#define SINGLE_SHARE 4u
#define THREADS_MAX  4u
/* A sanitizer's allocator is not safe in the child of a process with threads. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define THREADS_FORK false
#else
#define THREADS_FORK true
#endif
/* Every fourth worker has threads. */
#define THREADED(number) ((number) % 4 == 3)
/* When nobody is killed any more, everybody gets on within this time. */
#define PROGRESS_MS 5000

static struct {
    struct redis_server redis;
    struct lendisd broker;
    struct observer observer;
    struct processes processes;
    struct lendis_pool *pool; /* the master's */
    pid_t nursery;            /* the group of workers' children: those left behind come to us */
    uint64_t seed, random;
    unsigned workers;
    unsigned size; /* connections of the pool */
    unsigned think_us;
    int seconds;
    int limit_seconds;
    unsigned long long commands; /* to be checked */
    int kill_ms;
    int calm_ms;
    unsigned kills, died, orphans, bad_orphans;
    unsigned killed[2];     /* combiners: with a batch that was not sent yet, or was */
    unsigned long long cut; /* commands of others that they had taken */
    unsigned stopped[2];    /* likewise */
    unsigned found;         /* of these, by the broker */
    unsigned long_stops;    /* of any other worker, long enough to be found */
    int64_t stop_ms;        /* when it was stopped */
    bool stalling;          /* a combiner is stopped now: */
    struct quarry stalled;
    int64_t stalled_ms;
    int64_t begun_ms;
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
    struct processes *processes;
    struct load load;
};

static void *work(void *context)
{
    struct thread *thread = context;

    while (!processes_stopping(thread->processes)) {
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

static int run_worker(struct processes *processes, unsigned number)
{
    struct load_report *report = processes_result(processes, number);
    unsigned process = atomic_fetch_add(&report->processes, 1);
    uint64_t seed = storm.seed ^ (uint64_t)number << 48 ^ (uint64_t)process << 16;
    unsigned count = THREADED(number) ? 2 + process % (THREADS_MAX - 1) : 1;
    struct thread threads[THREADS_MAX];

    for (unsigned i = 0; i < count; i++) {
        char owner[40];

        snprintf(owner, sizeof owner, "w%u.%u.%u", number, process, i);
        threads[i].processes = processes;
        load_init(&threads[i].load, storm.pool, report,
                  count == 1 || THREADS_FORK ? storm.nursery : 0, seed + i, owner);
        threads[i].load.alone = count == 1;
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
    return processes_result(&storm.processes, number);
}

/* Before the storm: nobody dies but children that have done their work. So nothing can be
 * uncertain.
 */
static void be_calm(void)
{
    unsigned long long uncertain = 0;

    sleep_us(storm.calm_ms * 1000);
    for (unsigned i = 0; i < storm.workers; i++)
        uncertain += atomic_load(&report_of(i)->uncertain) + atomic_load(&report_of(i)->cut);
    verdict(uncertain == 0, "%llu calls without a limit are uncertain while nobody is killed",
            uncertain);
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

static unsigned draw(unsigned limit)
{
    return (unsigned)((load_random(&storm.random) >> 32) % limit);
}

static void replace(unsigned number)
{
    if (program_ended(storm.processes.pids[number])) {
        storm.died++;
        fprintf(stderr, "worker %u ended by itself\n", number);
    }
    processes_replace(&storm.processes, number);
    storm.kills++;
}

static bool is_stalled(unsigned number)
{
    return storm.stalling && storm.stalled.number == number;
}

static void replace_any(void)
{
    unsigned number = draw(storm.workers);

    if (!is_stalled(number))
        replace(number);
}

/* Catches a combiner in the middle of a batch, and kills it or lets it stand. */
static void hunt(void)
{
    struct quarry quarry;

    if (!hunter_catch(&storm.observer, &storm.processes, draw(storm.observer.segment.slot_max),
                      &quarry))
        return;
    if (is_stalled(quarry.number))
        return;
    if (!storm.stalling && draw(STALL_EVERY) == 0) {
        storm.stalling = true;
        storm.stalled = quarry;
        storm.stalled_ms = now_ms();
        storm.stopped[quarry.sent]++;
        return;
    }
    storm.cut += quarry.taken;
    storm.killed[quarry.sent]++;
    replace(quarry.number);
}

/* The stopped combiner lost its connection: it goes on, or is killed after all. */
static void watch_stalled(void)
{
    bool lost = storm.stalling && hunter_lost(&storm.observer, &storm.stalled);

    if (!storm.stalling || (!lost && now_ms() < storm.stalled_ms + STALL_LIMIT_MS))
        return;
    if (!lost)
        fprintf(stderr, "worker %u is stopped, with connection %u and %u commands of others\n",
                storm.stalled.number, storm.stalled.index, storm.stalled.taken);
    storm.found += lost;
    storm.stalling = false;
    if (draw(2))
        replace(storm.stalled.number);
    else
        processes_signal(&storm.processes, storm.stalled.number, SIGCONT);
}

static unsigned long long checked(void)
{
    unsigned long long commands = 0;

    for (unsigned i = 0; i < storm.workers; i++)
        commands += atomic_load(&report_of(i)->commands);
    return commands;
}

static bool goes_on(void)
{
    int64_t for_ms = now_ms() - storm.begun_ms;

    if (program_ended(storm.broker.pid) || for_ms > INT64_C(1000) * storm.limit_seconds)
        return false;
    return for_ms < INT64_C(1000) * storm.seconds || checked() < storm.commands;
}

static void rage(void)
{
    int64_t next_ms = now_ms();
    unsigned stopped = 0;

    for (unsigned tick = 1; goes_on(); tick++) {
        next_ms += storm.kill_ms;
        if (next_ms > now_ms())
            sleep_us((next_ms - now_ms()) * 1000);
        watch_stalled();
        if (tick % HUNT_EVERY == 0)
            hunt();
        else
            replace_any();
        reap_orphans();
        if (tick % STOP_EVERY == 0) {
            stopped = draw(storm.workers);
            storm.stop_ms = now_ms();
            processes_signal(&storm.processes, stopped, SIGSTOP);
        } else if (tick % STOP_EVERY == STOP_LENGTH && !is_stalled(stopped)) {
            processes_signal(&storm.processes, stopped, SIGCONT);
            storm.long_stops += now_ms() - storm.stop_ms > LONG_STOP_MS;
        }
    }
    for (; storm.stalling && !program_ended(storm.broker.pid); watch_stalled())
        sleep_us(1000);
    processes_signal(&storm.processes, stopped, SIGCONT);
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
                    (int)storm.processes.pids[i],
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

static void occurred(unsigned long long number, const char *text)
{
    verdict(number > 0, "%llu %s", number, text);
}

/* Everything that a storm is made of. */
static void print_kinds(const struct load_report *sum)
{
    uint64_t handed = pool_counter(&storm.observer, COUNTER_handed);
    struct catalog_pool pool;

    observe_pool(&storm.observer, &pool);
#define PRINT_COUNT(name, text) printf("# %llu %s\n", (unsigned long long)sum->name, text);
    LOAD_COUNTS(PRINT_COUNT)
#undef PRINT_COUNT
    verdict(sum->commands >= storm.commands, "%llu replies of at least %llu, in %lld s",
            (unsigned long long)sum->commands, storm.commands,
            (long long)(now_ms() - storm.begun_ms) / 1000);
    verdict(sum->single * SINGLE_SHARE >= storm.commands,
            "%llu of them to single commands, a %u-th of that at least",
            (unsigned long long)sum->single, SINGLE_SHARE);
    verdict(handed * SINGLE_SHARE >= storm.commands,
            "%llu commands and pipelines were handed over, likewise", (unsigned long long)handed);
    occurred(pool_counter(&storm.observer, COUNTER_batches), "batches");
    occurred(pool_counter(&storm.observer, COUNTER_takeovers), "take-overs");
    occurred(storm.kills, "workers were killed");
    printf("# %llu commands of others were in the hands of those that follow; unsent of %u\n",
           storm.cut, storm.killed[false]);
    occurred(storm.killed[false] + storm.killed[true], "combiners were, in the middle of a batch");
    printf("# unsent of %u\n", storm.stopped[false]);
    occurred(storm.stopped[false] + storm.stopped[true], "combiners were stopped likewise");
    verdict(storm.found == storm.stopped[false] + storm.stopped[true],
            "%u of them lost their connection for it", storm.found);
    verdict(atomic_load(&pool.revoked[REVOKE_stalled]) <=
                storm.stopped[false] + storm.stopped[true] + storm.long_stops,
            "%llu were taken for stopped; %u others were stopped for long",
            (unsigned long long)atomic_load(&pool.revoked[REVOKE_stalled]), storm.long_stops);
    occurred(CATALOG_SUM(pool.revoked), "leases were taken from the dead and the stopped");
    occurred(sum->large, "large commands");
    occurred(sum->leases, "leases");
    occurred(sum->alone, "transactions and blocking commands in one call");
    occurred(sum->timeouts, "calls passed their limit");
    occurred(sum->late + sum->uncertain, "writes were uncertain");
    occurred(sum->retries, "calls were begun anew");
    occurred(sum->children, "children");
    occurred(sum->expelled, "lost places");
}

static void print_sums(void)
{
    struct load_report *sum = calloc(1, sizeof *sum);

    if (!sum)
        give_up("no memory");
    for (unsigned i = 0; i < storm.workers; i++) {
        struct load_report *each = report_of(i);

#define ADD_COUNT(name, text) sum->name += each->name;
        LOAD_COUNTS(ADD_COUNT)
#undef ADD_COUNT
        if (each->recorded)
            fprintf(stderr, "worker %u: %s\n", i, each->text);
    }
    verdict(sum->wrong == 0, "%llu wrong replies of %llu", (unsigned long long)sum->wrong,
            (unsigned long long)sum->commands);
    verdict(sum->failed == 0, "%llu calls failed", (unsigned long long)sum->failed);
    print_kinds(sum);
    verdict(storm.died == 0 && storm.bad_orphans == 0,
            "%u workers and %u children crashed; %u children were left behind", storm.died,
            storm.bad_orphans, storm.orphans);
    free(sum);
}

/* What is in Redis now that nobody writes any more. */
static void audit(void)
{
    redisContext *redis = redis_open(&storm.redis);
    /* What may have expired, with a minute's leeway, is left out. */
    int64_t since_ms = now_ms() - INT64_C(1000) * (LOAD_KEEP_SECONDS - 60);
    struct audit audit = {0};

    for (unsigned i = 0; i < storm.workers; i++)
        ledger_audit(&report_of(i)->ledger, since_ms, redis, &audit);
    verdict(audit.wrong == 0 && audit.entries > 0,
            "%u uncertain writes looked at: %u executed, %u neither old nor new", audit.entries,
            audit.executed, audit.wrong);
    audit.wrong = 0;
    ledger_audit_all(redis, &audit);
    verdict(audit.wrong == 0 && audit.keys > 0, "%u keys, %u with another's value", audit.keys,
            audit.wrong);
    if (audit.text[0])
        fprintf(stderr, "%s\n", audit.text);
    redisFree(redis);
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
    processes_stop(&storm.processes);
    verdict(processes_wait(&storm.processes, 30000) && processes_failures(&storm.processes) == 0,
            "every worker ends, without a descriptor too many");
    print_sums();
    verdict(pool_fills(&storm.observer, storm.size, 2000), "the pool is full again");
    verdict(chunks_in_use(&storm.observer) == 0, "%u chunks of shared memory are in use",
            chunks_in_use(&storm.observer));
    assess_broker();
    verdict(eventually(redis_info(&storm.redis, "connected_clients") == storm.size, 5000),
            "Redis has the pool's %u connections", storm.size);
    audit();
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
    /* Of the replaced workers, too: a broker that gets no processor for a second is not down. */
    struct lendis_options options = {.size = sizeof options, .attach_timeout_ms = ATTACH_MS};
    int result = lendis_attach(storm.broker.socket_path, "p", &options, &storm.pool);

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
    storm.commands = setting("STORM_COMMANDS", 1000000);
    storm.limit_seconds = (int)setting("STORM_LIMIT", 150);
    storm.seconds = (int)setting("STRESS_SECONDS", 0);
    if (storm.limit_seconds < storm.seconds + 120)
        storm.limit_seconds = storm.seconds + 120;
    storm.kill_ms = (int)setting("STORM_KILL_MS", 10);
    storm.calm_ms = (int)setting("STORM_CALM_MS", 2000);
    storm.workers = (unsigned)setting("STORM_WORKERS", 200);
    storm.size = (unsigned)setting("STORM_CONNECTIONS", 4);
    storm.think_us = (unsigned)setting("STORM_THINK", 1000);
    if (storm.workers == 0 || storm.kill_ms <= 0 || storm.size == 0 || storm.size > SIZE_LIMIT)
        give_up("STORM_WORKERS and STORM_KILL_MS at least 1, STORM_CONNECTIONS 1 to %u",
                SIZE_LIMIT);
    storm.seed = setting("STORM_SEED", (unsigned long long)now_ns() ^ (unsigned long long)getpid());
    storm.random = storm.seed | 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("# STORM_SEED=%llu: %u workers, %u connections, %llu commands\n",
           (unsigned long long)storm.seed, storm.workers, storm.size, storm.commands);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        give_up("prctl: %s", strerror(errno));
    begin();
    storm.begun_ms = now_ms();
    processes_start(&storm.processes, storm.workers, sizeof(struct load_report), run_worker, NULL);
    be_calm();
    rage();
    assess();
    kill(-storm.nursery, SIGKILL); /* and children that hang */
    while (waitpid(-storm.nursery, NULL, 0) > 0)
        continue;
    processes_end(&storm.processes);
    lendis_detach(storm.pool);
    observer_close(&storm.observer);
    lendisd_stop(&storm.broker);
    return failed ? 1 : 0;
}
