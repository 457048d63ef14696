/* SPDX-License-Identifier: MIT */
/*
 * What a lease costs: acquire and release of an idle connection whose descriptor is cached, in
 * nanoseconds and in system calls; the same with several processes at it; and what asking the
 * broker each time would cost instead.
 *
 * System calls are counted by ptrace(2) between two marks, in a child; the same counter is shown to
 * count by running commands under it. Starts its own redis-server and lendisd. --tsv FILE:
 * writes "name<TAB>value" lines as well.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis/wire.h"
#include "lendis_hiredis.h"
#include "tests/support/support.h"

/* Short enough to lie between two preemptions mostly, so that the median is right on a busy machine
 * too; reading the clock adds 0.3 ns. */
#define BATCHES    50000u
#define BATCH_SIZE 100u
/* Under ptrace. */
#define TRACED_LEASES   100000u
#define TRACED_COMMANDS 1000u
#define FETCHES         2000u
#define CONTENDED_NS    INT64_C(300000000)

static struct redis_server redis;
static struct lendisd broker;
static FILE *tsv; /* NULL: none */

static void print_value(const char *name, double value, int decimals, const char *unit,
                        const char *text)
{
    if (tsv)
        fprintf(tsv, "%s\t%.*f\n", name, decimals, value);
    printf("  %-46s %10.*f %s\n", text, decimals, value, unit);
    fflush(stdout);
}

static struct lendis_pool *attach(const char *name)
{
    struct lendis_pool *pool;
    int result = lendis_attach(broker.socket_path, name, NULL, &pool);

    if (result != 0)
        give_up("lendis_attach %s: %s", name, lendis_strerror(result));
    return pool;
}

static void lease_once(struct lendis_pool *pool)
{
    struct lendis_lease *lease;
    int result = lendis_acquire(pool, -1, &lease);

    if (result == 0)
        result = lendis_release(lease);
    if (result != 0)
        give_up("lease: %s", lendis_strerror(result));
}

/* ---- one process ---- */

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static void measure_alone(struct lendis_pool *pool)
{
    static double batches[BATCHES];

    for (unsigned i = 0; i < TRACED_LEASES; i++)
        lease_once(pool);
    for (unsigned i = 0; i < BATCHES; i++) {
        int64_t begin = now_ns();

        for (unsigned j = 0; j < BATCH_SIZE; j++)
            lease_once(pool);
        batches[i] = (double)(now_ns() - begin) / BATCH_SIZE;
    }
    qsort(batches, BATCHES, sizeof *batches, compare_doubles);
    print_value("lease_p10_ns", batches[BATCHES / 10], 1, "ns",
                "acquire + release, p10 of batches");
    print_value("lease_median_ns", batches[BATCHES / 2], 1, "ns", "acquire + release, median");
    print_value("lease_p90_ns", batches[BATCHES * 9 / 10], 1, "ns",
                "acquire + release, p90 of batches");
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
    redisContext *direct = redis_open(&redis);
    long leases = count_syscalls(traced_leases, pool);

    if (leases < 0) {
        printf("# system calls: not counted, ptrace is not allowed here\n");
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

/* ---- several processes ---- */

struct contended {
    uint64_t leases;
    uint64_t failures;
    int64_t cpu_ns;
};

static int64_t own_cpu_ns(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec * INT64_C(1000000000) + used.tv_nsec;
}

static int contend(struct crew *crew, unsigned number)
{
    struct contended *result = crew_result(crew, number);
    struct lendis_pool *pool = crew->context;
    int64_t begin;

    for (unsigned i = 0; i < 100; i++)
        lease_once(pool);
    crew_ready(crew);
    begin = own_cpu_ns();
    while (!crew_stopping(crew)) {
        for (unsigned i = 0; i < 100; i++) {
            struct lendis_lease *lease;
            int got = lendis_acquire(pool, 0, &lease);

            if (got == LENDIS_E_BUSY) {
                result->failures++;
                continue;
            }
            if (got != 0 || lendis_release(lease) != 0)
                return 1;
            result->leases++;
        }
    }
    result->cpu_ns = own_cpu_ns() - begin;
    return 0;
}

static void measure_contended(struct lendis_pool *pool, unsigned size, unsigned processes)
{
    struct contended sum = {0};
    char name[64], text[64];
    struct crew crew;

    crew_start(&crew, processes, sizeof sum, contend, pool);
    crew_go(&crew);
    sleep_us(CONTENDED_NS / 1000);
    crew_stop(&crew);
    if (!crew_wait(&crew, 10000) || crew_failures(&crew) != 0)
        give_up("%u processes on %u connections failed", processes, size);
    for (unsigned i = 0; i < processes; i++) {
        const struct contended *one = crew_result(&crew, i);

        sum.leases += one->leases;
        sum.failures += one->failures;
        sum.cpu_ns += one->cpu_ns;
    }
    crew_end(&crew);
    snprintf(name, sizeof name, "contended_%u_%u_ns", size, processes);
    snprintf(text, sizeof text, "%2u processes, %2u connections: CPU per lease", processes, size);
    print_value(name, (double)sum.cpu_ns / (double)(sum.leases ? sum.leases : 1), 1, "ns", text);
    snprintf(name, sizeof name, "contended_%u_%u_failed", size, processes);
    print_value(name, 100.0 * (double)sum.failures / (double)(sum.leases + sum.failures + 1), 2,
                "%", "   attempts that found all busy");
}

/* ---- leases that leave something behind ---- */

#define LEFT 1000

/* Takes a lease, sends `command`, gives it back. *waited_ns: until it had the lease. Returns the time of the whole. */
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
    qsort(whole, LEFT, sizeof *whole, compare_doubles);
    qsort(waited, LEFT, sizeof *waited, compare_doubles);
    snprintf(full, sizeof full, "%s_ns", name);
    print_value(full, whole[LEFT / 2], 0, "ns", text);
    snprintf(full, sizeof full, "%s_waited_ns", name);
    print_value(full, waited[LEFT / 2], 0, "ns", "  of that, until the lease was there");
}

/* ---- asking the broker ---- */

static void broker_send(int fd, const void *message)
{
    int result = wire_send(fd, message, -1);

    if (result != 0)
        give_up("send to the broker: %s", strerror(-result));
}

static void measure_round_trip(const char *pool)
{
    struct wire_hello hello = {0};
    struct wire_fetch fetch = {.what = WIRE_DOORBELL};
    struct wire_welcome welcome;
    struct wire_descriptor answer;
    static double trips[FETCHES];
    int fd = lendisd_connect(broker.socket_path), passed;

    if (fd < 0)
        give_up("%s: %s", broker.socket_path, strerror(-fd));
    wire_header(&hello.header, WIRE_HELLO, sizeof hello);
    snprintf(hello.pool, sizeof hello.pool, "%s", pool);
    wire_header(&fetch.header, WIRE_FETCH, sizeof fetch);
    broker_send(fd, &hello);
    if (wire_receive(fd, &welcome, sizeof welcome, NULL, 5000) != (int)sizeof welcome ||
        welcome.result != 0)
        give_up("the broker does not welcome: %s", welcome.text);
    for (unsigned i = 0; i < FETCHES; i++) {
        int64_t begin = now_ns();

        broker_send(fd, &fetch);
        if (wire_receive(fd, &answer, sizeof answer, &passed, 5000) != (int)sizeof answer ||
            answer.result != 0)
            give_up("the broker passes no descriptor: %d", answer.result);
        trips[i] = (double)(now_ns() - begin);
        close(passed);
    }
    close(fd);
    qsort(trips, FETCHES, sizeof *trips, compare_doubles);
    print_value("broker_round_trip_ns", trips[FETCHES / 2], 0, "ns",
                "a descriptor asked from the broker instead");
}

int main(int argc, char **argv)
{
    static const unsigned processes[] = {2, 4, 8, 16};
    static const struct option options[] = {{"tsv", required_argument, NULL, 't'}, {0}};
    struct lendis_pool *one, *many;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 't')
            return 2;
        tsv = fopen(optarg, "we");
        if (!tsv)
            give_up("%s: %s", optarg, strerror(errno));
    }
    redis_start(&redis);
    lendisd_start(&broker,
                  "max_workers = 100\n"
                  "[pool one]\nredis = %s\nsize = 1\nmin_idle = 1\n"
                  "[pool sixteen]\nredis = %s\nsize = 16\nmin_idle = 16\n",
                  redis.unix_url, redis.unix_url);
    one = attach("one");
    many = attach("sixteen");
    lease_once(one);
    lease_once(many);

    measure_alone(many);
    measure_syscalls(many);
    for (unsigned i = 0; i < sizeof processes / sizeof *processes; i++)
        measure_contended(many, 16, processes[i]);
    for (unsigned i = 0; i < sizeof processes / sizeof *processes; i++)
        measure_contended(one, 1, processes[i]);
    measure_left(many, "PING", "clean", "a lease with a PING, one after the other");
    measure_left(many, "SELECT 1", "unclean", "a lease with a SELECT 1: the broker resets it");
    measure_round_trip("sixteen");

    lendis_detach(one);
    lendis_detach(many);
    lendisd_stop(&broker);
    redis_stop(&redis);
    if (tsv && fclose(tsv) != 0)
        give_up("cannot write the figures");
    return 0;
}
