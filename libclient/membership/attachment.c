/* SPDX-License-Identifier: MIT */
/*
 * An attachment: this process as a worker of one broker. It owns its socket, doorbell, mappings and
 * the cached descriptors of connections; it is filled (attach.c) and emptied under the pool's lock.
 */
#include "libclient/membership/attachment.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "libclient/membership/broker_link.h"
#include "libclient/connection/private_connection.h"
#include "libclient/membership/socket_cookie.h"

static void forget_cached(struct cached_descriptor *cached, bool and_close)
{
    if (and_close && descriptor_is_cached(cached))
        close(cached->fd);
    atomic_store_explicit(&cached->generation, 0, memory_order_relaxed);
    cached->cookie = 0;
    cached->fd = -1;
}

void attachment_forget_wakeups(struct attachment *attachment)
{
    atomic_store_explicit(&attachment->has_wakeups, false, memory_order_relaxed);
    for (uint32_t group = 0; group < POLL_WAKEUPS; group++)
        attachment->wakeups[group] = -1;
}

/*
 * The lease of this process that holds connection `index` in `generation`, or NULL. More than one
 * lease of a connection can be held at a time when the older ones were revoked and their holders do
 * not know it yet. Caller holds the lock.
 */
static struct lendis_lease *find_lease(struct attachment *attachment, uint32_t index,
                                       uint64_t generation)
{
    struct lendis_lease *lease = lease_of(attachment, index);

    if (lease && atomic_load_explicit(&lease->held, memory_order_acquire) &&
        word_generation(lease->word) == generation)
        return lease;
    for (lease = attachment->extra; lease; lease = lease->next_extra)
        if (atomic_load_explicit(&lease->held, memory_order_relaxed) && lease->index == index &&
            word_generation(lease->word) == generation)
            return lease;
    return NULL;
}

#define PAGE 4096u
/* The ring of the queue that so many workers need at most is small enough to be touched, too. */
#define TOUCHED_CELLS_MAX (4 * PAGE)

void attachment_touch(const struct attachment *attachment)
{
    const struct segment *segment = &attachment->segment;
    size_t cells = segment->cell_count * sizeof segment->cells[0];
    const char *end = (const char *)segment->cells + (cells <= TOUCHED_CELLS_MAX ? cells : 0);

    for (char *at = segment->base; at < end; at += PAGE)
        shm_touch(at);
    shm_touch(&segment->slots[attachment->worker]);
    shm_touch(&segment->workers[attachment->worker]);
}

void attachment_empty(struct attachment *attachment)
{
    LENDIS_STEP("empty");
    /* First: a child forked in the middle of this must not touch it. */
    atomic_store_explicit(&attachment->retired, true, memory_order_relaxed);
    atomic_store_explicit(&attachment->filled, false, memory_order_relaxed);
    while (attachment->extra) {
        struct lendis_lease *next = attachment->extra->next_extra;

        free(attachment->extra);
        attachment->extra = next;
    }
    for (uint32_t i = 0; attachment->leases && i < attachment->segment.connection_max; i++) {
        struct lendis_lease *lease = lease_of(attachment, i);

        if (lease && lease->context)
            lease->context_end(lease);
        free(lease);
    }
    for (uint32_t i = 0; attachment->cached && i < attachment->segment.connection_max; i++)
        forget_cached(&attachment->cached[i], true);
    free(attachment->leases);
    free(attachment->cached);
    attachment->leases = NULL;
    attachment->cached = NULL;
    atomic_store_explicit(&attachment->descriptors, 0, memory_order_relaxed);
    segment_unmap(&attachment->segment);
    catalog_unmap(&attachment->catalog);
    attachment->peer.size = 0;
    LENDIS_STEP("close");
    for (uint32_t group = 0; group < POLL_WAKEUPS; group++)
        link_close_fd(&attachment->wakeups[group]);
    atomic_store_explicit(&attachment->has_wakeups, false, memory_order_relaxed);
    link_close_fd(&attachment->doorbell);
    link_close_fd(&attachment->socket);
}

void attachment_leave(struct attachment *attachment)
{
    LENDIS_STEP("goodbye");
    if (socket_is(attachment->socket, attachment->cookie)) {
        link_goodbye(attachment->socket);
        /* A child forked before may have a copy of it. */
        shutdown(attachment->socket, SHUT_RDWR);
    }
    attachment_empty(attachment);
}

void attachment_check_descriptors(struct attachment *attachment)
{
    for (uint32_t i = 0; i < attachment->segment.connection_max; i++) {
        struct cached_descriptor *cached = &attachment->cached[i];

        if (descriptor_is_cached(cached) && !socket_is(cached->fd, cached->cookie))
            forget_cached(cached, false);
    }
}

/*
 * The program has closed descriptors that are not its own, as "daemonize" steps do: our socket's
 * number is another's by now, or nobody's. What cannot be told from the program's own is forgotten,
 * not closed.
 */
static bool is_robbed(struct attachment *attachment)
{
    if (attachment->cookie == 0 || socket_is(attachment->socket, attachment->cookie))
        return false;
    attachment->socket = -1;
    attachment->doorbell = -1;
    attachment_forget_wakeups(attachment);
    attachment_check_descriptors(attachment);
    return true;
}

static bool can_ask(struct attachment *attachment)
{
    return attachment->socket >= 0 && !is_robbed(attachment);
}

/* After a question that got `result` for an answer. */
static int settle(struct attachment *attachment, int result)
{
    if (result == LENDIS_E_TIMEOUT)
        return LENDIS_E_DOWN; /* now */
    if (result != LENDIS_E_DOWN && result != -EPROTO)
        return result;
    link_close_fd(&attachment->socket);
    atomic_store_explicit(&attachment->hung_up, true, memory_order_relaxed);
    return LENDIS_E_DOWN;
}

/* Caller holds the lock. */
static int fetch_wakeups(struct attachment *attachment)
{
    int result = can_ask(attachment) ? 0 : LENDIS_E_DOWN;

    for (uint32_t group = 0; group < POLL_WAKEUPS && result == 0; group++)
        if (attachment->wakeups[group] < 0)
            result =
                link_fetch(attachment, WIRE_POLL_WAKEUP, group, 0, &attachment->wakeups[group]);
    if (result != 0)
        return settle(attachment, result);
    result = link_renumber(&attachment->socket);
    if (result == 0)
        atomic_store_explicit(&attachment->has_wakeups, true, memory_order_release);
    return result;
}

int attachment_fetch_wakeups(struct attachment *attachment)
{
    int result = 0;

    if (atomic_load_explicit(&attachment->has_wakeups, memory_order_acquire))
        return 0;
    pthread_mutex_lock(&attachment->pool->local->lock);
    if (!atomic_load_explicit(&attachment->has_wakeups, memory_order_relaxed))
        result = fetch_wakeups(attachment);
    pthread_mutex_unlock(&attachment->pool->local->lock);
    return result;
}

int attachment_descriptor(struct attachment *attachment, uint32_t index, uint64_t generation,
                          int *fd)
{
    struct cached_descriptor *cached = &attachment->cached[index];
    struct lendis_lease *revoked;
    int result, got;

    if (atomic_load_explicit(&cached->generation, memory_order_relaxed) == 1 + generation) {
        *fd = cached->fd;
        return 0;
    }
    pthread_mutex_lock(&attachment->pool->local->lock);
    result = can_ask(attachment) ? link_fetch(attachment, WIRE_CONNECTION, index, generation, &got)
                                 : LENDIS_E_DOWN;
    if (result == 0) {
        /* Whoever still holds a revoked lease of the old generation uses the old descriptor, and
         * closes it. */
        revoked = find_lease(attachment, index,
                             atomic_load_explicit(&cached->generation, memory_order_relaxed) - 1);
        if (revoked)
            revoked->owns_fd = true;
        else
            forget_cached(cached, true);
        cached->fd = got;
        cached->cookie = socket_cookie(got);
        redis_peer_note(&attachment->peer, got);
        atomic_store_explicit(&cached->generation, 1 + generation, memory_order_relaxed);
        atomic_fetch_or_explicit(&attachment->descriptors, 1u << (index % 32),
                                 memory_order_relaxed);
        attachment_count(attachment, COUNTER_fetches, 1);
        private_connection_close_idle(attachment->pool);
        *fd = got;
    } else {
        result = settle(attachment, result);
    }
    pthread_mutex_unlock(&attachment->pool->local->lock);
    return result;
}

void attachment_forget_descriptor(struct attachment *attachment, uint32_t index,
                                  uint64_t generation)
{
    struct cached_descriptor *cached = &attachment->cached[index];

    pthread_mutex_lock(&attachment->pool->local->lock);
    if (atomic_load_explicit(&cached->generation, memory_order_relaxed) == 1 + generation)
        forget_cached(cached, false);
    pthread_mutex_unlock(&attachment->pool->local->lock);
}

void attachment_classify(const struct attachment *attachment, const char *request, size_t size,
                         struct command *command)
{
    const struct catalog_pool *entry = &attachment->catalog.pools[attachment->pool_index];
    uint32_t before, count;

    if (atomic_load_explicit(&entry->commands_size, memory_order_relaxed) == 0)
        return;
    /* Read where it stands, so that a change counts at once. The request is whole commands, as it
     * was before. A broker that died while it wrote leaves what it wrote so far. */
    for (int tries = 0; tries < 1000; tries++) {
        before = atomic_load_explicit(&entry->version, memory_order_acquire);
        command_parse(request, size, entry->commands, command, &count);
        atomic_thread_fence(memory_order_acquire);
        if ((before & 1) == 0 &&
            before == atomic_load_explicit(&entry->version, memory_order_relaxed))
            return;
    }
}

void attachment_ring(const struct attachment *attachment)
{
    uint64_t one = 1;

    LENDIS_STEP("ring");
    /* EAGAIN: it rings already, and loudly. */
    if (write(attachment->doorbell, &one, sizeof one) < 0)
        return;
}
