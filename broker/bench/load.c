/* SPDX-License-Identifier: MIT */
/*
 * lendis-bench load: one measured round of one variant, on servers that are there (engine.h), its
 * figures on standard output. lendis-bench starts itself so for every round, and so can others that
 * need load.
 *
 * Exit status: 0; 1, an error or a wrong reply, which is also printed; 2, bad usage or no start.
 */
#include "broker/bench/load.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "broker/base/option_table.h"
#include "broker/base/standard_io.h"
#include "broker/bench/engine.h"
#include "broker/tools/json.h"

enum output { OUTPUT_TEXT, OUTPUT_TSV, OUTPUT_JSON };

static const char *const role_names[ROLES] = {"broker", "proxy", "redis"};

struct load {
    struct engine_options engine;
    enum output output;
};

struct field {
    const char *name;
    double value;
    int decimals;
};

#define FIELDS_MAX 40

/* CPU seconds for a million operations: CPU microseconds for one. */
static double per_million(double cpu, const struct engine_report *report)
{
    return report->all.ops ? cpu * 1e6 / (double)report->all.ops : 0;
}

static size_t make_fields(const struct engine_options *options, const struct engine_report *report,
                          struct field fields[FIELDS_MAX])
{
    const struct histogram *latencies = &report->all.latencies, *waits = &report->leases.latencies;
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
    FIELD("ops", (double)report->all.ops, 0);
    FIELD("ops_per_s", (double)report->all.ops / report->seconds, 0);
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
    FIELD("rate", options->rate, 0);
    FIELD("unserved", (double)report->all.unserved, 0);
    FIELD("leasers", options->leasers, 0);
    FIELD("leases_per_s", (double)report->leases.ops / report->seconds, 0);
    FIELD("lease_p50_us", histogram_quantile(waits, 0.5) / 1e3, 2);
    FIELD("lease_p99_us", histogram_quantile(waits, 0.99) / 1e3, 2);
    FIELD("lease_max_us", (double)waits->max_ns / 1e3, 2);
    FIELD("errors", (double)report->errors, 0);
    FIELD("wrong", (double)report->wrong, 0);
    FIELD("hung", report->hung, 0);
    FIELD("cpu_s_per_mop", per_million(ours, report), 3);
    FIELD("workers_s_per_mop", per_million(report->cpu.workers, report), 3);
    FIELD("broker_s_per_mop", per_million(report->cpu.roles[ROLE_BROKER], report), 3);
    FIELD("proxy_s_per_mop", per_million(report->cpu.roles[ROLE_PROXY], report), 3);
    FIELD("redis_s_per_mop", per_million(report->cpu.roles[ROLE_REDIS], report), 3);
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
    struct json json = {.out = stdout};

    json_open(&json, NULL, '{', false);
    json_string(&json, "mode", mode);
    for (size_t i = 0; i < count; i++)
        json_number(&json, fields[i].name, fields[i].value, fields[i].decimals);
    json_close(&json);
}

static void print_text(const char *mode, const struct field *fields, size_t count)
{
    printf("%-14s %s\n", "mode", mode);
    for (size_t i = 0; i < count; i++)
        printf("%-14s %.*f\n", fields[i].name, fields[i].decimals, fields[i].value);
}

static int print_report(const struct load *load, const struct engine_report *report)
{
    const char *mode = client_mode_name(load->engine.client.mode);
    struct field fields[FIELDS_MAX];
    size_t count = make_fields(&load->engine, report, fields);

    if (load->output == OUTPUT_TSV)
        print_tsv(mode, fields, count);
    else if (load->output == OUTPUT_JSON)
        print_json(mode, fields, count);
    else
        print_text(mode, fields, count);
    standard_io_flush();
    if (report->text[0])
        fprintf(stderr, "lendis-bench load: %s\n", report->text);
    if (report->hung)
        fprintf(stderr, "lendis-bench load: %u of %u workers hung\n", report->hung,
                load->engine.workers);
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
    OPTION_RATE,
    OPTION_SEED,
    OPTION_NO_FILL,
    OPTION_AWAKE,
    OPTION_PID,
    OPTION_TSV,
};

static const struct option_row rows[] = {
    {.text = "Usage: lendis-bench load --mode MODE [OPTION]...\n"
             "\n"
             "One round of load on servers that run already; lendis-bench starts itself so.\n\n"},
    {.name = "mode",
     .id = OPTION_MODE,
     .argument = "MODE",
     .values = "direct lendis exec lease acquire transaction direct-transaction",
     .text =
         "direct: redisCommand() on a connection per worker, to Redis or a proxy; lendis: "
         "lendis_command(); exec: lendis_exec(); lease: a lease for each command; acquire: "
         "likewise, but only the wait for the lease is measured; transaction: a lease for MULTI, "
         "the command and EXEC; direct-transaction: the same on a connection per worker"},
    {.name = "url",
     .id = OPTION_URL,
     .argument = "URL",
     .text = "where the direct modes connect: redis://HOST:PORT or unix:///PATH"},
    {.name = "redis",
     .id = OPTION_REDIS,
     .argument = "URL",
     .text = "where keys are set and INFO is asked (default: --url)"},
    {.name = "socket",
     .id = OPTION_SOCKET,
     .argument = "PATH",
     .values = OPTION_FILES,
     .text = "the broker's socket, for the other modes"},
    {.name = "pool",
     .id = OPTION_POOL,
     .argument = "NAME",
     .text = "the pool, for the other modes"},
    {.name = "workers", .id = OPTION_WORKERS, .argument = "N", .text = "processes (default 1)"},
    {.name = "think-us",
     .id = OPTION_THINK,
     .argument = "US",
     .text = "mean pause between commands (default 0)"},
    {.name = "think-kind",
     .id = OPTION_THINK_KIND,
     .argument = "KIND",
     .values = "exponential fixed",
     .text = "how pauses are distributed: exponential (default) or fixed"},
    {.name = "seconds",
     .id = OPTION_SECONDS,
     .argument = "S",
     .text = "the measured window (default 2)"},
    {.name = "ramp",
     .id = OPTION_RAMP,
     .argument = "S",
     .text = "load before it that is not measured (default 0.3)"},
    {.name = "value",
     .id = OPTION_VALUE,
     .argument = "BYTES",
     .text = "size of values, at least 3 (default)"},
    {.name = "mix",
     .id = OPTION_MIX,
     .argument = "PERCENT",
     .text = "share of SET (default 0); the rest is GET"},
    {.name = "hold-us",
     .id = OPTION_HOLD,
     .argument = "US",
     .text = "how long the modes lease and acquire keep a lease after its command (default 0)"},
    {.name = "leasers",
     .id = OPTION_LEASERS,
     .argument = "N",
     .text = "so many of the workers run as in mode acquire, and are measured apart (default 0)"},
    {.name = "rate",
     .id = OPTION_RATE,
     .argument = "N",
     .text = "open loop: commands per second of all workers together, whatever becomes of those "
             "before; latency counts from when they were due"},
    {.name = "seed", .id = OPTION_SEED, .argument = "N", .text = "of keys and pauses (default 1)"},
    {.name = "no-fill", .id = OPTION_NO_FILL, .text = "do not set the keys first"},
    {.name = "awake",
     .id = OPTION_AWAKE,
     .text = "keep processors from idling, at the lowest priority"},
    {.name = "pid",
     .id = OPTION_PID,
     .argument = "ROLE=PID",
     .text = "count CPU time of this process, which is the broker, the proxy or redis"},
    {.name = "tsv",
     .id = OPTION_TSV,
     .text = "print a line of names and a line of values, instead of text"},
    {.name = "json", .id = 'j', .text = "print one JSON object instead"},
    OPTION_STANDARD_ROWS,
    {.text =
         "\nExit status: 0; 1, errors or wrong replies; 2, wrong usage, or it could not start.\n"},
    {0},
};

static double parse_number(const char *text, const char *name, double least, double most)
{
    char *end;
    double number = strtod(text, &end);

    if (*text == '\0' || *end != '\0' || !(number >= least && number <= most))
        engine_die("--%s %s: not a number from %g to %g", name, text, least, most);
    return number;
}

static void parse_pid(struct engine_options *options, const char *text)
{
    for (unsigned i = 0; i < ROLES; i++) {
        size_t length = strlen(role_names[i]);

        if (strncmp(text, role_names[i], length) == 0 && text[length] == '=') {
            options->pids[i] = (pid_t)parse_number(text + length + 1, "pid", 1, INT_MAX);
            return;
        }
    }
    engine_die("--pid %s: not broker=, proxy= or redis=", text);
}

/* Results: 0; -1, it is none of these options. */
static int parse_option(struct load *load, int id, const char *name, const char *text)
{
    struct engine_options *options = &load->engine;

    switch (id) {
    case OPTION_MODE:
        if (!client_mode_parse(text, &options->client.mode))
            engine_die("--mode %s: no such mode", text);
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
            engine_die("--think-kind %s: not exponential or fixed", text);
        options->pace = text[0] == 'f' ? PACE_FIXED : PACE_EXPONENTIAL;
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
    case OPTION_RATE:
        options->rate = parse_number(text, name, 1, 1e8);
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
        load->output = OUTPUT_TSV;
        break;
    case 'j':
        load->output = OUTPUT_JSON;
        break;
    default:
        return -1;
    }
    return 0;
}

static void check_options(const struct engine_options *options)
{
    bool lendis = client_mode_is_lendis(options->client.mode);

    if (!lendis && !options->client.url)
        engine_die("--mode %s needs --url", client_mode_name(options->client.mode));
    if (lendis && (!options->client.socket_path || !options->client.pool_name))
        engine_die("--mode %s needs --socket and --pool", client_mode_name(options->client.mode));
    if (options->leasers > 0 && (options->leasers >= options->workers || !lendis))
        engine_die("--leasers has to be less than --workers, and not with a direct mode");
    if (options->rate > 0 && options->think_us > 0)
        engine_die("--rate and --think-us exclude each other");
}

/* Results: 0, go on; -1, all is done. Wrong usage ends the program. */
static int parse_options(int argc, char **argv, struct load *load)
{
    const struct option_row *row;
    int id;

    load->engine = (struct engine_options){
        .client = {.value_size = CLIENT_VALUE_MIN},
        .workers = 1,
        .seconds = 2,
        .ramp = 0.3,
        .seed = 1,
        .fill = true,
    };
    while ((id = option_table_next(rows, argc, argv)) != -1) {
        row = option_table_find(rows, id);
        if (option_table_answer(rows, id, "lendis-bench"))
            return -1;
        if (!row || parse_option(load, id, row->name, optarg) != 0)
            exit(2);
    }
    if (optind != argc)
        engine_die("unexpected argument: %s", argv[optind]);
    check_options(&load->engine);
    return 0;
}

int load_main(int argc, char **argv)
{
    static struct load load;
    static struct engine_report report;

    if (parse_options(argc, argv, &load) != 0)
        return 0;
    engine_run(&load.engine, &report);
    return print_report(&load, &report);
}
