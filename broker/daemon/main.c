/* SPDX-License-Identifier: MIT */
/* lendisd: the command line. Exit codes 64, 74 and 78 as in <sysexits.h>; the manual is
 * lendisd(8). */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include "broker/daemon/broker.h"
#include "broker/base/option_table.h"
#include "broker/base/standard_io.h"
#include "broker/daemon/supervise.h"

/* Beside the ids of OPTION_STANDARD_ROWS. */
enum action { ACTION_RUN = 256, ACTION_SUPERVISE, ACTION_CHECK, ACTION_PRINT, ACTION_LIST_KEYS };

static const struct option_row rows[] = {
    {.text = "Usage: lendisd [--config PATH] [OPTION]\n"
             "\n"
             "Lends connections to Redis to the processes of this host. It runs in the foreground "
             "and logs to\nstandard error.\n\n"},
    {.name = "config",
     .id = 'c',
     .argument = "PATH",
     .values = OPTION_FILES,
     .text = "read this configuration (default " CONFIG_DEFAULT_PATH ")",
     .more = "See *lendis.conf*(5)."},
    {.name = "supervise",
     .id = ACTION_SUPERVISE,
     .text = "run the broker as a child, restart it when it ends, and keep what it lends meanwhile",
     .more =
         "This is for containers and hosts without systemd: the parent starts the broker again "
         "when "
         "it crashes or hangs, and keeps its connections as the descriptor store of systemd does. "
         "The two talk over a socket in a directory _lendisd-XXXXXX_ that only this user may "
         "enter, "
         "in the first of _$RUNTIME_DIRECTORY_, _/run/lendis_, _$XDG_RUNTIME_DIR_, _$TMPDIR_, "
         "_/tmp_ "
         "and _/dev/shm_ that can be written to."},
    {.name = "check-config",
     .id = ACTION_CHECK,
     .text = "check the configuration and exit: with 0, or with 78 after saying what is wrong",
     .more =
         "Variables of the environment and password files are checked, too. Each error is reported "
         "with file and line."},
    {.name = "print-config",
     .id = ACTION_PRINT,
     .text = "print the configuration in effect, without secrets, and exit",
     .more = "It has the form of a configuration file."},
    {.name = "list-keys",
     .id = ACTION_LIST_KEYS,
     .text = "print all keys of the configuration: section, key, type, default, range, text, more "
             "text",
     .more =
         "A line for each, separated by tabs. *lendis.conf*(5) and the example configuration are "
         "made from it."},
    OPTION_STANDARD_ROWS,
    {.text = "\n"
             "Every key can be set by a variable: LENDIS_BROKER_<KEY>, LENDIS_POOL_<NAME>_<KEY>.\n"
             "SIGHUP makes it read its configuration again.\n"
             "SIGTERM and SIGINT end it once the leases have come back; a second one ends it at "
             "once.\n"},
    {0},
};

static void report_plain(enum log_level level, const char *text, void *context)
{
    (void)context;
    fprintf(stderr, "%s%s\n", level == LOG_LEVEL_WARNING ? "warning: " : "", text);
}

static void report_logged(enum log_level level, const char *text, void *context)
{
    (void)context;
    log_line(level, "%s", text);
}

static int out_of_memory(void)
{
    log_line(LOG_LEVEL_ERR, "%s", strerror(ENOMEM));
    return EXIT_FAILURE;
}

static int act_on_config(enum action action, const char *path)
{
    struct config config;
    int result;

    result = config_load(path, environ, action == ACTION_RUN ? report_logged : report_plain, NULL,
                         &config);
    if (result != 0)
        return result == -ENOMEM ? out_of_memory() : EX_CONFIG;
    if (action == ACTION_PRINT)
        config_print(&config, stdout);
    else if (action == ACTION_CHECK)
        printf("%s: %u pool%s, no errors\n", path, config.pool_count,
               config.pool_count == 1 ? "" : "s");
    else
        result = broker_run(&config);
    config_free(&config);
    return result < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int act(int action, const char *path)
{
    switch (action) {
    case ACTION_SUPERVISE:
        return supervise(path);
    case ACTION_LIST_KEYS:
        config_list_keys(stdout);
        return EXIT_SUCCESS;
    default:
        if (option_table_answer(rows, action, "lendisd"))
            return EXIT_SUCCESS;
        return act_on_config((enum action)action, path);
    }
}

/*
 * Ends without the destructors of libraries that were loaded meanwhile (libmicrohttpd's and those
 * that it needs): one that touches its thread-local data for the first time has glibc allocate it,
 * and without memory glibc ends the process with 127. What checks or counts at the end needs them.
 */
static int end(int status)
{
    log_flush();
    status = standard_io_close("lendisd", status);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__OPTIMIZE__)
    fflush(stderr);
    _exit(status);
#endif
    return status;
}

int main(int argc, char **argv)
{
    const char *path = CONFIG_DEFAULT_PATH;
    int option, action = ACTION_RUN;

    standard_io_open();
    while ((option = option_table_next(rows, argc, argv)) != -1) {
        if (option == 'c')
            path = optarg;
        else if (option == '?')
            return EX_USAGE;
        else
            action = option;
    }
    if (optind < argc)
        return option_table_usage_error("lendisd", "unexpected argument", argv[optind]);
#ifdef M_ARENA_MAX
    /* One arena: a lookup's thread would else get one of its own, for a few hundred bytes. */
    mallopt(M_ARENA_MAX, 1);
#endif
    return end(act(action, path));
}
