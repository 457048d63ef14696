/* SPDX-License-Identifier: MIT */
/* Connections of this process alone: see private_connection.h. */
#include "libclient/connection/private_connection.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
#include "libclient/membership/broker_link.h"
#include "libclient/membership/socket_cookie.h"
#include "libclient/connection/socket_io.h"

/* Whether the socket that connection `place` was had over is still that one. */
static bool has_token(const struct private_connection *place)
{
    return place->token >= 0 && socket_is(place->token, place->token_cookie);
}

void private_connection_close_inherited(struct fallback *fallback)
{
    for (struct private_connection *each = fallback->all; each; each = each->next) {
        if (each->lease.fd >= 0 && socket_is(each->lease.fd, each->lease.cookie))
            close(each->lease.fd);
        if (has_token(each))
            close(each->token); /* the parent has it, too */
        each->lease.fd = each->token = -1;
    }
}

int private_connection_claim(struct fallback *fallback, uint32_t limit,
                             struct private_connection **place)
{
    struct private_connection *found = NULL;
    int result = LENDIS_E_BUSY;

    pthread_mutex_lock(&fallback->lock);
    if (fallback->open < limit) {
        for (found = fallback->all; found; found = found->next)
            if (found->lease.fd < 0 && !atomic_load(&found->lease.held))
                break;
        if (!found && (found = calloc(1, sizeof *found))) {
            found->lease.attachment = &fallback->attachment;
            found->lease.private = true;
            found->lease.fd = found->token = -1;
            found->next = fallback->all;
            fallback->all = found;
        }
        result = found ? 0 : -ENOMEM;
    }
    if (result == 0) {
        atomic_store(&found->lease.held, true);
        fallback->open++;
    }
    pthread_mutex_unlock(&fallback->lock);
    *place = found;
    return result;
}

void private_connection_free(struct fallback *fallback, struct private_connection *place)
{
    int fd = place->lease.fd, token = has_token(place) ? place->token : -1;

    pthread_mutex_lock(&fallback->lock);
    place->lease.fd = place->token = -1;
    atomic_store(&place->lease.held, false);
    fallback->open--;
    pthread_mutex_unlock(&fallback->lock);
    if (fd >= 0)
        close(fd);
    if (token >= 0)
        link_end_direct(token);
}

/* Whether the broker that it is of counts it still: nothing comes over the token but its end. */
static bool is_counted(const struct private_connection *place)
{
    struct pollfd end = {.fd = place->token, .events = POLLIN};

    return place->token < 0 || (has_token(place) && poll(&end, 1, 0) == 0);
}

struct private_connection *private_connection_take_idle(struct fallback *fallback)
{
    struct private_connection *found;

    do {
        pthread_mutex_lock(&fallback->lock);
        found = fallback->idle;
        if (found) {
            fallback->idle = found->next_idle;
            atomic_store(&found->lease.held, true);
        }
        pthread_mutex_unlock(&fallback->lock);
        if (!found || (is_counted(found) && socket_is_silent(found->lease.fd)))
            return found;
        private_connection_free(fallback, found);
    } while (true);
}

void private_connection_keep(struct fallback *fallback, struct private_connection *place)
{
    pthread_mutex_lock(&fallback->lock);
    atomic_store(&place->lease.held, false);
    place->next_idle = fallback->idle;
    fallback->idle = place;
    pthread_mutex_unlock(&fallback->lock);
}

bool private_connection_owns(const struct lendis_lease *lease)
{
    const struct fallback *fallback =
        atomic_load_explicit(&lease->attachment->pool->local->fallback, memory_order_relaxed);

    return fallback && lease->attachment == &fallback->attachment &&
           atomic_load_explicit(&lease->held, memory_order_relaxed);
}

void private_connection_close_idle(struct lendis_pool *pool)
{
    struct fallback *fallback = atomic_load_explicit(&pool->local->fallback, memory_order_acquire);
    struct private_connection *connection;

    if (!fallback)
        return;
    do {
        pthread_mutex_lock(&fallback->lock);
        connection = fallback->idle;
        if (connection)
            fallback->idle = connection->next_idle;
        pthread_mutex_unlock(&fallback->lock);
        if (connection)
            private_connection_free(fallback, connection);
    } while (connection);
}

/* Closes what there is, and lets the broker know that it can be had again. */
static void close_own(struct fallback *fallback)
{
    for (struct private_connection *each = fallback->all; each; each = each->next) {
        if (each->lease.context)
            each->lease.context_end(&each->lease);
        if (each->lease.fd >= 0 && socket_is(each->lease.fd, each->lease.cookie))
            close(each->lease.fd);
        if (has_token(each))
            link_end_direct(each->token);
        each->lease.fd = each->token = -1;
    }
}

void private_connection_end(struct lendis_pool *pool)
{
    struct fallback *own = atomic_load_explicit(&pool->local->fallback, memory_order_relaxed);

    while (pool->fallbacks) {
        struct fallback *fallback = pool->fallbacks;

        pool->fallbacks = fallback->next;
        if (fallback == own)
            close_own(fallback);
        private_connection_close_inherited(fallback);
        while (fallback->all) {
            struct private_connection *next = fallback->all->next;

            free(fallback->all);
            fallback->all = next;
        }
        free(fallback);
    }
}
