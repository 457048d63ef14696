/* SPDX-License-Identifier: MIT */
/* The command line: see options.h. */
#include "broker/report/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include "broker/base/option_table.h"
#include "lendis/segment.h"
#include "lendis/wire.h"

/* Workers for each connection of a pool: of handed-over commands, few connections carry more than
 * many (lendis-bench). */
#define POOL_SHARE      25u
#define WORKERS_MAX     4000u
#define CONNECTIONS_MAX 64u
#define VALUE_MAX       (1024u * 1024u)

enum {
    OPTION_WORKERS = 256,
    OPTION_CONNECTIONS,
    OPTION_POOL_SIZE,
    OPTION_VALUES,
    OPTION_IDLE,
    OPTION_BUSY,
    OPTION_TRANSPORT,
    OPTION_TLS,
    OPTION_REFERENCE,
    OPTION_SWEEP,
    OPTION_PLOT,
    OPTION_STRICT,
    OPTION_MATCH,
    OPTION_UNIT,
    OPTION_CGROUP,
    OPTION_INTERVAL,
    OPTION_COSTS,
    OPTION_CSV,
};

static const struct option_row rows[] = {
    {.text =
         "Usage: lendis-report compare [OPTIONS]\n"
         "       lendis-report watch [OPTIONS]\n"
         "\n"
         "Reports how much memory Redis connections take on this machine, over the whole system: "
         "workers,\nbroker, Redis and kernel.\n"
         "\n"
         "compare runs the same worker program three times, each time with a private "
         "redis-server: without\nRedis, with connections of its own, and through a private "
         "lendisd. It takes about a minute.\n\n"},
    {.name = "workers",
     .id = OPTION_WORKERS,
     .argument = "N",
     .scope = "compare",
     .text = "number of workers (default 200; 100 with --reference)"},
    {.name = "connections-per-worker",
     .id = OPTION_CONNECTIONS,
     .argument = "N",
     .text = "connections that each worker has of its own (default 4)",
     .more =
         "For *watch*: how many each would have without lendis. Give it the number that *compare* "
         "was given."},
    {.name = "pool-size",
     .id = OPTION_POOL_SIZE,
     .argument = "N",
     .scope = "compare",
     .text =
         "connections that all workers share through lendis (default: one for 25 workers, from 4 "
         "to 64)",
     .more = "All of them are kept open."},
    {.name = "values",
     .id = OPTION_VALUES,
     .argument = "SIZE",
     .scope = "compare",
     .text = "size of the values that are read and written: 3B, 1KiB (default), up to 1MiB"},
    {.name = "idle",
     .id = OPTION_IDLE,
     .text = "workers have used their connections and rest (default)",
     .more = "For *watch*, this and *--busy* choose which of the costs are used that *compare* has "
             "measured."},
    {.name = "busy",
     .id = OPTION_BUSY,
     .text = "workers go on using their connections, with 10 ms between two commands"},
    {.name = "transport",
     .id = OPTION_TRANSPORT,
     .argument = "NAME",
     .values = "tcp unix tls",
     .scope = "compare",
     .text = "how workers and broker connect to Redis: tcp (default), unix or tls",
     .more =
         "With *tls*, workers without lendis have connections of their own by OpenSSL, with the "
         "CA certificates of the system in each; lendis lends what _tls_mode_ = *auto* gives "
         "(*lendis.conf*(5))."},
    {.name = "tls", .id = OPTION_TLS, .scope = "compare", .text = "the same as --transport tls"},
    {.name = "reference",
     .id = OPTION_REFERENCE,
     .scope = "compare",
     .text =
         "35 connections of each worker: 10 to a primary, 20 to two replicas, 5 to a local server; "
         "with lendis as many for all",
     .more = "This is the setup of the reference claim, with real servers. Through lendis it is a "
             "service, and a pool for the local server."},
    {.name = "sweep",
     .id = OPTION_SWEEP,
     .argument = "N,N,...",
     .scope = "compare",
     .text = "one comparison for each of these numbers of workers"},
    {.name = "strict",
     .id = OPTION_STRICT,
     .scope = "compare",
     .text = "a missed target is a failure, with exit status 2"},
    {.name = "plot",
     .id = OPTION_PLOT,
     .argument = "FILE",
     .values = OPTION_FILES,
     .scope = "compare",
     .text = "draw where the memory is, as .svg or .png: bars, or with --sweep curves",
     .more = "It takes *gnuplot*(1)."},
    {.text =
         "\n"
         "watch reports the same of the broker and the workers that run here, and what the pool "
         "saves now:\nagain and again on a terminal, else once. As root it reads everything, "
         "otherwise what the user may\nread. --connections-per-worker is then what each worker "
         "would have without lendis, and --idle and\n--busy choose which of the costs are used "
         "that compare has measured.\n\n"},
    {.name = "match",
     .id = OPTION_MATCH,
     .argument = "TEXT",
     .values = "@names",
     .scope = "watch",
     .text = "workers are the processes with this in their name, such as php-fpm",
     .more = "The name of the process, or the first word of its command line. Without *--match*, "
             "*--unit* and *--cgroup*, workers are the processes that are attached."},
    {.name = "unit",
     .id = OPTION_UNIT,
     .argument = "NAME",
     .values = "@units",
     .scope = "watch",
     .text = "workers are the processes of this systemd unit",
     .more = "_.service_ can be left out."},
    {.name = "cgroup",
     .id = OPTION_CGROUP,
     .argument = "PATH",
     .scope = "watch",
     .text = "workers are the processes of this cgroup and those below it",
     .more =
         "_PATH_ is as in _/proc/PID/cgroup_. Of cgroups and units the kernel's own figures are "
         "printed, too: memory.current and memory.stat (version 2) of the cgroup of the first "
         "process."},
    {.name = "socket",
     .id = 's',
     .argument = "PATH",
     .values = OPTION_FILES,
     .scope = "watch",
     .text = "the broker's socket (default: $LENDIS_SOCKET, else " LENDIS_DEFAULT_SOCKET ")"},
    {.name = "interval",
     .id = OPTION_INTERVAL,
     .argument = "TIME",
     .scope = "watch",
     .text = "time between two readings on a terminal: 2s (default), 500ms, up to an hour"},
    {.heading = "Both"},
    {.name = "costs",
     .id = OPTION_COSTS,
     .argument = "FILE",
     .values = OPTION_FILES,
     .text = "where compare keeps what a connection costs, for watch (default: lendis/costs in "
             "$XDG_STATE_HOME, else in ~/.local/state)"},
    {.name = "json", .id = 'j', .text = "print JSON instead of tables, sizes in bytes"},
    {.name = "csv", .id = OPTION_CSV, .text = "print CSV instead of tables, sizes in bytes"},
    OPTION_STANDARD_ROWS,
    {.text = "\nExit status: 0; 1, something failed; 2, a target was missed (--strict); 64, wrong "
             "usage. See\nlendis-report(1).\n"},
    {0},
};

/* Of which command an option is. */
enum scope { BOTH, COMPARE, WATCH };

static int usage_error(const char *what, const char *word)
{
    return option_table_usage_error("lendis-report", what, word);
}

static enum scope scope_of(int option)
{
    const struct option_row *row = option_table_find(rows, option);

    if (!row || !row->scope)
        return BOTH;
    return strcmp(row->scope, "watch") == 0 ? WATCH : COMPARE;
}

/* ---- values ---- */

/* A number from `least` to `most`, up to a byte of `ends`. Returns what follows it, NULL: none. */
static const char *take_number(const char *text, unsigned least, unsigned most, unsigned *number)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno || end == text || *text == '-' || value < least || value > most)
        return NULL;
    *number = (unsigned)value;
    return end;
}

static int parse_number(const char *text, unsigned least, unsigned most, const char *what,
                        unsigned *number)
{
    const char *end = take_number(text, least, most, number);

    return end && !*end ? 0 : usage_error(what, text);
}

static int parse_size(const char *text, unsigned *bytes)
{
    static const struct {
        const char *unit;
        unsigned factor;
    } units[] = {{"", 1}, {"B", 1}, {"KiB", 1024}, {"MiB", 1024 * 1024}};
    const char *unit = take_number(text, 1, VALUE_MAX, bytes);

    for (size_t i = 0; unit && i < sizeof units / sizeof *units; i++)
        if (strcasecmp(unit, units[i].unit) == 0 && *bytes <= VALUE_MAX / units[i].factor) {
            *bytes *= units[i].factor;
            return 0;
        }
    return usage_error("not a size up to 1MiB, such as 3B or 1KiB", text);
}

static int parse_interval(const char *text, unsigned *ms)
{
    const char *unit = take_number(text, 1, 3600000, ms);

    if (unit && (strcmp(unit, "s") == 0 || !*unit) && *ms <= 3600) {
        *ms *= 1000;
        return 0;
    }
    if (unit && strcmp(unit, "ms") == 0 && *ms >= 100)
        return 0;
    return usage_error("not a time from 100ms to an hour, such as 2s or 500ms", text);
}

static int parse_sweep(const char *text, struct options *options)
{
    const char *at = text;

    options->sweep_count = 0;
    do {
        unsigned *next = &options->sweep[options->sweep_count];

        at = options->sweep_count < SWEEP_MAX ? take_number(at, 1, WORKERS_MAX, next) : NULL;
        if (!at || (*at && *at != ',') || (options->sweep_count > 0 && *next <= next[-1]))
            return usage_error("not ascending numbers of workers, such as 50,100,200", text);
        options->sweep_count++;
    } while (*at++ == ',');
    return 0;
}

static int parse_transport(const char *text, struct options *options)
{
    options->unix_socket = strcmp(text, "unix") == 0;
    options->tls = strcmp(text, "tls") == 0;
    return options->unix_socket || options->tls || strcmp(text, "tcp") == 0
               ? 0
               : usage_error("not a transport (tcp, unix or tls)", text);
}

static int take_match(enum match_kind kind, struct options *options)
{
    if (options->match)
        return usage_error("--match, --unit and --cgroup exclude each other", NULL);
    if (!*optarg)
        return usage_error("--match, --unit and --cgroup need a text", NULL);
    options->match_kind = kind;
    options->match = optarg;
    return 0;
}

/* ---- options ---- */

static int take_compare_option(int option, struct options *options)
{
    switch (option) {
    case OPTION_WORKERS:
        return parse_number(optarg, 1, WORKERS_MAX, "not a number of workers up to 4000",
                            &options->workers);
    case OPTION_POOL_SIZE:
        return parse_number(optarg, 1, LENDIS_MAX_CONNECTIONS, "not the size of a pool",
                            &options->pool_size);
    case OPTION_VALUES:
        return parse_size(optarg, &options->value_bytes);
    case OPTION_TRANSPORT:
        return parse_transport(optarg, options);
    case OPTION_TLS:
        return parse_transport("tls", options);
    case OPTION_REFERENCE:
        options->reference = true;
        return 0;
    case OPTION_SWEEP:
        return parse_sweep(optarg, options);
    case OPTION_STRICT:
        options->strict = true;
        return 0;
    default:
        options->plot_path = optarg;
        return 0;
    }
}

static int take_watch_option(int option, struct options *options)
{
    switch (option) {
    case OPTION_MATCH:
        return take_match(MATCH_NAME, options);
    case OPTION_UNIT:
        return take_match(MATCH_UNIT, options);
    case OPTION_CGROUP:
        return take_match(MATCH_CGROUP, options);
    case OPTION_INTERVAL:
        return parse_interval(optarg, &options->interval_ms);
    default:
        options->socket_path = optarg;
        return 0;
    }
}

/* Results: 0; -1, all is done; EX_USAGE. */
static int take_option(int option, struct options *options)
{
    switch (option) {
    case OPTION_CONNECTIONS:
        options->connections_given = true;
        return parse_number(optarg, 1, CONNECTIONS_MAX, "not a number of connections up to 64",
                            &options->connections);
    case OPTION_IDLE:
    case OPTION_BUSY:
        options->busy = option == OPTION_BUSY;
        return 0;
    case OPTION_COSTS:
        options->costs_path = optarg;
        return 0;
    case 'j':
        options->format = TABLE_JSON;
        return 0;
    case OPTION_CSV:
        options->format = TABLE_CSV;
        return 0;
    default:
        if (option_table_answer(rows, option, "lendis-report"))
            return -1;
        fputs("Try 'lendis-report --help'.\n", stderr);
        return EX_USAGE;
    }
}

/* What does not go together. */
static int check(struct options *options, const bool *scopes, int count, char **words)
{
    if (count < 1)
        return usage_error("a command is missing: compare or watch", NULL);
    options->watch = strcmp(words[0], "watch") == 0;
    if (!options->watch && strcmp(words[0], "compare") != 0)
        return usage_error("unknown command (compare and watch are known)", words[0]);
    if (scopes[options->watch ? COMPARE : WATCH])
        return usage_error("an option of the other command was given to", words[0]);
    if (count > 1)
        return usage_error("unexpected argument", words[1]);
    if (options->reference && (options->connections_given || options->pool_size))
        return usage_error("--reference has its own numbers of connections", NULL);
    if (options->sweep_count && options->workers)
        return usage_error("--sweep and --workers exclude each other", NULL);
    if (!options->workers)
        options->workers = options->reference ? 100 : 200;
    return 0;
}

int options_parse(int argc, char **argv, struct options *options)
{
    const char *socket_path = getenv("LENDIS_SOCKET");
    bool scopes[3] = {false};
    int option, result = 0;

    *options = (struct options){
        .connections = 4,
        .value_bytes = 1024,
        .interval_ms = 2000,
        .socket_path = socket_path && *socket_path ? socket_path : LENDIS_DEFAULT_SOCKET,
    };
    while (result == 0 && (option = option_table_next(rows, argc, argv)) != -1) {
        enum scope scope = scope_of(option);

        scopes[scope] = true;
        result = scope == COMPARE ? take_compare_option(option, options)
                 : scope == WATCH ? take_watch_option(option, options)
                                  : take_option(option, options);
    }
    return result != 0 ? result : check(options, scopes, argc - optind, argv + optind);
}

unsigned options_pool_size(const struct options *options, unsigned workers)
{
    unsigned size = workers / POOL_SHARE;

    if (options->pool_size)
        return options->pool_size;
    return size < 4 ? 4 : size > 64 ? 64 : size;
}
