/* SPDX-License-Identifier: MIT */
/* CLIENT INFO of one connection: see session_info.h. The fields are those of Redis 6.2 to 8.10 and
 * of Valkey to 9 (catClientInfoString() in their networking.c). */
#include "broker/redis/session_info.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* The value of field `name` in `info`, " name=value" with a blank or a newline behind it; NULL: it
 * is not there. */
static const char *find_field(const char *info, const char *name, size_t *size)
{
    size_t length = strlen(name);

    for (const char *at = info; *at; at += strcspn(at, " \n"), at += *at != '\0')
        if (strncmp(at, name, length) == 0 && at[length] == '=') {
            *size = strcspn(at + length + 1, " \n");
            return at + length + 1;
        }
    return NULL;
}

/* `optional`: not in every version. */
static bool field_is(const char *info, const char *name, const char *expected, bool optional)
{
    size_t size;
    const char *value = find_field(info, name, &size);

    if (!value)
        return optional;
    return size == strlen(expected) && memcmp(value, expected, size) == 0;
}

/* What one letter of `flags` stands for. */
static uint32_t flag_difference(char flag)
{
    switch (flag) {
    case 'N': /* none */
    case 'U': /* a Unix socket */
        return 0;
    case 'r':
        return SESSION_READONLY;
    case 't': /* tracking; its target has gone; of prefixes */
    case 'R':
    case 'B':
        return SESSION_TRACKING;
    case 'e':
        return SESSION_NO_EVICT;
    case 'T':
        return SESSION_NO_TOUCH;
    default:
        return SESSION_OTHER;
    }
}

static uint32_t compare_flags(const char *info)
{
    size_t size;
    const char *flags = find_field(info, "flags", &size);
    uint32_t different = flags && size > 0 ? 0 : SESSION_OTHER;

    for (size_t i = 0; flags && i < size; i++)
        different |= flag_difference(flags[i]);
    return different;
}

uint32_t session_info_compare(const char *info, const struct session_expected *expected)
{
    uint32_t different = compare_flags(info);
    char db[16];

    snprintf(db, sizeof db, "%u", expected->db);
    if (!field_is(info, "db", db, false))
        different |= SESSION_DB;
    if (!field_is(info, "name", expected->client_name, false))
        different |= SESSION_NAME;
    if (!field_is(info, "user", expected->username, false) ||
        !field_is(info, "multi", "-1", false) || !field_is(info, "sub", "0", false) ||
        !field_is(info, "psub", "0", false) || !field_is(info, "ssub", "0", true) ||
        !field_is(info, "watch", "0", !expected->watch_unproven) ||
        !field_is(info, "resp", "2", true) || !field_is(info, "capa", "", true) ||
        (!(different & SESSION_TRACKING) && !field_is(info, "redir", "-1", true)))
        different |= SESSION_OTHER;
    return different;
}
