/* SPDX-License-Identifier: MIT */
/*
 * What a lease costs: acquire and release of an idle connection whose descriptor is cached, in
 * nanoseconds and in system calls; contended, beside a pool with a lock (lock_pool.h) and beside
 * asking the broker each time; and what a reset costs who comes next.
 *
 * System calls are counted by ptrace(2) between two marks, in a child; the same counter is shown to
 * count by running commands under it.
 */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "broker/tools/table.h"
#include "lendis/wire.h"
#include "lendis_hiredis.h"
#include "broker/bench/lock_pool.h"
#include "broker/bench/parts.h"
#include "broker/testbed/worker_processes.h"
#include "broker/testbed/testbed.h"

/* Short enough to lie between two preemptions mostly, so that the median is right on a busy machine
 * too; reading the clock adds 0.3 ns. */
#define BATCHES    25000u
#define BATCH_SIZE 100u
/* Under ptrace. */
#define TRACED_LEASES   100000u
#define TRACED_COMMANDS 1000u
#define FETCHES         2000u
#define CONTENDED_US    150000
#define POOL_SIZE       16u

static struct bench *bench; /* of the run */
static struct lendisd broker;

static void print_value(const char *name, double value, int decimals, const char *unit,
                        const char *text)
{
    bench_figure(bench, "lease", name, value, decimals, unit, text);
}

static struct lendis_pool *attach(const char *name)
{
    struct lendis_pool *pool;
    int result = lendis_attach(broker.socket_path, name, NULL, &pool);

    if (result != 0)
        give_up("lendis_attach %s: %s", name, lendis_strerror(result));
    return pool;
}

static void lease_within(struct lendis_pool *pool, int timeout_ms)
{
    struct lendis_lease *lease;
    int result = lendis_acquire(pool, timeout_ms, &lease);

    if (result == 0)
        result = lendis_release(lease);
    if (result != 0)
        give_up("lease: %s", lendis_strerror(result));
}

static void lease_once(struct lendis_pool *pool)
{
    lease_within(pool, -1);
}

/* ---- one process ---- */

/* One acquire and release each, of whatever `pool` is. */
typedef void lease_function(void *pool);

static void lease_lendis(void *pool)
{
    lease_once(pool);
}

static void lease_locked(void *pool)
{
    lock_pool_give(pool, lock_pool_take(pool));
}

static void lease_limited(void *pool)
{
    lease_within(pool, 1000);
}

/* What a lease cannot do without: the measure of all else. */
static void two_swaps(void *word)
{
    _Atomic uint64_t *at = word;

    for (int i = 0; i < 2; i++) {
        uint64_t seen = atomic_load(at);

        atomic_compare_exchange_strong(at, &seen, seen + 1);
    }
}

/* Nanoseconds of one of a batch. */
static double time_batch(lease_function *lease, void *pool)
{
    int64_t begin = now_ns();

    for (unsigned i = 0; i < BATCH_SIZE; i++)
        lease(pool);
    return (double)(now_ns() - begin) / BATCH_SIZE;
}

/* In turns, for a machine's speed changes from one moment to the next. */
static void measure_alone(struct lendis_pool *pool, struct lock_pool *locked)
{
    static double swaps[BATCHES], leases[BATCHES], limited[BATCHES], locks[BATCHES];
    _Atomic uint64_t word = 0;
    double swap_ns;

    for (unsigned i = 0; i < TRACED_LEASES; i++)
        lease_once(pool);
    for (unsigned i = 0; i < BATCHES; i++) {
        swaps[i] = time_batch(two_swaps, &word);
        leases[i] = time_batch(lease_lendis, pool);
        limited[i] = time_batch(lease_limited, pool);
        locks[i] = time_batch(lease_locked, locked);
    }
    swap_ns = median_of(swaps, BATCHES);
    median_of(leases, BATCHES);
    print_value("lease_p10_ns", leases[BATCHES / 10], 1, "ns", "acquire + release, p10 of batches");
    print_value("lease_median_ns", leases[BATCHES / 2], 1, "ns", "acquire + release, median");
    print_value("lease_p90_ns", leases[BATCHES * 9 / 10], 1, "ns",
                "acquire + release, p90 of batches");
    print_value("lease_limit_median_ns", median_of(limited, BATCHES), 1, "ns",
                "the same with a time limit");
    print_value("two_swaps_median_ns", swap_ns, 1, "ns", "two compare-and-swaps alone");
    print_value("lease_per_two_swaps", leases[BATCHES / 2] / swap_ns, 1, "",
                "acquire + release, times two compare-and-swaps");
    print_value("lease_limit_per_two_swaps", limited[BATCHES / 2] / swap_ns, 1, "",
                "the same with a time limit");
    print_value("locked_median_ns", median_of(locks, BATCHES), 1, "ns",
                "the same of a pool with a mutex and a condition variable");
}

/* ---- system calls ---- */

/* What a traced child does between its marks. */
typedef void traced_work(void *context);

static void traced_leases(void *context)
{
    for (unsigned i = 0; i < TRACED_LEASES; i++)
        lease_once(context);
}

static void traced_commands(void *context)
{
    for (unsigned i = 0; i < TRACED_COMMANDS; i++)
        freeReplyObject(lendis_command(context, "GET key"));
}

static void traced_direct(void *context)
{
    for (unsigned i = 0; i < TRACED_COMMANDS; i++)
        freeReplyObject(redisCommand(context, "GET key"));
}

/* The marks: a system call that nothing else here does. */
#define MARK SYS_getpgrp

static _Noreturn void traced_child(traced_work *work, void *context)
{
    work(context); /* attaches, fetches, warms up */
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
        _exit(77);
    raise(SIGSTOP);
    syscall(MARK);
    work(context);
    syscall(MARK);
    _exit(0);
}

/* The number of the system call that a stopped child enters. */
static long entered(pid_t pid)
{
    struct __ptrace_syscall_info info = {0};

    if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) < 0)
        give_up("ptrace: %s", strerror(errno));
    return info.op == PTRACE_SYSCALL_INFO_ENTRY ? (long)info.entry.nr : -1;
}

/* System calls of `work` in a child; -1: tracing is not allowed here. */
static long count_syscalls(traced_work *work, void *context)
{
    long count = -1;
    int status;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0)
        traced_child(work, context);
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        return -1;
    if (ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) < 0)
        give_up("ptrace: %s", strerror(errno));
    for (bool between = false;;) {
        long number;

        ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
        if (waitpid(pid, &status, 0) != pid || WIFEXITED(status) || WIFSIGNALED(status))
            break;
        if (WSTOPSIG(status) != (SIGTRAP | 0x80))
            continue;
        number = entered(pid);
        if (number == MARK) {
            between = !between;
            if (between)
                count = 0;
        } else if (between && number >= 0) {
            count++;
        }
    }
    return count;
}

static void measure_syscalls(struct lendis_pool *pool)
{
    redisContext *direct = redis_open(&bench->servers.redis);
    long leases = count_syscalls(traced_leases, pool);

    if (leases < 0) {
        bench_note(bench, "system calls of a lease: not counted, ptrace is not allowed here");
        redisFree(direct);
        return;
    }
    print_value("lease_syscalls", (double)leases, 0, "", "system calls in 100,000 of them");
    print_value("command_syscalls", (double)count_syscalls(traced_commands, pool) / TRACED_COMMANDS,
                2, "", "system calls per lendis_command()");
    print_value("direct_syscalls", (double)count_syscalls(traced_direct, direct) / TRACED_COMMANDS,
                2, "", "system calls per redisCommand()");
    redisFree(direct);
}

/* ---- leases that leave something behind ---- */

#define LEFT 1000

/* Takes a lease, sends `command`, gives it back. *waited_ns: until it had the lease. Returns the
 * time of the whole. */
static double one_lease(struct lendis_pool *pool, const char *command, double *waited_ns)
{
    int64_t begin = now_ns();
    struct lendis_lease *lease;
    redisReply *reply;

    if (lendis_acquire(pool, 1000, &lease) != 0)
        give_up("no lease within a second");
    *waited_ns = (double)(now_ns() - begin);
    reply = lendis_lease_command(lease, command);
    if (!reply || lendis_release(lease) != 0)
        give_up("%s on a lease failed", command);
    freeReplyObject(reply);
    return (double)(now_ns() - begin);
}

/* What a reset costs those who come next: it is the broker's work, behind their backs. */
static void measure_left(struct lendis_pool *pool, const char *command, const char *name,
                         const char *text)
{
    static double whole[LEFT], waited[LEFT];
    char full[64];

    for (unsigned i = 0; i < LEFT; i++)
        whole[i] = one_lease(pool, command, &waited[i]);
    snprintf(full, sizeof full, "%s_ns", name);
    print_value(full, median_of(whole, LEFT), 0, "ns", text);
    snprintf(full, sizeof full, "%s_waited_ns", name);
    print_value(full, median_of(waited, LEFT), 0, "ns", "  of that, until the lease was there");
}

/* ---- asking the broker ---- */

static void broker_send(int fd, const void *message)
{
    int result = wire_send(fd, message, -1);

    if (result != 0)
        give_up("send to the broker: %s", strerror(-result));
}

/* A worker's connection to the broker, welcomed. */
static int broker_open(const char *pool)
{
    struct wire_hello hello = {0};
    struct wire_welcome welcome;
    int fd = lendisd_connect(broker.socket_path);

    if (fd < 0)
        give_up("%s: %s", broker.socket_path, strerror(-fd));
    wire_header(&hello.header, WIRE_HELLO, sizeof hello);
    snprintf(hello.pool, sizeof hello.pool, "%s", pool);
    broker_send(fd, &hello);
    if (wire_receive(fd, &welcome, sizeof welcome, NULL, 5000) != (int)sizeof welcome ||
        welcome.result != 0)
        give_up("the broker does not welcome: %s", welcome.text);
    return fd;
}

/* One question and its answer, a descriptor: what acquiring would be; releasing is another one. */
static void broker_ask(void *fd)
{
    struct wire_fetch fetch = {.what = WIRE_DOORBELL};
    struct wire_descriptor answer;
    int passed;

    wire_header(&fetch.header, WIRE_FETCH, sizeof fetch);
    broker_send(*(int *)fd, &fetch);
    if (wire_receive(*(int *)fd, &answer, sizeof answer, &passed, 5000) != (int)sizeof answer ||
        answer.result != 0)
        give_up("the broker passes no descriptor: %d", answer.result);
    close(passed);
}

static void measure_round_trip(void)
{
    static double trips[FETCHES];
    int fd = broker_open("sixteen");

    for (unsigned i = 0; i < FETCHES; i++) {
        int64_t begin = now_ns();

        broker_ask(&fd);
        trips[i] = (double)(now_ns() - begin);
    }
    close(fd);
    print_value("broker_round_trip_ns", median_of(trips, FETCHES), 0, "ns",
                "a descriptor asked from the broker instead");
}

/* ---- several processes ---- */

enum pool_kind { POOL_LENDIS, POOL_LOCKED, POOL_BROKER, POOL_KINDS };

static const char *const kind_names[POOL_KINDS] = {"lendis", "locked", "broker"};

struct contest {
    enum pool_kind kind;
    void *pool; /* POOL_BROKER: each process has a connection of its own */
};

struct contended {
    uint64_t leases;
    int64_t from_ns, until_ns;
};

static int contend(struct processes *processes, unsigned number)
{
    static lease_function *const functions[POOL_KINDS] = {lease_lendis, lease_locked, broker_ask};
    struct contended *result = processes_result(processes, number);
    const struct contest *contest = processes->context;
    lease_function *lease = functions[contest->kind];
    void *pool = contest->pool;
    int fd;

    if (contest->kind == POOL_BROKER) {
        fd = broker_open("sixteen");
        pool = &fd;
    }
    lease(pool);
    processes_ready(processes);
    result->from_ns = now_ns();
    while (!processes_stopping(processes)) {
        lease(pool);
        result->leases++;
    }
    result->until_ns = now_ns();
    return 0;
}

/* Nanoseconds from one lease to the next, of whichever process. */
static double contended_ns(struct contest contest, unsigned count)
{
    double leases_per_ns = 0;
    struct processes processes;

    processes_start(&processes, count, sizeof(struct contended), contend, &contest);
    processes_go(&processes);
    sleep_us(CONTENDED_US);
    processes_stop(&processes);
    if (!processes_wait(&processes, 20000) || processes_failures(&processes) != 0)
        give_up("%u processes at %s failed", count, kind_names[contest.kind]);
    for (unsigned i = 0; i < count; i++) {
        const struct contended *one = processes_result(&processes, i);

        leases_per_ns += (double)one->leases / (double)(one->until_ns - one->from_ns);
    }
    processes_end(&processes);
    return 1 / leases_per_ns;
}

/* `table` may be NULL: figures alone. */
static void contest_row(struct table *table, struct contest *contests, unsigned size,
                        unsigned count)
{
    char name[32], text[32];

    if (table) {
        table_row(table);
        table_number(table, 0, count);
        table_number(table, 1, size);
    }
    for (enum pool_kind kind = 0; kind < POOL_KINDS; kind++) {
        double ns;

        if (!contests[kind].pool)
            continue;
        ns = contended_ns(contests[kind], count);
        snprintf(name, sizeof name, "%s_%u_%u_ns", kind_names[kind], size, count);
        figures_add(&bench->figures, (struct series){"lease", "", ""}, 1, name, ns);
        snprintf(text, sizeof text, "%.0f ns", ns);
        if (table)
            table_string(table, 2 + kind, text);
    }
}

static void measure_contended(struct lendis_pool *many, struct lendis_pool *one,
                              struct lock_pool *locked_many, struct lock_pool *locked_one)
{
    static const struct column columns[] = {
        {"processes", "processes", COLUMN_NUMBER},
        {"connections", "connections", COLUMN_NUMBER},
        {"lendis", "lendis", COLUMN_NUMBER},
        {"locked", "mutex and condvar", COLUMN_NUMBER},
        {"broker", "asking the broker", COLUMN_NUMBER},
    };
    struct contest sixteen[] = {
        {POOL_LENDIS, many}, {POOL_LOCKED, locked_many}, {POOL_BROKER, many}};
    struct contest single[] = {{POOL_LENDIS, one}, {POOL_LOCKED, locked_one}, {POOL_BROKER, NULL}};
    struct table *table = NULL;

    if (bench->out)
        table = table_new("lease", columns, sizeof columns / sizeof *columns, TABLE_PEOPLE);
    for (unsigned count = 2; count <= 64; count *= 2)
        contest_row(table, sixteen, POOL_SIZE, count);
    for (unsigned count = 2; count <= 32; count *= 4)
        contest_row(table, single, 1, count);
    if (!bench->out)
        return;
    fprintf(bench->out, "  A lease to the next of whichever process, which give them back at "
                        "once\n");
    if (table_print(table) != 0)
        give_up("cannot print the table");
}

void part_lease(struct bench *of)
{
    const char *url = of->servers.redis.unix_url;
    struct lock_pool *locked_one = lock_pool_new(1), *locked_many = lock_pool_new(POOL_SIZE);
    struct lendis_pool *one, *many;

    bench = of;
    if (bench->out)
        fprintf(bench->out, "\n[lease] acquire and release, no command\n");
    lendisd_start(&broker,
                  "max_workers = 100\n"
                  "[pool one]\nredis = %s\nsize = 1\nmin_idle = 1\n"
                  "[pool sixteen]\nredis = %s\nsize = %u\nmin_idle = %u\n",
                  url, url, POOL_SIZE, POOL_SIZE);
    one = attach("one");
    many = attach("sixteen");
    lease_once(one);
    lease_once(many);

    measure_alone(many, locked_many);
    measure_round_trip();
    measure_syscalls(many);
    measure_left(many, "PING", "clean", "a lease with a PING, one after the other");
    measure_left(many, "SELECT 1", "unclean", "a lease with a SELECT 1: the broker resets it");
    measure_contended(many, one, locked_many, locked_one);

    lendis_detach(one);
    lendis_detach(many);
    lock_pool_free(locked_one);
    lock_pool_free(locked_many);
    lendisd_stop(&broker);
}
