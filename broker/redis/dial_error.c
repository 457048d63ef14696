/* SPDX-License-Identifier: MIT */
/*
 * Sorting failed dials by reason: see dial_error.h.
 *
 * The text is all that there is: an errno is turned into one; what Redis says of itself is in
 * server_error.h.
 * lendisd sets no locale, so strerror(3) says the same here as there.
 */
#include "broker/redis/dial_error.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include "broker/tls/tls.h"
#include "libclient/shared/server_error.h"

static const struct {
    const char *text;
    enum dial_reason reason;
} texts[] = {
    {"invalid password", DIAL_login},     /* before Redis 6 */
    {"invalid username", DIAL_login},     /* likewise */
    {"without any password", DIAL_login}, /* AUTH where there is none to know */
    {"connect_timeout", DIAL_timeout},      {TLS_FAULT, DIAL_tls},
    {"closed the connection", DIAL_closed},
};

static const struct {
    int error;
    enum dial_reason reason;
} errors[] = {
    {ECONNREFUSED, DIAL_refused}, {ENOENT, DIAL_refused},      {EHOSTUNREACH, DIAL_refused},
    {ENETUNREACH, DIAL_refused},  {EHOSTDOWN, DIAL_refused},   {ENETDOWN, DIAL_refused},
    {EACCES, DIAL_refused},       {EPERM, DIAL_refused},       {EPROTOTYPE, DIAL_refused},
    {EAGAIN, DIAL_refused}, /* a Unix socket's backlog is full */
    {ENOTDIR, DIAL_refused},      {ENOTSOCK, DIAL_refused},    {ETIMEDOUT, DIAL_timeout},
    {ECONNRESET, DIAL_closed},    {EPIPE, DIAL_closed},        {ECONNABORTED, DIAL_closed},
    {EMFILE, DIAL_local},         {ENFILE, DIAL_local},        {ENOMEM, DIAL_local},
    {ENOBUFS, DIAL_local},        {EADDRNOTAVAIL, DIAL_local}, {EADDRINUSE, DIAL_local},
};

/* An error of the server about itself. */
static bool is_known(const char *error, enum dial_reason *reason)
{
    uint32_t flags = server_error_flags(server_error_find(error));

    if (flags & ERROR_LOGIN)
        *reason = DIAL_login;
    else if (flags & ERROR_ALIVE)
        *reason = DIAL_loading;
    else if (flags & ERROR_HOLD)
        *reason = DIAL_full;
    else
        return false;
    return true;
}

enum dial_reason dial_reason(const char *error)
{
    enum dial_reason known;

    if (is_known(error, &known))
        return known;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strstr(error, texts[i].text))
            return texts[i].reason;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strstr(error, strerror(errors[i].error)))
            return errors[i].reason;
    return DIAL_protocol;
}
