/* SPDX-License-Identifier: MIT */
/*
 * The session state of a leased connection, as far as lendis saw it: what was sent through
 * lendis_lease_command() and lendis_command(), and what came back. Decides I3: a connection whose
 * session is not as the pool's profile has it is not lent again without a reset.
 */
#ifndef LENDIS_SESSION_H
#define LENDIS_SESSION_H

#include <stdbool.h>
#include "lendis/segment.h"
#include "libclient/shared/command.h"

struct session {
    uint32_t left; /* enum left: MULTI without EXEC or DISCARD, WATCH without what ends it, ... */
};

/* `command` was sent and answered; `error` says that the answer was an error reply. */
void session_follow(struct session *session, const struct command *command, bool error);

/*
 * The same for `request`, one command or a pipeline. `error` is of the only reply; in a pipeline
 * whatever could have changed the session is taken to have done so.
 */
void session_follow_request(struct session *session, const char *request, size_t size, bool error);

/* A command was sent of which only the server's word is known, that it may change the session. */
static inline void session_suspect(struct session *session)
{
    session->left |= LEFT_SUSPECT;
}

static inline bool session_is_clean(const struct session *session)
{
    return session->left == 0;
}

/* Beyond what is known by name: subscriptions, say. What comes may be no answer to what was
 * sent. */
static inline bool session_is_strange(const struct session *session)
{
    return (session->left & LEFT_OTHER) != 0;
}

#endif
