/* SPDX-License-Identifier: MIT */
/*
 * Connect storms, direct and through lendis: all workers start at once, and Redis restarts under
 * load. A watcher, a process of its own, asks Redis again and again how many connections it has and
 * how many it has accepted, so peaks are as Redis sees them.
 *
 * Workers SET, for a restarted Redis is empty. A worker that fails goes on with its next command
 * after its think time, as a server does with its next request.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "broker/tools/table.h"
#include "broker/base/proc_text.h"
#include "broker/bench/cell.h"
#include "broker/bench/parts.h"
#include "broker/bench/units.h"
#include "broker/testbed/worker_processes.h"
#include "broker/testbed/testbed.h"

#define WORKERS          500u
#define THINK_NS         1e7
#define WATCH_US         1000
#define RATE_NS          INT64_C(10000000) /* over which the accept rate is taken */
#define START_LIMIT_MS   30000
#define RECOVER_LIMIT_MS 30000
#define BEFORE_US        500000 /* of load before the restart */
#define TEXT_SIZE        200

static const char variants[] = "direct,lendis:16";

/* ---- the watcher ---- */

struct peaks {
    long long connections;
    double accepts_per_s;
    atomic_uint samples;
};

struct sample {
    int64_t at_ns;
    long long connections, accepted;
};

/* False: Redis does not answer. */
static bool take_sample(redisContext *context, struct sample *sample)
{
    redisReply *clients = redisCommand(context, "INFO clients");
    redisReply *stats = clients ? redisCommand(context, "INFO stats") : NULL;
    bool answered = clients && stats && clients->type == REDIS_REPLY_STRING &&
                    stats->type == REDIS_REPLY_STRING;

    sample->at_ns = now_ns();
    if (answered) {
        sample->connections = (long long)info_field(clients->str, "connected_clients") - 1;
        sample->accepted = (long long)info_field(stats->str, "total_connections_received");
    }
    freeReplyObject(clients);
    freeReplyObject(stats);
    return answered;
}

/* `base`: the sample from which the rate is taken; it moves on once it is old enough. */
static void note_peaks(struct peaks *peaks, struct sample *base, const struct sample *sample)
{
    double rate =
        (double)(sample->accepted - base->accepted) * 1e9 / (double)(sample->at_ns - base->at_ns);

    if (sample->connections > peaks->connections)
        peaks->connections = sample->connections;
    if (sample->at_ns - base->at_ns < RATE_NS)
        return;
    if (rate > peaks->accepts_per_s)
        peaks->accepts_per_s = rate;
    *base = *sample;
}

static int watch(struct processes *processes, unsigned number)
{
    const struct redis_server *redis = processes->context;
    struct peaks *peaks = processes_result(processes, number);
    char text[TEXT_SIZE];

    while (!processes_stopping(processes)) {
        struct sample base = {.at_ns = now_ns()}, sample;
        redisContext *context = client_connect(redis->unix_url, 0, text, sizeof text);

        /* A server that just started has accepted nothing yet; one that ran on counts from now. */
        if (context && atomic_exchange(&processes->control->ready, 1) == 0)
            take_sample(context, &base);
        while (context && !processes_stopping(processes) && take_sample(context, &sample)) {
            note_peaks(peaks, &base, &sample);
            atomic_fetch_add(&peaks->samples, 1);
            sleep_us(WATCH_US);
        }
        if (context)
            redisFree(context);
        sleep_us(WATCH_US);
    }
    return 0;
}

/* ---- workers ---- */

struct storm {
    struct client_options options;
    struct lendis_pool *pool; /* NULL: direct */
    bool restart;
    int start[2]; /* a pipe: whoever reads sleeps until its other end is closed */
};

struct worker_result {
    _Atomic int64_t good_ns; /* when the last good reply came; 0: none did */
    atomic_uint failed;
    char text[160]; /* about the first failure */
};

static void note_failure(struct worker_result *result, const struct client *client)
{
    if (atomic_fetch_add(&result->failed, 1) == 0)
        snprintf(result->text, sizeof result->text, "%s", client->text);
}

/* Sleeps until all may start: 500 workers that poll would be load enough. */
static void await_start(struct processes *processes, const struct storm *storm)
{
    char byte;

    close(storm->start[1]);
    atomic_fetch_add(&processes->control->ready, 1);
    while (read(storm->start[0], &byte, 1) > 0)
        continue;
}

static int storm_worker(struct processes *processes, unsigned number)
{
    const struct storm *storm = processes->context;
    struct worker_result *result = processes_result(processes, number);
    struct pace pace = {.kind = PACE_EXPONENTIAL, .mean_ns = THINK_NS};
    uint64_t random = (number + 1) * UINT64_C(0x9e3779b97f4a7c15);
    struct client client;

    if (!storm->restart)
        await_start(processes, storm);
    if (client_open(&client, &storm->options, storm->pool) != CLIENT_OK) {
        note_failure(result, &client);
        return 1;
    }
    atomic_store(&result->good_ns, now_ns());
    if (storm->restart)
        await_start(processes, storm);
    while (!processes_stopping(processes)) {
        sleep_us(pace_draw(&pace, &random) / 1000);
        if (!storm->restart)
            continue;
        if (client_run(&client, (unsigned)next_random(&random) % CLIENT_KEYS, true) == CLIENT_OK)
            atomic_store(&result->good_ns, now_ns());
        else
            note_failure(result, &client);
    }
    return 0;
}

/* How many workers have had a good reply after `since_ns`, and when the last of these did. */
static unsigned count_good(const struct processes *processes, int64_t since_ns, int64_t *last_ns)
{
    unsigned count = 0;

    *last_ns = 0;
    for (unsigned i = 0; i < processes->count; i++) {
        const struct worker_result *result = processes_result(processes, i);
        int64_t good_ns = atomic_load(&result->good_ns);

        if (good_ns <= since_ns)
            continue;
        count++;
        if (good_ns > *last_ns)
            *last_ns = good_ns;
    }
    return count;
}

/* ---- rounds ---- */

/* What the first worker that failed was told; "": none did. */
static const char *first_failure(const struct processes *processes)
{
    for (unsigned i = 0; i < processes->count; i++) {
        const struct worker_result *result = processes_result(processes, i);

        if (atomic_load(&result->failed) > 0)
            return result->text;
    }
    return "";
}

/* Milliseconds from since_ns until every worker has had a good reply; what did not come in time is
 * a failure of the run. */
static double await_good(struct bench *bench, const char *row, const struct processes *processes,
                         int64_t since_ns, int limit_ms)
{
    int64_t last_ns;

    if (!eventually(count_good(processes, since_ns, &last_ns) == processes->count, limit_ms)) {
        bench_note(bench, "row %s: %u of %u workers had no good reply within %d s: %s", row,
                   processes->count - count_good(processes, since_ns, &last_ns), processes->count,
                   limit_ms / 1000, first_failure(processes));
        bench->failed = true;
        return limit_ms;
    }
    return (double)(last_ns - since_ns) / 1e6;
}

/* Lets all go as soon as all are ready; returns when. */
static int64_t start_all(const struct processes *processes, const struct storm *storm)
{
    int64_t since_ns;

    if (!eventually(atomic_load(&processes->control->ready) == processes->count, START_LIMIT_MS))
        give_up("%u of %u workers are ready", atomic_load(&processes->control->ready),
                processes->count);
    since_ns = now_ns();
    close(storm->start[1]);
    return since_ns;
}

/* All at once; the time until the last of them has its first reply. */
static double start_storm(struct bench *bench, struct processes *processes,
                          const struct storm *storm)
{
    int64_t since_ns = start_all(processes, storm);

    return await_good(bench, "storm", processes, since_ns, START_LIMIT_MS);
}

/* Redis is killed and started anew under load; the time from its first answer until every worker
 * has had one. */
static double restart_storm(struct bench *bench, struct processes *processes,
                            const struct storm *storm, double *away_ms)
{
    int64_t killed_ns;

    start_all(processes, storm);
    sleep_us(BEFORE_US);
    killed_ns = now_ns();
    redis_restart(&bench->servers.redis);
    *away_ms = (double)(now_ns() - killed_ns) / 1e6;
    return await_good(bench, "restart", processes, now_ns(), RECOVER_LIMIT_MS);
}

static unsigned sum_failed(const struct processes *processes)
{
    unsigned failed = 0;

    for (unsigned i = 0; i < processes->count; i++)
        failed += atomic_load(&((struct worker_result *)processes_result(processes, i))->failed);
    return failed;
}

static void add_figures(struct bench *bench, struct series series, unsigned round, double ms,
                        const struct processes *processes, const struct peaks *peaks)
{
    struct figures *figures = &bench->figures;

    figures_add(figures, series, round, "workers", WORKERS);
    figures_add(figures, series, round, "all_served_ms", ms);
    figures_add(figures, series, round, "failed", sum_failed(processes));
    figures_add(figures, series, round, "peak_connections", (double)peaks->connections);
    figures_add(figures, series, round, "peak_accepts_per_s", peaks->accepts_per_s);
}

/* It has sampled since now, long enough for a last rate. */
static void await_watcher(const struct processes *watcher)
{
    struct peaks *peaks = processes_result(watcher, 0);
    unsigned before = atomic_load(&peaks->samples);

    sleep_us(2 * RATE_NS / 1000);
    if (!eventually(atomic_load(&peaks->samples) - before >= 2, START_LIMIT_MS))
        give_up("Redis does not answer");
}

static void run_storm(struct bench *bench, struct series series, unsigned round,
                      struct storm *storm)
{
    struct processes watcher, processes;
    double ms, away_ms = 0;

    processes_start(&watcher, 1, sizeof(struct peaks), watch, &bench->servers.redis);
    if (pipe2(storm->start, O_CLOEXEC) < 0)
        give_up("pipe2: %s", strerror(errno));
    processes_start(&processes, WORKERS, sizeof(struct worker_result), storm_worker, storm);
    if (!eventually(atomic_load(&watcher.control->ready) == 1, START_LIMIT_MS))
        give_up("Redis does not answer");
    ms = storm->restart ? restart_storm(bench, &processes, storm, &away_ms)
                        : start_storm(bench, &processes, storm);
    close(storm->start[0]);
    await_watcher(&watcher);
    processes_stop(&processes);
    processes_stop(&watcher);
    processes_wait(&watcher, 5000);
    figures_add(&bench->figures, series, round, "away_ms", away_ms);
    add_figures(bench, series, round, ms, &processes, processes_result(&watcher, 0));
    processes_end(&processes);
    processes_end(&watcher);
}

static void run_round(struct bench *bench, const struct cell *cell, const struct variant *variant,
                      unsigned round, bool restart)
{
    struct servers *servers = &bench->servers;
    struct storm storm = {.restart = restart};
    char text[TEXT_SIZE];
    redisContext *context = redis_open(&servers->redis);

    servers->workers = WORKERS;
    servers_start(servers, variant, cell->transport);
    storm.options = (struct client_options){.mode = variant->mode,
                                            .url = servers_redis_url(servers, cell->transport),
                                            .socket_path = servers->broker.socket_path,
                                            .pool_name = "bench",
                                            .value_size = CLIENT_VALUE_MIN};
    if (!client_fill(context, CLIENT_VALUE_MIN))
        give_up("redis-server: %s", context->errstr);
    redisFree(context);
    if (client_mode_is_lendis(variant->mode)) {
        storm.pool = client_attach(&storm.options, START_LIMIT_MS, text, sizeof text);
        if (!storm.pool)
            give_up("%s", text);
        /* What the broker opens when it starts is no part of the storm. */
        if (!eventually(redis_info(&servers->redis, "connected_clients") >= variant->size,
                        START_LIMIT_MS))
            give_up("the broker does not open its connections");
    }
    run_storm(bench, (struct series){cell->row, cell->transport, variant->text}, round, &storm);
    lendis_detach(storm.pool);
    servers_stop(servers);
}

/* ---- the table ---- */

static void print_row(struct table *table, const struct figures *figures, struct series series)
{
    static const char *const names[] = {"away_ms", "failed", "peak_connections",
                                        "peak_accepts_per_s"};
    char text[64];

    table_row(table);
    table_string(table, 0, series.variant);
    snprintf(text, sizeof text, "%.0f ms (%.0f-%.0f)",
             figures_median(figures, series, "all_served_ms"),
             figures_least(figures, series, "all_served_ms"),
             figures_most(figures, series, "all_served_ms"));
    table_string(table, 1, text);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        table_string(table, 2 + i, units_grouped(figures_median(figures, series, names[i])));
}

static void print_table(const struct bench *bench, const struct cell *cell, bool restart)
{
    const struct column columns[] = {
        {"variant", "variant", COLUMN_TEXT},
        {"served", "until all were served", COLUMN_NUMBER},
        {"away", restart ? "redis was away, ms" : NULL, COLUMN_NUMBER},
        {"failed", "failed commands", COLUMN_NUMBER},
        {"connections", "peak of connections", COLUMN_NUMBER},
        {"accepts", "peak of accepts/s", COLUMN_NUMBER},
    };
    struct table *table = table_new("storm", columns, sizeof columns / sizeof *columns, false);

    for (size_t i = 0; table && i < cell->count; i++)
        print_row(table, &bench->figures,
                  (struct series){cell->row, cell->transport, cell->variants[i].text});
    if (table_print(table) != 0)
        give_up("cannot print the table");
}

static void run(struct bench *bench, const char *row, const char *title, bool restart)
{
    static struct cell cell;
    char problem[200];

    cell.row = row;
    cell.transport = "tcp";
    if (!cell_parse_variants(bench, &cell, variants, problem, sizeof problem))
        give_up("%s", problem);
    for (unsigned round = 1; round <= bench->rounds; round++)
        for (size_t i = 0; i < cell.count; i++) {
            size_t at = round % 2 ? i : cell.count - 1 - i;

            bench_progress("%s: round %u of %u, %s", row, round, bench->rounds,
                           cell.variants[at].text);
            run_round(bench, &cell, &cell.variants[at], round, restart);
            bench_progress_end();
        }
    if (!bench->out)
        return;
    fprintf(bench->out, "\n[%s] tcp: %s\n", row, title);
    print_table(bench, &cell, restart);
}

void part_storm(struct bench *bench)
{
    run(bench, "storm", "500 workers start at once; until all have their first reply", false);
}

void part_restart(struct bench *bench)
{
    run(bench, "restart",
        "Redis restarts under 500 workers with 10 ms think time; until all had a reply again",
        true);
}
