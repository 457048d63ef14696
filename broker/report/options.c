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
#include "lendis/segment.h"
#include "lendis/wire.h"

/* Workers for each connection of a pool: of handed-over commands, few connections carry more than many (lendis-bench). */
#define POOL_SHARE      25u
#define WORKERS_MAX     4000u
#define CONNECTIONS_MAX 64u
#define VALUE_MAX       (1024u * 1024u)

static const char help[] =
    "Usage: lendis-report compare [OPTIONS]\n"
    "       lendis-report watch [OPTIONS]\n"
    "\n"
    "Tells how much memory Redis connections take on this machine, over the whole system: workers, "
    "broker, Redis\n"
    "and kernel.\n"
    "\n"
    "compare runs the same worker program three times, each time with a private redis-server: "
    "without Redis, with\n"
    "connections of its own, and through a private lendisd. It takes about a minute.\n"
    "\n"
    "      --workers N      how many (200; 100 with --reference)\n"
    "      --connections-per-worker N  of its own (4)\n"
    "      --pool-size N    connections that they share through lendis (one for 8 workers, 4 to "
    "64)\n"
    "      --values SIZE    size of the values that are read and written: 3B, 1KiB (default)\n"
    "      --idle           the workers have used their connections and rest (default)\n"
    "      --busy           they use them all the time, with 10 ms between two commands\n"
    "      --transport NAME tcp (default) or unix\n"
    "      --reference      35 connections of a worker: 10 to a primary, 20 to two replicas, 5 to "
    "a local server;\n"
    "                       with lendis as many for all\n"
    "      --sweep N,N,...  one comparison for each number of workers\n"
    "      --strict         a missed target is a failure\n"
    "      --plot FILE      draw where the memory is, as .svg or .png: bars, with --sweep curves\n"
    "\n"
    "watch tells the same of the broker and the workers that run here, and what the pool saves "
    "now: again and again\n"
    "on a terminal, else once. It reads everything as root, or what the user may read.\n"
    "\n"
    "      --match TEXT     workers are the processes with this in their name: php-fpm\n"
    "      --unit NAME      those of a systemd unit\n"
    "      --cgroup PATH    those in a cgroup and below it; without any of these: those that are "
    "attached\n"
    "      --connections-per-worker N  that each would have without lendis (as compare was told)\n"
    "      --idle, --busy   what a connection costs then, as compare has measured it\n"
    "  -s, --socket PATH    the broker's socket (default: $LENDIS_SOCKET, "
    "else " LENDIS_DEFAULT_SOCKET ")\n"
    "      --interval TIME  between two looks: 2s (default), 500ms\n"
    "\n"
    "Both:\n"
    "      --costs FILE     where compare keeps what a connection costs, for watch\n"
    "                       (default: lendis/costs in $XDG_STATE_HOME, else in ~/.local/state)\n"
    "  -j, --json           print JSON\n"
    "      --csv            print CSV\n"
    "  -h, --help           print this\n"
    "  -V, --version        print the version\n"
    "\n"
    "Exit status: 0; 1, something failed; 2, a target was missed (--strict); 64, wrong usage. See "
    "lendis-report(1).\n";

enum {
    OPTION_WORKERS = 256,
    OPTION_CONNECTIONS,
    OPTION_POOL_SIZE,
    OPTION_VALUES,
    OPTION_IDLE,
    OPTION_BUSY,
    OPTION_TRANSPORT,
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

/* Of which command an option is. */
enum scope { BOTH, COMPARE, WATCH };

static const struct option long_options[] = {
    {"workers", required_argument, NULL, OPTION_WORKERS},
    {"connections-per-worker", required_argument, NULL, OPTION_CONNECTIONS},
    {"pool-size", required_argument, NULL, OPTION_POOL_SIZE},
    {"values", required_argument, NULL, OPTION_VALUES},
    {"idle", no_argument, NULL, OPTION_IDLE},
    {"busy", no_argument, NULL, OPTION_BUSY},
    {"transport", required_argument, NULL, OPTION_TRANSPORT},
    {"reference", no_argument, NULL, OPTION_REFERENCE},
    {"sweep", required_argument, NULL, OPTION_SWEEP},
    {"plot", required_argument, NULL, OPTION_PLOT},
    {"strict", no_argument, NULL, OPTION_STRICT},
    {"match", required_argument, NULL, OPTION_MATCH},
    {"unit", required_argument, NULL, OPTION_UNIT},
    {"cgroup", required_argument, NULL, OPTION_CGROUP},
    {"socket", required_argument, NULL, 's'},
    {"interval", required_argument, NULL, OPTION_INTERVAL},
    {"costs", required_argument, NULL, OPTION_COSTS},
    {"json", no_argument, NULL, 'j'},
    {"csv", no_argument, NULL, OPTION_CSV},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {0},
};

static int usage_error(const char *what, const char *word)
{
    fprintf(stderr, "lendis-report: %s%s%s\nTry 'lendis-report --help'.\n", what, word ? ": " : "",
            word ? word : "");
    return EX_USAGE;
}

static enum scope scope_of(int option)
{
    switch (option) {
    case OPTION_WORKERS:
    case OPTION_POOL_SIZE:
    case OPTION_VALUES:
    case OPTION_TRANSPORT:
    case OPTION_REFERENCE:
    case OPTION_SWEEP:
    case OPTION_PLOT:
    case OPTION_STRICT:
        return COMPARE;
    case OPTION_MATCH:
    case OPTION_UNIT:
    case OPTION_CGROUP:
    case OPTION_INTERVAL:
    case 's':
        return WATCH;
    default:
        return BOTH;
    }
}

/* ---- values ---- */

/* A number from `least` to `most`, up to a byte of `ends`. Results: what is behind it; NULL, it is none. */
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
    return usage_error("not a size up to 1MiB; 3B and 1KiB are", text);
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
    return usage_error("not a time from 100ms to an hour; 2s and 500ms are", text);
}

static int parse_sweep(const char *text, struct options *options)
{
    const char *at = text;

    options->sweep_count = 0;
    do {
        unsigned *next = &options->sweep[options->sweep_count];

        at = options->sweep_count < SWEEP_MAX ? take_number(at, 1, WORKERS_MAX, next) : NULL;
        if (!at || (*at && *at != ',') || (options->sweep_count > 0 && *next <= next[-1]))
            return usage_error("not ascending numbers of workers, as 50,100,200 are", text);
        options->sweep_count++;
    } while (*at++ == ',');
    return 0;
}

static int parse_transport(const char *text, struct options *options)
{
    options->unix_socket = strcmp(text, "unix") == 0;
    return options->unix_socket || strcmp(text, "tcp") == 0
               ? 0
               : usage_error("not a transport; tcp and unix are", text);
}

static int take_match(enum match_kind kind, struct options *options)
{
    if (options->match)
        return usage_error("only one of --match, --unit and --cgroup", NULL);
    if (!*optarg)
        return usage_error("nothing to look for", NULL);
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
    case 'h':
        fputs(help, stdout);
        return -1;
    case 'V':
        puts("lendis-report " LENDIS_BUILD_VERSION);
        return -1;
    default:
        fputs("Try 'lendis-report --help'.\n", stderr);
        return EX_USAGE;
    }
}

/* What does not go together. */
static int check(struct options *options, const bool *scopes, int count, char **words)
{
    if (count < 1)
        return usage_error("what to do? compare or watch", NULL);
    options->watch = strcmp(words[0], "watch") == 0;
    if (!options->watch && strcmp(words[0], "compare") != 0)
        return usage_error("unknown command; compare and watch are known", words[0]);
    if (scopes[options->watch ? COMPARE : WATCH])
        return usage_error("an option of the other command was given to", words[0]);
    if (count > 1)
        return usage_error("nothing is expected behind it", words[1]);
    if (options->reference && (options->connections_given || options->pool_size))
        return usage_error("--reference says itself how many connections there are", NULL);
    if (options->sweep_count && options->workers)
        return usage_error("--sweep says itself how many workers there are", NULL);
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
    while (result == 0 && (option = getopt_long(argc, argv, "s:jhV", long_options, NULL)) != -1) {
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
