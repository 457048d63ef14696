/* SPDX-License-Identifier: MIT */
/* Answers of our own: see answers.h. */
#include "libclient/preload/answers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "lendis/wire.h"
#include "libclient/preload/counts.h"
#include "libclient/preload/map.h"
#include "libclient/preload/own.h"
#include "libclient/preload/plan.h"
#include "libclient/preload/swap.h"
#include "libclient/preload/tally.h"
#include "libclient/shared/broker_socket.h"

/* For the broker's word; it takes some 50 us. */
#define ASK_MS 500

/* Arguments of HELLO 2 AUTH user password. */
#define ARGUMENTS_MAX 5

struct argument {
    const char *text;
    size_t size;
};

/* The arguments of a whole request. Results: how many; 0, more than there is room for. */
static unsigned split(const char *request, size_t size, struct argument arguments[ARGUMENTS_MAX])
{
    const char *at = memchr(request, '\n', size), *end = request + size;
    unsigned count = 0;

    while (at && ++at < end) {
        size_t length = 0;

        if (count == ARGUMENTS_MAX || *at != '$')
            return 0;
        for (at++; at < end && *at != '\r'; at++)
            length = length * 10 + (size_t)(*at - '0');
        at += 2;
        if ((size_t)(end - at) < length + 2)
            return 0;
        arguments[count++] = (struct argument){at, length};
        at += length + 1;
    }
    return count;
}

/* ---- logins ---- */

static int ask(struct wire_login *login)
{
    struct wire_outcome answer = {0};
    int socket = broker_socket_connect(map_socket_path()), result;

    if (socket < 0)
        return socket;
    wire_header(&login->header, WIRE_LOGIN, sizeof *login);
    result = wire_send(socket, login, -1);
    if (result == 0)
        result = wire_receive(socket, &answer, sizeof answer, NULL, ASK_MS);
    own_close(socket);
    if (result <= 0)
        return result == 0 ? -EPIPE : result;
    return wire_is(&answer, (size_t)result, WIRE_OUTCOME, sizeof answer) ? answer.result : -EPROTO;
}

static bool fits(char *to, size_t room, const struct argument *from)
{
    if (from->size >= room || memchr(from->text, '\0', from->size))
        return false;
    memcpy(to, from->text, from->size);
    to[from->size] = '\0';
    return true;
}

bool answer_is_own_login(const struct virtual *virtual, const char *request, size_t size)
{
    static const struct argument everybody = {"default", 7};
    struct argument arguments[ARGUMENTS_MAX];
    const struct argument *user = &everybody, *password;
    struct wire_login login = {0};
    unsigned count = split(request, size, arguments);
    bool own;

    if (count < 2)
        return false;
    if (count > 2)
        user = &arguments[count - 2];
    password = &arguments[count - 1];
    if (!fits(login.username, sizeof login.username, user) ||
        password->size > sizeof login.password)
        return false;
    snprintf(login.pool, sizeof login.pool, "%s", route_pool_name(virtual->route, virtual->db));
    memcpy(login.password, password->text, password->size);
    login.size = (uint32_t)password->size;
    own = ask(&login) == 0;
    explicit_bzero(&login, sizeof login);
    return own;
}

/* ---- what the connection has of its own ---- */

static bool put(struct virtual *virtual, const char *text)
{
    count_up(PRELOAD_answered);
    tally(virtual, COUNTER_virtual_answered);
    return swap_answer(virtual, text, strlen(text)) == 0;
}

static bool answer_name(struct virtual *virtual, const struct sighting *sighting)
{
    if (!sighting->name[0])
        return false; /* "" takes it off, and nonsense is refused: Redis says which it is */
    if (!put(virtual, "+OK\r\n"))
        return false;
    strcpy(virtual->name, sighting->name);
    return true;
}

static bool tell_name(struct virtual *virtual)
{
    char text[STREAM_NAME_MAX + 32];

    if (virtual->name[0])
        snprintf(text, sizeof text, "$%zu\r\n%s\r\n", strlen(virtual->name), virtual->name);
    else
        snprintf(text, sizeof text, "$-1\r\n");
    return put(virtual, text);
}

static bool answer_select(struct virtual *virtual, int db)
{
    if (db < 0 || !route_pool(virtual->route, (uint32_t)db) || !put(virtual, "+OK\r\n"))
        return false;
    virtual->db = (uint32_t)db;
    return true;
}

bool answer_request(struct virtual *virtual, const char *request, size_t size,
                    const struct sighting *sighting)
{
    struct argument arguments[ARGUMENTS_MAX];
    unsigned count = split(request, size, arguments);

    switch (sighting->meaning) {
    case MEANS_SELECT:
        return count == 2 && answer_select(virtual, sighting->number);
    case MEANS_NAME:
        return count == 3 && answer_name(virtual, sighting);
    case MEANS_ASK_NAME:
        return count == 2 && tell_name(virtual);
    case MEANS_LOGIN:
        if ((count != 2 && count != 3) || strcmp(sighting->verb, "AUTH") != 0 ||
            !answer_is_own_login(virtual, request, size) || !put(virtual, "+OK\r\n"))
            return false;
        virtual->logged_in = true;
        return true;
    case MEANS_QUIT:
        if (count != 1 || !put(virtual, "+OK\r\n"))
            return false;
        virtual->ends = true;
        return true;
    default:
        return false;
    }
}

static bool can_serve_one(const struct virtual *virtual, const char *request, size_t size)
{
    struct plan plan;

    plan_make(&plan, request, size, NULL, NULL);
    switch (plan.first.meaning) {
    case MEANS_NOTHING:
        return plan.shares;
    case MEANS_SELECT:
        return plan.select >= 0 && route_pool(virtual->route, (uint32_t)plan.select);
    case MEANS_NAME:
        return plan.first.name[0] != '\0';
    case MEANS_LOGIN:
        return strcmp(plan.first.verb, "AUTH") == 0 && answer_is_own_login(virtual, request, size);
    case MEANS_ASK_NAME:
    case MEANS_QUIT:
        return true;
    default:
        return false;
    }
}

bool answer_can_serve(const struct virtual *virtual, const char *request, size_t size)
{
    size_t used = 1;

    for (; size > 0 && used > 0; request += used, size -= used) {
        used = plan_first_end(request, size);
        if (used == 0 || !can_serve_one(virtual, request, used))
            return false;
    }
    return true;
}
