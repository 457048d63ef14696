/* SPDX-License-Identifier: MIT */
/*
 * Sorting failed dials by reason: see dial_reason.h.
 *
 * The text is all that there is: hiredis turns errno into one, and Redis begins its errors with a
 * word that says what kind they are (https://redis.io/docs/latest/develop/reference/protocol-spec/).
 * lendisd sets no locale, so strerror(3) says the same here as there.
 */
#include "broker/dial_reason.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct {
    const char *text;
    enum dial_reason reason;
} texts[] = {
    {"NOAUTH", DIAL_login},
    {"WRONGPASS", DIAL_login},
    {"NOPERM", DIAL_login},
    {"DENIED", DIAL_login},
    {"invalid password", DIAL_login},     /* before Redis 6 */
    {"invalid username", DIAL_login},     /* likewise */
    {"without any password", DIAL_login}, /* AUTH where there is none to know */
    {"max number of clients", DIAL_full},
    {"LOADING", DIAL_loading},
    {"MASTERDOWN", DIAL_loading},
    {"BUSY ", DIAL_loading},
    {"connect_timeout", DIAL_timeout},
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

enum dial_reason dial_reason(const char *error)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strstr(error, texts[i].text))
            return texts[i].reason;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strstr(error, strerror(errors[i].error)))
            return errors[i].reason;
    return DIAL_protocol;
}
