/* SPDX-License-Identifier: MIT */
/*
 * One worker: the same commands through a hiredis connection of its own and through lendis, in one
 * process that changes between them every few milliseconds. What disturbs the machine for longer
 * than that disturbs all alike, so the ratio of neighbouring slices is right within a percent or
 * two where that of whole rounds is off by twenty.
 */
#include <stdio.h>
#include "broker/testbed/testbed.h"
#include "broker/bench/client.h"
#include "broker/bench/parts.h"

#define SLICES_MAX   300u
#define SLICES_QUICK 100u
#define SLICE_SIZE   200u
#define WAYS         4u
#define WARM_UP      2000u
#define POOL_SIZE    4
#define VALUE_SIZE   CLIENT_VALUE_MIN
#define CONNECT_MS   10000
#define DIRECT_FIRST 0u /* ways[0] is what the others are compared with */

static const struct way {
    enum client_mode mode;
    const char *text;
} ways[WAYS] = {
    {CLIENT_DIRECT, "redisCommand()"},
    {CLIENT_LENDIS, "lendis_command()"},
    {CLIENT_EXEC, "lendis_exec()"},
    {CLIENT_LEASE, "lease, command, release"},
};

static void run_many(struct client *client, unsigned count)
{
    static unsigned key;

    for (unsigned i = 0; i < count; i++) {
        key = (key + 37) % CLIENT_KEYS;
        if (client_run(client, key, false) != CLIENT_OK)
            give_up("%s: %s", client_mode_name(client->options->mode), client->text);
    }
}

static double time_slice(struct client *client)
{
    int64_t begin = now_ns();

    run_many(client, SLICE_SIZE);
    return (double)(now_ns() - begin) / SLICE_SIZE / 1e3;
}

static unsigned slice_count(const struct bench *bench)
{
    return bench->full ? SLICES_MAX : SLICES_QUICK;
}

static void print_variant(struct bench *bench, const char *transport, unsigned number,
                          double *times, double *ratios)
{
    struct series series = {"1", transport, client_mode_name(ways[number].mode)};
    unsigned slices = slice_count(bench);
    double median = quantile_of(times, slices, 0.5), ratio = quantile_of(ratios, slices, 0.5);

    figures_add(&bench->figures, series, 1, "us", median);
    figures_add(&bench->figures, series, 1, "throughput_ratio", ratio);
    if (bench->out)
        fprintf(bench->out,
                "  %-5s %-26s %7.2f us  %5.3f times the first's throughput (%.2f-%.2f)\n",
                transport, ways[number].text, median, ratio, quantile_of(ratios, slices, 0.1),
                quantile_of(ratios, slices, 0.9));
}

static void measure(struct bench *bench, const char *socket_path, const char *transport,
                    const char *url)
{
    static double times[WAYS][SLICES_MAX], ratios[WAYS][SLICES_MAX];
    unsigned slices = slice_count(bench);
    struct client_options options[WAYS];
    struct client clients[WAYS];
    struct lendis_pool *pool;
    char text[200];

    for (unsigned i = 0; i < WAYS; i++)
        options[i] = (struct client_options){.mode = ways[i].mode,
                                             .url = url,
                                             .socket_path = socket_path,
                                             .pool_name = transport,
                                             .value_size = VALUE_SIZE};
    pool = client_attach(&options[0], CONNECT_MS, text, sizeof text);
    if (!pool)
        give_up("%s", text);
    for (unsigned i = 0; i < WAYS; i++) {
        if (client_open(&clients[i], &options[i], pool) != CLIENT_OK)
            give_up("%s: %s", transport, clients[i].text);
        run_many(&clients[i], WARM_UP);
    }
    for (unsigned slice = 0; slice < slices; slice++) {
        for (unsigned i = 0; i < WAYS; i++) {
            /* Another order every time: none always comes behind the same one. */
            unsigned at = (i + slice) % WAYS;

            times[at][slice] = time_slice(&clients[at]);
        }
        for (unsigned i = 0; i < WAYS; i++)
            ratios[i][slice] = times[DIRECT_FIRST][slice] / times[i][slice];
    }
    for (unsigned i = 0; i < WAYS; i++) {
        print_variant(bench, transport, i, times[i], ratios[i]);
        client_close(&clients[i]);
    }
    lendis_detach(pool);
}

void part_alone(struct bench *bench)
{
    const struct redis_server *redis = &bench->servers.redis;
    static struct lendisd broker;
    redisContext *context;

    if (bench->out)
        fprintf(bench->out,
                "\n[1] 1 worker, GET, %u-byte values, %u commands each way in turns of %u\n",
                VALUE_SIZE, slice_count(bench) * SLICE_SIZE, SLICE_SIZE);
    lendisd_start(&broker,
                  "max_workers = 100\n"
                  "[pool tcp]\nredis = %s\nsize = %d\nmin_idle = %d\n"
                  "[pool unix]\nredis = %s\nsize = %d\nmin_idle = %d\n",
                  redis->tcp_url, POOL_SIZE, POOL_SIZE, redis->unix_url, POOL_SIZE, POOL_SIZE);
    context = redis_open(redis);
    if (!client_fill(context, VALUE_SIZE))
        give_up("redis-server: %s", context->errstr);
    redisFree(context);
    measure(bench, broker.socket_path, "tcp", redis->tcp_url);
    measure(bench, broker.socket_path, "unix", redis->unix_url);
    lendisd_stop(&broker);
}
