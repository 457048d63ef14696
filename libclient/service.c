/* SPDX-License-Identifier: MIT */
/*
 * Services: see service.h.
 *
 * How busy a replica is, and whether it is up, is in shared memory: the connections that are out
 * and those who wait, of all processes of the host. So it is asked anew for each call, and costs a
 * scan of all words.
 */
#include "libclient/service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "lendis/queue.h"
#include "libclient/membership/attachment.h"
#include "libclient/attempt.h"
#include "libclient/clock.h"
#include "libclient/membership/membership.h"
#include "libclient/result.h"
#include "libclient/shared/server_error.h"

/* How long a read waits for a connection of a replica before it chooses again: one
 * that dies meanwhile is left then. Far longer than a healthy one takes. */
#define REPLICA_WAIT_MS 250

struct service {
    struct service *next; /* the one before: its members may be in use */
    _Atomic uint64_t instance;
    _Atomic uint32_t version; /* of the catalog's entry, when it was read last */
    _Atomic uint32_t turn;    /* which replica is considered first */
    char primary_name[CATALOG_NAME_SIZE];
    char replica_names[SERVICE_REPLICAS_SIZE];
    struct lendis_pool *primary;
    struct lendis_pool *replicas[SERVICE_REPLICAS_MAX];
    uint32_t count;
};

/* ---- the members ---- */

static void service_free(struct service *service)
{
    lendis_detach(service->primary);
    for (uint32_t i = 0; i < service->count; i++)
        lendis_detach(service->replicas[i]);
    free(service);
}

static int attach_member(const struct lendis_pool *pool, const char *name, size_t size,
                         struct lendis_pool **member)
{
    struct lendis_options options = {
        .size = sizeof options,
        .flags = LENDIS_LAZY,
        .attach_timeout_ms = pool->attach_timeout_ms,
    };
    char copy[CATALOG_NAME_SIZE] = "";

    if (size >= sizeof copy)
        return -EINVAL;
    memcpy(copy, name, size);
    return lendis_attach(pool->socket_path, copy, &options, member);
}

static struct service *service_new(const struct lendis_pool *pool, const struct catalog_pool *entry)
{
    struct service *made = calloc(1, sizeof *made);
    const char *at = entry->replicas;
    int result;

    if (!made)
        return NULL;
    memcpy(made->primary_name, entry->primary, sizeof made->primary_name);
    memcpy(made->replica_names, entry->replicas, sizeof made->replica_names);
    result = attach_member(pool, entry->primary, strnlen(entry->primary, CATALOG_NAME_SIZE),
                           &made->primary);
    while (result == 0 && *at && made->count < SERVICE_REPLICAS_MAX) {
        size_t size = strcspn(at, " ");

        result = attach_member(pool, at, size, &made->replicas[made->count]);
        made->count += result == 0;
        at += size + (at[size] == ' ');
    }
    if (result != 0) {
        service_free(made);
        return NULL;
    }
    return made;
}

/* Makes the members anew if the catalog names others. Caller holds the lock. */
static struct service *renew(struct lendis_pool *pool, const struct attachment *attachment)
{
    struct service *service = atomic_load_explicit(&pool->service, memory_order_relaxed);
    struct catalog_pool entry;
    uint32_t version;

    version = shm_load32(&attachment->catalog.pools[attachment->pool_index].version);
    if (catalog_read_pool(&attachment->catalog, attachment->pool_index, &entry) == -ENOENT)
        return service;
    if (!service || memcmp(service->primary_name, entry.primary, sizeof entry.primary) != 0 ||
        memcmp(service->replica_names, entry.replicas, sizeof entry.replicas) != 0) {
        struct service *made = service_new(pool, &entry);

        if (!made)
            return service;
        made->next = service;
        service = made;
    }
    atomic_store_explicit(&service->version, version, memory_order_relaxed);
    atomic_store_explicit(&service->instance, attachment->catalog.instance, memory_order_relaxed);
    atomic_store_explicit(&pool->service, service, memory_order_release);
    return service;
}

static struct service *service_get(struct lendis_pool *pool, const struct attachment *attachment)
{
    struct service *service = atomic_load_explicit(&pool->service, memory_order_acquire);
    const struct catalog_pool *entry = &attachment->catalog.pools[attachment->pool_index];

    if (service && service->instance == attachment->catalog.instance &&
        service->version == shm_load32(&entry->version))
        return service;
    pthread_mutex_lock(&pool->local->lock);
    service = renew(pool, attachment);
    pthread_mutex_unlock(&pool->local->lock);
    return service;
}

void service_end(struct lendis_pool *pool)
{
    struct service *service = atomic_load_explicit(&pool->service, memory_order_relaxed);

    while (service) {
        struct service *next = service->next;

        service_free(service);
        service = next;
    }
}

/* ---- which replica ---- */

/* Connections out and waiters, for each 1024 connections that it may have. UINT32_MAX: it is not
 * up, or unwell, unless that is all the same. */
static uint32_t load_of(struct lendis_pool *replica, bool unwell)
{
    struct attachment *attachment;
    const struct catalog_pool *entry;
    const struct segment *segment;
    uint32_t out, size;

    if (membership_enter(replica, &attachment) != 0)
        return UINT32_MAX;
    segment = &attachment->segment;
    entry = &attachment->catalog.pools[attachment->pool_index];
    size = entry->size > 0 ? entry->size : 1;
    out = queue_length(segment);
    for (uint32_t i = 0; i < segment->connection_max; i++)
        out += word_is_out(shm_load_relaxed(&segment->connections[i].word));
    if (segment_is_closed(segment) || shm_load32(&entry->backend) == BACKEND_DOWN ||
        (!unwell && shm_load32(&entry->unwell)))
        out = UINT32_MAX;
    else
        out = (uint32_t)((uint64_t)out * 1024 / size);
    membership_leave(attachment);
    return out;
}

/* The least busy one that is up, and well unless that is all the same, and not among `tried`, a bit
 * each; equals take turns. -1: none. */
static int choose(struct service *service, uint32_t tried, bool unwell)
{
    uint32_t first = atomic_fetch_add_explicit(&service->turn, 1, memory_order_relaxed);
    uint32_t least = UINT32_MAX;
    int chosen = -1;

    for (uint32_t i = 0; i < service->count; i++) {
        uint32_t at = (first + i) % service->count, busy;

        if (tried >> at & 1)
            continue;
        busy = load_of(service->replicas[at], unwell);
        if (busy < least) {
            least = busy;
            chosen = (int)at;
        }
    }
    return chosen;
}

/* Its server does not answer, or is no primary any more, as far as the broker knows. */
static bool is_unwell(struct lendis_pool *primary)
{
    struct attachment *attachment;
    bool unwell;

    if (membership_enter(primary, &attachment) != 0)
        return false;
    unwell = shm_load32(&attachment->catalog.pools[attachment->pool_index].unwell) != 0;
    membership_leave(attachment);
    return unwell;
}

/* ---- calls ---- */

/* What is left of timeout_ms, which is as lendis_exec() has it; false: nothing. */
static bool time_left(int timeout_ms, int64_t start_ns, int *left_ms)
{
    int64_t used_ms = (clock_now_ns() - start_ns) / 1000000;

    *left_ms = timeout_ms;
    if (timeout_ms > 0)
        *left_ms = used_ms < timeout_ms ? timeout_ms - (int)used_ms : 0;
    return timeout_ms <= 0 || *left_ms > 0;
}

/* Another member may do better. Nothing was changed by what only reads. */
static bool goes_on(int result)
{
    return result == LENDIS_E_DOWN || result == LENDIS_E_TIMEOUT || result == LENDIS_E_BUSY ||
           result == LENDIS_E_DISABLED || result == LENDIS_E_DENIED || result == -ESRCH;
}

/* A sink before the caller's, which remembers how the first reply begins. */
struct peek {
    const struct reply_sink *to;
    char begin[SERVER_ERROR_SIZE];
    size_t size;
};

static int peek_take(void *context, const char *data, size_t size)
{
    struct peek *peek = context;
    size_t room = sizeof peek->begin - peek->size, part = size < room ? size : room;

    if (part > 0)
        memcpy(peek->begin + peek->size, data, part);
    peek->size += part;
    return peek->to->take(peek->to->context, data, size);
}

static void peek_restart(void *context)
{
    struct peek *peek = context;

    peek->size = 0;
    peek->to->restart(peek->to->context);
}

static bool peek_whole(void *context, uint32_t replies)
{
    const struct peek *peek = context;

    return !peek->to->whole || peek->to->whole(peek->to->context, replies);
}

/* The node says that it cannot serve now, and that another one may. */
static bool says_elsewhere(const struct peek *peek)
{
    return peek->size > 0 && *peek->begin == '-' &&
           (server_error_flags(server_error_classify(peek->begin, peek->size)) & ERROR_ELSEWHERE);
}

/* A script or function that this node does not have: the primary may have it, where they are
 * loaded. */
static bool lacks_script(const struct peek *peek)
{
    static const char script[] = "-NOSCRIPT ", function[] = "-ERR Function not found";

    return (peek->size >= sizeof script - 1 &&
            memcmp(peek->begin, script, sizeof script - 1) == 0) ||
           (peek->size >= sizeof function - 1 &&
            memcmp(peek->begin, function, sizeof function - 1) == 0);
}

/* A call to a service. */
struct service_call {
    struct service *service;
    const struct call *call;
    int timeout_ms, left_ms;
    int64_t start_ns;
    uint32_t tried;  /* replicas, a bit each */
    bool lost;       /* one of them was lost while it answered */
    bool unscripted; /* one of them had not the script or function */
};

/* Whether another node may have what this one lacks. One that died while it answered may have
 * done so because of the read: once is a replica's death, twice is the read's fault. */
static bool another_may_do(struct service_call *routed, int result, const struct peek *peek)
{
    bool lost = routed->lost;

    if (result == 0)
        return says_elsewhere(peek) || lacks_script(peek);
    routed->lost = lost || result == LENDIS_E_UNCERTAIN;
    return goes_on(result) || (result == LENDIS_E_UNCERTAIN && !lost);
}

/* `call`, by the handle of a member, with a sink of its own. */
static int call_member(struct lendis_pool *member, const struct call *call, int timeout_ms,
                       int wait_ms, const struct reply_sink *sink)
{
    uint32_t losses = 0;
    struct call own;

    if (call_init(&own, call->request, call->size, sink) != 0)
        return -EINVAL;
    own.losses = &losses;
    return service_call(member, &own, timeout_ms, wait_ms);
}

/* Tries replicas, one after the other. True: *result is the call's. */
static bool ask_replicas(struct service_call *routed, bool unwell, int *result)
{
    const struct call *call = routed->call;
    int replica;

    while ((replica = choose(routed->service, routed->tried, unwell)) >= 0) {
        struct peek peek = {.to = call->sink};
        const struct reply_sink sink = {peek_take, peek_restart, &peek, peek_whole};

        *result = call_member(routed->service->replicas[replica], call, routed->left_ms,
                              REPLICA_WAIT_MS, &sink);
        if (!another_may_do(routed, *result, &peek))
            return true;
        if (!time_left(routed->timeout_ms, routed->start_ns, &routed->left_ms))
            return true;
        call->sink->restart(call->sink->context);
        routed->tried |= 1u << replica;
        routed->unscripted = *result == 0 && lacks_script(&peek);
        if (routed->unscripted)
            return false; /* as others will be */
    }
    return false;
}

/* The call of a service, whose entry `attachment` has. Results as service_call(). */
static int spread_call(struct lendis_pool *pool, const struct attachment *attachment,
                       const struct call *call, int timeout_ms)
{
    /* A cursor is good at the node that gave it alone, and the next call may be another
     * process'. */
    bool spread =
        (call->command.flags & (COMMAND_READ_ONLY | COMMAND_OF_NODE)) == COMMAND_READ_ONLY;
    struct service_call routed = {
        .service = service_get(pool, attachment),
        .call = call,
        .timeout_ms = timeout_ms,
        .left_ms = timeout_ms,
        .start_ns = timeout_ms > 0 ? clock_now_ns() : 0,
    };
    int result, last;

    if (!routed.service)
        return -ENOMEM;
    if (spread && ask_replicas(&routed, false, &result))
        return result;
    /* Nobody is known to be well: whoever answers at all is better than one who may not. */
    if (spread && !routed.unscripted && is_unwell(routed.service->primary) &&
        ask_replicas(&routed, true, &result))
        return result;
    result = call_member(routed.service->primary, call, routed.left_ms, 0, call->sink);
    if (!spread || !goes_on(result) ||
        !time_left(routed.timeout_ms, routed.start_ns, &routed.left_ms))
        return result;
    /* Nobody is well: an unwell replica may still have an answer. */
    call->sink->restart(call->sink->context);
    return ask_replicas(&routed, true, &last) ? last : result;
}

int service_call(struct lendis_pool *pool, struct call *call, int timeout_ms, int wait_ms)
{
    struct attachment *attachment;
    int result = attempt_call(pool, call, timeout_ms, wait_ms);

    if (result != RESULT_SERVICE)
        return result;
    result = membership_enter(pool, &attachment);
    if (result != 0)
        return membership_result(pool, result);
    result = spread_call(pool, attachment, call, timeout_ms);
    membership_leave(attachment);
    return result;
}

struct lendis_pool *service_lease_pool(struct lendis_pool *pool,
                                       const struct attachment *attachment)
{
    struct service *service = service_get(pool, attachment);
    int replica = -1;

    if (!service)
        return NULL;
    if (pool->flags & LENDIS_REPLICA)
        replica = choose(service, 0, false);
    if ((pool->flags & LENDIS_REPLICA) && replica < 0 && is_unwell(service->primary))
        replica = choose(service, 0, true);
    return replica >= 0 ? service->replicas[replica] : service->primary;
}
