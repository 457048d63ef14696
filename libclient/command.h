/* SPDX-License-Identifier: MIT */
/* What kind of command a request is: read from its first words, by a table made from Redis' own
 * COMMAND. */
#ifndef LENDIS_COMMAND_H
#define LENDIS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

enum command_flag {
    COMMAND_READ_ONLY = 1, /* may be sent twice */
    COMMAND_BLOCKING = 2,  /* may wait in the server */
    COMMAND_SESSION = 4,   /* changes the connection's state beyond itself */
};

/* The transaction commands, which session.c follows. */
enum command_kind {
    COMMAND_OTHER = 0,
    COMMAND_MULTI,
    COMMAND_EXEC,
    COMMAND_DISCARD,
    COMMAND_WATCH,
    COMMAND_UNWATCH,
};

struct command {
    unsigned flags;
    enum command_kind kind;
};

/*
 * Looks at `request`, one RESP array of bulk strings. Results: 0 and *command (an unknown command
 * has no flags); -EINVAL, it is not exactly one command.
 */
int command_parse(const char *request, size_t size, struct command *command);

#endif
