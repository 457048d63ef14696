/* SPDX-License-Identifier: MIT */
/* How an attachment comes about: see attach.h. */
#include "libclient/membership/attach.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "libclient/membership/attachment.h"
#include "libclient/membership/broker_link.h"
#include "libclient/membership/inherit.h"
#include "libclient/shared/descriptor.h"
#include "libclient/membership/socket_cookie.h"

/* Fetches the memfd `what`, which is closed once it is mapped. */
static int fetch_passing(struct attachment *attachment, enum wire_what what)
{
    struct passing_file *passing = &attachment->passing;
    int fd, result = link_fetch(attachment, what, 0, 0, &fd);
    struct stat stat;

    if (result != 0)
        return result;
    if (fstat(fd, &stat) == 0) {
        passing->device = stat.st_dev;
        passing->inode = stat.st_ino;
    }
    *(volatile int *)&passing->fd = fd;
    return 0;
}

static int fetch_catalog(struct attachment *attachment, uint32_t pool)
{
    int result = fetch_passing(attachment, WIRE_CATALOG);

    if (result != 0)
        return result;
    result = catalog_map_pool(attachment->passing.fd, pool, &attachment->catalog);
    link_close_fd(&attachment->passing.fd);
    return result == -EPROTONOSUPPORT ? LENDIS_E_ABI : result;
}

static int fetch_segment(struct attachment *attachment)
{
    int result = fetch_passing(attachment, WIRE_SEGMENT);

    if (result != 0)
        return result;
    result = segment_map_tables(attachment->passing.fd, &attachment->segment);
    link_close_fd(&attachment->passing.fd);
    return result == -EPROTONOSUPPORT ? LENDIS_E_ABI : result;
}

/* The tables of this process, one entry per connection that there may be: zero until it is used,
 * for most never are. */
static int make_tables(struct attachment *attachment)
{
    uint32_t count = attachment->segment.connection_max;

    attachment->cached = calloc(count, sizeof *attachment->cached);
    attachment->leases = calloc(count, sizeof *attachment->leases);
    if (!attachment->cached || !attachment->leases)
        return -ENOMEM;
    return 0;
}

/* Rings wakeups for waiters that poll, or has the broker do it. */
static void wake_pollers(void *context, uint32_t groups)
{
    const struct attachment *attachment = context;

    if (!atomic_load_explicit(&attachment->has_wakeups, memory_order_acquire)) {
        shm_or32(&attachment->segment.queue->pollers_due, groups);
        attachment_ring(attachment);
        return;
    }
    for (uint32_t group = 0; group < POLL_WAKEUPS; group++)
        if (groups >> group & 1)
            poll_wakeup_send(attachment->wakeups[group]);
}

static int fill(struct attachment *attachment, const struct wire_welcome *welcome)
{
    int result;

    attachment->worker = welcome->worker;
    attachment->tenant = welcome->tenant;
    attachment->pool_index = welcome->pool;
    attachment->serial = welcome->serial;
    result = fetch_catalog(attachment, welcome->pool);
    if (result == 0)
        result = fetch_segment(attachment);
    if (result == 0)
        result = link_fetch(attachment, WIRE_DOORBELL, 0, 0, &attachment->doorbell);
    if (result == 0)
        result = link_renumber(&attachment->socket);
    attachment->renumbered = result == 0;
    if (result == 0)
        result = make_tables(attachment);
    if (result != 0)
        return result;
    result = catalog_check_pool(&attachment->catalog, welcome->pool);
    if (result != 0 || attachment->worker >= attachment->segment.worker_max)
        return result != 0 ? result : -EPROTO;
    attachment_touch(attachment);
    attachment->segment.wake_pollers = wake_pollers;
    attachment->segment.wake_context = attachment;
    attachment->segment.paused_pools = &attachment->catalog.header->paused_pools;
    attachment->segment.pause_bit = UINT64_C(1) << welcome->pool;
    attachment->segment.places = &attachment_settings(attachment)->places;
    atomic_store_explicit(&attachment->filled, true, memory_order_release);
    return 0;
}

/* An empty struct of the pool's list, or a new one. */
static struct attachment *find_empty(struct lendis_pool *pool)
{
    struct attachment *each;

    for (each = pool->attachments; each; each = each->next)
        if (!each->catalog.header && atomic_load_explicit(&each->users, memory_order_seq_cst) == 0)
            break;
    if (!each) {
        each = calloc(1, sizeof *each);
        if (!each)
            return NULL;
        each->pool = pool;
        each->socket = -1;
        each->doorbell = -1;
        each->passing.fd = -1;
        attachment_forget_wakeups(each);
        each->next = pool->attachments;
        pool->attachments = each;
    }
    return each;
}

/* A fresh attachment over `socket`, which it owns from now on. Results as attach_open(). */
static int make_fresh(struct lendis_pool *pool, int socket, const struct wire_welcome *welcome,
                      struct attachment **attachment)
{
    struct attachment *fresh = find_empty(pool);
    int result;

    if (!fresh) {
        pool->greeting.socket = -1;
        link_take_back_hello(socket);
        return -ENOMEM;
    }
    fresh->renumbered = false;
    fresh->cookie = socket_cookie(socket);
    fresh->socket = socket;
    pool->greeting.socket = -1;
    fresh->unanswered = false;
    atomic_store_explicit(&fresh->hung_up, false, memory_order_relaxed);
    atomic_store_explicit(&fresh->refused, false, memory_order_relaxed);
    atomic_store_explicit(&fresh->retired, false, memory_order_relaxed);
    result = fill(fresh, welcome);
    if (result != 0 && welcome->resumed)
        attachment_empty(fresh); /* calls may use the place still, by the attachment before */
    else if (result != 0)
        attachment_leave(fresh);
    else
        *attachment = fresh;
    return result;
}

int attach_open(struct lendis_pool *pool, struct attachment *inherited,
                struct attachment **attachment)
{
    struct wire_welcome welcome;
    int socket = -1, result;

    attach_forget_greeting(pool);
    result = link_open(pool, inherited, &socket, &welcome);
    if (result != 0)
        return result;
    if (inherited && inherited->catalog.instance == welcome.instance &&
        inherited->pool_index == welcome.pool && inherited->serial == welcome.serial &&
        welcome.worker < inherited->segment.worker_max) {
        inherit_take_over(inherited, socket, &welcome);
        pool->greeting.socket = -1;
        *attachment = inherited;
        return 0;
    }
    result = make_fresh(pool, socket, &welcome, attachment);
    if (result == 0 && inherited)
        inherit_disown(inherited);
    return result;
}

/* ---- after the broker's end ---- */

void attach_forget_greeting(struct lendis_pool *pool)
{
    struct greeting *greeting = &pool->greeting;

    /* No goodbye: it may be a copy of the parent's. One that has fetched nothing has no place to
     * keep. */
    if (socket_is(greeting->socket, greeting->cookie))
        close(greeting->socket);
    greeting->socket = -1;
}

static int greet(struct lendis_pool *pool, const struct attachment *previous)
{
    struct greeting *greeting = &pool->greeting;
    struct wire_hello hello;
    int socket = -1, result;

    result = link_connect(pool->socket_path, &socket);
    if (result != 0)
        return result;
    link_make_hello(&hello, pool);
    hello.segment = previous->segment.instance;
    hello.worker = previous->worker;
    hello.tenant = previous->tenant;
    result = wire_send(socket, &hello, -1);
    if (result != 0) {
        close(socket);
        return result == -EPIPE || result == -ECONNRESET ? LENDIS_E_DOWN : result;
    }
    *greeting = (struct greeting){
        .socket = socket,
        .cookie = socket_cookie(socket),
    };
    return -EAGAIN;
}

/* The same segment: what is cached of it is as good as before. */
static void share_descriptors(const struct attachment *previous, struct attachment *fresh)
{
    fresh->peer = previous->peer;
    for (uint32_t i = 0; i < previous->segment.connection_max; i++) {
        const struct cached_descriptor *from = &previous->cached[i];
        struct cached_descriptor *to = &fresh->cached[i];

        if (!descriptor_is_cached(from) || !socket_is(from->fd, from->cookie))
            continue;
        to->fd = descriptor_copy(from->fd, 0);
        if (to->fd < 0)
            return; /* it can be fetched */
        to->cookie = from->cookie;
        atomic_fetch_or_explicit(&fresh->descriptors, 1u << (i % 32), memory_order_relaxed);
        atomic_store_explicit(&to->generation,
                              atomic_load_explicit(&from->generation, memory_order_relaxed),
                              memory_order_relaxed);
    }
}

/*
 * A broker said `result` to our HELLO. If it does not want us, we are not to go on with what is
 * open either; but for an upgrade: a broker of another layout leaves our segment alone.
 */
static void note_refusal(struct attachment *previous, int result)
{
    if (result != 0 && result != LENDIS_E_ABI && result != LENDIS_E_DOWN)
        atomic_store_explicit(&previous->refused, true, memory_order_relaxed);
}

int attach_again(struct lendis_pool *pool, struct attachment *previous,
                 struct attachment **attachment)
{
    struct greeting *greeting = &pool->greeting;
    struct wire_welcome welcome;
    int socket, result;

    if (greeting->socket < 0)
        return greet(pool, previous);
    result = link_take_answer(greeting->socket, WIRE_WELCOME, &welcome, sizeof welcome, NULL, 0);
    if (result == LENDIS_E_TIMEOUT)
        return -EAGAIN;
    if (result == 0) {
        result = welcome.result;
        note_refusal(previous, result);
    }
    if (result != 0) {
        attach_forget_greeting(pool);
        return result;
    }
    socket = greeting->socket;
    result = make_fresh(pool, socket, &welcome, attachment);
    if (result == 0 && welcome.resumed == 1 &&
        (*attachment)->segment.instance == previous->segment.instance &&
        (*attachment)->segment.connection_max == previous->segment.connection_max)
        share_descriptors(previous, *attachment);
    return result;
}
