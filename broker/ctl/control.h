/* SPDX-License-Identifier: MIT */
/*
 * The commands that change something in a running broker: they are asked of it over its socket
 * (WIRE_CONTROL in lendis/wire.h), and return when it is so or when their limit has passed.
 */
#ifndef LENDIS_CTL_CONTROL_H
#define LENDIS_CTL_CONTROL_H

#include <stdint.h>
#include <stdio.h>
#include "lendis/wire.h"

#define CONTROL_TIMEOUT_MS 30000u
/* Exit status: the limit passed before it was so. */
#define EXIT_LIMIT 2

/* What stands on the command line besides the words. */
struct control_options {
    const char *socket_path;
    uint32_t timeout_ms;
    uint32_t connection; /* or WIRE_ANY */
    uint32_t pid;        /* likewise */
};

struct control_command {
    const char *name;
    const char *arguments; /* as in the help */
    const char *help;
    enum wire_verb verb;
    int least, most; /* words behind the name */
};

/* The command called `name`, or NULL. */
const struct control_command *control_find(const char *name);

/* All of them, for the help: what they do is from `column` on. */
void control_print_help(size_t column, FILE *out);

/* A line for each, tab-separated: name, arguments, what it does. */
void control_list(FILE *out);

/* "250ms", "30s", "5min", "1h", or seconds. Results: 0; -EINVAL. */
int control_parse_limit(const char *text, uint32_t *ms);

/* Does it, with the `count` words behind its name. Returns the exit status. */
int control_run(const struct control_command *command, int count, char **words,
                const struct control_options *options);

#endif
