/* SPDX-License-Identifier: MIT */
/*
 * What kind of command a request is: read from its words, by a table made from what Redis' and
 * Valkey's newest say of themselves (commands.txt), and from what a pool's server and configuration
 * say differently.
 */
#ifndef LENDIS_COMMAND_H
#define LENDIS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum command_flag {
    COMMAND_READ_ONLY = 1,  /* may be sent twice */
    COMMAND_BLOCKING = 2,   /* may wait in the server for as long as it likes */
    COMMAND_SESSION = 4,    /* changes the connection's state beyond itself */
    COMMAND_EXCLUSIVE = 8,  /* shares a connection with no other command, for another reason */
    COMMAND_LEASE = 16,     /* of use to whoever keeps the connection alone: no reply, or many */
    COMMAND_NOT_ALONE = 32, /* makes sense only with others on the same connection */
    /* Of the table alone. */
    COMMAND_ARGUMENTS = 64, /* the arguments say more */
    COMMAND_FIXED = 128,    /* it blocks, although COMMAND does not say so */
    COMMAND_WRITES = 256,   /* it may change data */
    /* Reports what its own connection has written: makes sense behind a write, where it is
     * cleared. */
    COMMAND_AFTER_WRITE = 512,
    COMMAND_OF_NODE = 1024, /* belongs to the node that it comes to: a cursor */
    COMMAND_SUSPECT = 2048, /* nobody knows what it does to the session; comes with SESSION */
    COMMAND_LASTING = 4096, /* nothing but the connection's end undoes it; comes with SESSION */
};

/* What session.c follows. */
enum command_kind {
    COMMAND_OTHER = 0,
    COMMAND_MULTI,
    COMMAND_EXEC,
    COMMAND_DISCARD,
    COMMAND_WATCH,
    COMMAND_UNWATCH,
    COMMAND_SELECT,
    COMMAND_RENAME, /* CLIENT SETNAME */
};

struct command {
    unsigned flags;
    enum command_kind kind;
};

/* A name that is longer is no command's that we know. */
#define COMMAND_NAME_SIZE 64u

/*
 * What differs from the table: names in capitals, each with a mark before it, separated by blanks.
 * A name may come with several marks.
 */
#define COMMAND_MARK_BLOCKS    '+' /* the server says that it blocks */
#define COMMAND_MARK_RETURNS   '-' /* the server says that it does not */
#define COMMAND_MARK_EXCLUSIVE '!' /* the configuration says that it may not share */
#define COMMAND_MARK_SESSION   '~' /* the server has it, and it may change the session */
/* With COMMAND_MARK_SESSION: all names that the table does not have. */
#define COMMAND_EVERY_OTHER "*"

/* The flags that the table has for `name`, in capitals; 0 for one that is not there. */
unsigned command_flags(const char *name);

/* Whether the table has `name`, in capitals. */
bool command_is_known(const char *name);

/* `size` bytes of a name in capitals, zero-terminated. False: no name of a command. */
bool command_name(const char *text, size_t size, char name[COMMAND_NAME_SIZE]);

/*
 * Reads the command at *at of `request`, RESP arrays of bulk strings one after the other, as Redis
 * reads them, and moves *at behind it. `differences` may be NULL. Results: 0 and *command (an
 * unknown command has no flags); -EINVAL, there is no whole command.
 */
int command_next(const char *request, size_t size, const char *differences, size_t *at,
                 struct command *command);

/*
 * Inspects all of `request`, one command or a pipeline of them. Results: 0, *count, and *command:
 * read-only if all are, with every other flag that any has (COMMAND_AFTER_WRITE only where there is
 * no write before), and the kind of the last transaction command; -EINVAL, it is not whole commands
 * and nothing else.
 */
int command_parse(const char *request, size_t size, const char *differences,
                  struct command *command, uint32_t *count);

/* May it go over a connection together with others' commands? */
static inline bool command_may_share(const struct command *command)
{
    return !(command->flags & (COMMAND_BLOCKING | COMMAND_SESSION | COMMAND_EXCLUSIVE)) &&
           command->kind == COMMAND_OTHER;
}

/* Is it, `count` commands, of no use unless the caller keeps the connection? */
static inline bool command_needs_lease(const struct command *command, uint32_t count)
{
    return (command->flags & (COMMAND_LEASE | COMMAND_AFTER_WRITE)) ||
           (count == 1 && (command->flags & COMMAND_NOT_ALONE));
}

#endif
