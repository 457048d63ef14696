/* SPDX-License-Identifier: MIT */
/*
 * The session state of a leased connection, as far as lendis saw it: what was sent through
 * lendis_lease_command() and lendis_command(), and what came back. Decides I3: a connection whose
 * session is not as the pool's profile has it is not lent again without replacement.
 */
#ifndef LENDIS_SESSION_H
#define LENDIS_SESSION_H

#include <stdbool.h>
#include "shared/command.h"

struct session {
    bool multi;   /* MULTI without EXEC or DISCARD */
    bool watch;   /* WATCH without what ends it */
    bool changed; /* db, user, name, protocol, subscriptions, modes: not to be undone from here */
};

/* `command` was sent and answered; `error` says that the answer was an error reply. */
void session_follow(struct session *session, const struct command *command, bool error);

/*
 * The same for `request`, one command or a pipeline. `error` is of the only reply; in a pipeline
 * whatever could have changed the session is taken to have done so.
 */
void session_follow_request(struct session *session, const char *request, size_t size, bool error);

static inline bool session_is_clean(const struct session *session)
{
    return !session->multi && !session->watch && !session->changed;
}

#endif
