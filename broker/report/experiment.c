/* SPDX-License-Identifier: MIT */
/* A variant, from its servers to its figures: see experiment.h. */
#include "broker/report/experiment.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "broker/base/proc.h"
#include "broker/testbed/testbed.h"
#include "broker/report/progress.h"
#include "broker/testbed/certificates.h"

/* Redis checks an idle client's buffers when it has been idle for 2 s, and the size of replies
 * every 5 s (clientsCron() in its server.c): what has not moved for longer than that does not move
 * any more. */
#define STEADY_IDLE_MS 7000
#define STEADY_BUSY_MS 3000
#define STEADY_LIMIT_S 90
#define TICK_MS        250
#define TICKS_MAX      (STEADY_IDLE_MS / TICK_MS)
/* It may go up and down by so much. */
#define STEADY_SHARE 0.002
#define STEADY_BYTES (128 * 1024.0)

/* The reference claim's own setup: connections of a process, pool sizes of a host. */
#define REFERENCE_PRIMARY  10u
#define REFERENCE_REPLICAS 2u
#define REFERENCE_REPLICA  10u /* of each */
#define REFERENCE_LOCAL    5u

#define SERVERS_MAX 4

static char redis_version[32];

/* Everything that runs for a variant. */
struct environment {
    const struct options *options;
    struct redis_server servers[SERVERS_MAX];
    unsigned server_count;
    char replica_of[32];
    const char *replica_arguments[3];
    struct lendisd broker;
    struct plan *plan;
    char plan_path[TESTBED_PATH_SIZE];
    pid_t master;
    struct kernel_memory before;
};

unsigned experiment_connections(const struct options *options)
{
    return options->reference
               ? REFERENCE_PRIMARY + REFERENCE_REPLICAS * REFERENCE_REPLICA + REFERENCE_LOCAL
               : options->connections;
}

unsigned experiment_pool_size(const struct options *options, unsigned workers)
{
    return options->reference ? experiment_connections(options)
                              : options_pool_size(options, workers);
}

const char *experiment_redis_version(void)
{
    return redis_version;
}

/* ---- servers ---- */

static void fill(const struct redis_server *server, unsigned value_bytes)
{
    char *value = malloc(value_bytes + 1);
    redisContext *context = redis_open(server);

    if (!value)
        give_up("no memory for a value");
    memset(value, 'v', value_bytes);
    for (unsigned key = 0; key < PLAN_KEYS; key++) {
        redisReply *reply = redisCommand(context, "SET key:%u %b", key, value, (size_t)value_bytes);

        if (!reply || reply->type == REDIS_REPLY_ERROR)
            give_up("SET: %s", reply ? reply->str : context->errstr);
        freeReplyObject(reply);
    }
    redisFree(context);
    free(value);
}

static bool has_all_keys(const struct redis_server *server)
{
    redisReply *reply = redis_do(server, "DBSIZE");
    bool has = reply->type == REDIS_REPLY_INTEGER && reply->integer == PLAN_KEYS;

    freeReplyObject(reply);
    return has;
}

/* The certificates of the system, and that of the servers here, in the file in which OpenSSL looks
 * for them: a program has some hundred of them in memory. */
static void write_bundle(const char *path, const char *own)
{
    static const char *const parts[] = {"/etc/ssl/certs/ca-certificates.crt", NULL};
    FILE *bundle = fopen(path, "we");

    for (size_t i = 0; bundle && i < 2; i++) {
        FILE *part = fopen(parts[i] ? parts[i] : own, "re");
        int byte;

        while (part && (byte = getc(part)) != EOF)
            putc(byte, bundle);
        if (part)
            fclose(part);
    }
    if (!bundle || fclose(bundle) != 0)
        give_up("%s: %s", path, strerror(errno));
}

static const struct certificate *trusted_certificate(void)
{
    static char path[TESTBED_PATH_SIZE];
    const struct certificate *own = certificate_of_testbed();

    if (path[0])
        return own;
    scratch_path(path, "bundle.pem");
    write_bundle(path, own->file);
    setenv("SSL_CERT_FILE", path, 1);
    return own;
}

static struct redis_server *start_server(struct environment *environment, bool tcp,
                                         const char *const *arguments)
{
    struct redis_server *server = &environment->servers[environment->server_count++];

    *server = (struct redis_server){
        .tcp = tcp,
        .tls = environment->options->tls ? trusted_certificate() : NULL,
        .arguments = arguments,
    };
    redis_start(server);
    return server;
}

static void start_reference_servers(struct environment *environment)
{
    const struct options *options = environment->options;
    struct redis_server *primary = start_server(environment, true, NULL);

    fill(primary, options->value_bytes);
    snprintf(environment->replica_of, sizeof environment->replica_of, "127.0.0.1 %d",
             primary->port);
    environment->replica_arguments[0] = "--replicaof";
    environment->replica_arguments[1] = environment->replica_of;
    for (unsigned i = 0; i < REFERENCE_REPLICAS; i++) {
        struct redis_server *replica =
            start_server(environment, !options->unix_socket, environment->replica_arguments);

        if (!eventually(has_all_keys(replica), 20000))
            give_up("a replica does not get the data of its primary");
    }
    fill(start_server(environment, !options->unix_socket, NULL), options->value_bytes);
}

static void start_servers(struct environment *environment)
{
    if (environment->options->reference)
        start_reference_servers(environment);
    else
        fill(start_server(environment, !environment->options->unix_socket, NULL),
             environment->options->value_bytes);
    if (!redis_version[0]) {
        redisReply *reply = redis_do(&environment->servers[0], "INFO SERVER");
        const char *at = reply->str ? strstr(reply->str, "redis_version:") : NULL;

        if (at)
            sscanf(at, "redis_version:%31[^\r\n]", redis_version);
        freeReplyObject(reply);
    }
}

/* ---- the plan ---- */

static void add_target(struct environment *environment, const struct redis_server *server,
                       enum use use, unsigned connections, const char *pool)
{
    struct plan_target *target = &environment->plan->targets[environment->plan->target_count++];

    target->use = use;
    target->connections = connections;
    target->port = environment->options->unix_socket ? 0 : server->port;
    snprintf(target->socket_path, sizeof target->socket_path, "%s", server->socket_path);
    if (environment->options->tls)
        snprintf(target->tls_url, sizeof target->tls_url, "%s", server->tls_url);
    snprintf(target->pool, sizeof target->pool, "%s", pool);
}

static void make_plan(struct environment *environment, enum variant variant, unsigned workers)
{
    const struct redis_server *servers = environment->servers;

    environment->plan = plan_new(workers, environment->plan_path);
    environment->plan->variant = variant;
    environment->plan->value_bytes = environment->options->value_bytes;
    environment->plan->busy = environment->options->busy;
    if (!environment->options->reference) {
        add_target(environment, &servers[0], USE_MIXED, environment->options->connections, "main");
        return;
    }
    add_target(environment, &servers[0], USE_WRITE, REFERENCE_PRIMARY, "app");
    for (unsigned i = 0; i < REFERENCE_REPLICAS; i++)
        add_target(environment, &servers[1 + i], USE_READ, REFERENCE_REPLICA, "app");
    add_target(environment, &servers[1 + REFERENCE_REPLICAS], USE_MIXED, REFERENCE_LOCAL, "local");
}

static void put_pool(FILE *config, const struct environment *environment, unsigned server,
                     const char *name, const char *role, unsigned size)
{
    const struct redis_server *redis = &environment->servers[server];

    /* All are kept open: what the pool holds at its largest is what is measured. */
    fprintf(config, "[pool %s]\nredis = %s\nrole = %s\nsize = %u\nmin_idle = %u\n", name,
            environment->options->unix_socket ? redis->unix_url
            : environment->options->tls       ? redis->tls_url
                                              : redis->tcp_url,
            role, size, size);
}

static void start_broker(struct environment *environment, unsigned workers)
{
    /* A worker of a service is one of each of its pools, too. */
    unsigned places = workers * (environment->options->reference ? 3 + REFERENCE_REPLICAS : 1) + 64;
    char *text;
    size_t size;
    FILE *config = open_memstream(&text, &size);

    if (!config)
        give_up("no memory");
    fprintf(config, "max_workers = %u\n", places > 1024 ? places : 1024);
    if (environment->options->reference) {
        put_pool(config, environment, 0, "primary", "primary", REFERENCE_PRIMARY);
        put_pool(config, environment, 1, "replica1", "replica", REFERENCE_REPLICA);
        put_pool(config, environment, 2, "replica2", "replica", REFERENCE_REPLICA);
        put_pool(config, environment, 3, "local", "local", REFERENCE_LOCAL);
        fputs("[pool app]\nprimary = primary\nreplicas = replica1 replica2\n", config);
    } else {
        put_pool(config, environment, 0, "main", "primary",
                 options_pool_size(environment->options, workers));
    }
    fclose(config);
    lendisd_start(&environment->broker, "%s", text);
    free(text);
    snprintf(environment->plan->broker_socket, sizeof environment->plan->broker_socket, "%s",
             environment->broker.socket_path);
}

/* ---- reading figures ---- */

static void read_redis(const struct environment *environment, struct readings *readings)
{
    char problem[256];

    for (unsigned i = 0; i < environment->server_count; i++) {
        redisContext *context = redis_open(&environment->servers[i]);

        process_add(environment->servers[i].pid, false, &readings->redis);
        if (!redis_memory_add(context, &readings->said, problem, sizeof problem))
            give_up("INFO: %s", problem);
        redisFree(context);
    }
}

/* With `segments` false what is theirs is not told apart, which is faster. */
static void read_all(const struct environment *environment, bool segments, struct figures *figures)
{
    struct readings readings = {0};

    process_add(environment->master, segments, &readings.workers);
    for (unsigned i = 0; i < environment->plan->workers; i++)
        if (!process_add(atomic_load(&environment->plan->pids[i]), segments, &readings.workers))
            give_up("a worker ended: %s", environment->plan->problem[0] ? environment->plan->problem
                                                                        : "nobody knows why");
    if (environment->broker.pid) {
        process_add(environment->broker.pid, segments, &readings.broker);
        readings.segments = proc_memfd_bytes(environment->broker.pid, "lendis-");
    }
    read_redis(environment, &readings);
    kernel_read(&readings.kernel);
    figures_of(&readings, figures);
    figures->values[FIGURE_SOCKET_SLAB] -= environment->before.socket_slab;
    figures->values[FIGURE_SOCKETS] -= environment->before.sockets;
    figures->values[FIGURE_SOCKET_CHARGED] -= environment->before.socket_charged;
    figures->values[FIGURE_MACHINE] += environment->before.available;
    figures_total(figures);
}

/* ---- waiting until nothing moves ---- */

static double what_moves(const struct environment *environment)
{
    struct figures figures;

    read_all(environment, false, &figures);
    /* used_memory moves before Redis gives pages back. */
    return figures.values[FIGURE_WORKERS_PSS] + figures.values[FIGURE_REDIS] +
           figures.values[FIGURE_REDIS_USED] + figures.values[FIGURE_BROKER_RSS];
}

static bool at_rest(const double *values, unsigned count)
{
    double least = values[0], most = values[0];

    for (unsigned i = 1; i < count; i++) {
        least = fmin(least, values[i]);
        most = fmax(most, values[i]);
    }
    return most - least <= fmax(most * STEADY_SHARE, STEADY_BYTES);
}

static void wait_until_steady(const struct environment *environment, struct outcome *outcome)
{
    unsigned window = (environment->options->busy ? STEADY_BUSY_MS : STEADY_IDLE_MS) / TICK_MS;
    int64_t begin_ms = now_ms();
    double values[TICKS_MAX];
    char text[64];

    for (unsigned tick = 0; now_ms() - begin_ms < STEADY_LIMIT_S * 1000; tick++) {
        int64_t tick_ms = now_ms(), took_ms;

        values[tick % window] = what_moves(environment);
        outcome->seconds = (double)(now_ms() - begin_ms) / 1000;
        if (tick + 1 >= window && at_rest(values, window)) {
            outcome->steady = true;
            return;
        }
        snprintf(text, sizeof text, "until nothing moves: %.0f MiB, %.0f s",
                 values[tick % window] / (1024 * 1024), outcome->seconds);
        progress_say(text);
        /* With very many workers a reading takes long: they should have most of the time. */
        took_ms = now_ms() - tick_ms;
        sleep_us(1000 * (took_ms > TICK_MS / 2 ? took_ms : TICK_MS - took_ms));
    }
}

/* ---- all of it ---- */

/* What Redis' allocator keeps of buffers that it has freed would show the beginning, not of what
 * is in use. */
static void purge(const struct environment *environment)
{
    for (unsigned i = 0; i < environment->server_count; i++)
        freeReplyObject(redis_do(&environment->servers[i], "MEMORY PURGE"));
}

static void measure(struct environment *environment, struct outcome *outcome)
{
    unsigned long commands = atomic_load(&environment->plan->commands);
    int64_t begin_ms = now_ms();

    wait_until_steady(environment, outcome);
    outcome->commands = (double)(atomic_load(&environment->plan->commands) - commands) * 1000 /
                        (double)(now_ms() - begin_ms + 1);
    purge(environment);
    read_all(environment, true, &outcome->figures);
}

static void end(struct environment *environment)
{
    workers_stop(environment->plan, environment->master);
    plan_free(environment->plan);
    lendisd_stop(&environment->broker);
    for (unsigned i = 0; i < environment->server_count; i++)
        redis_stop(&environment->servers[i]);
}

void experiment_run(const struct options *options, enum variant variant, unsigned workers,
                    struct outcome *outcome)
{
    static const char *const names[] = {"without Redis", "own connections", "through lendis"};
    struct environment environment = {.options = options};
    char doing[64];

    *outcome = (struct outcome){0};
    snprintf(doing, sizeof doing, "%u workers, %s", workers, names[variant]);
    progress_begin(doing);
    kernel_read(&environment.before); /* finds the caches */
    kernel_shrink();
    kernel_read(&environment.before);
    start_servers(&environment);
    make_plan(&environment, variant, workers);
    if (variant == VARIANT_LENDIS)
        start_broker(&environment, workers);
    environment.master = workers_start(environment.plan_path);
    workers_wait(environment.plan, environment.master, progress_show);
    measure(&environment, outcome);
    progress_say("ending");
    end(&environment);
    progress_begin(NULL);
}
