/* SPDX-License-Identifier: MIT */
/*
 * lendisctl, the operator's tool: the command line. To show something it reads a broker's shared
 * memory (find_broker.h) and prints what is there (show.h), without asking the broker; to change
 * something it asks (control.h).
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

static const struct option_row usage[] = {
    {.text =
         "Usage: lendisctl [OPTIONS] show WHAT [POOL]\n"
         "       lendisctl [OPTIONS] COMMAND [POOL]\n"
         "\n"
         "Shows what a running lendisd and its workers do, and changes what they do. It must run "
         "as root or as\nthe broker's user. What it shows it reads in their shared memory, so it "
         "works even when the broker\nhangs.\n\n"},
    {0},
};

enum {
    OPTION_CONNECTION = 256,
    OPTION_ALL,
    OPTION_WORKER,
    OPTION_LIST,
    OPTION_FORMAT,
    OPTION_METRICS,
    OPTION_COUNTERS
};

static const struct option_row rows[] = {
    {.text = "\nWithout POOL a command is for all pools. It returns when it is done, or when its "
             "time limit has\npassed.\n\n"},
    {.name = "timeout",
     .id = 't',
     .argument = "TIME",
     .text = "how long a command may take: 30s (default), 500ms, 5min",
     .more = "A number and *ms*, *s*, *min* or *h*; a number alone is seconds."},
    {.name = "connection",
     .id = OPTION_CONNECTION,
     .argument = "N",
     .scope = "kill",
     .text = "kill: only the lease of this connection of the pool",
     .more = "_N_ is its index, as *show connections* prints it."},
    {.name = "worker",
     .id = OPTION_WORKER,
     .argument = "PID",
     .values = OPTION_PROCESSES,
     .scope = "kill",
     .text = "kill: only the leases of this process",
     .more = "_PID_ is its number, as *show workers* prints it."},
    {.name = "socket",
     .id = 's',
     .argument = "PATH",
     .values = OPTION_FILES,
     .text = "the broker's socket (default: $LENDIS_SOCKET, else " LENDIS_DEFAULT_SOCKET ")"},
    {.name = "pid",
     .id = 'p',
     .argument = "PID",
     .values = OPTION_PROCESSES,
     .scope = "show",
     .text = "show: the broker's process, instead of looking for it by its socket",
     .more =
         "Use it when the process cannot be found that way, or when several processes claim to be "
         "the broker."},
    {.name = "json",
     .id = 'j',
     .scope = "show",
     .text = "show: print JSON, which has more fields than the table",
     .more =
         "An object whose one member, named as what is shown, is an array with an object for each "
         "line; for *show config*, an object of sections, each an object of keys and their values "
         "as text. See *JSON*."},
    {.name = "all",
     .id = OPTION_ALL,
     .scope = "show",
     .text = "show connections: places without a connection as well"},
    {.name = "format",
     .id = OPTION_FORMAT,
     .argument = "NAME",
     .values = "openmetrics prometheus",
     .scope = "metrics",
     .text = "metrics: openmetrics (default), or prometheus, the text format before it",
     .more = "*promtool check metrics* wants the older one."},
    {.name = "list-metrics",
     .id = OPTION_METRICS,
     .text = "print all metrics: name, type, labels, what it means",
     .more = "This and the other lists have a line for each, separated by tabs."},
    {.name = "list-counters",
     .id = OPTION_COUNTERS,
     .text = "print all counters and reasons: kind, name, unit, what it means"},
    {.name = "list-commands",
     .id = OPTION_LIST,
     .text = "print all commands: name, arguments, text, more text"},
    OPTION_STANDARD_ROWS,
    {.text =
         "\nExit status: 0; 1, something failed; 2, the time limit passed; 64, wrong usage; 74, "
         "cannot print.\nSee lendisctl(1).\n"},
    {0},
};

struct arguments {
    const char *socket_path;
    pid_t pid;
    bool json;
    bool all;
    enum metrics_format format;
    struct control_options options;
    const struct command *command;
    int count; /* words behind the command */
    char **words;
};

static int usage_error(const char *what, const char *word)
{
    option_table_usage_error("lendisctl", what, word);
    return EX_USAGE;
}

/* Results: 0; EX_USAGE. */
static int parse_words(int count, char **words, struct arguments *arguments)
{
    const struct command *command;
    char problem[100];
    int taken;

    if (count < 1)
        return usage_error("a command is missing; for example: lendisctl show pools", NULL);
    command = command_find(count, words, &taken);
    if (!command && taken == 1)
        return usage_error("unknown command", words[0]);
    if (!command && count == 1)
        return usage_error("what to show is missing, one of", command_shown());
    if (!command) {
        snprintf(problem, sizeof problem, "%s is not one of", words[1]);
        return usage_error(problem, command_shown());
    }
    arguments->command = command;
    arguments->count = count - taken;
    arguments->words = words + taken;
    if (arguments->count > command->most)
        return usage_error("unexpected argument", arguments->words[command->most]);
    if (arguments->count < command->least)
        return usage_error("an argument is missing", command->arguments);
    return 0;
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

#define HELP_COLUMN 24

static void print_help(void)
{
    option_table_print_help(usage, stdout);
    command_print_help(HELP_COLUMN, stdout);
    option_table_print_help(rows, stdout);
}

/* Results: 0; EX_USAGE. */
static int parse_format(const char *name, enum metrics_format *format)
{
    *format = strcmp(name, "prometheus") == 0 ? METRICS_PROMETHEUS : METRICS_OPENMETRICS;
    if (*format == METRICS_OPENMETRICS && strcmp(name, "openmetrics") != 0)
        return usage_error("not a format (openmetrics or prometheus)", name);
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
        result = parse_number(optarg, 1, INT_MAX, "not a process ID", &number);
        if (result == 0)
            arguments->pid = (pid_t)number;
        return result;
    case 't':
        if (control_parse_limit(optarg, &arguments->options.timeout_ms) != 0)
            return usage_error("not a time, such as 30s, 500ms or 5min", optarg);
        return 0;
    case OPTION_CONNECTION:
        return parse_number(optarg, 0, LENDIS_MAX_CONNECTIONS - 1, "not a connection's index",
                            &arguments->options.connection);
    case OPTION_WORKER:
        return parse_number(optarg, 1, INT_MAX, "not a process ID", &arguments->options.pid);
    case OPTION_LIST:
        command_list(stdout);
        return -1;
    case OPTION_FORMAT:
        return parse_format(optarg, &arguments->format);
    case OPTION_METRICS:
        metrics_list(stdout);
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
    default:
        if (option_table_answer(rows, option, "lendisctl"))
            return -1;
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

/* Returns the exit status. */
static int show(const struct broker *broker, const struct arguments *arguments)
{
    const char *pool = arguments->count > 0 ? arguments->words[0] : NULL;
    struct show show = {
        .broker = broker,
        .json = arguments->json,
        .all = arguments->all,
        .pool = pool ? find_pool(&broker->catalog, pool) : -1,
        .format = arguments->format,
    };
    int result;

    note_state(broker);
    if (pool && show.pool < 0)
        return EXIT_FAILURE;
    result = arguments->command->show(&show);
    if (result == 0 || standard_io_flush() != 0)
        return EXIT_SUCCESS; /* standard_io_close() reports what could not be printed */
    fprintf(stderr, "lendisctl: cannot print: %s\n", strerror(-result));
    return EXIT_FAILURE;
}

static int run(int argc, char **argv)
{
    static struct broker broker;
    struct arguments arguments = {0};
    char problem[512];
    int result;

    setlocale(LC_ALL, "");
    setlocale(LC_NUMERIC, "C"); /* metrics have a point in numbers, whatever people here write */
    result = parse_arguments(argc, argv, &arguments);
    if (result != 0)
        return result < 0 ? EXIT_SUCCESS : result;
    if (arguments.command->kind == COMMAND_ASK) {
        arguments.options.socket_path = arguments.socket_path;
        return control_run(arguments.command, arguments.count, arguments.words, &arguments.options);
    }
    if (broker_find(arguments.socket_path, arguments.pid, &broker, problem, sizeof problem) != 0) {
        fprintf(stderr, "lendisctl: %s\n", problem);
        return EXIT_FAILURE;
    }
    if (arguments.command->kind == COMMAND_TOP)
        result = top_run(&broker, arguments.socket_path, arguments.pid) == 0 ? EXIT_SUCCESS
                                                                             : EXIT_FAILURE;
    else
        result = show(&broker, &arguments);
    broker_close(&broker);
    return result;
}

int main(int argc, char **argv)
{
    standard_io_open();
    return standard_io_close("lendisctl", run(argc, argv));
}
