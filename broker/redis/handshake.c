/* SPDX-License-Identifier: MIT */
/* What is said on a new connection: see handshake.h. */
#include "broker/redis/handshake.h"

#include <stdio.h>
#include <string.h>
#include "libclient/shared/request.h"
#include "lendis/rights.h"
#include "libclient/shared/server_error.h"

enum step { STEP_LOGIN, STEP_SELECT, STEP_NAME, STEP_PING };

static const char not_redis[] = "Protocol error: the server's reply is not one that Redis gives";

/* ---- what errors mean ---- */

/*
 * How a command that is not to be had is refused: by Redis' ACL; by Redis, of a command that there
 * is not, which also is one that was renamed or that a Sentinel does not have; by proxies and other
 * servers.
 */
static const char *const refusals[] = {
    "NOPERM",        "unknown command", "unknown subcommand", "unsupported",
    "not supported", "not allowed",     "not implemented",    "is disabled",
};

enum handshake_error handshake_error(const char *text)
{
    uint32_t flags = server_error_flags(server_error_classify(text, strlen(text)));

    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (strcasestr(text, refusals[i]))
            return HANDSHAKE_ERROR_REFUSED;
    if (flags & (ERROR_HOLD | ERROR_LOGIN))
        return HANDSHAKE_ERROR_STATE;
    return flags & ERROR_ALIVE ? HANDSHAKE_ERROR_ALIVE : HANDSHAKE_ERROR_OTHER;
}

/* A Sentinel knows neither SELECT nor most other commands, and rarely has a password. */
static bool is_odd(const char *text)
{
    return strcasestr(text, "unknown command") || strstr(text, "no password is set") ||
           strstr(text, "without any password");
}

/* ---- the request ---- */

size_t handshake_room(const struct handshake_profile *profile)
{
    return (profile->username ? strlen(profile->username) : 0) + profile->password_size +
           strlen(profile->client_name) + REQUEST_FRAME(3) + 64 +
           (HANDSHAKE_STEPS_MAX - 1) * (REQUEST_FRAME(3) + 64);
}

static void add_login(const struct handshake_profile *profile, char *request, size_t *used)
{
    const char *words[] = {"AUTH", profile->username, profile->password};
    const size_t sizes[] = {4, profile->username ? strlen(profile->username) : 0,
                            profile->password_size};
    const char *short_words[] = {"AUTH", profile->password};
    const size_t short_sizes[] = {4, profile->password_size};

    if (profile->username)
        request_add(request, used, 3, words, sizes);
    else
        request_add(request, used, 2, short_words, short_sizes);
}

static void note_step(struct handshake *handshake, enum step step)
{
    handshake->step[handshake->count++] = (uint8_t)step;
}

size_t handshake_begin(struct handshake *handshake, const struct handshake_profile *profile,
                       uint32_t missing, char *request)
{
    char db[16];
    const char *select[] = {"SELECT", db};
    const char *name[] = {"CLIENT", "SETNAME", profile->client_name};
    const char *ping[] = {"PING"};
    size_t used = 0;

    *handshake = (struct handshake){.missing = missing};
    snprintf(db, sizeof db, "%u", profile->db);
    if (profile->password) {
        add_login(profile, request, &used);
        note_step(handshake, STEP_LOGIN);
    }
    if (profile->db != 0) {
        request_add(request, &used, 2, select, NULL);
        note_step(handshake, STEP_SELECT);
    }
    if (!(missing & RIGHT_BIT(name))) {
        request_add(request, &used, 3, name, NULL);
        note_step(handshake, STEP_NAME);
    }
    /* Also where it is refused: any answer will do. */
    request_add(request, &used, 1, ping, NULL);
    note_step(handshake, STEP_PING);
    return used;
}

/* ---- the replies ---- */

static void fail(struct handshake *handshake, const char *error)
{
    if (handshake->error[0] == '\0')
        snprintf(handshake->error, sizeof handshake->error, "%s", error);
}

/* The error reply `text` to the name, which is wanted, no more: only what concerns every command
 * counts. */
static void take_nameless(struct handshake *handshake, const char *text)
{
    switch (handshake_error(text)) {
    case HANDSHAKE_ERROR_STATE:
        fail(handshake, text);
        break;
    case HANDSHAKE_ERROR_ALIVE:
        handshake->unwell = true;
        handshake->missing |= RIGHT_BIT(name);
        break;
    default:
        handshake->refused |= RIGHT_BIT(name);
    }
}

/* Likewise to PING: whoever refuses it has read it. */
static void take_no_pong(struct handshake *handshake, const char *text)
{
    switch (handshake_error(text)) {
    case HANDSHAKE_ERROR_REFUSED:
        handshake->refused |= RIGHT_BIT(ping);
        break;
    case HANDSHAKE_ERROR_ALIVE:
        handshake->unwell = true;
        break;
    default:
        fail(handshake, text);
    }
}

/*
 * Redis repeats the words of a command that it does not know, and those of AUTH are secret: what is
 * quoted in the answer to it goes no further.
 */
static void hide_words(char *text)
{
    char *words = strstr(text, ", with args");

    if (!words)
        words = text + strcspn(text, "'`\"");
    explicit_bzero(words, strlen(words));
}

/* A whole line, its CR and LF taken off. */
static void take_reply(struct handshake *handshake)
{
    enum step step = (enum step)handshake->step[handshake->passed++];
    char *text = handshake->line + 1;

    if (handshake->line[0] == '+')
        return;
    if (step == STEP_LOGIN)
        hide_words(text);
    if (step == STEP_NAME) {
        take_nameless(handshake, text);
    } else if (step == STEP_PING) {
        take_no_pong(handshake, text);
    } else {
        handshake->odd = is_odd(text);
        fail(handshake, text);
    }
}

/* So far it is a reply's line; `whole`: there is no more of it. */
static bool is_reply(const struct handshake *handshake, bool whole)
{
    char type = handshake->line[0];

    return handshake->line_size > 0 ? type == '+' || type == '-' : !whole;
}

/* Appends to the line; what is too long is cut. */
static void keep(struct handshake *handshake, const char *data, size_t size)
{
    size_t room = sizeof handshake->line - 1 - handshake->line_size;

    if (size > room)
        size = room;
    memcpy(handshake->line + handshake->line_size, data, size);
    handshake->line_size += (uint32_t)size;
    handshake->line[handshake->line_size] = '\0';
}

/* The line that is there is whole. */
static void finish_line(struct handshake *handshake)
{
    if (handshake->line[handshake->line_size - 1] == '\r')
        handshake->line[handshake->line_size - 1] = '\0';
    take_reply(handshake);
    handshake->line_size = 0;
}

enum handshake_result handshake_take(struct handshake *handshake, const char *data, size_t size,
                                     size_t *used)
{
    size_t at = 0;

    while (at < size && handshake->passed < handshake->count) {
        const char *end = memchr(data + at, '\n', size - at);
        size_t step = end ? (size_t)(end - data) - at : size - at;

        keep(handshake, data + at, step);
        at += step + (end != NULL);
        handshake->bytes += (uint32_t)(step + 1);
        if (!is_reply(handshake, end != NULL))
            fail(handshake, not_redis);
        else if (handshake->bytes > HANDSHAKE_BYTES_MAX)
            fail(handshake, "Protocol error: the server's replies are longer than Redis' can be");
        else if (end)
            finish_line(handshake);
        /* Where it may be a Sentinel, the rest is read, so that it can be asked. */
        if (handshake->error[0] && !handshake->odd)
            return HANDSHAKE_FAILED;
    }
    *used = at;
    if (handshake->passed < handshake->count)
        return HANDSHAKE_WAITING;
    return handshake->error[0] ? HANDSHAKE_FAILED : HANDSHAKE_DONE;
}

uint32_t handshake_asked(const struct handshake *handshake)
{
    uint32_t asked = 0;

    for (uint32_t i = handshake->passed; i < handshake->count; i++)
        if (handshake->step[i] == STEP_NAME)
            asked |= RIGHT_BIT(name);
    return asked;
}
