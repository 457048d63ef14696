/* SPDX-License-Identifier: MIT */
/*
 * lendis-bench: speed beside what one would take instead. What is measured is in rows.c, how in
 * cell.c, and each round is a process of its own (load.c).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "broker/base/standard_io.h"
#include "broker/bench/load.h"
#include "broker/bench/machine.h"
#include "broker/bench/options.h"
#include "broker/bench/output.h"
#include "broker/bench/rows.h"
#include "broker/testbed/certificates.h"

#define CUSTOM_ROW "custom"

struct custom {
    struct bench *bench;
    const struct arguments *arguments;
    const char *transport;
};

static int run_custom(const char *workers, void *context)
{
    const struct custom *custom = context;
    const struct arguments *arguments = custom->arguments;
    bool several = strchr(arguments->workers, ',') != NULL;
    static struct cell cell;
    char problem[300], row[24];

    snprintf(row, sizeof row, "%s%s", several ? workers : CUSTOM_ROW, several ? "_workers" : "");
    cell.row = row;
    cell.transport = custom->transport;
    cell.load = arguments->load;
    cell.load.workers = (unsigned)strtoul(workers, NULL, 10);
    if (!cell_parse_variants(custom->bench, &cell, arguments->variants, problem, sizeof problem))
        give_up("%s", problem);
    cell_run(custom->bench, &cell);
    return 0;
}

static int run_transport(const char *transport, void *context)
{
    struct custom *custom = context;

    custom->transport = transport;
    return options_each(custom->arguments->workers, run_custom, custom);
}

struct chosen {
    struct bench *bench;
    const char *transports;
};

static int run_row(const char *name, void *context)
{
    const struct chosen *chosen = context;

    row_run(chosen->bench, row_find(name), chosen->transports);
    return 0;
}

static void measure(struct bench *bench, const struct arguments *arguments)
{
    struct chosen chosen = {bench, arguments->transports};
    struct custom custom = {.bench = bench, .arguments = arguments};

    if (arguments->custom)
        options_each(arguments->transports ? arguments->transports : "tcp", run_transport, &custom);
    else if (arguments->rows)
        options_each(arguments->rows, run_row, &chosen);
    else
        for (size_t i = 0; i < row_count; i++)
            if (bench->full || rows[i].quick)
                row_run(bench, &rows[i], arguments->transports);
}

/* Returns the exit status. */
static int report(const struct bench *bench, const struct arguments *arguments, const char *machine)
{
    unsigned missed = output_targets(bench, bench->out);
    FILE *notes = bench->out ? bench->out : stderr;
    char problem[300];

    if (arguments->format == FORMAT_JSON)
        output_json(bench, machine, stdout);
    else if (arguments->format == FORMAT_CSV)
        output_csv(bench, stdout);
    for (size_t i = 0; i < bench->note_count && arguments->format != FORMAT_JSON; i++)
        fprintf(notes, "note: %s\n", bench->notes[i]);
    if (arguments->plot && output_plot(bench, arguments->plot, problem, sizeof problem) != 0) {
        fprintf(stderr, "lendis-bench: %s\n", problem);
        return EXIT_FAILURE;
    }
    return bench->failed || (arguments->strict && missed) ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* With a certificate that everybody trusts who trusts those of the system: OpenSSL looks for them
 * in this file. */
static void allow_tls(struct redis_server *redis)
{
    char path[4096];

    if (!program_find("openssl", path, sizeof path))
        return;
    redis->tls = certificate_of_testbed();
    setenv("SSL_CERT_FILE", redis->tls->file, 1);
}

static int run(int argc, char **argv)
{
    static struct arguments arguments;
    static struct bench bench;
    char machine[512];
    int result;

    /* A connection that Redis has closed is an error, not the end: hiredis 0.14 just writes. */
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1 && strcmp(argv[1], "load") == 0)
        return load_main(argc - 1, argv + 1);
    result = options_parse(argc, argv, &arguments, &bench);
    if (result != 0)
        return result < 0 ? EXIT_SUCCESS : result;
    testbed_is_tool();
    bench.servers.broker_lines = arguments.broker_lines;
    bench.servers.pool_lines = arguments.pool_lines;
    bench.servers.redis.tcp = true;
    allow_tls(&bench.servers.redis);
    redis_start(&bench.servers.redis);
    machine_describe(&bench.servers.redis, machine, sizeof machine);
    if (bench.out)
        fprintf(bench.out, "%s\n", machine);
    measure(&bench, &arguments);
    result = report(&bench, &arguments, machine);
    redis_stop(&bench.servers.redis);
    return result;
}

int main(int argc, char **argv)
{
    standard_io_open();
    return standard_io_close("lendis-bench", run(argc, argv));
}
