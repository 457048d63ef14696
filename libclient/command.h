/* SPDX-License-Identifier: MIT */
/* What kind of command a request is: read from its first words, by a table made from Redis' own
 * COMMAND. */
#ifndef LENDIS_COMMAND_H
#define LENDIS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
 * Reads the command at *at of `request`, RESP arrays of bulk strings one after the other, and moves
 * *at behind it. Results: 0 and *command (an unknown command has no flags); -EINVAL, there is no
 * whole command.
 */
int command_next(const char *request, size_t size, size_t *at, struct command *command);

/*
 * Looks at all of `request`, one command or a pipeline of them. Results: 0, *count, and *command:
 * read-only if all are, with every other flag that any has, and the kind of the last that has one;
 * -EINVAL, it is not whole commands and nothing else.
 */
int command_parse(const char *request, size_t size, struct command *command, uint32_t *count);

#endif
