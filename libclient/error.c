/* SPDX-License-Identifier: MIT */
/* Sentences for results; and, for lendis_pool_error(), what the calling thread's last call found
 * out beyond its result. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "libclient/error.h"
#include "libclient/pool.h"

/* Of the calling thread, as errno is. */
_Thread_local int last_result;
static _Thread_local struct {
    bool noted;
    int result; /* that the text is for */
    char text[256];
} last;

void error_begin(void)
{
    last.noted = false;
}

void error_note(int result, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(last.text, sizeof last.text, format, arguments);
    va_end(arguments);
    last.result = result;
    last.noted = true;
}

const char *error_text(int result)
{
    return last.noted && last.result == result ? last.text : NULL;
}

LENDIS_PUBLIC const char *lendis_strerror(int result)
{
    switch (result) {
    case LENDIS_OK:
        return "success";
    case LENDIS_E_TIMEOUT:
        return "time limit passed before a connection or a reply came";
    case LENDIS_E_BUSY:
        return "all connections are busy, or a table of the broker is full";
    case LENDIS_E_REVOKED:
        return "the connection was taken back by the broker, or ended by Redis (CLIENT KILL, a "
               "time limit, a limit of its buffers)";
    case LENDIS_E_UNCERTAIN:
        return "the command was sent and no reply came: it may or may not have been executed";
    case LENDIS_E_DOWN:
        return "Redis or the broker cannot be reached";
    case LENDIS_E_DENIED:
        return "this user may not use this pool (allow_uids, allow_gids)";
    case LENDIS_E_DISABLED:
        return "the pool is switched off";
    case LENDIS_E_ABI:
        return "liblendis and lendisd are of versions that do not fit each other";
    case LENDIS_E_AGAIN:
        return "no connection yet: poll and ask again";
    case -ENOENT:
    case -ECONNREFUSED:
        return "no broker listens on the socket";
    case -EACCES:
        return "this user may not open the broker's socket";
    case -ESRCH:
        return "the broker has no pool of that name";
    case -EINVAL:
        return "invalid argument, not one whole RESP command, or a lease that is not this process'";
    case -EMFILE:
        return "too many open files in this process (RLIMIT_NOFILE)";
    case -ENOMEM:
        return "no memory";
    case -EOPNOTSUPP:
        return "this command makes sense only together with others on one connection: put them "
               "into one pipeline, or take a lease (lendis_acquire) and use lendis_lease_command";
    case -EPROTO:
        return "the other side does not speak the protocol";
    default: {
        /* strerrordesc_np(3) is constant and thread-safe, unlike strerror(3). */
        const char *text = result < 0 ? strerrordesc_np(-result) : NULL;

        return text ? text : "unknown result";
    }
    }
}
