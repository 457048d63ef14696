/* SPDX-License-Identifier: MIT */
/* The load engine: see engine.h. Workers die with the master. */
#include "broker/bench/engine.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "broker/bench/cpu.h"

#define READY_LIMIT_MS 60000
/* Commands under way at the end of the window have this long to end; what does not hangs. */
#define GRACE_MS 10000
/* From the barrier to the start: long enough to wake everyone. */
#define LEAD_NS      INT64_C(20000000)
#define SPINNERS_MAX 256u
#define CONTROL_SIZE 4096u

/* One worker's results; written by it alone. */
struct result {
    _Alignas(128) struct tally tally;
    uint64_t errors;
    uint64_t wrong;
    char text[160]; /* about the first of them */
};

struct shared {
    _Atomic uint32_t ready; /* workers at the barrier */
    _Atomic uint32_t go;
    _Atomic uint32_t done; /* workers behind the window */
    _Atomic uint32_t leave;
    int64_t start_ns; /* the rest is written before `go` */
    struct window window;
};

struct engine {
    struct engine_options options;
    struct lendis_pool *pool;
    redisContext *redis;
    pid_t *pids;
    pid_t spinners[SPINNERS_MAX];
    unsigned spinner_count;
    struct shared *shared;
    struct result *results;
};

void engine_die(const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "lendis-bench load: ");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(2);
}

/* ---- waiting for each other ---- */

static void futex_wait(_Atomic uint32_t *at, uint32_t seen, long timeout_ms)
{
    struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000};

    syscall(SYS_futex, at, FUTEX_WAIT, seen, &timeout, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *at)
{
    syscall(SYS_futex, at, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* A worker arrives; the last one wakes the master. */
static void arrive(_Atomic uint32_t *count, uint32_t workers)
{
    if (atomic_fetch_add(count, 1) + 1 == workers)
        futex_wake_all(count);
}

static void raise_flag(_Atomic uint32_t *flag)
{
    atomic_store(flag, 1);
    futex_wake_all(flag);
}

static void await_flag(_Atomic uint32_t *flag)
{
    while (!atomic_load(flag))
        futex_wait(flag, 0, 1000);
}

static void sleep_until(int64_t at_ns)
{
    struct timespec at = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        continue;
}

/* ---- a worker ---- */

static void note(struct result *result, enum client_result what, const struct client *client)
{
    if (what == CLIENT_WRONG)
        result->wrong++;
    else
        result->errors++;
    if (result->text[0] == '\0')
        snprintf(result->text, sizeof result->text, "%s", client->text);
}

static bool is_leaser(const struct engine_options *options, unsigned number)
{
    return number < options->leasers;
}

static struct pace make_pace(const struct engine_options *options)
{
    struct pace pace = {.kind = options->pace, .mean_ns = options->think_us * 1000.0};

    if (options->rate > 0) {
        pace.open = true;
        pace.mean_ns = 1e9 * options->workers / options->rate;
    }
    return pace;
}

/*
 * Waits until the next command is to begin. Results: from when its latency counts; INT64_MAX, the
 * window is over, and what was due is in the tally.
 */
static int64_t await_turn(const struct window *window, struct pace *pace, int64_t end_ns,
                          uint64_t *random, struct tally *tally)
{
    int64_t at_ns = pace_next(pace, end_ns, random), now_ns;

    if (at_ns > end_ns && at_ns < window->until_ns)
        sleep_until(at_ns);
    now_ns = client_now_ns();
    if (at_ns < window->until_ns && now_ns < window->until_ns)
        return pace->open ? at_ns : now_ns;
    if (pace->open)
        tally_rest(tally, window, pace, at_ns, now_ns, random);
    return INT64_MAX;
}

static void work(const struct engine *engine, struct client *client, uint64_t random,
                 struct result *result)
{
    const struct engine_options *options = &engine->options;
    const struct window window = engine->shared->window;
    int64_t begin_ns, end_ns = engine->shared->start_ns;
    struct pace pace = make_pace(options);

    /* Latency counts from the instant that was meant: do not let the kernel wake us 50 us later. */
    if (pace.open)
        prctl(PR_SET_TIMERSLACK, 1);
    sleep_until(end_ns);
    pace_start(&pace, end_ns, &random);
    while ((begin_ns = await_turn(&window, &pace, end_ns, &random, &result->tally)) != INT64_MAX) {
        unsigned key = (unsigned)(next_random(&random) >> 32) % CLIENT_KEYS;
        bool set = options->mix && (next_random(&random) >> 32) % 100 < options->mix;
        enum client_result ran;

        client->measured_ns = 0;
        ran = client_run(client, key, set);
        end_ns = client->measured_ns ? client->measured_ns : client_now_ns();
        if (ran == CLIENT_OK)
            tally_add(&result->tally, &window, begin_ns, end_ns);
        else
            note(result, ran, client);
        if (client->measured_ns)
            end_ns = client_now_ns();
    }
}

static int worker(const struct engine *engine, unsigned number)
{
    struct result *result = &engine->results[number];
    struct client_options options = engine->options.client;
    struct client client;
    enum client_result opened;

    if (is_leaser(&engine->options, number))
        options.mode = CLIENT_ACQUIRE;
    opened = client_open(&client, &options, engine->pool);
    if (opened != CLIENT_OK) {
        note(result, opened, &client);
        return 1;
    }
    arrive(&engine->shared->ready, engine->options.workers);
    await_flag(&engine->shared->go);
    work(engine, &client, (engine->options.seed + number + 1) * UINT64_C(0x9e3779b97f4a7c15),
         result);
    arrive(&engine->shared->done, engine->options.workers);
    /* A dead process' CPU clock cannot be read. */
    await_flag(&engine->shared->leave);
    return 0;
}

static void fork_workers(struct engine *engine)
{
    pid_t master = getpid();

    fflush(NULL);
    for (unsigned i = 0; i < engine->options.workers; i++) {
        pid_t pid = fork();

        if (pid < 0)
            engine_die("fork: %s", strerror(errno));
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != master)
                _exit(1);
            _exit(worker(engine, i));
        }
        engine->pids[i] = pid;
    }
}

/* ---- processors that do not sleep ---- */

/*
 * A virtual processor that idles is given up, and to have it back takes longer than a command: with
 * one worker that is all that would be measured. A process for each processor that spins at the
 * lowest priority there is (SCHED_IDLE, sched(7)) keeps it: any other process preempts it at once.
 */
static void fork_spinners(struct engine *engine)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct sched_param none = {0};
    pid_t master = getpid();

    while (engine->spinner_count < SPINNERS_MAX && engine->spinner_count < processors) {
        pid_t pid = fork();

        if (pid < 0)
            engine_die("fork: %s", strerror(errno));
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != master || sched_setscheduler(0, SCHED_IDLE, &none) < 0)
                _exit(1);
            for (;;)
                __asm__ volatile("" ::: "memory");
        }
        engine->spinners[engine->spinner_count++] = pid;
    }
}

static void end_spinners(struct engine *engine)
{
    for (unsigned i = 0; i < engine->spinner_count; i++) {
        kill(engine->spinners[i], SIGKILL);
        waitpid(engine->spinners[i], NULL, 0);
    }
}

/* ---- the master ---- */

static void check_alive(const struct engine *engine)
{
    for (unsigned i = 0; i < engine->options.workers; i++) {
        siginfo_t info = {0};

        if (waitid(P_PID, (id_t)engine->pids[i], &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid != 0)
            engine_die("worker %u ended: %s", i,
                       engine->results[i].text[0] ? engine->results[i].text : "killed");
    }
}

/* False: not all workers arrived within limit_ms. */
static bool await_all(const struct engine *engine, _Atomic uint32_t *count, int limit_ms)
{
    int64_t until_ns = client_now_ns() + limit_ms * INT64_C(1000000);

    for (;;) {
        uint32_t seen = atomic_load(count);

        if (seen == engine->options.workers)
            return true;
        check_alive(engine);
        if (client_now_ns() >= until_ns)
            return false;
        futex_wait(count, seen, 200);
    }
}

static struct cpu_times cpu_now(const struct engine *engine)
{
    struct cpu_times now = {.machine = cpu_of_machine()};

    for (unsigned i = 0; i < engine->options.workers; i++)
        now.workers += cpu_of_process(engine->pids[i]);
    for (unsigned i = 0; i < engine->spinner_count; i++)
        now.spinners += cpu_of_process(engine->spinners[i]);
    for (unsigned i = 0; i < ROLES; i++)
        now.roles[i] = cpu_of_process(engine->options.pids[i]);
    return now;
}

static struct cpu_times cpu_between(struct cpu_times from, struct cpu_times to)
{
    struct cpu_times spent = {.workers = to.workers - from.workers,
                              .spinners = to.spinners - from.spinners,
                              .machine = to.machine - from.machine};

    for (unsigned i = 0; i < ROLES; i++)
        spent.roles[i] = to.roles[i] - from.roles[i];
    return spent;
}

/* What Redis sees, without the connection that asks; -1 when there is none to ask. */
static long long connections_at_redis(redisContext *redis)
{
    redisReply *reply;
    const char *at = NULL;
    long long count = -1;

    if (!redis)
        return -1;
    reply = redisCommand(redis, "INFO clients");
    if (reply && reply->type == REDIS_REPLY_STRING)
        at = strstr(reply->str, "connected_clients:");
    if (at)
        count = strtoll(at + strlen("connected_clients:"), NULL, 10) - 1;
    if (reply)
        freeReplyObject(reply);
    return count;
}

static unsigned end_workers(const struct engine *engine, bool all_done)
{
    unsigned hung = engine->options.workers - atomic_load(&engine->shared->done);

    if (all_done)
        hung = 0;
    raise_flag(&engine->shared->leave);
    for (unsigned i = 0; i < engine->options.workers; i++) {
        if (hung)
            kill(engine->pids[i], SIGKILL);
        waitpid(engine->pids[i], NULL, 0);
    }
    return hung;
}

static void tally_merge(struct tally *into, const struct tally *from)
{
    histogram_merge(&into->latencies, &from->latencies);
    into->ops += from->ops;
    into->unserved += from->unserved;
}

static void sum_up(const struct engine *engine, struct engine_report *report)
{
    report->ops_min = UINT64_MAX;
    for (unsigned i = 0; i < engine->options.workers; i++) {
        const struct result *result = &engine->results[i];

        report->errors += result->errors;
        report->wrong += result->wrong;
        if (result->text[0] && !report->text[0])
            memcpy(report->text, result->text, sizeof report->text);
        if (is_leaser(&engine->options, i)) {
            tally_merge(&report->leases, &result->tally);
            continue;
        }
        tally_merge(&report->all, &result->tally);
        if (result->tally.ops < report->ops_min)
            report->ops_min = result->tally.ops;
        if (result->tally.ops > report->ops_max)
            report->ops_max = result->tally.ops;
    }
}

static void set_window(struct engine *engine)
{
    struct shared *shared = engine->shared;

    shared->start_ns = client_now_ns() + LEAD_NS;
    shared->window.from_ns = shared->start_ns + (int64_t)(engine->options.ramp * 1e9);
    shared->window.until_ns = shared->window.from_ns + (int64_t)(engine->options.seconds * 1e9);
}

static void run(struct engine *engine, struct engine_report *report)
{
    struct shared *shared = engine->shared;
    struct cpu_times from;
    bool all_done;

    fork_workers(engine);
    /* Wakes at once when its instants come, even among 500 busy workers; it only sleeps between. */
    if (setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) - 10) < 0)
        errno = 0;
    if (engine->options.awake)
        fork_spinners(engine);
    if (!await_all(engine, &shared->ready, READY_LIMIT_MS))
        engine_die("%u of %u workers are ready", atomic_load(&shared->ready),
                   engine->options.workers);
    set_window(engine);
    raise_flag(&shared->go);

    sleep_until(shared->window.from_ns - LEAD_NS / 2);
    report->connections = connections_at_redis(engine->redis);
    sleep_until(shared->window.from_ns);
    from = cpu_now(engine);
    sleep_until(shared->window.until_ns);
    report->cpu = cpu_between(from, cpu_now(engine));
    all_done = await_all(engine, &shared->done, GRACE_MS);
    report->hung = end_workers(engine, all_done);
    end_spinners(engine);
    report->seconds = (double)(shared->window.until_ns - shared->window.from_ns) / 1e9;
    sum_up(engine, report);
}

static void prepare(struct engine *engine)
{
    struct engine_options *options = &engine->options;
    const char *redis_url = options->redis_url ? options->redis_url : options->client.url;
    size_t size = CONTROL_SIZE + sizeof(struct result) * options->workers;
    char text[200];

    if (redis_url) {
        engine->redis = client_connect(redis_url, 10000, text, sizeof text);
        if (!engine->redis)
            engine_die("%s", text);
        if (options->fill && !client_fill(engine->redis, options->client.value_size))
            engine_die("%s: %s", redis_url, engine->redis->errstr);
    }
    if (client_mode_is_lendis(options->client.mode)) {
        engine->pool = client_attach(&options->client, 10000, text, sizeof text);
        if (!engine->pool)
            engine_die("%s", text);
    }
    engine->pids = calloc(options->workers, sizeof *engine->pids);
    engine->shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!engine->pids || engine->shared == MAP_FAILED)
        engine_die("no memory for %u workers", options->workers);
    engine->results = (void *)((char *)engine->shared + CONTROL_SIZE);
}

void engine_run(const struct engine_options *options, struct engine_report *report)
{
    static struct engine engine;

    engine.options = *options;
    *report = (struct engine_report){0};
    prepare(&engine);
    run(&engine, report);
}
