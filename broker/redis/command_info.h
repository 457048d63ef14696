/* SPDX-License-Identifier: MIT */
/*
 * What a pool's server says of its commands (COMMAND, https://redis.io/commands/command/), as far
 * as lendis' own table does not have it so: which of them may wait, and which may change the
 * connection's session. Modules and newer servers are why this matters.
 *
 * No flag says that a command leaves something on the connection; HIMPORT of Redis 8.10 has none at
 * all. So of the commands that the table does not know those are suspects that have subcommands,
 * for what prepares, keeps and uses a state is made so, and those that Redis files under
 * connections, transactions or messages. They go over a connection of their own, and it is reset
 * behind them.
 *
 * The pool owns it and decides when it is due; the dialler asks, on a connection that it has just
 * opened, and passes on what comes, string by string: a list of a hundred kilobytes and more is
 * never in memory as a whole. Knows no connections.
 */
#ifndef LENDIS_BROKER_COMMAND_INFO_H
#define LENDIS_BROKER_COMMAND_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lendis/catalog.h"
#include "libclient/shared/command.h"

/* Where in the reply a string stands that matters, the deepest: the flag of a subcommand. */
#define COMMAND_INFO_DEPTH 5u

/* So often in a row a server may fail to answer; then it is not asked, and its connections
 * serve. */
#define COMMAND_INFO_TRIES 2u

struct command_info {
    bool due;      /* the next connection is to ask */
    bool asking;   /* one does */
    bool fresh;    /* there is an answer that was not published yet; the pool's */
    bool given_up; /* too many failures; the pool's, to report it */
    bool refused;  /* the answer was an error reply */
    bool speaks;   /* the server calls some command blocking: its word counts */
    bool left_out; /* names did not fit */
    bool sentinel; /* there is a command that Sentinels alone have */
    bool data;     /* there is one that they do not have */
    uint8_t failures;
    bool blocks;                           /* the command under way */
    bool suspect;                          /* likewise: it may change the session */
    char name[COMMAND_NAME_SIZE];          /* of it; "" none */
    char blocking[CATALOG_COMMANDS_SIZE];  /* names that the server calls blocking, we do not */
    char returning[CATALOG_COMMANDS_SIZE]; /* names that we call blocking, the server does not */
    /* Names that we do not know, and that may change the session. */
    char suspects[CATALOG_COMMANDS_SIZE];
    bool more_suspects; /* some did not fit there */
};

/* The server may be another one than it was: ask again. Once, if it has not answered before. */
void command_info_renew(struct command_info *info);

/* ---- the dialler's ---- */

/* True: COMMAND is to be sent now, and one of the other calls follows. */
bool command_info_begin(struct command_info *info);

/* A string of the reply: path[0] is its index, or its parent's and so on, in the outermost
 * array. */
void command_info_string(struct command_info *info, const uint32_t *path, uint32_t depth,
                         const char *text, size_t size);

/* The reply was an error, or is complete, or never came as it should. */
void command_info_refuse(struct command_info *info);
void command_info_end(struct command_info *info);
void command_info_fail(struct command_info *info);

/* The answer, all but complete, is a Sentinel's, which is no server for a pool. */
static inline bool command_info_is_sentinel(const struct command_info *info)
{
    return info->sentinel && !info->data;
}

/* The answer is not to be used; the next connection is to ask. */
void command_info_put_off(struct command_info *info);

/* ---- the pool's ---- */

/*
 * What workers are to know, as struct catalog_pool has it: the server's differences, and
 * `exclusive` (names separated by a blank, or NULL). Returns its length; *all is false when not
 * everything fitted. When suspects do not fit, all commands that the table does not know are.
 */
size_t command_info_publish(const struct command_info *info, const char *exclusive,
                            char text[CATALOG_COMMANDS_SIZE], bool *all);

#endif
