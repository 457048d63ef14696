/* SPDX-License-Identifier: MIT */
/* lendis-bench's command line: see options.h and lendis-bench(1). */
#include "broker/bench/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include "broker/base/option_table.h"
#include "broker/testbed/plot.h"
#include "broker/bench/rows.h"
#include "broker/bench/units.h"

#define WORKERS_MAX   10000
#define VALUE_MAX     (64.0 * 1048576)
#define DEFAULT_CELL  "direct,lendis:4"
#define SHORT_SECONDS 0.7
#define LONG_SECONDS  2.0

static int usage_error(const char *what, const char *word)
{
    return option_table_usage_error("lendis-bench", what, word);
}

int options_each(const char *list, int (*check)(const char *part, void *context), void *context)
{
    char copy[1024], *rest = copy, *part;
    int result = 0;

    snprintf(copy, sizeof copy, "%s", list);
    while (result == 0 && (part = strsep(&rest, ",")))
        result = check(part, context);
    return result;
}

/* ---- options ---- */

enum {
    OPTION_FULL = 256,
    OPTION_LIST_ROWS,
    OPTION_THINK,
    OPTION_THINK_KIND,
    OPTION_VALUE,
    OPTION_MIX,
    OPTION_RATE,
    OPTION_LEASERS,
    OPTION_HOLD,
    OPTION_RTT,
    OPTION_RAMP,
    OPTION_AWAKE,
    OPTION_QUIET,
    OPTION_BROKER_SET,
    OPTION_POOL_SET,
    OPTION_CSV,
    OPTION_PLOT,
    OPTION_STRICT,
};

static const struct option_row table[] = {
    {.text =
         "Usage: lendis-bench [OPTIONS]\n"
         "       lendis-bench load --help\n"
         "\n"
         "Measures how fast commands, leases and transactions are through lendis, beside a "
         "connection per\nworker, twemproxy and HAProxy, on a redis-server and a lendisd of its "
         "own. Takes three minutes.\n"},
    {.heading = "What to measure"},
    {.name = "full", .id = OPTION_FULL, .text = "all rows with all variants, in 20 minutes"},
    {.name = "rows",
     .id = 'r',
     .argument = "NAMES",
     .values = "@rows",
     .text = "these rows, separated by commas, such as 200,storm",
     .more = "See *ROWS*."},
    {.name = "list-rows", .id = OPTION_LIST_ROWS, .text = "print all rows"},
    {.name = "transport",
     .id = 't',
     .argument = "LIST",
     .values = "tcp unix tls",
     .text = "how Redis is reached: tcp, unix, tls, or several of them (tcp,unix)",
     .more = "This goes for workers, broker and proxies, and for how workers reach proxies. Each "
             "row has its "
             "own default; one load is measured on _tcp_. What is not measured in rounds of load "
             "(_memory_, _lease_, _1_, _storm_, _restart_, _idle_) ignores it."},
    {.heading = "One load instead, with a row for each number of workers"},
    {.name = "variants",
     .id = 'v',
     .argument = "LIST",
     .values = "@variants",
     .text = "what is compared, with the first one (default " DEFAULT_CELL "); each is "
             "MODE[:CONNECTIONS][:TRANSPORT][@BUILD], of the modes direct, lendis, exec, lease, "
             "acquire, transaction, direct-transaction, twemproxy, haproxy",
     .more = "See *VARIANTS*."},
    {.name = "workers",
     .id = 'w',
     .argument = "LIST",
     .text = "how many processes (default 200)",
     .more = "_8,50,200_ measures each."},
    {.name = "think",
     .id = OPTION_THINK,
     .argument = "TIME",
     .text = "mean pause of a worker between a reply and its next command: 5ms, 500us (default 0)"},
    {.name = "think-kind",
     .id = OPTION_THINK_KIND,
     .argument = "KIND",
     .values = "exponential fixed",
     .text = "how pauses are distributed: exponential (default) or fixed",
     .more = "The same holds for the instants of *--rate*. Pauses of independent clients are "
             "exponential."},
    {.name = "value",
     .id = OPTION_VALUE,
     .argument = "SIZE",
     .text = "size of values: 64, 16KiB, from 3 bytes (default) to 64MiB"},
    {.name = "mix",
     .id = OPTION_MIX,
     .argument = "PERCENT",
     .text = "share of SET (default 0); the rest is GET"},
    {.name = "rate",
     .id = OPTION_RATE,
     .argument = "N",
     .text = "open loop: so many commands are due per second, of all workers together",
     .more =
         "They are due whether those before them were answered or not, and latency counts from "
         "when a command was due, so a stall is seen by all that it held up. Without this option "
         "a worker waits for its reply before it goes on (a closed loop), and what it does not "
         "send meanwhile is not seen at all."},
    {.name = "leasers",
     .id = OPTION_LEASERS,
     .argument = "N",
     .text = "so many of the workers take leases instead, and are measured apart (default 0)",
     .more = "What is measured of them is how long they wait for a lease."},
    {.name = "hold",
     .id = OPTION_HOLD,
     .argument = "TIME",
     .text = "how long leases are kept after their command (default 0)"},
    {.name = "rtt",
     .id = OPTION_RTT,
     .argument = "TIME",
     .text = "round trip to Redis over TCP, on top of that of loopback: 1ms, 200us (default 0)",
     .more = "A process passes on what goes to Redis and what comes back, each half of that time "
             "later. It runs on the same processors, so of many workers without think time it is a "
             "part of what is measured."},
    {.heading = "How to measure"},
    {.name = "seconds",
     .id = 's',
     .argument = "S",
     .text = "measured window of each round (default 0.7; with --full or one load 2)"},
    {.name = "rounds",
     .id = 'n',
     .argument = "N",
     .text = "rounds of each variant, interleaved (default 3)"},
    {.name = "ramp",
     .id = OPTION_RAMP,
     .argument = "S",
     .text = "load before each round that is not measured (default 0.2)"},
    {.name = "awake",
     .id = OPTION_AWAKE,
     .text = "keep processors from idling, which makes figures of few workers repeatable",
     .more =
         "Processes of the lowest priority do that. On virtual machines a processor that idles is "
         "given up and comes back late."},
    {.name = "quiet",
     .id = OPTION_QUIET,
     .argument = "LOAD",
     .text =
         "rounds wait until others keep less than so many processors busy, such as 0.3, and are "
         "repeated when that did not last",
     .more = "For machines that others use. A round is repeated three times at most."},
    {.name = "broker-set",
     .id = OPTION_BROKER_SET,
     .argument = "KEY=VALUE",
     .text = "a line for [broker] of the configuration, to see what a setting does",
     .more = "See *lendis.conf*(5). This option and the next can be given several times."},
    {.name = "pool-set",
     .id = OPTION_POOL_SET,
     .argument = "KEY=VALUE",
     .text = "likewise for the pool"},
    {.heading = "What comes out"},
    {.name = "json",
     .id = 'j',
     .text = "print JSON instead of tables",
     .more =
         "One object: _machine_, _results_ (the _medians_ and all _rounds_ of each row, transport "
         "and variant), _targets_, and _notes_ of what was left out or disturbed. The figures' "
         "names are in *FIGURES*."},
    {.name = "csv",
     .id = OPTION_CSV,
     .text = "print a line for each figure of each round instead",
     .more = "Row, transport, variant, round, figure, value."},
    {.name = "plot",
     .id = OPTION_PLOT,
     .argument = "FILE",
     .values = OPTION_FILES,
     .text = "also draw throughput, p99 and CPU time, as .svg or .png",
     .more = "With gnuplot: curves over the number of workers if rows differ in that, else bars."},
    {.name = "strict",
     .id = OPTION_STRICT,
     .text = "a missed target is a failure",
     .more = "Without it, MISS is only printed."},
    OPTION_STANDARD_ROWS,
    {.text =
         "\nExit status: 0; 1, errors, wrong replies, with --strict missed targets, or it could "
         "not run;\n64, wrong usage. See lendis-bench(1).\n"},
    {0},
};

/* Results: 0; EX_USAGE, and that `what` is allowed was said. */
static int in_range(bool parsed, double number, double least, double most, const char *what)
{
    if (parsed && number >= least && number <= most)
        return 0;
    return usage_error(what, optarg);
}

static int parse_time(double *us, const char *what)
{
    bool parsed = units_parse_us(optarg, us);

    return in_range(parsed, *us, 0, 1e8, what);
}

static int parse_number(double *number, double least, double most, const char *what)
{
    bool parsed = units_parse_number(optarg, number);

    return in_range(parsed, *number, least, most, what);
}

static int parse_count(unsigned *count, double least, double most, const char *what)
{
    double number = -1;
    int result = parse_number(&number, least, most, what);

    *count = (unsigned)number;
    return result == 0 && *count != number ? usage_error(what, optarg) : result;
}

static int parse_value(size_t *size)
{
    double bytes = 0;
    bool parsed = units_parse_bytes(optarg, &bytes);

    *size = (size_t)bytes;
    return in_range(parsed, bytes, CLIENT_VALUE_MIN, VALUE_MAX,
                    "--value is a size from 3 to 64MiB, as in 16KiB");
}

static int parse_kind(enum pace_kind *kind)
{
    if (strcmp(optarg, "fixed") != 0 && strcmp(optarg, "exponential") != 0)
        return usage_error("--think-kind is exponential or fixed", optarg);
    *kind = *optarg == 'f' ? PACE_FIXED : PACE_EXPONENTIAL;
    return 0;
}

/* A part of the description of one load. */
static int take_load_option(int option, struct arguments *arguments)
{
    struct load_shape *load = &arguments->load;

    arguments->custom = true;
    switch (option) {
    case 'v':
        arguments->variants = optarg;
        return 0;
    case 'w':
        arguments->workers = optarg;
        return 0;
    case OPTION_THINK:
        return parse_time(&load->think_us, "--think is a time up to 100s, as in 5ms");
    case OPTION_THINK_KIND:
        return parse_kind(&load->pace);
    case OPTION_VALUE:
        return parse_value(&load->value);
    case OPTION_MIX:
        return parse_count(&load->mix, 0, 100, "--mix is a percentage, 0 to 100");
    case OPTION_RATE:
        return parse_number(&load->rate, 1, 1e8,
                            "--rate is a number of commands per second from 1");
    case OPTION_LEASERS:
        return parse_count(&load->leasers, 0, WORKERS_MAX, "--leasers is a number of workers");
    case OPTION_RTT:
        return parse_time(&load->rtt_us, "--rtt is a time up to 100s, as in 1ms");
    default:
        return parse_time(&load->hold_us, "--hold is a time up to 100s, as in 500us");
    }
}

static int add_line(char lines[OPTIONS_LINES_SIZE], const char *line)
{
    size_t used = strlen(lines);

    if (!strchr(line, '=') || strchr(line, '\n') ||
        (size_t)snprintf(lines + used, OPTIONS_LINES_SIZE - used, "%s\n", line) >=
            OPTIONS_LINES_SIZE - used)
        return usage_error("not a line of a configuration, key=value", line);
    return 0;
}

static int take_how_option(int option, struct arguments *arguments, struct bench *bench)
{
    switch (option) {
    case 's':
        return parse_number(&bench->seconds, 0.01, 3600, "--seconds is from 0.01 to 3600");
    case 'n':
        return parse_count(&bench->rounds, 1, 100, "--rounds is a number from 1 to 100");
    case OPTION_RAMP:
        return parse_number(&bench->ramp, 0, 3600, "--ramp is a number of seconds from 0 to 3600");
    case OPTION_QUIET:
        return parse_number(&bench->quiet, 0.01, 1000,
                            "--quiet is a number of processors, as in 0.3");
    case OPTION_BROKER_SET:
        return add_line(arguments->broker_lines, optarg);
    case OPTION_POOL_SET:
        return add_line(arguments->pool_lines, optarg);
    default:
        bench->awake = true;
        return 0;
    }
}

static void list_rows(void)
{
    for (size_t i = 0; i < row_count; i++)
        printf("%-14s %s%s\n", rows[i].name, rows[i].text,
               rows[i].quick ? "" : " (with --full or --rows)");
}

/* Results: 0; -1, all is done; EX_USAGE. */
static int take_option(int option, struct arguments *arguments, struct bench *bench)
{
    switch (option) {
    case OPTION_FULL:
        bench->full = true;
        return 0;
    case 'r':
        arguments->rows = optarg;
        return 0;
    case 't':
        arguments->transports = optarg;
        return 0;
    case 'j':
        arguments->format = FORMAT_JSON;
        return 0;
    case OPTION_CSV:
        arguments->format = FORMAT_CSV;
        return 0;
    case OPTION_PLOT:
        arguments->plot = optarg;
        return 0;
    case OPTION_STRICT:
        arguments->strict = true;
        return 0;
    case OPTION_LIST_ROWS:
        list_rows();
        return -1;
    case 'h':
    case 'V':
    case OPTION_LIST_OPTIONS:
        option_table_answer(table, option, "lendis-bench");
        return -1;
    case 's':
    case 'n':
    case OPTION_RAMP:
    case OPTION_AWAKE:
    case OPTION_QUIET:
    case OPTION_BROKER_SET:
    case OPTION_POOL_SET:
        return take_how_option(option, arguments, bench);
    case '?':
        fputs("Try 'lendis-bench --help'.\n", stderr);
        return EX_USAGE;
    default:
        return take_load_option(option, arguments);
    }
}

static int check_row(const char *name, void *unused)
{
    (void)unused;
    return row_find(name) ? 0 : usage_error("no such row, see --list-rows", name);
}

static int check_transport(const char *name, void *unused)
{
    (void)unused;
    if (strcmp(name, "tcp") == 0 || strcmp(name, "unix") == 0 || strcmp(name, "tls") == 0)
        return 0;
    return usage_error("--transport is tcp, unix, tls or a list of them", name);
}

static int check_workers(const char *text, void *leasers)
{
    double number;

    if (!units_parse_number(text, &number) || number < 1 || number > WORKERS_MAX ||
        number != (unsigned)number)
        return usage_error("--workers is a number from 1 to 10000, or a list of them", text);
    if (number <= *(unsigned *)leasers)
        return usage_error("--leasers has to be less than --workers", text);
    return 0;
}

static int check_variant(const char *text, void *unused)
{
    struct variant variant;
    char problem[300];

    (void)unused;
    if (variant_parse(text, &variant, problem, sizeof problem) &&
        (!variant.build || variant_is_there(&variant, problem, sizeof problem)))
        return 0;
    return usage_error(problem, NULL);
}

/* What is wrong with them together. Results: 0; EX_USAGE. */
static int check_arguments(struct arguments *arguments)
{
    char problem[300];
    int result = 0;

    if (arguments->custom && arguments->rows)
        return usage_error("--rows and the description of one load exclude each other", NULL);
    if (arguments->load.rate > 0 && arguments->load.think_us > 0)
        return usage_error("--rate and --think exclude each other", NULL);
    if (arguments->load.rtt_us > 0 &&
        (strstr(arguments->variants, ":unix") || strstr(arguments->variants, ":tls") ||
         (arguments->transports && strcmp(arguments->transports, "tcp") != 0)))
        return usage_error(
            "--rtt is a distance over TCP, there is none over Unix sockets or with TLS", NULL);
    if (arguments->plot && plot_check(arguments->plot, problem, sizeof problem) != 0)
        return usage_error(problem, NULL);
    if (arguments->rows)
        result = options_each(arguments->rows, check_row, NULL);
    if (result == 0 && arguments->transports)
        result = options_each(arguments->transports, check_transport, NULL);
    if (result == 0)
        result = options_each(arguments->workers, check_workers, &arguments->load.leasers);
    if (result == 0)
        result = options_each(arguments->variants, check_variant, NULL);
    return result;
}

int options_parse(int argc, char **argv, struct arguments *arguments, struct bench *bench)
{
    int option, result;

    *arguments = (struct arguments){.workers = "200", .variants = DEFAULT_CELL};
    *bench = (struct bench){.rounds = 3, .ramp = 0.2, .out = stdout};
    while ((option = option_table_next(table, argc, argv)) != -1) {
        result = take_option(option, arguments, bench);
        if (result != 0)
            return result;
    }
    if (optind < argc)
        return usage_error("unexpected argument", argv[optind]);
    if (bench->seconds == 0)
        bench->seconds = bench->full || arguments->custom ? LONG_SECONDS : SHORT_SECONDS;
    if (arguments->format != FORMAT_TABLES)
        bench->out = NULL;
    return check_arguments(arguments);
}
