/* SPDX-License-Identifier: MIT */
/*
 * lendis-run: runs a program whose Redis connections are lent by lendisd. It sets the environment
 * and becomes the program; what happens then is the preloaded library's
 * (libclient/preload).
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include "broker/base/installed.h"
#include "broker/base/option_table.h"
#include "broker/base/standard_io.h"
#include "broker/run/check.h"
#include "broker/run/functions.h"
#include "broker/run/unit.h"
#include "lendis/wire.h"

#define LIBRARY     "liblendis-preload.so"
#define UNIT_FOLDER "/etc/systemd/system"

enum {
    OPTION_CHECK = 256,
    OPTION_EXPLAIN,
    OPTION_STRICT,
    OPTION_WAIT,
    OPTION_INSTALL,
    OPTION_WRITE,
    OPTION_LIBRARY
};

static const struct option_row rows[] = {
    {.text = "Usage: lendis-run [OPTIONS] COMMAND [ARGUMENT...]\n"
             "       lendis-run --check [COMMAND]\n"
             "       lendis-run --install UNIT [--write]\n\n"
             "Runs a program as it is: its connections to the addresses that pools serve are lent "
             "by\nlendisd.\n\n"},
    {.name = "socket",
     .id = 's',
     .argument = "PATH",
     .values = OPTION_FILES,
     .text = "the broker's (default: $LENDIS_SOCKET, else " LENDIS_DEFAULT_SOCKET ")"},
    {.name = "explain",
     .id = OPTION_EXPLAIN,
     .text = "print to stderr, at the end of each process, what became of its connections",
     .more = "A line for each kind and for each reason. Of processes that end by *exit*(3)."},
    {.name = "strict",
     .id = OPTION_STRICT,
     .text = "no real connection where a virtual one cannot be",
     .more = "The program gets the error ECONNREFUSED, or finds the end of its connection."},
    {.name = "wait",
     .id = OPTION_WAIT,
     .argument = "TIME",
     .text = "how long a request waits for a connection of the pool (default 1s)",
     .more = "Then its virtual connection becomes a real one. Up to a minute."},
    {.name = "library",
     .id = OPTION_LIBRARY,
     .argument = "PATH",
     .values = OPTION_FILES,
     .text = "the library that is preloaded",
     .more = "Without it: beside *lendis-run*, in the lib folder that belongs to it, or where the "
             "loader looks."},
    {.name = "check",
     .id = OPTION_CHECK,
     .text = "run nothing: print whether COMMAND can be helped, and what it calls",
     .more =
         "If not, why, and the exit status is 1. If so, which of the functions that the library "
         "follows it calls itself, and on which its connection becomes a real one. Without "
         "COMMAND: all functions of the C library that take a descriptor, and what becomes of "
         "a virtual connection in each: _followed_, _real_, or _private_, when the call acts "
         "on the private socket that is behind the descriptor."},
    {.name = "install",
     .id = OPTION_INSTALL,
     .argument = "UNIT",
     .values = "@units",
     .text = "run nothing: print a drop-in for a unit of systemd"},
    {.name = "write",
     .id = OPTION_WRITE,
     .text = "with --install: write it to " UNIT_FOLDER "/UNIT.d/lendis.conf"},
    OPTION_STANDARD_ROWS,
    {0},
};

struct options {
    const char *socket, *wait, *library, *install;
    bool explain, strict, check, write;
};

/* ---- the environment ---- */

/* Beside this program, or in the lib folder of where it is installed; else the loader's own
 * search. Static storage. */
static const char *find_library(void)
{
    static char path[PATH_MAX];

    return installed_find("", LIBRARY, path) ? path : LIBRARY;
}

/* Before others that are there already. */
static int preload(const char *library)
{
    const char *others = getenv("LD_PRELOAD");
    char *all;
    int result;

    if (!others || !*others)
        return setenv("LD_PRELOAD", library, 1);
    if (strstr(others, library))
        return 0;
    if (asprintf(&all, "%s:%s", library, others) < 0)
        return -1;
    result = setenv("LD_PRELOAD", all, 1);
    free(all);
    return result;
}

/* "200ms", "1s": milliseconds; -1: it is no time. */
static long parse_wait(const char *text)
{
    char *unit;
    long number = strtol(text, &unit, 10);

    if (unit == text || number < 0 || number > 60000)
        return -1;
    if (strcmp(unit, "s") == 0)
        number *= 1000;
    else if (strcmp(unit, "ms") != 0)
        return -1;
    return number <= 60000 ? number : -1;
}

static int set_environment(const struct options *options)
{
    char wait[24];
    int result = preload(options->library ? options->library : find_library());

    if (options->socket)
        result |= setenv("LENDIS_SOCKET", options->socket, 1);
    if (options->explain)
        result |= setenv("LENDIS_PRELOAD_EXPLAIN", "1", 1);
    if (options->strict)
        result |= setenv("LENDIS_PRELOAD_STRICT", "1", 1);
    if (options->wait) {
        snprintf(wait, sizeof wait, "%ld", parse_wait(options->wait));
        result |= setenv("LENDIS_PRELOAD_WAIT", wait, 1);
    }
    return result;
}

/* ---- commands ---- */

static const char *socket_of(const struct options *options)
{
    const char *path = options->socket ? options->socket : getenv("LENDIS_SOCKET");

    return path && *path ? path : LENDIS_DEFAULT_SOCKET;
}

static int install(const struct options *options)
{
    const char *library = options->library ? options->library : find_library();

    if (!options->write) {
        unit_print(library, socket_of(options), stdout);
        return EXIT_SUCCESS;
    }
    return unit_write(UNIT_FOLDER, options->install, library, socket_of(options), stdout) == 0
               ? EXIT_SUCCESS
               : EXIT_FAILURE;
}

static int execute(const struct options *options, char **arguments)
{
    if (set_environment(options) != 0) {
        fprintf(stderr, "lendis-run: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    execvp(arguments[0], arguments);
    fprintf(stderr, "lendis-run: %s: %s\n", arguments[0], strerror(errno));
    return errno == ENOENT ? 127 : 126; /* as of a shell */
}

/* What must not be left to the program's own start. */
static const char *problem(const struct options *options, int left)
{
    if (options->socket && options->socket[0] != '/')
        return "--socket needs an absolute path";
    if (options->wait && parse_wait(options->wait) < 0)
        return "--wait needs a time up to 1 minute, as in 200ms or 2s";
    if (options->write && !options->install)
        return "--write is of --install";
    if (options->install && left > 0)
        return "--install runs no command";
    if (options->install && (strchr(options->install, '/') || !*options->install))
        return "--install needs the name of a unit";
    if (!options->install && !options->check && left == 0)
        return "what is to be run?";
    return NULL;
}

/* Results: -1, go on; else the exit status. */
static int take_option(struct options *options, int id, const char *argument)
{
    switch (id) {
    case 's':
        options->socket = argument;
        return -1;
    case OPTION_EXPLAIN:
        options->explain = true;
        return -1;
    case OPTION_STRICT:
        options->strict = true;
        return -1;
    case OPTION_WAIT:
        options->wait = argument;
        return -1;
    case OPTION_LIBRARY:
        options->library = argument;
        return -1;
    case OPTION_CHECK:
        options->check = true;
        return -1;
    case OPTION_INSTALL:
        options->install = argument;
        return -1;
    case OPTION_WRITE:
        options->write = true;
        return -1;
    default:
        if (option_table_answer(rows, id, "lendis-run"))
            return EXIT_SUCCESS;
        fputs("lendis-run --help lists the options\n", stderr);
        return EX_USAGE;
    }
}

/* Results as take_option(). */
static int take_options(int argc, char **argv, struct options *options)
{
    bool was_posix = getenv("POSIXLY_CORRECT") != NULL;
    int id, status = -1;

    /* Options behind the command are the command's: getopt(3). */
    setenv("POSIXLY_CORRECT", "1", 0);
    while (status < 0 && (id = option_table_next(rows, argc, argv)) != -1)
        status = take_option(options, id, optarg);
    if (!was_posix)
        unsetenv("POSIXLY_CORRECT");
    return status;
}

static int run(int argc, char **argv)
{
    struct options options = {0};
    const char *wrong;
    int status;

    status = take_options(argc, argv, &options);
    if (status >= 0)
        return status;
    wrong = problem(&options, argc - optind);
    if (wrong)
        return option_table_usage_error("lendis-run", wrong, NULL);
    if (options.install)
        return install(&options);
    if (options.check && optind < argc)
        return check_program(argv[optind], stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
    if (options.check) {
        functions_print(stdout);
        return EXIT_SUCCESS;
    }
    return execute(&options, argv + optind);
}

int main(int argc, char **argv)
{
    standard_io_open();
    return standard_io_close("lendis-run", run(argc, argv));
}
