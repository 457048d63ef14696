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

/* Beside the letters of options. */
enum action {
    ACTION_RUN = 256,
    ACTION_SUPERVISE,
    ACTION_CHECK,
    ACTION_PRINT,
    ACTION_LIST_KEYS,
    ACTION_LIST_OPTIONS,
    ACTION_VERSION,
    ACTION_HELP
};

static const struct option_row rows[] = {
    {.text = "Usage: lendisd [--config PATH] [OPTION]\n"
             "\n"
             "Lends connections to Redis to the processes of this host. It runs in the foreground "
             "and logs to\nstandard error.\n\n"},
    {"config", 'c', "PATH", OPTION_FILES, NULL, "configuration (default " CONFIG_DEFAULT_PATH ")"},
    {"supervise", ACTION_SUPERVISE, NULL, NULL, NULL,
     "stay above the broker, start it again and keep what it lends meanwhile"},
    {"check-config", ACTION_CHECK, NULL, NULL, NULL,
     "check the configuration and exit: 0, or 78 after saying what is wrong"},
    {"print-config", ACTION_PRINT, NULL, NULL, NULL,
     "print the configuration in effect, without secrets, and exit"},
    {"list-keys", ACTION_LIST_KEYS, NULL, NULL, NULL,
     "print all keys of the configuration: section, key, type, default, range, text"},
    {"list-options", ACTION_LIST_OPTIONS, NULL, NULL, NULL,
     "print all options: letter, name, argument, values, command, text"},
    {"version", 'V', NULL, NULL, NULL, "print the version and exit"},
    {"help", 'h', NULL, NULL, NULL, "print this and exit"},
    {.text = "\n"
             "Every key can be set by a variable: LENDIS_BROKER_<KEY>, LENDIS_POOL_<NAME>_<KEY>.\n"
             "SIGHUP has it read its configuration again.\n"
             "SIGTERM and SIGINT end it when the leases have come back; a second one at once.\n"},
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

static int act(enum action action, const char *path)
{
    switch (action) {
    case ACTION_SUPERVISE:
        return supervise(path);
    case ACTION_VERSION:
        puts("lendisd " LENDIS_BUILD_VERSION);
        return EXIT_SUCCESS;
    case ACTION_HELP:
        option_table_print_help(rows, stdout);
        return EXIT_SUCCESS;
    case ACTION_LIST_OPTIONS:
        option_table_list(rows, stdout);
        return EXIT_SUCCESS;
    case ACTION_LIST_KEYS:
        config_list_keys(stdout);
        return EXIT_SUCCESS;
    default:
        return act_on_config(action, path);
    }
}

int main(int argc, char **argv)
{
    const char *path = CONFIG_DEFAULT_PATH;
    enum action action = ACTION_RUN;
    int option, status;

    standard_io_open();
    while ((option = option_table_next(rows, argc, argv)) != -1) {
        if (option == 'c')
            path = optarg;
        else if (option == 'V')
            action = ACTION_VERSION;
        else if (option == 'h')
            action = ACTION_HELP;
        else if (option == '?')
            return EX_USAGE;
        else
            action = (enum action)option;
    }
    if (optind < argc) {
        fprintf(stderr, "lendisd: \"%s\" is not an option; see lendisd --help\n", argv[optind]);
        return EX_USAGE;
    }
#ifdef M_ARENA_MAX
    /* One arena: a lookup's thread would else get one of its own, for a few hundred bytes. */
    mallopt(M_ARENA_MAX, 1);
#endif
    status = act(action, path);
    log_flush();
    return standard_io_close("lendisd", status);
}
