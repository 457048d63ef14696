/* SPDX-License-Identifier: MIT */
/*
 * lendisctl, the operator's tool: the command line. It looks at a broker (find.h) and prints what
 * it saw (show.h); it never changes anything and never waits for the broker.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include "broker/ctl/find.h"
#include "broker/ctl/show.h"
#include "broker/ctl/table.h"
#include "lendis/wire.h"

static const char help[] =
    "Usage: lendisctl [OPTIONS] show WHAT [POOL]\n"
    "\n"
    "Shows what a running lendisd and its workers do. It reads their shared memory, so it answers "
    "when the\n"
    "broker hangs; it must run as root or as the broker's user.\n"
    "\n"
    "  show pools         a line for each pool: connections, waiting, workers, counters\n"
    "  show connections   a line for each connection: state, who holds it, for how long\n"
    "  show workers       a line for each attached worker\n"
    "  show config        the configuration in use, secrets masked\n"
    "\n"
    "  -s, --socket PATH  the broker's socket (default: $LENDIS_SOCKET, else " LENDIS_DEFAULT_SOCKET
    ")\n"
    "  -p, --pid PID      the broker's process, instead of looking for it by its socket\n"
    "  -j, --json         print JSON, with more fields than the table has\n"
    "  -h, --help         print this\n"
    "  -V, --version      print the version\n"
    "\n"
    "Exit status: 0; 1, something failed; 64, wrong usage. See lendisctl(1).\n";

static const struct {
    const char *name;
    int (*show)(const struct show *show);
} verbs[] = {
    {"pools", show_pools},
    {"connections", show_connections},
    {"workers", show_workers},
    {"config", show_config},
};

struct arguments {
    const char *socket_path;
    pid_t pid;
    bool json;
    int (*show)(const struct show *show);
    const char *pool; /* NULL: all */
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
    if (strcmp(words[0], "show") != 0)
        return usage_error("unknown command", words[0]);
    if (count < 2)
        return usage_error("show what? one of pools, connections, workers, config", NULL);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(words[1], verbs[i].name) == 0)
            arguments->show = verbs[i].show;
    if (!arguments->show)
        return usage_error("cannot show this; one of pools, connections, workers, config",
                           words[1]);
    if (count > 3)
        return usage_error("one pool at most", words[3]);
    arguments->pool = count == 3 ? words[2] : NULL;
    return 0;
}

/* Results: 0, go on; -1, all is done; EX_USAGE. */
static int parse_arguments(int argc, char **argv, struct arguments *arguments)
{
    static const struct option options[] = {
        {"socket", required_argument, NULL, 's'}, {"pid", required_argument, NULL, 'p'},
        {"json", no_argument, NULL, 'j'},         {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},      {0},
    };
    const char *socket_path = getenv("LENDIS_SOCKET");
    int option;

    arguments->socket_path = socket_path && *socket_path ? socket_path : LENDIS_DEFAULT_SOCKET;
    while ((option = getopt_long(argc, argv, "s:p:jhV", options, NULL)) != -1) {
        char *end;
        long number;

        switch (option) {
        case 's':
            arguments->socket_path = optarg;
            break;
        case 'p':
            number = strtol(optarg, &end, 10);
            if (*end || number <= 0 || number > INT_MAX)
                return usage_error("not a process id", optarg);
            arguments->pid = (pid_t)number;
            break;
        case 'j':
            arguments->json = true;
            break;
        case 'h':
            fputs(help, stdout);
            return -1;
        case 'V':
            puts("lendisctl " LENDIS_BUILD_VERSION);
            return -1;
        default:
            fputs("Try 'lendisctl --help'.\n", stderr);
            return EX_USAGE;
        }
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

        text_clean(clean, catalog->pools[i].name, CATALOG_NAME_SIZE);
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

int main(int argc, char **argv)
{
    static struct broker broker;
    struct arguments arguments = {0};
    struct show show = {.broker = &broker, .pool = -1};
    char problem[512];
    int result;

    setlocale(LC_ALL, "");
    result = parse_arguments(argc, argv, &arguments);
    if (result != 0)
        return result < 0 ? EXIT_SUCCESS : result;
    if (broker_find(arguments.socket_path, arguments.pid, &broker, problem, sizeof problem) != 0) {
        fprintf(stderr, "lendisctl: %s\n", problem);
        return EXIT_FAILURE;
    }
    note_state(&broker);
    show.json = arguments.json;
    if (arguments.pool)
        show.pool = find_pool(&broker.catalog, arguments.pool);
    if (arguments.pool && show.pool < 0)
        result = -ENOENT;
    else if ((result = arguments.show(&show)) != 0)
        fprintf(stderr, "lendisctl: cannot print: %s\n", strerror(-result));
    broker_close(&broker);
    return result == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
