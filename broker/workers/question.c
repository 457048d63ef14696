/* SPDX-License-Identifier: MIT */
/* Questions of those without HELLO: see question.h. */
#include "broker/workers/question.h"

#include <errno.h>
#include <string.h>
#include "broker/pool/server/credential.h"
#include "broker/workers/direct_request.h"
#include "broker/workers/internal.h"
#include "broker/workers/peer.h"
#include "broker/workers/places.h"
#include "lendis.h"

static bool may_use_any(const struct worker *worker)
{
    const struct workers *all = worker->all;

    for (uint32_t i = 0; i < all->pool_count; i++)
        if (broker_pool_exists(&all->pools[i]) &&
            peer_is_allowed(worker->socket, &worker->peer, all->pools[i].config))
            return true;
    return false;
}

/* The descriptor counts against our user only until it is read, or its socket closed: unix(7). */
static void answer_addresses(struct worker *worker)
{
    struct wire_descriptor answer = {.what = WIRE_CATALOG};

    wire_header(&answer.header, WIRE_DESCRIPTOR, sizeof answer);
    answer.result = may_use_any(worker) ? 0 : LENDIS_E_DENIED;
    if (answer.result == 0)
        answer.result = wire_send(worker->socket, &answer, worker->all->catalog_fd);
    if (answer.result != 0)
        wire_send(worker->socket, &answer, -1);
}

static int judge_login(struct worker *worker, const struct wire_login *login)
{
    struct broker_pool *pool;
    const char *username;

    if (!memchr(login->pool, '\0', sizeof login->pool) ||
        !memchr(login->username, '\0', sizeof login->username) ||
        login->size > sizeof login->password)
        return -EINVAL;
    pool = workers_find_pool(worker->all, login->pool);
    if (!pool)
        return -ESRCH;
    if (!worker_may_use(worker, pool))
        return LENDIS_E_DENIED;
    username = pool->config->username ? pool->config->username : "default";
    if (strcmp(login->username, username) != 0)
        return -EACCES;
    return credential_is(pool, login->password, login->size) ? 0 : -EACCES;
}

static void answer_login(struct worker *worker, const void *message)
{
    struct wire_outcome answer = {0};
    struct wire_login login;

    memcpy(&login, message, sizeof login);
    answer.result = judge_login(worker, &login);
    explicit_bzero(&login, sizeof login);
    wire_header(&answer.header, WIRE_OUTCOME, sizeof answer);
    wire_send(worker->socket, &answer, -1);
}

bool question_answer(struct worker *worker, const void *message, size_t size)
{
    if (wire_is(message, size, WIRE_LOGIN, sizeof(struct wire_login))) {
        answer_login(worker, message);
    } else if (wire_is(message, size, WIRE_ADDRESSES, sizeof(struct wire_header))) {
        answer_addresses(worker);
    } else {
        return false;
    }
    /* What was sent before the close can still be read: unix(7). */
    worker_leave(worker, false);
    return true;
}
