/* SPDX-License-Identifier: MIT */
/* Following a connection's session state: see session.h. */
#include "session.h"

void session_follow(struct session *session, const struct command *command, bool error)
{
    switch (command->kind) {
    case COMMAND_MULTI:
        session->multi = session->multi || !error;
        break;
    case COMMAND_EXEC:
    case COMMAND_DISCARD:
        /* Also with an error: EXECABORT ends the transaction, "without MULTI" means that there is
         * none. What was queued may have changed the session; such commands set `changed` when they
         * were sent. */
        session->multi = false;
        session->watch = false;
        break;
    case COMMAND_WATCH:
        session->watch = session->watch || !error;
        break;
    case COMMAND_UNWATCH:
        /* Inside MULTI it is only queued, and EXEC ends the watch anyway. */
        if (!error && !session->multi)
            session->watch = false;
        break;
    case COMMAND_OTHER:
        break;
    }
    if (command->flags & COMMAND_SESSION)
        session->changed = true;
}

void session_follow_request(struct session *session, const char *request, size_t size, bool error)
{
    struct command command;
    size_t at = 0;

    if (command_next(request, size, NULL, &at, &command) != 0)
        return;
    session_follow(session, &command, error && at == size);
    while (at < size && command_next(request, size, NULL, &at, &command) == 0)
        session_follow(session, &command, false);
}
