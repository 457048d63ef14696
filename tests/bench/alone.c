/* SPDX-License-Identifier: MIT */
/*
 * One worker: the same commands through a hiredis connection of its own and through lendis, in one
 * process that changes between them every few milliseconds. What disturbs the machine for longer
 * than that disturbs all alike, so the ratio of neighbouring slices is right within a percent or
 * two where that of whole rounds is off by twenty.
 *
 * Starts its own redis-server and lendisd. --tsv FILE: writes "name<TAB>value" lines as well.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/bench/client.h"
#include "tests/support/support.h"

#define SLICES       300u
#define SLICE_SIZE   200u
#define VARIANTS     4u
#define WARM_UP      2000u
#define POOL_SIZE    4
#define VALUE_SIZE   CLIENT_VALUE_MIN
#define CONNECT_MS   10000
#define DIRECT_FIRST 0u /* variants[0] is what the others are compared with */

static const struct variant {
    enum client_mode mode;
    const char *text;
} variants[VARIANTS] = {
    {CLIENT_DIRECT, "redisCommand()"},
    {CLIENT_LENDIS, "lendis_command()"},
    {CLIENT_EXEC, "lendis_exec()"},
    {CLIENT_LEASE, "lease, command, release"},
};

static struct redis_server redis = {.tcp = true};
static struct lendisd broker;
static FILE *tsv; /* NULL: none */

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

/* Of `list`, which is sorted on the way. */
static double quantile(double *list, unsigned count, double share)
{
    qsort(list, count, sizeof *list, compare_doubles);
    return list[(unsigned)(share * (count - 1))];
}

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

static void print_variant(const char *transport, unsigned number, double *times, double *ratios)
{
    const char *mode = client_mode_name(variants[number].mode);
    double median = quantile(times, SLICES, 0.5), ratio = quantile(ratios, SLICES, 0.5);

    printf("  %-5s %-26s %7.2f us  %5.3f times the first's throughput (%.2f-%.2f)\n", transport,
           variants[number].text, median, ratio, quantile(ratios, SLICES, 0.1),
           quantile(ratios, SLICES, 0.9));
    if (!tsv)
        return;
    fprintf(tsv, "%s_%s_us\t%.2f\n", transport, mode, median);
    fprintf(tsv, "%s_%s_ratio\t%.4f\n", transport, mode, ratio);
}

static void measure(const char *transport, const char *url)
{
    static double times[VARIANTS][SLICES], ratios[VARIANTS][SLICES];
    struct client_options options[VARIANTS];
    struct client clients[VARIANTS];
    struct lendis_pool *pool;
    char text[200];

    for (unsigned i = 0; i < VARIANTS; i++)
        options[i] = (struct client_options){.mode = variants[i].mode,
                                             .url = url,
                                             .socket_path = broker.socket_path,
                                             .pool_name = transport,
                                             .value_size = VALUE_SIZE};
    pool = client_attach(&options[0], CONNECT_MS, text, sizeof text);
    if (!pool)
        give_up("%s", text);
    for (unsigned i = 0; i < VARIANTS; i++) {
        if (client_open(&clients[i], &options[i], pool) != CLIENT_OK)
            give_up("%s: %s", transport, clients[i].text);
        run_many(&clients[i], WARM_UP);
    }
    for (unsigned slice = 0; slice < SLICES; slice++) {
        for (unsigned i = 0; i < VARIANTS; i++) {
            /* Another order every time: none always comes behind the same one. */
            unsigned at = (i + slice) % VARIANTS;

            times[at][slice] = time_slice(&clients[at]);
        }
        for (unsigned i = 0; i < VARIANTS; i++)
            ratios[i][slice] = times[DIRECT_FIRST][slice] / times[i][slice];
    }
    for (unsigned i = 0; i < VARIANTS; i++) {
        print_variant(transport, i, times[i], ratios[i]);
        client_close(&clients[i]);
    }
    lendis_detach(pool);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"tsv", required_argument, NULL, 't'}, {0}};
    redisContext *context;
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
                  "[pool tcp]\nredis = %s\nsize = %d\nmin_idle = %d\n"
                  "[pool unix]\nredis = %s\nsize = %d\nmin_idle = %d\n",
                  redis.tcp_url, POOL_SIZE, POOL_SIZE, redis.unix_url, POOL_SIZE, POOL_SIZE);
    context = redis_open(&redis);
    if (!client_fill(context, VALUE_SIZE))
        give_up("redis-server: %s", context->errstr);
    redisFree(context);
    measure("tcp", redis.tcp_url);
    measure("unix", redis.unix_url);
    lendisd_stop(&broker);
    redis_stop(&redis);
    if (tsv && fclose(tsv) != 0)
        give_up("cannot write the figures");
    return 0;
}
