/* SPDX-License-Identifier: MIT */
/*
 * A broker that has nothing to do: with many workers attached and connections open, how often it
 * wakes, and how much memory is its own. Voluntary context switches of /proc/PID/status count: each
 * is a sleep that something ended.
 */
#include <stdio.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "broker/bench/parts.h"
#include "broker/testbed/worker_processes.h"
#include "broker/testbed/testbed.h"

#define WORKERS        500u
#define CONNECTIONS    64u
#define READY_LIMIT_MS 30000
#define SETTLE_US      1000000
#define SAMPLE_US      5000000

static int worker(struct processes *processes, unsigned number)
{
    redisReply *reply = lendis_command(processes->context, "PING");

    (void)number;
    if (!reply)
        return 1;
    freeReplyObject(reply);
    atomic_fetch_add(&processes->control->ready, 1);
    for (;;)
        pause();
}

static void measure(struct bench *bench, const struct lendisd *broker)
{
    struct process_use before, after;
    struct smaps memory;

    sleep_us(SETTLE_US);
    if (!process_use(broker->pid, &before))
        give_up("the broker is gone");
    sleep_us(SAMPLE_US);
    if (!process_use(broker->pid, &after) || !process_memory(broker->pid, &memory))
        give_up("the broker is gone");
    bench_figure(bench, "idle", "wakeups", (double)(after.switches - before.switches), 0, "",
                 "the broker woke in 5 s");
    bench_figure(bench, "idle", "private_kib", memory.uss / 1024, 0, "KiB",
                 "private memory of the broker");
    bench_figure(bench, "idle", "connections",
                 (double)redis_info(&bench->servers.redis, "connected_clients"), 0, "",
                 "connections at Redis");
}

void part_idle(struct bench *bench)
{
    static struct lendisd broker;
    struct lendis_pool *pool;
    struct processes processes;
    int result;

    if (bench->out)
        fprintf(bench->out, "\n[idle] %u workers attached, %u connections, nothing to do\n",
                WORKERS, CONNECTIONS);
    lendisd_start(&broker, "[pool idle]\nredis = %s\nsize = %u\nmin_idle = %u\n",
                  bench->servers.redis.tcp_url, CONNECTIONS, CONNECTIONS);
    result = lendis_attach(broker.socket_path, "idle", NULL, &pool);
    if (result != 0)
        give_up("lendis_attach: %s", lendis_strerror(result));
    processes_start(&processes, WORKERS, 0, worker, pool);
    if (!eventually(atomic_load(&processes.control->ready) == WORKERS, READY_LIMIT_MS))
        give_up("%u of %u workers are ready", atomic_load(&processes.control->ready), WORKERS);
    measure(bench, &broker);
    processes_end(&processes);
    lendis_detach(pool);
    lendisd_stop(&broker);
}
