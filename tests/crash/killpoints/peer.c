/* SPDX-License-Identifier: MIT */
/* A well-behaved worker: see peer.h. */
#include "tests/crash/killpoints/peer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "libclient/pool.h"
#include "lendis_hiredis.h"

#define PEER_LEASES_MAX 64

struct peer_request {
    enum peer_order order;
    unsigned count;
    int timeout_ms;
};

/* The peer's side. */
struct peer_state {
    const char *name;
    struct lendis_pool *pool;
    struct lendis_lease *leases[PEER_LEASES_MAX];
    unsigned held;
    unsigned long serial; /* no two ECHOs are alike */
    long long counter;    /* what the last INCR said */
    long long maybe;      /* uncertain ones since */
};

void peer_init(struct peer *peer, const char *name)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        give_up("socketpair: %s", strerror(errno));
    *peer = (struct peer){.name = name, .link = ends[0], .other_link = ends[1]};
}

static bool echo_is_right(struct peer_state *state, struct lendis_lease *lease,
                          struct peer_answer *answer)
{
    redisReply *reply;
    char token[64];
    bool right;

    snprintf(token, sizeof token, "%s:%lu", state->name, ++state->serial);
    reply = lendis_lease_command(lease, "ECHO %s", token);
    right = reply && reply->type == REDIS_REPLY_STRING && strcmp(reply->str, token) == 0;
    if (!right)
        snprintf(answer->text, sizeof answer->text, "%s: ECHO %s got %.80s", state->name, token,
                 !reply ? lendis_strerror(lendis_pool_error(state->pool, NULL))
                        : (reply->str ? reply->str : "no text"));
    if (reply)
        freeReplyObject(reply);
    return right;
}

static void lease(struct peer_state *state, const struct peer_request *request,
                  struct peer_answer *answer)
{
    while (answer->count < request->count && state->held < PEER_LEASES_MAX) {
        struct lendis_lease *got;

        answer->result = lendis_acquire(state->pool, request->timeout_ms, &got);
        if (answer->result != 0) {
            snprintf(answer->text, sizeof answer->text, "%s: lease %u of %u: %s", state->name,
                     answer->count + 1, request->count, lendis_strerror(answer->result));
            return;
        }
        state->leases[state->held++] = got;
        answer->when_ns = now_ns();
        answer->count++;
        if (!echo_is_right(state, got, answer)) {
            answer->result = -EBADMSG;
            return;
        }
    }
}

/* The oldest first. */
static void release(struct peer_state *state, const struct peer_request *request,
                    struct peer_answer *answer)
{
    while (answer->count < request->count && state->held > 0) {
        int result = lendis_release(state->leases[0]);

        memmove(state->leases, state->leases + 1, (--state->held) * sizeof *state->leases);
        answer->count++;
        if (result != 0 && answer->result == 0) {
            answer->result = result;
            snprintf(answer->text, sizeof answer->text, "%s: release: %s", state->name,
                     lendis_strerror(result));
        }
    }
}

static void read_value(struct peer_state *state, redisReply *reply, struct peer_answer *answer)
{
    if (reply->type == REDIS_REPLY_STRING && strcmp(reply->str, PEER_VALUE) == 0)
        return;
    answer->result = -EBADMSG;
    snprintf(answer->text, sizeof answer->text, "%s: GET %s got %.80s", state->name, PEER_KEY,
             reply->str ? reply->str : "no text");
}

static void read_count(struct peer_state *state, redisReply *reply, struct peer_answer *answer)
{
    if (reply->type == REDIS_REPLY_INTEGER && reply->integer > state->counter &&
        reply->integer <= state->counter + 1 + state->maybe) {
        state->counter = reply->integer;
    } else {
        answer->result = -EBADMSG;
        snprintf(answer->text, sizeof answer->text, "%s: INCR got %lld %.40s, not %lld",
                 state->name, reply->integer, reply->str ? reply->str : "", state->counter + 1);
    }
    state->maybe = 0;
}

void peer_prepare(const struct redis_server *redis)
{
    static const unsigned sizes[] = {PEER_PAGE, PEER_CHUNK, PEER_LARGE};
    char *value = malloc(PEER_LARGE);

    if (!value)
        give_up("no memory");
    memset(value, 'v', PEER_LARGE);
    freeReplyObject(redis_do(redis, "SET %s %s", PEER_KEY, PEER_VALUE));
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
        freeReplyObject(redis_do(redis, "SET peer:%u %b", sizes[i], value, (size_t)sizes[i]));
    free(value);
}

bool peer_value_is(const redisReply *reply, size_t size)
{
    return reply->type == REDIS_REPLY_STRING && reply->len == size && reply->str[0] == 'v' &&
           memcmp(reply->str, reply->str + 1, size - 1) == 0;
}

int peer_read_hastily(struct lendis_pool *pool)
{
    static const char get[] = "*2\r\n$3\r\nGET\r\n$10\r\n" PEER_KEY "\r\n";
    static const char value[] = "$23\r\n" PEER_VALUE "\r\n";
    void *reply = NULL;
    size_t size = 0;
    int result = lendis_exec(pool, get, sizeof get - 1, PEER_HASTY_MS, &reply, &size);

    if (result == 0 && (size != sizeof value - 1 || memcmp(reply, value, size) != 0))
        result = -EBADMSG;
    lendis_free(reply);
    /* DOWN: the connection was lost with its combiner, and there was no time left for another. */
    return result == LENDIS_E_TIMEOUT || result == LENDIS_E_DOWN ? 0 : result;
}

static redisReply *send_order(struct peer_state *state, enum peer_order order)
{
    switch (order) {
    case PEER_READ:
        return lendis_command(state->pool, "GET %s", PEER_KEY);
    case PEER_READ_PAGE:
        return lendis_command(state->pool, "GET peer:%u", PEER_PAGE);
    case PEER_READ_CHUNK:
        return lendis_command(state->pool, "GET peer:%u", PEER_CHUNK);
    case PEER_READ_LARGE:
        return lendis_command(state->pool, "GET peer:%u", PEER_LARGE);
    case PEER_SLOW:
        return lendis_command(state->pool, "EVAL_RO %s 0 %s", PEER_SPIN, PEER_SPIN_SLOW);
    default:
        return lendis_command(state->pool, "INCR %s:%d", state->name, (int)getpid());
    }
}

static void read_sized(struct peer_state *state, const redisReply *reply, size_t size,
                       struct peer_answer *answer)
{
    if (peer_value_is(reply, size))
        return;
    answer->result = -EBADMSG;
    snprintf(answer->text, sizeof answer->text, "%s: GET peer:%zu got %zu bytes %.40s", state->name,
             size, reply->len, reply->str ? reply->str : "");
}

static void check_reply(struct peer_state *state, enum peer_order order, redisReply *reply,
                        struct peer_answer *answer)
{
    switch (order) {
    case PEER_READ:
        read_value(state, reply, answer);
        break;
    case PEER_READ_PAGE:
        read_sized(state, reply, PEER_PAGE, answer);
        break;
    case PEER_READ_CHUNK:
        read_sized(state, reply, PEER_CHUNK, answer);
        break;
    case PEER_READ_LARGE:
        read_sized(state, reply, PEER_LARGE, answer);
        break;
    case PEER_SLOW:
        answer->result =
            reply->type == REDIS_REPLY_STRING && strcmp(reply->str, "slow") == 0 ? 0 : -EBADMSG;
        break;
    default:
        read_count(state, reply, answer);
        break;
    }
}

static void command(struct peer_state *state, const struct peer_request *request,
                    struct peer_answer *answer)
{
    redisReply *reply;

    answer->count = 1;
    if (request->order == PEER_READ_HASTY) {
        answer->result = peer_read_hastily(state->pool);
        snprintf(answer->text, sizeof answer->text, "%s: hasty: %s", state->name,
                 lendis_strerror(answer->result));
        return;
    }
    reply = send_order(state, request->order);
    if (!reply) {
        answer->result = lendis_pool_error(state->pool, NULL);
        state->maybe += answer->result == LENDIS_E_UNCERTAIN && request->order == PEER_WRITE;
        snprintf(answer->text, sizeof answer->text, "%s: command: %s", state->name,
                 lendis_strerror(answer->result));
        return;
    }
    check_reply(state, request->order, reply, answer);
    freeReplyObject(reply);
}

int peer_run(struct peer *peer, const char *socket_path, const char *pool_name)
{
    struct peer_state state = {.name = peer->name};
    struct peer_request request;
    uint32_t worker;
    int result;

    close(peer->link);
    result = lendis_attach(socket_path, pool_name, NULL, &state.pool);
    if (result != 0)
        give_up("%s: attach: %s", peer->name, lendis_strerror(result));
    worker = atomic_load(&state.pool->local->current)->worker;
    if (send(peer->other_link, &worker, sizeof worker, MSG_NOSIGNAL) < 0)
        return 1;
    while (recv(peer->other_link, &request, sizeof request, 0) == sizeof request) {
        struct peer_answer answer = {0};

        if (request.order == PEER_LEASE)
            lease(&state, &request, &answer);
        else if (request.order == PEER_RELEASE)
            release(&state, &request, &answer);
        else
            command(&state, &request, &answer);
        if (answer.when_ns == 0)
            answer.when_ns = now_ns();
        if (send(peer->other_link, &answer, sizeof answer, MSG_NOSIGNAL) < 0)
            return 1;
    }
    return 0;
}

/* ---- the watching process ---- */

static bool readable(const struct peer *peer, int limit_ms)
{
    struct pollfd link = {.fd = peer->link, .events = POLLIN};

    return poll(&link, 1, limit_ms) > 0;
}

void peer_ready(struct peer *peer, pid_t pid)
{
    close(peer->other_link);
    peer->other_link = -1;
    peer->pid = pid;
    if (!readable(peer, 5000) ||
        recv(peer->link, &peer->worker, sizeof peer->worker, 0) != sizeof peer->worker)
        give_up("%s does not attach", peer->name);
}

void peer_close(struct peer *peer)
{
    if (peer->link > 0)
        close(peer->link);
    peer->link = -1;
}

static void ask(struct peer *peer, const struct peer_request *request)
{
    if (peer->asked)
        give_up("%s was asked before it answered", peer->name);
    if (send(peer->link, request, sizeof *request, MSG_NOSIGNAL) < 0)
        give_up("%s is gone: %s", peer->name, strerror(errno));
    peer->asked = true;
    peer->order = request->order;
}

void peer_ask_lease(struct peer *peer, unsigned count, int timeout_ms)
{
    ask(peer, &(struct peer_request){PEER_LEASE, count, timeout_ms});
}

void peer_ask_release(struct peer *peer, unsigned count)
{
    ask(peer, &(struct peer_request){PEER_RELEASE, count, 0});
}

void peer_ask_command(struct peer *peer, enum peer_order order)
{
    ask(peer, &(struct peer_request){order, 1, 0});
}

bool peer_answered(const struct peer *peer)
{
    return readable(peer, 0);
}

bool peer_answer(struct peer *peer, struct peer_answer *answer, int limit_ms)
{
    ssize_t got;

    if (!readable(peer, limit_ms))
        return false;
    got = recv(peer->link, answer, sizeof *answer, 0);
    if (got != sizeof *answer)
        give_up("%s is gone", peer->name);
    peer->asked = false;
    if (peer->order == PEER_LEASE)
        peer->held += answer->count;
    else if (peer->order == PEER_RELEASE)
        peer->held -= answer->count;
    return true;
}
