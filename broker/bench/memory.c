/* SPDX-License-Identifier: MIT */
/*
 * What lendis costs in memory: shared memory for a connection, a worker and a pool, as laid out and
 * as allocated by the kernel; and private memory of a worker (Private_Clean + Private_Dirty of
 * /proc/PID/smaps_rollup) that was forked from a master, attached and not, beside one with a
 * hiredis connection of its own. Kernel memory of sockets is not in these figures.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "broker/base/proc.h"
#include "broker/bench/parts.h"
#include "broker/testbed/worker_processes.h"
#include "broker/testbed/testbed.h"
#include "lendis/catalog.h"
#include "lendis/segment.h"

#define WORKERS        50u
#define COMMANDS       1000u
#define OWN_BYTES      1000u
#define POOL_SIZE      16u
#define READY_LIMIT_MS 30000
#define LAYOUT_WORKERS 1000u
#define LEAST_WORKERS  100u

static struct bench *bench; /* of the run */
static struct lendisd broker;

static void print_bytes(const char *name, double bytes, const char *text)
{
    bench_figure(bench, "memory", name, bytes, 0, "bytes", text);
}

/* ---- shared memory ---- */

/* The tables of a segment alone: mailboxes and chunks take memory when they are used. */
static double table_bytes(uint32_t connections, uint32_t workers)
{
    return (double)segment_tables_size(connections, workers);
}

static double bytes_per_connection(void)
{
    double more = table_bytes(LENDIS_MAX_CONNECTIONS, LAYOUT_WORKERS);
    double less = table_bytes(1, LAYOUT_WORKERS);

    return (more - less) / (LENDIS_MAX_CONNECTIONS - 1);
}

/* The worst of some sizes of the worker table: the ring of waiters grows by powers of two. */
static double bytes_per_worker(void)
{
    double one = table_bytes(1, 1), worst = 0;

    for (uint32_t workers = LEAST_WORKERS; workers <= LENDIS_MAX_WORKERS; workers += workers / 16) {
        double each = (table_bytes(1, workers) - one) / (workers - 1);

        if (each > worst)
            worst = each;
    }
    return worst;
}

/* Bytes that the kernel has allocated for the broker's memfds of this name. */
static double allocated(const char *memfd_name)
{
    double bytes = proc_memfd_bytes(broker.pid, memfd_name);

    if (isnan(bytes))
        give_up("/proc/%d/fd: %s", (int)broker.pid, strerror(errno));
    return bytes;
}

static double empty_bytes;

static void print_shared(void)
{
    double connection = bytes_per_connection(), worker = bytes_per_worker();
    double tables = table_bytes(POOL_SIZE, LAYOUT_WORKERS);
    double reserved = (double)segment_size(POOL_SIZE, LAYOUT_WORKERS) - tables;

    empty_bytes = allocated(SEGMENT_MEMFD_NAME);
    print_bytes("shared_connection", connection, "shared memory per connection");
    print_bytes("shared_worker", worker, "shared memory per worker, at most");
    print_bytes("shared_fixed", table_bytes(1, 1) - connection - worker,
                "shared memory per pool, fixed part");
    print_bytes("shared_tables", tables, "   laid out for 16 connections and 1,000 workers");
    print_bytes("shared_reserved", reserved, "   and for mailboxes and chunks, when they are used");
    print_bytes("shared_empty", empty_bytes, "   allocated of all that, nobody attached");
    print_bytes("catalog_empty", allocated(CATALOG_MEMFD_NAME), "   allocated of the catalog");
}

/* ---- private memory ---- */

struct scenario {
    bool connect;      /* a hiredis connection of its own */
    bool attach;       /* one lease of the inherited handle */
    unsigned commands; /* through either */
    struct lendis_pool *pool;
};

static bool run_direct(const struct scenario *scenario)
{
    redisContext *context = redis_open(&bench->servers.redis);

    for (unsigned i = 0; i < scenario->commands; i++) {
        redisReply *reply = redisCommand(context, "GET key");

        if (!reply)
            return false;
        freeReplyObject(reply);
    }
    return true;
}

static bool run_lendis(const struct scenario *scenario)
{
    struct lendis_lease *lease;

    if (lendis_acquire(scenario->pool, -1, &lease) != 0 || lendis_release(lease) != 0)
        return false;
    for (unsigned i = 0; i < scenario->commands; i++) {
        redisReply *reply = lendis_command(scenario->pool, "GET key");

        if (!reply)
            return false;
        freeReplyObject(reply);
    }
    return true;
}

/* What any worker does: without it, what allocating costs at all would be counted as lendis'. */
static void work_of_its_own(void)
{
    char *own = malloc(OWN_BYTES);

    if (!own)
        give_up("no memory");
    explicit_bzero(own, OWN_BYTES);
    free(own);
}

/* Does what the scenario says, then only waits. */
static int worker(struct processes *processes, unsigned number)
{
    const struct scenario *scenario = processes->context;

    (void)number;
    work_of_its_own();
    if (scenario->connect && !run_direct(scenario))
        return 1;
    if (scenario->attach && !run_lendis(scenario))
        return 1;
    processes_ready(processes);
    return 0;
}

static double median_private(const struct processes *processes)
{
    double private[WORKERS];

    for (unsigned i = 0; i < WORKERS; i++) {
        struct smaps memory;

        if (!process_memory(processes->pids[i], &memory))
            give_up("/proc/%d/smaps_rollup: %s", (int)processes->pids[i], strerror(errno));
        private[i] = memory.uss;
    }
    return median_of(private, WORKERS);
}

/* The median of private memory of 50 workers; `with_all` is called while they are all there. */
static double measure(struct scenario scenario, void (*with_all)(void))
{
    struct processes processes;
    double median;

    processes_start(&processes, WORKERS, 0, worker, &scenario);
    if (!eventually(atomic_load(&processes.control->ready) == WORKERS, READY_LIMIT_MS))
        give_up("%u of %u workers are ready", atomic_load(&processes.control->ready), WORKERS);
    median = median_private(&processes);
    if (with_all)
        with_all();
    processes_go(&processes);
    if (!processes_wait(&processes, 10000) || processes_failures(&processes) != 0)
        give_up("workers failed");
    processes_end(&processes);
    return median;
}

/* Of its own memory: as private counts a segment that nobody else maps, too. */
static double broker_anonymous(void)
{
    struct smaps memory;

    if (!process_memory(broker.pid, &memory))
        give_up("the broker is gone");
    return memory.anonymous;
}

static double broker_before;

static void print_attached(void)
{
    print_bytes("shared_attached_worker", (allocated(SEGMENT_MEMFD_NAME) - empty_bytes) / WORKERS,
                "   allocated more for each of 50 attached workers");
    print_bytes("catalog_attached", allocated(CATALOG_MEMFD_NAME),
                "   allocated of the catalog, 50 workers attached");
    print_bytes("broker_worker", (broker_anonymous() - broker_before) / WORKERS,
                "   private memory of the broker per attached worker");
}

static void print_used(void)
{
    print_bytes("shared_used_worker", (allocated(SEGMENT_MEMFD_NAME) - empty_bytes) / WORKERS,
                "   allocated more for each of 50 workers at work");
}

static void print_private(void)
{
    double alone, least, direct, direct_used, handle, attached, used;
    struct lendis_pool *pool;
    int result;

    alone = measure((struct scenario){0}, NULL);
    direct = measure((struct scenario){.connect = true}, NULL);
    direct_used = measure((struct scenario){.connect = true, .commands = COMMANDS}, NULL);
    broker_before = broker_anonymous();
    result = lendis_attach(broker.socket_path, "p", NULL, &pool);
    if (result != 0)
        give_up("lendis_attach: %s", lendis_strerror(result));
    handle = measure((struct scenario){.pool = pool}, NULL);
    attached = measure((struct scenario){.attach = true, .pool = pool}, print_attached);
    used =
        measure((struct scenario){.attach = true, .commands = COMMANDS, .pool = pool}, print_used);
    lendis_detach(pool);

    /* Where the heap happens to end makes a page of difference; the lower one is what counts. */
    least = alone < handle ? alone : handle;
    print_bytes("private_alone", least, "private memory of a forked worker that does not attach");
    print_bytes("private_attached", attached - least, "more, worker attached and leased once");
    print_bytes("private_used", used - least, "more, after 1,000 lendis_command()");
    print_bytes("private_direct", direct - least, "more, with a hiredis connection of its own");
    print_bytes("private_direct_used", direct_used - least, "more, after 1,000 redisCommand()");
}

void part_memory(struct bench *of)
{
    bench = of;
    if (bench->out)
        fprintf(bench->out, "\n[memory] of %u workers forked from one master\n", WORKERS);
    lendisd_start(&broker, "max_workers = %u\n[pool p]\nredis = %s\nsize = %u\nmin_idle = %u\n",
                  LAYOUT_WORKERS, bench->servers.redis.unix_url, POOL_SIZE, POOL_SIZE);
    print_shared();
    print_private();
    lendisd_stop(&broker);
}
