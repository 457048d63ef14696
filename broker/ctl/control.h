/* SPDX-License-Identifier: MIT */
/*
 * The commands that change something in a running broker: they are asked of it over its socket
 * (WIRE_CONTROL in lendis/wire.h), and return when it is so or when their limit has passed.
 */
#ifndef LENDIS_CTL_CONTROL_H
#define LENDIS_CTL_CONTROL_H

#include <stdint.h>
#include "broker/ctl/commands.h"

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

/* "250ms", "30s", "5min", "1h", or seconds. Results: 0; -EINVAL. */
int control_parse_limit(const char *text, uint32_t *ms);

/* Does it, with the `count` words behind its name, as many as it takes. Returns the exit status. */
int control_run(const struct command *command, int count, char **words,
                const struct control_options *options);

#endif
