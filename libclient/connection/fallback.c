/* SPDX-License-Identifier: MIT */
/*
 * Connections of this process alone: see fallback.h.
 *
 * A lease of such a connection has, in place of an attachment to a broker, a stand-in that this
 * file owns: the pool's settings, and counters that are added to those of the real attachment as
 * soon as there is one. So sending, receiving and following the session are the same code for both.
 * A connection that comes back clean is kept for the next lease, any other is closed: a private
 * connection is never reset, so nothing of it can be left to the next holder (I3).
 *
 * As many as the broker allows are had from it, at most `size` in this process (private.h there);
 * at most fallback_connections are dialled by the process itself (I8).
 */
#include "libclient/connection/fallback.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "libclient/membership/attachment.h"
#include "libclient/membership/broker_link.h"
#include "libclient/clock.h"
#include "libclient/connection/dial.h"
#include "libclient/lending.h"
#include "libclient/membership/membership.h"
#include "libclient/connection/private_connection.h"
#include "libclient/result.h"
#include "libclient/membership/socket_cookie.h"

/* What holds where no broker has said otherwise: lendis.conf(5)'s defaults. */
#define CONNECTIONS_DEFAULT     8u
#define CONNECT_TIMEOUT_DEFAULT 5000u
#define WAIT_TIMEOUT_DEFAULT    5000u
#define COMMAND_TIMEOUT_DEFAULT 10000u
/* Between two checks whether there may be one more, doubled from the least to the most. */
#define PAUSE_LEAST_NS 1000000
#define PAUSE_MOST_NS  32000000

/* ---- the stand-in ---- */

/* How many this process may dial itself. */
static uint32_t own_limit(const struct lendis_pool *pool)
{
    return pool->fallback_connections ? pool->fallback_connections : CONNECTIONS_DEFAULT;
}

static struct fallback *fallback_new(struct lendis_pool *pool)
{
    struct fallback *made = aligned_alloc(128, (sizeof *made + 127) / 128 * 128);

    if (!made)
        return NULL;
    memset(made, 0, sizeof *made);
    pthread_mutex_init(&made->lock, NULL);
    made->settings.size = own_limit(pool);
    made->settings.connect_timeout_ms = CONNECT_TIMEOUT_DEFAULT;
    made->attachment.pool = pool;
    made->attachment.socket = made->attachment.doorbell = -1;
    shm_store32(&made->settings.wait_timeout_ms, WAIT_TIMEOUT_DEFAULT);
    shm_store32(&made->settings.command_timeout_ms, COMMAND_TIMEOUT_DEFAULT);
    made->attachment.catalog.header = &made->header;
    made->attachment.catalog.pools = &made->settings;
    made->attachment.segment.workers = &made->counted;
    made->attachment.segment.shards = &made->measured;
    return made;
}

static struct fallback *fallback_get(struct lendis_pool *pool)
{
    struct local *local = pool->local;
    struct fallback *fallback = atomic_load_explicit(&local->fallback, memory_order_acquire);

    if (fallback)
        return fallback;
    pthread_mutex_lock(&local->lock);
    fallback = atomic_load_explicit(&local->fallback, memory_order_relaxed);
    if (!fallback) {
        for (struct fallback *each = pool->fallbacks; each; each = each->next)
            private_connection_close_inherited(each);
        fallback = fallback_new(pool);
        if (fallback) {
            fallback->next = pool->fallbacks;
            pool->fallbacks = fallback;
            atomic_store_explicit(&local->fallback, fallback, memory_order_release);
        }
    }
    pthread_mutex_unlock(&local->lock);
    return fallback;
}

struct attachment *fallback_attachment(struct lendis_pool *pool)
{
    struct fallback *fallback = fallback_get(pool);

    return fallback ? &fallback->attachment : NULL;
}

/* Takes over what the broker says of the pool. */
static void learn(struct fallback *fallback, const struct attachment *attachment)
{
    struct catalog_pool settings;

    if (catalog_read_pool(&attachment->catalog, attachment->pool_index, &settings) != 0)
        return;
    pthread_mutex_lock(&fallback->lock);
    catalog_write_begin(&fallback->settings);
    fallback->settings.size = settings.size;
    fallback->settings.connect_timeout_ms = settings.connect_timeout_ms;
    memcpy(fallback->settings.commands, settings.commands, sizeof settings.commands);
    shm_store32(&fallback->settings.commands_size, settings.commands_size);
    shm_store32(&fallback->settings.wait_timeout_ms, settings.wait_timeout_ms);
    shm_store32(&fallback->settings.command_timeout_ms, settings.command_timeout_ms);
    catalog_write_end(&fallback->settings);
    pthread_mutex_unlock(&fallback->lock);
}

/* Adds what was counted here to what `attachment` has counted. */
static void report(struct fallback *fallback, const struct attachment *attachment)
{
    for (uint32_t i = 0; i < COUNTER_COUNT; i++) {
        uint64_t counted = atomic_exchange(&fallback->counted.counters[i], 0);

        if (counted != 0)
            attachment_count(attachment, (enum counter)i, counted);
    }
}

/* ---- connections ---- */

/* Dials itself. Results: as fallback_acquire(). */
static int dial_one(struct fallback *fallback, int64_t deadline_ns, int *fd)
{
    const struct lendis_pool *pool = fallback->attachment.pool;
    uint32_t open;

    if (!pool->fallback_address)
        return LENDIS_E_DOWN;
    pthread_mutex_lock(&fallback->lock);
    open = fallback->open; /* with the place for this one */
    pthread_mutex_unlock(&fallback->lock);
    return open > own_limit(pool) ? LENDIS_E_BUSY : dial(pool->fallback_address, deadline_ns, fd);
}

/* A new connection, for `place`, from where there is one to be had. Results: as
 * fallback_acquire(). */
static int open_one(struct fallback *fallback, bool ask, int64_t deadline_ns,
                    struct private_connection *place)
{
    struct lendis_pool *pool = fallback->attachment.pool;
    int64_t left_ns = deadline_ns - clock_now_ns();
    int result = LENDIS_E_DOWN;

    if (ask)
        result = link_ask_direct(pool, left_ns > 0 ? (int)(left_ns / 1000000 + 1) : 1,
                                 &place->lease.fd, &place->token);
    if (!ask || fallback_applies(pool, result))
        return dial_one(fallback, deadline_ns, &place->lease.fd);
    if (result == 0) {
        dial_prepare(place->lease.fd);
        place->token_cookie = socket_cookie(place->token);
    }
    return result == -ESTALE ? RESULT_TRY_AGAIN : membership_result(pool, result);
}

/* One attempt; `deadline_ns` as lease.h has it. */
static int lease_one(struct fallback *fallback, int why, const struct attachment *attachment,
                     int64_t deadline_ns, struct private_connection **connection)
{
    bool ask = why == LENDIS_E_DISABLED && attachment && !attachment_is_orphan(attachment);
    struct private_connection *place = private_connection_take_idle(fallback);
    int64_t limit_ns;
    int result;

    if (place) {
        *connection = place;
        return 0;
    }
    result = private_connection_claim(
        fallback, ask ? fallback->settings.size : own_limit(fallback->attachment.pool), &place);
    if (result != 0)
        return result;
    limit_ns = clock_deadline_ns(fallback->settings.connect_timeout_ms);
    if (deadline_ns > 0 && deadline_ns < limit_ns)
        limit_ns = deadline_ns;
    result = open_one(fallback, ask, limit_ns, place);
    if (result != 0) {
        place->lease.fd = place->token = -1;
        private_connection_free(fallback, place);
        return result;
    }
    place->lease.cookie = socket_cookie(place->lease.fd);
    *connection = place;
    return 0;
}

static void lease_begin(struct lendis_lease *lease)
{
    lease->exclusive = false;
    lease->exposed = false;
    lease->bare = false;
    lease->broken = false;
    lease->rested = false; /* private_connection_take_idle() has checked */
    lease->session = (struct session){0};
    attachment_count(lease->attachment, COUNTER_direct, 1);
}

bool fallback_applies(const struct lendis_pool *pool, int why)
{
    return pool->fallback_address && (why == -ENOENT || why == -ECONNREFUSED || why == -EAGAIN ||
                                      why == LENDIS_E_TIMEOUT || why == LENDIS_E_DOWN);
}

/* Whether there is one for `why`. */
static bool is_offered(const struct lendis_pool *pool, int why, const struct attachment *attachment)
{
    if (why != LENDIS_E_DISABLED)
        return fallback_applies(pool, why);
    if (attachment_is_orphan(attachment))
        return pool->fallback_address != NULL;
    return shm_load32(&attachment->catalog.pools[attachment->pool_index].fallback) ==
           FALLBACK_DIRECT;
}

int fallback_acquire(struct lendis_pool *pool, int why, const struct attachment *attachment,
                     int64_t deadline_ns, struct lendis_lease **lease)
{
    struct timespec pause = {.tv_nsec = PAUSE_LEAST_NS};
    struct private_connection *connection;
    struct fallback *fallback;
    int result;

    if (!is_offered(pool, why, attachment))
        return membership_result(pool, why);
    fallback = fallback_get(pool);
    if (!fallback)
        return -ENOMEM;
    if (attachment)
        learn(fallback, attachment);
    if (deadline_ns == DEADLINE_OF_POOL)
        deadline_ns = clock_deadline_ns(fallback->settings.wait_timeout_ms);
    while ((result = lease_one(fallback, why, attachment, deadline_ns, &connection)) ==
           LENDIS_E_BUSY) {
        if (deadline_ns == 0)
            return result;
        if (clock_now_ns() >= deadline_ns)
            return LENDIS_E_TIMEOUT;
        /* Threads of this process can give one back, or other processes, if it is the broker that
         * has no more. */
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < PAUSE_MOST_NS)
            pause.tv_nsec *= 2;
    }
    if (result != 0)
        return result;
    lease_begin(&connection->lease);
    *lease = &connection->lease;
    return 0;
}

/* Whether the pool still lends nothing; reports to it what was counted, if it can be reached. */
static bool is_needed(struct fallback *fallback)
{
    struct lendis_pool *pool = fallback->attachment.pool;
    struct attachment *current = atomic_load_explicit(&pool->local->current, memory_order_acquire);
    bool needed = true;

    if (!current)
        return true;
    /* As membership_enter(), but for attaching. */
    membership_use(current);
    if (atomic_load_explicit(&pool->local->current, memory_order_seq_cst) == current) {
        needed = attachment_is_orphan(current) || lending_is_disabled(current);
        report(fallback, current);
    }
    membership_leave(current);
    return needed;
}

void fallback_release(struct lendis_lease *lease, bool broken)
{
    struct private_connection *connection = (struct private_connection *)lease;
    struct fallback *fallback =
        (struct fallback *)((char *)lease->attachment - offsetof(struct fallback, attachment));
    bool needed = is_needed(fallback);

    if (lease->context)
        lease->context_end(lease);
    lease->context = NULL;
    /* The caller has closed it by mistake: the number may be another's by now. */
    if (lease->exposed && !socket_is(lease->fd, lease->cookie))
        lease->fd = -1;
    if (!needed || broken || lease->broken || lease->exposed || lease->session.left != 0) {
        private_connection_free(fallback, connection);
        return;
    }
    private_connection_keep(fallback, connection);
}
