/* SPDX-License-Identifier: MIT */
/* Following a connection's session state: see session.h. */
#include "libclient/connection/session.h"

/* What a command that changes the session changes; it may be undone by name. */
static uint32_t changed_by(const struct command *command)
{
    switch (command->kind) {
    case COMMAND_SELECT:
        return LEFT_DB;
    case COMMAND_RENAME:
        return LEFT_NAME;
    default:
        return LEFT_OTHER;
    }
}

void session_follow(struct session *session, const struct command *command, bool error)
{
    switch (command->kind) {
    case COMMAND_MULTI:
        session->left |= error ? 0 : LEFT_MULTI;
        break;
    case COMMAND_EXEC:
    case COMMAND_DISCARD:
        /* Also with an error: EXECABORT ends the transaction, "without MULTI" means that there is
         * none. What was queued may have changed the session; such commands were noted when they
         * were sent. */
        session->left &= ~(uint32_t)(LEFT_MULTI | LEFT_WATCH);
        break;
    case COMMAND_WATCH:
        session->left |= error ? 0 : LEFT_WATCH;
        break;
    case COMMAND_UNWATCH:
        /* Inside MULTI it is only queued, and EXEC ends the watch anyway. */
        if (!error && !(session->left & LEFT_MULTI))
            session->left &= ~(uint32_t)LEFT_WATCH;
        break;
    default:
        break;
    }
    if (command->flags & COMMAND_SESSION)
        session->left |= changed_by(command);
    if (command->flags & COMMAND_LASTING)
        session->left |= LEFT_LASTING;
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
