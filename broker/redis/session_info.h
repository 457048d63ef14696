/* SPDX-License-Identifier: MIT */
/*
 * What the reply to CLIENT INFO says of a session: whether it is as it is right after a dial, and
 * what of it can be undone by name. Knows one line of text and nothing else; session_reset.h has
 * the use of it.
 *
 * What it does not show is for session_reset.c to undo unasked: keys that are watched (shown since
 * Redis 7.4), CLIENT REPLY, SCRIPT DEBUG, and the fieldsets of HIMPORT. ASKING and CLIENT CACHING
 * last for one command.
 */
#ifndef LENDIS_BROKER_SESSION_INFO_H
#define LENDIS_BROKER_SESSION_INFO_H

#include <stdbool.h>
#include <stdint.h>

/* What is different, a bit each. */
enum session_difference {
    SESSION_DB = 1,
    SESSION_NAME = 2,
    SESSION_READONLY = 4, /* READONLY, of a cluster */
    SESSION_TRACKING = 8,
    SESSION_NO_EVICT = 16,
    SESSION_NO_TOUCH = 32,
    SESSION_OTHER = 64, /* what has no name of its own: another user, RESP3, a monitor */
};

/* How a session is to be. Everything is borrowed. */
struct session_expected {
    uint32_t db;
    const char *username;
    const char *client_name;
    bool watch_unproven; /* UNWATCH was refused: it must be shown that nothing is watched */
};

/* Returns what is different in `info`, the text of the reply; 0: nothing. */
uint32_t session_info_compare(const char *info, const struct session_expected *expected);

#endif
