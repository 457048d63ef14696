/* SPDX-License-Identifier: MIT */
/*
 * lendisctl, the operator's tool: the command line. To show something it looks at a broker
 * (find_broker.h) and prints what it saw (show.h), without asking it; to change something it asks
 * (control.h).
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include "broker/ctl/control.h"
#include "broker/tools/find_broker.h"
#include "broker/ctl/lists.h"
#include "broker/ctl/show.h"
#include "broker/tools/table.h"
#include "broker/ctl/top.h"
#include "lendis/wire.h"
#include "broker/base/option_table.h"
#include "broker/base/standard_io.h"
#include "broker/base/text.h"

#define WHAT_TO_SHOW "pools, connections, workers, stats, latency, leases, waiters, config"

static const struct {
    const char *name;
    const char *help;
    int (*show)(const struct show *show);
} verbs[] = {
    {"pools", "a line for each pool: connections, waiting, workers, counters", show_pools},
    {"connections", "a line for each connection: state, who holds it, for how long",
     show_connections},
    {"workers", "a line for each attached worker", show_workers},
    {"stats", "every counter of each pool, with what it means", show_stats},
    {"latency", "waits, leases and batches: how many, mean, p50 to p99.9, maximum", show_latency},
    {"leases", "who holds a connection, the longest first", show_leases},
    {"waiters", "who waits for one, the longest first", show_waiters},
    {"config", "the configuration in use, secrets masked", show_config},
};
#define VERBS (sizeof verbs / sizeof *verbs)

static const char top_help[] = "a live view of pools, workers and leases; h shows its keys";
static const char metrics_help[] = "all statistics as text for Prometheus and its kin";

static const struct option_row usage[] = {
    {.text =
         "Usage: lendisctl [OPTIONS] show WHAT [POOL]\n"
         "       lendisctl [OPTIONS] COMMAND [POOL]\n"
         "\n"
         "Shows what a running lendisd and its workers do, and tells it what to do. It must run "
         "as root or as\nthe broker's user. What it shows it reads in their shared memory, so "
         "it answers when the broker hangs.\n\n"},
    {0},
};

enum {
    OPTION_CONNECTION = 256,
    OPTION_ALL,
    OPTION_WORKER,
    OPTION_LIST,
    OPTION_FORMAT,
    OPTION_METRICS,
    OPTION_COUNTERS,
    OPTION_OPTIONS
};

static const struct option_row rows[] = {
    {.text = "\nWithout POOL a command is for all pools. It returns when it is so, or when the "
             "limit has passed.\n\n"},
    {"timeout", 't', "TIME", NULL, NULL, "limit of a command: 30s (default), 500ms, 5min"},
    {"connection", OPTION_CONNECTION, "N", NULL, "kill",
     "kill: the lease of this connection of a pool alone"},
    {"worker", OPTION_WORKER, "PID", OPTION_PROCESSES, "kill",
     "kill: the leases of this process alone"},
    {"socket", 's', "PATH", OPTION_FILES, NULL,
     "the broker's socket (default: $LENDIS_SOCKET, else " LENDIS_DEFAULT_SOCKET ")"},
    {"pid", 'p', "PID", OPTION_PROCESSES, "show",
     "show: the broker's process, instead of looking for it by its socket"},
    {"json", 'j', NULL, NULL, "show", "print JSON, with more fields than the table has"},
    {"all", OPTION_ALL, NULL, NULL, "show", "show connections: places without one as well"},
    {"format", OPTION_FORMAT, "NAME", "openmetrics prometheus", "metrics",
     "metrics: openmetrics (default), or prometheus, the format before it"},
    {"list-metrics", OPTION_METRICS, NULL, NULL, NULL,
     "print all metrics: name, type, labels, what it means"},
    {"list-counters", OPTION_COUNTERS, NULL, NULL, NULL,
     "print all counters: kind, name, unit, what it means"},
    {"list-commands", OPTION_LIST, NULL, NULL, NULL,
     "print all commands: name, arguments, what it does"},
    {"list-options", OPTION_OPTIONS, NULL, NULL, NULL,
     "print all options: letter, name, argument, values, command, text"},
    {"help", 'h', NULL, NULL, NULL, "print this"},
    {"version", 'V', NULL, NULL, NULL, "print the version"},
    {.text = "\nExit status: 0; 1, something failed; 2, the limit passed; 64, wrong usage; 74, "
             "cannot print. See\nlendisctl(1).\n"},
    {0},
};

struct arguments {
    const char *socket_path;
    pid_t pid;
    bool json;
    bool all;
    int (*show)(const struct show *show);
    const char *pool; /* NULL: all */
    enum metrics_format format;
    const struct control_command *command;
    struct control_options options;
    int count; /* words behind the command */
    char **words;
};

static int usage_error(const char *what, const char *word)
{
    fprintf(stderr, "lendisctl: %s%s%s\nTry 'lendisctl --help'.\n", what, word ? ": " : "",
            word ? word : "");
    return EX_USAGE;
}

/* Results: 0; EX_USAGE. */
static int parse_words(int count, char **words, struct arguments *arguments)
{
    if (count < 1)
        return usage_error("what to do? for example: lendisctl show pools", NULL);
    arguments->command = control_find(words[0]);
    arguments->count = count - 1;
    arguments->words = words + 1;
    if (arguments->command)
        return 0;
    if (strcmp(words[0], "metrics") == 0 || strcmp(words[0], "top") == 0) {
        arguments->show = words[0][0] == 'm' ? show_metrics : NULL; /* NULL: top */
        return count > 1 ? usage_error("nothing is expected behind it", words[1]) : 0;
    }
    if (strcmp(words[0], "show") != 0)
        return usage_error("unknown command", words[0]);
    if (count < 2)
        return usage_error("show what? one of " WHAT_TO_SHOW, NULL);
    for (size_t i = 0; i < VERBS; i++)
        if (strcmp(words[1], verbs[i].name) == 0)
            arguments->show = verbs[i].show;
    if (!arguments->show)
        return usage_error("cannot show this; one of " WHAT_TO_SHOW, words[1]);
    if (count > 3)
        return usage_error("one pool at most", words[3]);
    arguments->pool = count == 3 ? words[2] : NULL;
    return 0;
}

/* Each command with its arguments and what it does. */
static void print_commands(void)
{
    for (size_t i = 0; i < VERBS; i++)
        printf("show %s\t[POOL]\t%s\n", verbs[i].name, verbs[i].help);
    printf("top\t\t%s\nmetrics\t\t%s\n", top_help, metrics_help);
    control_list(stdout);
}

/* A number from `least` to `most`. Results: 0; EX_USAGE. */
static int parse_number(const char *text, long least, long most, const char *what, uint32_t *number)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < least || value > most)
        return usage_error(what, text);
    *number = (uint32_t)value;
    return 0;
}

#define HELP_COLUMN 23

static void print_help(void)
{
    char label[32];

    option_table_print_help(usage, stdout);
    for (size_t i = 0; i < VERBS; i++) {
        snprintf(label, sizeof label, "  show %s", verbs[i].name);
        option_table_print_line(label, verbs[i].help, HELP_COLUMN, stdout);
    }
    putchar('\n');
    option_table_print_line("  top", top_help, HELP_COLUMN, stdout);
    option_table_print_line("  metrics", metrics_help, HELP_COLUMN, stdout);
    putchar('\n');
    control_print_help(HELP_COLUMN, stdout);
    option_table_print_help(rows, stdout);
}

/* Results: 0; EX_USAGE. */
static int parse_format(const char *name, enum metrics_format *format)
{
    *format = strcmp(name, "prometheus") == 0 ? METRICS_PROMETHEUS : METRICS_OPENMETRICS;
    if (*format == METRICS_OPENMETRICS && strcmp(name, "openmetrics") != 0)
        return usage_error("not a format; openmetrics and prometheus are", name);
    return 0;
}

/* One option. Results: 0; -1, all is done; EX_USAGE. */
static int take_option(int option, struct arguments *arguments)
{
    uint32_t number;
    int result = 0;

    switch (option) {
    case 's':
        arguments->socket_path = optarg;
        return 0;
    case 'p':
        result = parse_number(optarg, 1, INT_MAX, "not a process id", &number);
        if (result == 0)
            arguments->pid = (pid_t)number;
        return result;
    case 't':
        if (control_parse_limit(optarg, &arguments->options.timeout_ms) != 0)
            return usage_error("not a time; 30s, 500ms and 5min are", optarg);
        return 0;
    case OPTION_CONNECTION:
        return parse_number(optarg, 0, LENDIS_MAX_CONNECTIONS - 1, "not a connection's index",
                            &arguments->options.connection);
    case OPTION_WORKER:
        return parse_number(optarg, 1, INT_MAX, "not a process id", &arguments->options.pid);
    case OPTION_LIST:
        print_commands();
        return -1;
    case OPTION_FORMAT:
        return parse_format(optarg, &arguments->format);
    case OPTION_METRICS:
        metrics_list(stdout);
        return -1;
    case OPTION_OPTIONS:
        option_table_list(rows, stdout);
        return -1;
    case OPTION_COUNTERS:
        list_counters(stdout);
        return -1;
    case 'j':
        arguments->json = true;
        return 0;
    case OPTION_ALL:
        arguments->all = true;
        return 0;
    case 'h':
        print_help();
        return -1;
    case 'V':
        puts("lendisctl " LENDIS_BUILD_VERSION);
        return -1;
    default:
        fputs("Try 'lendisctl --help'.\n", stderr);
        return EX_USAGE;
    }
}

/* Results: 0, go on; -1, all is done; EX_USAGE. */
static int parse_arguments(int argc, char **argv, struct arguments *arguments)
{
    const char *socket_path = getenv("LENDIS_SOCKET");
    int option, result;

    arguments->socket_path = socket_path && *socket_path ? socket_path : LENDIS_DEFAULT_SOCKET;
    arguments->options = (struct control_options){
        .timeout_ms = CONTROL_TIMEOUT_MS, .connection = WIRE_ANY, .pid = WIRE_ANY};
    while ((option = option_table_next(rows, argc, argv)) != -1) {
        result = take_option(option, arguments);
        if (result != 0)
            return result;
    }
    return parse_words(argc - optind, argv + optind, arguments);
}

/* Results: the index of the pool; -1, there is none of that name, and that was said. */
static int find_pool(const struct catalog *catalog, const char *name)
{
    const char *separator = "";
    int index = catalog_find_pool(catalog, name);

    if (index >= 0)
        return index;
    fprintf(stderr, "lendisctl: no pool is called %s; there are: ", name);
    for (uint32_t i = 0; i < catalog->pool_max; i++) {
        char clean[CATALOG_NAME_SIZE + 1];

        text_clean(clean, sizeof clean, catalog->pools[i].name, CATALOG_NAME_SIZE);
        if (!clean[0])
            continue;
        fprintf(stderr, "%s%s", separator, clean);
        separator = ", ";
    }
    fputs(*separator ? "\n" : "none\n", stderr);
    return -1;
}

/* What an operator should know before believing the figures. */
static void note_state(const struct broker *broker)
{
    const struct catalog_header *header = broker->catalog.header;

    if (broker->state == 'T' || broker->state == 't')
        fprintf(stderr, "lendisctl: the broker, process %d, is stopped\n", (int)broker->pid);
    if (shm_load32(&header->draining))
        fprintf(stderr, "lendisctl: the broker, process %d, is draining\n", (int)broker->pid);
}

static int run(int argc, char **argv)
{
    static struct broker broker;
    struct arguments arguments = {0};
    struct show show = {.broker = &broker, .pool = -1};
    char problem[512];
    int result;

    setlocale(LC_ALL, "");
    setlocale(LC_NUMERIC, "C"); /* metrics have a point in numbers, whatever people here write */
    result = parse_arguments(argc, argv, &arguments);
    if (result != 0)
        return result < 0 ? EXIT_SUCCESS : result;
    if (arguments.command) {
        arguments.options.socket_path = arguments.socket_path;
        return control_run(arguments.command, arguments.count, arguments.words, &arguments.options);
    }
    if (broker_find(arguments.socket_path, arguments.pid, &broker, problem, sizeof problem) != 0) {
        fprintf(stderr, "lendisctl: %s\n", problem);
        return EXIT_FAILURE;
    }
    if (!arguments.show) {
        result = top_run(&broker, arguments.socket_path, arguments.pid);
        broker_close(&broker);
        return result == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    note_state(&broker);
    show.json = arguments.json;
    show.all = arguments.all;
    show.format = arguments.format;
    if (arguments.pool)
        show.pool = find_pool(&broker.catalog, arguments.pool);
    if (arguments.pool && show.pool < 0)
        result = -ENOENT;
    else if ((result = arguments.show(&show)) != 0 && standard_io_flush() != 0)
        result = 0; /* standard_io_close() reports it */
    else if (result != 0)
        fprintf(stderr, "lendisctl: cannot print: %s\n", strerror(-result));
    broker_close(&broker);
    return result == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    standard_io_open();
    return standard_io_close("lendisctl", run(argc, argv));
}
