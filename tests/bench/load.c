/* SPDX-License-Identifier: MIT */
/*
 * The load engine: one invocation is one measured round of one variant. A master forks N worker
 * processes; each runs commands in a closed loop, with an optional think time between them, and
 * counts into a histogram of its own in shared memory.
 *
 * Connecting is not measured: workers wait at a barrier, then all get the same three instants, the
 * start, the begin and the end of the measured window, so that no delay of the master's moves the
 * window. Per command a worker reads the clock twice and does no system call of its own. A latency
 * counts if its command began in the window, a command if it ended in it.
 *
 * CPU time is read from the processes' CPU clocks (clock_getcpuclockid(3)): user and system time,
 * all threads, in nanoseconds, where /proc/PID/stat has ticks of 10 ms.
 *
 * Workers die with the master. Exit status: 0; 1, an error or a wrong reply, which is also printed;
 * 2, bad usage or no start.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <linux/futex.h>
#include <math.h>
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
#include "tests/bench/client.h"
#include "tests/bench/histogram.h"

#define READY_LIMIT_MS 60000
/* Commands under way at the end of the window have this long to end; what does not hangs. */
#define GRACE_MS 10000
/* From the barrier to the start: long enough to wake everyone. */
#define LEAD_NS INT64_C(20000000)

enum think { THINK_EXPONENTIAL, THINK_FIXED };
enum output { OUTPUT_TEXT, OUTPUT_TSV, OUTPUT_JSON };
/* Processes besides the workers whose CPU time is counted. */
enum role { ROLE_BROKER, ROLE_PROXY, ROLE_REDIS, ROLES };
static const char *const role_names[ROLES] = {"broker", "proxy", "redis"};

#define SPINNERS_MAX 256u

struct options {
    struct client_options client;
    const char *redis_url; /* where the keys are set and INFO is asked; NULL: client.url */
    unsigned workers;
    unsigned think_us;
    enum think think;
    double seconds;
    double ramp;
    unsigned mix;     /* percentage of SET */
    unsigned leasers; /* workers that take leases, measured apart; the rest runs commands */
    unsigned seed;
    bool fill;
    bool awake;
    enum output output;
    pid_t pids[ROLES];
};

/* One worker's results; written by it alone. */
struct result {
    _Alignas(128) struct histogram latencies;
    uint64_t ops; /* commands that ended in the window */
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
    int64_t from_ns;
    int64_t until_ns;
};

struct load {
    struct options options;
    struct lendis_pool *pool;
    redisContext *redis;
    pid_t *pids;
    pid_t spinners[SPINNERS_MAX];
    unsigned spinner_count;
    struct shared *shared;
    struct result *results;
};

struct cpu_times {
    double workers;
    double roles[ROLES];
    double spinners;
    double machine; /* everything that ran, by whomever */
};

struct report {
    struct histogram latencies;
    struct histogram lease_waits; /* of the leasers */
    uint64_t leases;
    uint64_t ops, ops_min, ops_max, errors, wrong;
    unsigned hung;
    double seconds;
    struct cpu_times cpu; /* spent in the window */
    long long connections;
    const char *text;
};

static _Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

static _Noreturn void die(const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "load: ");
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

static void open_gate(_Atomic uint32_t *gate)
{
    atomic_store(gate, 1);
    futex_wake_all(gate);
}

static void wait_gate(_Atomic uint32_t *gate)
{
    while (!atomic_load(gate))
        futex_wait(gate, 0, 1000);
}

static void sleep_until(int64_t at_ns)
{
    struct timespec at = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        continue;
}

/* ---- a worker ---- */

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators". */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static double next_fraction(uint64_t *state)
{
    return (double)(next_random(state) >> 11) * 0x1p-53;
}

/*
 * Exponential by default: independent clients are a Poisson process, while fixed pauses make
 * workers march in step. At most ten times the mean, so that a short round sees everyone.
 */
static int64_t think_ns(const struct options *options, uint64_t *random)
{
    double mean = options->think_us * 1000.0, drawn;

    if (options->think == THINK_FIXED)
        return (int64_t)mean;
    drawn = -log(1.0 - next_fraction(random));
    return (int64_t)(mean * (drawn < 10 ? drawn : 10));
}

static void note(struct result *result, enum client_result what, const struct client *client)
{
    if (what == CLIENT_WRONG)
        result->wrong++;
    else
        result->errors++;
    if (result->text[0] == '\0')
        snprintf(result->text, sizeof result->text, "%s", client->text);
}

static void work(const struct load *load, struct client *client, uint64_t random,
                 struct result *result)
{
    const struct options *options = &load->options;
    int64_t from_ns = load->shared->from_ns, until_ns = load->shared->until_ns;
    int64_t end_ns = load->shared->start_ns;

    sleep_until(end_ns);
    for (;;) {
        unsigned key = (unsigned)(next_random(&random) >> 32) % CLIENT_KEYS;
        bool set = options->mix && (next_random(&random) >> 32) % 100 < options->mix;
        enum client_result ran;
        int64_t begin_ns;

        if (options->think_us)
            sleep_until(end_ns + think_ns(options, &random));
        begin_ns = client_now_ns();
        if (begin_ns >= until_ns)
            return;
        client->measured_ns = 0;
        ran = client_run(client, key, set);
        end_ns = client->measured_ns ? client->measured_ns : client_now_ns();
        if (ran != CLIENT_OK) {
            note(result, ran, client);
            continue;
        }
        if (begin_ns >= from_ns)
            histogram_add(&result->latencies, (uint64_t)(end_ns - begin_ns));
        if (end_ns >= from_ns && end_ns <= until_ns)
            result->ops++;
        if (options->think_us && client->measured_ns)
            end_ns = client_now_ns();
    }
}

static bool is_leaser(const struct options *options, unsigned number)
{
    return number < options->leasers;
}

static int worker(const struct load *load, unsigned number)
{
    struct result *result = &load->results[number];
    struct client_options options = load->options.client;
    struct client client;
    enum client_result opened;

    if (is_leaser(&load->options, number))
        options.mode = CLIENT_ACQUIRE;
    opened = client_open(&client, &options, load->pool);
    if (opened != CLIENT_OK) {
        note(result, opened, &client);
        return 1;
    }
    arrive(&load->shared->ready, load->options.workers);
    wait_gate(&load->shared->go);
    work(load, &client, (load->options.seed + number + 1) * UINT64_C(0x9e3779b97f4a7c15), result);
    arrive(&load->shared->done, load->options.workers);
    /* A dead process' CPU clock cannot be read. */
    wait_gate(&load->shared->leave);
    return 0;
}

static void fork_workers(struct load *load)
{
    pid_t master = getpid();

    fflush(NULL);
    for (unsigned i = 0; i < load->options.workers; i++) {
        pid_t pid = fork();

        if (pid < 0)
            die("fork: %s", strerror(errno));
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != master)
                _exit(1);
            _exit(worker(load, i));
        }
        load->pids[i] = pid;
    }
}

/* ---- processors that do not sleep ---- */

/*
 * A virtual processor that idles is given up, and to have it back takes longer than a command: with
 * one worker that is all that would be measured. A process for each processor that spins at the
 * lowest priority there is (SCHED_IDLE, sched(7)) keeps it: any other process preempts it at once.
 */
static void fork_spinners(struct load *load)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct sched_param none = {0};
    pid_t master = getpid();

    while (load->spinner_count < SPINNERS_MAX && load->spinner_count < processors) {
        pid_t pid = fork();

        if (pid < 0)
            die("fork: %s", strerror(errno));
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != master || sched_setscheduler(0, SCHED_IDLE, &none) < 0)
                _exit(1);
            for (;;)
                __asm__ volatile("" ::: "memory");
        }
        load->spinners[load->spinner_count++] = pid;
    }
}

static void end_spinners(struct load *load)
{
    for (unsigned i = 0; i < load->spinner_count; i++) {
        kill(load->spinners[i], SIGKILL);
        waitpid(load->spinners[i], NULL, 0);
    }
}

/* ---- the master ---- */

static void check_alive(const struct load *load)
{
    for (unsigned i = 0; i < load->options.workers; i++) {
        siginfo_t info = {0};

        if (waitid(P_PID, (id_t)load->pids[i], &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid != 0)
            die("worker %u ended: %s", i,
                load->results[i].text[0] ? load->results[i].text : "killed");
    }
}

/* False: not all workers arrived within limit_ms. */
static bool await_all(const struct load *load, _Atomic uint32_t *count, int limit_ms)
{
    int64_t until_ns = client_now_ns() + limit_ms * INT64_C(1000000);

    for (;;) {
        uint32_t seen = atomic_load(count);

        if (seen == load->options.workers)
            return true;
        check_alive(load);
        if (client_now_ns() >= until_ns)
            return false;
        futex_wait(count, seen, 200);
    }
}

/* CPU time that a process has used, in seconds; 0 when it is gone. */
static double process_cpu(pid_t pid)
{
    struct timespec used;
    clockid_t clock;

    if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) < 0)
        return 0;
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* CPU time that the machine's processors were not idle, in seconds: /proc/stat, proc(5). */
static double machine_cpu(void)
{
    unsigned long long user, nice, system, idle, iowait, irq, softirq;
    FILE *stat = fopen("/proc/stat", "re");
    double busy = 0;

    if (!stat)
        return 0;
    if (fscanf(stat, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
               &iowait, &irq, &softirq) == 7)
        busy = (double)(user + nice + system + irq + softirq) / (double)sysconf(_SC_CLK_TCK);
    fclose(stat);
    return busy;
}

static struct cpu_times cpu_now(const struct load *load)
{
    struct cpu_times now = {.machine = machine_cpu()};

    for (unsigned i = 0; i < load->options.workers; i++)
        now.workers += process_cpu(load->pids[i]);
    for (unsigned i = 0; i < load->spinner_count; i++)
        now.spinners += process_cpu(load->spinners[i]);
    for (unsigned i = 0; i < ROLES; i++)
        now.roles[i] = process_cpu(load->options.pids[i]);
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
        count = atoll(at + strlen("connected_clients:")) - 1;
    if (reply)
        freeReplyObject(reply);
    return count;
}

static unsigned end_workers(const struct load *load, bool all_done)
{
    unsigned hung = load->options.workers - atomic_load(&load->shared->done);

    if (all_done)
        hung = 0;
    open_gate(&load->shared->leave);
    for (unsigned i = 0; i < load->options.workers; i++) {
        if (hung)
            kill(load->pids[i], SIGKILL);
        waitpid(load->pids[i], NULL, 0);
    }
    return hung;
}

static void sum_up(const struct load *load, struct report *report)
{
    report->ops_min = UINT64_MAX;
    for (unsigned i = 0; i < load->options.workers; i++) {
        const struct result *result = &load->results[i];

        report->errors += result->errors;
        report->wrong += result->wrong;
        if (result->text[0] && !report->text)
            report->text = result->text;
        if (is_leaser(&load->options, i)) {
            histogram_merge(&report->lease_waits, &result->latencies);
            report->leases += result->ops;
            continue;
        }
        histogram_merge(&report->latencies, &result->latencies);
        report->ops += result->ops;
        if (result->ops < report->ops_min)
            report->ops_min = result->ops;
        if (result->ops > report->ops_max)
            report->ops_max = result->ops;
    }
}

static void run(struct load *load, struct report *report)
{
    struct shared *shared = load->shared;
    struct cpu_times from;
    bool all_done;

    fork_workers(load);
    /* Wakes at once when its instants come, even among 500 busy workers; it only sleeps between. */
    if (setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) - 10) < 0)
        errno = 0;
    if (load->options.awake)
        fork_spinners(load);
    if (!await_all(load, &shared->ready, READY_LIMIT_MS))
        die("%u of %u workers are ready", atomic_load(&shared->ready), load->options.workers);
    shared->start_ns = client_now_ns() + LEAD_NS;
    shared->from_ns = shared->start_ns + (int64_t)(load->options.ramp * 1e9);
    shared->until_ns = shared->from_ns + (int64_t)(load->options.seconds * 1e9);
    open_gate(&shared->go);

    sleep_until(shared->from_ns - LEAD_NS / 2);
    report->connections = connections_at_redis(load->redis);
    sleep_until(shared->from_ns);
    from = cpu_now(load);
    sleep_until(shared->until_ns);
    report->cpu = cpu_between(from, cpu_now(load));
    all_done = await_all(load, &shared->done, GRACE_MS);
    report->hung = end_workers(load, all_done);
    end_spinners(load);
    report->seconds = (double)(shared->until_ns - shared->from_ns) / 1e9;
    sum_up(load, report);
}

static void prepare(struct load *load)
{
    struct options *options = &load->options;
    const char *redis_url = options->redis_url ? options->redis_url : options->client.url;
    size_t shared_size = 4096, size = shared_size + sizeof(struct result) * options->workers;
    char text[200];

    if (redis_url) {
        load->redis = client_connect(redis_url, 10000, text, sizeof text);
        if (!load->redis)
            die("%s", text);
        if (options->fill && !client_fill(load->redis, options->client.value_size))
            die("%s: %s", redis_url, load->redis->errstr);
    }
    if (client_mode_is_lendis(options->client.mode)) {
        load->pool = client_attach(&options->client, 10000, text, sizeof text);
        if (!load->pool)
            die("%s", text);
    }
    load->pids = calloc(options->workers, sizeof *load->pids);
    load->shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!load->pids || load->shared == MAP_FAILED)
        die("no memory for %u workers", options->workers);
    load->results = (void *)((char *)load->shared + shared_size);
}

/* ---- output ---- */

struct field {
    const char *name;
    double value;
    int decimals;
};

#define FIELDS_MAX 40

static size_t make_fields(const struct load *load, const struct report *report,
                          struct field fields[FIELDS_MAX])
{
    const struct options *options = &load->options;
    const struct histogram *latencies = &report->latencies;
    double ours = report->cpu.workers, other;
    size_t count = 0;

    for (unsigned i = 0; i < ROLES; i++)
        ours += report->cpu.roles[i];
    other = report->cpu.machine - report->cpu.spinners - ours;

#define FIELD(name, value, decimals) fields[count++] = (struct field){name, value, decimals}
    FIELD("workers", options->workers, 0);
    FIELD("think_us", options->think_us, 0);
    FIELD("value", (double)options->client.value_size, 0);
    FIELD("mix", options->mix, 0);
    FIELD("seconds", report->seconds, 2);
    FIELD("ops", (double)report->ops, 0);
    FIELD("ops_per_s", (double)report->ops / report->seconds, 0);
    FIELD("mean_us",
          latencies->total ? (double)latencies->sum_ns / (double)latencies->total / 1e3 : 0, 2);
    FIELD("p50_us", histogram_quantile(latencies, 0.5) / 1e3, 2);
    FIELD("p90_us", histogram_quantile(latencies, 0.9) / 1e3, 2);
    FIELD("p99_us", histogram_quantile(latencies, 0.99) / 1e3, 2);
    FIELD("p999_us", histogram_quantile(latencies, 0.999) / 1e3, 2);
    FIELD("max_us", (double)latencies->max_ns / 1e3, 2);
    FIELD("ops_min", (double)report->ops_min, 0);
    FIELD("ops_max", (double)report->ops_max, 0);
    FIELD("fairness", report->ops_max ? (double)report->ops_min / (double)report->ops_max : 0, 3);
    FIELD("leasers", options->leasers, 0);
    FIELD("leases_per_s", (double)report->leases / report->seconds, 0);
    FIELD("lease_p50_us", histogram_quantile(&report->lease_waits, 0.5) / 1e3, 2);
    FIELD("lease_p99_us", histogram_quantile(&report->lease_waits, 0.99) / 1e3, 2);
    FIELD("lease_max_us", (double)report->lease_waits.max_ns / 1e3, 2);
    FIELD("errors", (double)report->errors, 0);
    FIELD("wrong", (double)report->wrong, 0);
    FIELD("hung", report->hung, 0);
    FIELD("cpu_workers", report->cpu.workers, 3);
    FIELD("cpu_broker", report->cpu.roles[ROLE_BROKER], 3);
    FIELD("cpu_proxy", report->cpu.roles[ROLE_PROXY], 3);
    FIELD("cpu_redis", report->cpu.roles[ROLE_REDIS], 3);
    FIELD("cpu_us_per_op", report->ops ? ours * 1e6 / (double)report->ops : 0, 3);
    FIELD("connections", (double)report->connections, 0);
    /* Processors that others kept busy meanwhile: above 0.1 or so, repeat. */
    FIELD("other_load", other > 0 ? other / report->seconds : 0, 2);
#undef FIELD
    return count;
}

static void print_tsv(const char *mode, const struct field *fields, size_t count)
{
    printf("mode");
    for (size_t i = 0; i < count; i++)
        printf("\t%s", fields[i].name);
    printf("\n%s", mode);
    for (size_t i = 0; i < count; i++)
        printf("\t%.*f", fields[i].decimals, fields[i].value);
    putchar('\n');
}

static void print_json(const char *mode, const struct field *fields, size_t count)
{
    printf("{\"mode\": \"%s\"", mode);
    for (size_t i = 0; i < count; i++)
        printf(", \"%s\": %.*f", fields[i].name, fields[i].decimals, fields[i].value);
    printf("}\n");
}

static void print_text(const char *mode, const struct field *fields, size_t count)
{
    printf("%-14s %s\n", "mode", mode);
    for (size_t i = 0; i < count; i++)
        printf("%-14s %.*f\n", fields[i].name, fields[i].decimals, fields[i].value);
}

static int print_report(const struct load *load, const struct report *report)
{
    const char *mode = client_mode_name(load->options.client.mode);
    struct field fields[FIELDS_MAX];
    size_t count = make_fields(load, report, fields);

    if (load->options.output == OUTPUT_TSV)
        print_tsv(mode, fields, count);
    else if (load->options.output == OUTPUT_JSON)
        print_json(mode, fields, count);
    else
        print_text(mode, fields, count);
    if (report->text)
        fprintf(stderr, "load: %s\n", report->text);
    if (report->hung)
        fprintf(stderr, "load: %u of %u workers hung\n", report->hung, load->options.workers);
    return report->errors || report->wrong || report->hung ? 1 : 0;
}

/* ---- options ---- */

enum option_id {
    OPTION_MODE = 256,
    OPTION_URL,
    OPTION_REDIS,
    OPTION_SOCKET,
    OPTION_POOL,
    OPTION_WORKERS,
    OPTION_THINK,
    OPTION_THINK_KIND,
    OPTION_SECONDS,
    OPTION_RAMP,
    OPTION_VALUE,
    OPTION_MIX,
    OPTION_HOLD,
    OPTION_LEASERS,
    OPTION_SEED,
    OPTION_NO_FILL,
    OPTION_AWAKE,
    OPTION_PID,
    OPTION_TSV,
    OPTION_JSON,
    OPTION_HELP,
};

static const struct option long_options[] = {
    {"mode", required_argument, NULL, OPTION_MODE},
    {"url", required_argument, NULL, OPTION_URL},
    {"redis", required_argument, NULL, OPTION_REDIS},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"pool", required_argument, NULL, OPTION_POOL},
    {"workers", required_argument, NULL, OPTION_WORKERS},
    {"think-us", required_argument, NULL, OPTION_THINK},
    {"think-kind", required_argument, NULL, OPTION_THINK_KIND},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"ramp", required_argument, NULL, OPTION_RAMP},
    {"value", required_argument, NULL, OPTION_VALUE},
    {"mix", required_argument, NULL, OPTION_MIX},
    {"hold-us", required_argument, NULL, OPTION_HOLD},
    {"leasers", required_argument, NULL, OPTION_LEASERS},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"no-fill", no_argument, NULL, OPTION_NO_FILL},
    {"awake", no_argument, NULL, OPTION_AWAKE},
    {"pid", required_argument, NULL, OPTION_PID},
    {"tsv", no_argument, NULL, OPTION_TSV},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {0},
};

static const char usage[] =
    "usage: load --mode MODE [OPTION]...\n"
    "\n"
    "  --mode direct|lendis|exec|lease|acquire\n"
    "                    direct: redisCommand() on a connection per worker (Redis or a proxy);\n"
    "                    lendis: lendis_command(); exec: lendis_exec(); lease: a lease for each\n"
    "                    command; acquire: likewise, but only the wait for the lease is measured\n"
    "  --url URL         direct: redis://HOST:PORT or unix:///PATH\n"
    "  --redis URL       where keys are set and INFO is asked (default: --url)\n"
    "  --socket PATH, --pool NAME   the other modes: the broker's socket and the pool\n"
    "  --workers N       processes (1)\n"
    "  --think-us US     mean pause between commands (0)\n"
    "  --think-kind exponential|fixed   (exponential)\n"
    "  --seconds S       the measured window (2)\n"
    "  --ramp S          load before it that is not measured (0.3)\n"
    "  --value BYTES     size of values, at least 3 (3)\n"
    "  --mix PERCENT     share of SET, the rest is GET (0)\n"
    "  --hold-us US      lease, acquire: keep the lease this long after its command (0)\n"
    "  --leasers N       so many of the workers run as in mode acquire, and are measured apart "
    "(0)\n"
    "  --seed N          of keys and pauses (1)\n"
    "  --no-fill         do not set the keys first\n"
    "  --awake           keep processors from idling, at the lowest priority\n"
    "  --pid ROLE=PID    count CPU time of the broker, the proxy or redis\n"
    "  --tsv, --json     one header line and one line of values; one object (else: text)\n";

static double parse_number(const char *text, const char *name, double least, double most)
{
    char *end;
    double number = strtod(text, &end);

    if (*text == '\0' || *end != '\0' || !(number >= least && number <= most))
        die("--%s %s: not a number from %g to %g", name, text, least, most);
    return number;
}

static void parse_pid(struct options *options, const char *text)
{
    for (unsigned i = 0; i < ROLES; i++) {
        size_t length = strlen(role_names[i]);

        if (strncmp(text, role_names[i], length) == 0 && text[length] == '=') {
            options->pids[i] = (pid_t)parse_number(text + length + 1, "pid", 1, INT_MAX);
            return;
        }
    }
    die("--pid %s: not broker=, proxy= or redis=", text);
}

static void parse_option(struct options *options, int id, const char *name, const char *text)
{
    switch (id) {
    case OPTION_MODE:
        if (!client_mode_parse(text, &options->client.mode))
            die("--mode %s: no such mode", text);
        break;
    case OPTION_URL:
        options->client.url = text;
        break;
    case OPTION_REDIS:
        options->redis_url = text;
        break;
    case OPTION_SOCKET:
        options->client.socket_path = text;
        break;
    case OPTION_POOL:
        options->client.pool_name = text;
        break;
    case OPTION_WORKERS:
        options->workers = (unsigned)parse_number(text, name, 1, 10000);
        break;
    case OPTION_THINK:
        options->think_us = (unsigned)parse_number(text, name, 0, 1e8);
        break;
    case OPTION_THINK_KIND:
        if (strcmp(text, "fixed") != 0 && strcmp(text, "exponential") != 0)
            die("--think-kind %s: not exponential or fixed", text);
        options->think = text[0] == 'f' ? THINK_FIXED : THINK_EXPONENTIAL;
        break;
    case OPTION_SECONDS:
        options->seconds = parse_number(text, name, 0.01, 3600);
        break;
    case OPTION_RAMP:
        options->ramp = parse_number(text, name, 0, 3600);
        break;
    case OPTION_VALUE:
        options->client.value_size =
            (size_t)parse_number(text, name, CLIENT_VALUE_MIN, 512 * 1024.0 * 1024);
        break;
    case OPTION_MIX:
        options->mix = (unsigned)parse_number(text, name, 0, 100);
        break;
    case OPTION_HOLD:
        options->client.hold_us = (unsigned)parse_number(text, name, 0, 1e8);
        break;
    case OPTION_LEASERS:
        options->leasers = (unsigned)parse_number(text, name, 0, 10000);
        break;
    case OPTION_SEED:
        options->seed = (unsigned)parse_number(text, name, 0, 1e9);
        break;
    case OPTION_NO_FILL:
        options->fill = false;
        break;
    case OPTION_AWAKE:
        options->awake = true;
        break;
    case OPTION_PID:
        parse_pid(options, text);
        break;
    case OPTION_TSV:
        options->output = OUTPUT_TSV;
        break;
    case OPTION_JSON:
        options->output = OUTPUT_JSON;
        break;
    case OPTION_HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        exit(2);
    }
}

static void parse_options(int argc, char **argv, struct options *options)
{
    int id, index = 0;

    *options = (struct options){
        .client = {.value_size = CLIENT_VALUE_MIN},
        .workers = 1,
        .seconds = 2,
        .ramp = 0.3,
        .seed = 1,
        .fill = true,
    };
    while ((id = getopt_long(argc, argv, "", long_options, &index)) != -1)
        parse_option(options, id, id == '?' ? "" : long_options[index].name, optarg);
    if (optind != argc)
        die("what is %s?", argv[optind]);
    if (!client_mode_is_lendis(options->client.mode)) {
        if (!options->client.url)
            die("--mode direct needs --url");
    } else if (!options->client.socket_path || !options->client.pool_name) {
        die("this mode needs --socket and --pool");
    }
    if (options->leasers > 0 &&
        (options->leasers >= options->workers || !client_mode_is_lendis(options->client.mode)))
        die("--leasers: fewer than --workers, and not with --mode direct");
}

int main(int argc, char **argv)
{
    static struct load load;
    static struct report report;

    parse_options(argc, argv, &load.options);
    prepare(&load);
    run(&load, &report);
    return print_report(&load, &report);
}
