/* SPDX-License-Identifier: MIT */
/*
 * An attachment: this process as a worker of one broker. It owns its socket, doorbell, mappings and
 * the cached descriptors of connections; it is filled and emptied under the pool's lock.
 *
 * What it talks to the broker about is rare: four round trips when it attaches, one for each
 * connection and generation that this process uses. The broker is never asked on the way to a
 * lease.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "libclient/client.h"
#include "libclient/fallback.h"
#include "libclient/lease.h"
#include "lendis/wire.h"
#include "libclient/shared/broker_socket.h"
#include "libclient/shared/descriptor.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57 /* <asm-generic/socket.h>, Linux 4.12 */
#endif

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

uint64_t socket_cookie(int fd)
{
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;

    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) < 0 ? 0 : cookie;
}

bool is_socket(int fd, uint64_t cookie)
{
    return fd >= 0 && cookie != 0 && socket_cookie(fd) == cookie;
}

/* An entry that was never used is all zero, its descriptor too. */
static bool is_cached(const struct cached_descriptor *cached)
{
    return cached->fd >= 0 &&
           (cached->cookie != 0 ||
            atomic_load_explicit(&cached->generation, memory_order_relaxed) != 0);
}

static void forget_cached(struct cached_descriptor *cached, bool and_close)
{
    if (and_close && is_cached(cached))
        close(cached->fd);
    atomic_store_explicit(&cached->generation, 0, memory_order_relaxed);
    cached->cookie = 0;
    cached->fd = -1;
}

/* Another number for the socket, as the proof that attachment_inherit() needs: one that it never had. */
static int renumber(int *socket)
{
    int moved = descriptor_copy(*socket, *socket + 1);

    if (moved < 0)
        return -errno;
    close(*socket);
    *socket = moved;
    return 0;
}

/* Results: 0 and *fd; as of broker_socket_connect(). */
static int connect_broker(const char *path, int *fd)
{
    int made;

    LENDIS_STEP("connect");
    made = broker_socket_connect(path);
    if (made < 0)
        return made;
    *fd = made;
    return 0;
}

/* Waits for the answer of `type`, at most timeout_ms. Results: 0; LENDIS_E_DOWN; LENDIS_E_TIMEOUT;
 * LENDIS_E_ABI; -errno. */
static int take_answer(int socket, enum wire_type type, void *answer, size_t size, int *fd,
                       int timeout_ms)
{
    int result = wire_receive(socket, answer, size, fd, timeout_ms);

    if (result == 0 || result == -ECONNRESET)
        return LENDIS_E_DOWN;
    if (result == -ETIMEDOUT || result == -EAGAIN)
        return LENDIS_E_TIMEOUT;
    if (result < 0)
        return result;
    if (!wire_is(answer, (size_t)result, type, size)) {
        const struct wire_header *header = answer;
        bool other = (size_t)result >= sizeof *header && header->magic == WIRE_MAGIC &&
                     header->abi_major != LENDIS_ABI_MAJOR;

        if (fd)
            close_fd(fd);
        return other ? LENDIS_E_ABI : -EPROTO;
    }
    return 0;
}

/* Sends a request and waits for its answer. Results as take_answer(). */
static int ask(int socket, const void *request, enum wire_type type, void *answer, size_t size,
               int *fd, int timeout_ms)
{
    int result = wire_send(socket, request, -1);

    if (result != 0)
        return result == -EPIPE || result == -ECONNRESET ? LENDIS_E_DOWN : result;
    return take_answer(socket, type, answer, size, fd, timeout_ms);
}

static void forget_bells(struct attachment *attachment)
{
    atomic_store_explicit(&attachment->has_bells, false, memory_order_relaxed);
    for (uint32_t group = 0; group < BELLS; group++)
        attachment->bells[group] = -1;
}

/*
 * The program has closed descriptors that are not its own, as "daemonize" steps do: our socket's number is another's by now,
 * or nobody's. What cannot be told from the program's own is forgotten, not closed.
 */
static bool is_robbed(struct attachment *attachment)
{
    if (attachment->cookie == 0 || is_socket(attachment->socket, attachment->cookie))
        return false;
    attachment->socket = -1;
    attachment->doorbell = -1;
    forget_bells(attachment);
    for (uint32_t i = 0; attachment->cached && i < attachment->segment.connection_max; i++)
        if (is_cached(&attachment->cached[i]) &&
            !is_socket(attachment->cached[i].fd, attachment->cached[i].cookie))
            forget_cached(&attachment->cached[i], false);
    return true;
}

/* Takes and drops the answer that the broker still owes. Results: 0, it owes none; as take_answer(). */
static int take_late_answer(struct attachment *attachment)
{
    struct wire_descriptor answer;
    int fd = -1, result;

    if (!attachment->unanswered)
        return 0;
    result = take_answer(attachment->socket, WIRE_DESCRIPTOR, &answer, sizeof answer, &fd, 0);
    close_fd(&fd);
    attachment->unanswered = result == LENDIS_E_TIMEOUT;
    return result;
}

/*
 * One descriptor from the broker. Results: 0 and *fd is the caller's; as ask(), or what the broker
 * answered. After LENDIS_E_TIMEOUT the answer may still come: until then nothing else is asked, and
 * this returns LENDIS_E_TIMEOUT at once. Caller holds the lock.
 */
static int fetch(struct attachment *attachment, enum wire_what what, uint32_t index,
                 uint64_t generation, int *fd)
{
    struct wire_fetch request = {.what = what, .index = index, .generation = generation};
    struct wire_descriptor answer;
    int result;

    *fd = -1;
    if (is_robbed(attachment))
        return LENDIS_E_DOWN;
    result = take_late_answer(attachment);
    if (result != 0)
        return result;
    wire_header(&request.header, WIRE_FETCH, sizeof request);
    result = ask(attachment->socket, &request, WIRE_DESCRIPTOR, &answer, sizeof answer, fd,
                 attachment->pool->attach_timeout_ms);
    attachment->unanswered = result == LENDIS_E_TIMEOUT;
    if (result != 0)
        return result;
    if (answer.result == 0 && answer.what == what && answer.index == index &&
        answer.generation == generation && *fd >= 0)
        return 0;
    close_fd(fd);
    return answer.result != 0 ? answer.result : -EPROTO;
}

static void make_hello(struct wire_hello *hello, const struct lendis_pool *pool)
{
    *hello = (struct wire_hello){0};
    wire_header(&hello->header, WIRE_HELLO, sizeof *hello);
    strncpy(hello->pool, pool->pool_name, sizeof hello->pool - 1);
}

/* The worker at the other end of `socket` is no more: no call uses its place. */
static void say_goodbye(int socket)
{
    struct wire_goodbye goodbye;

    wire_header(&goodbye.header, WIRE_GOODBYE, sizeof goodbye);
    wire_send(socket, &goodbye, -1);
}

/* Closes the socket of a HELLO whose place is not used: its answer may be on its way. */
static void take_back_hello(int socket)
{
    say_goodbye(socket);
    close(socket);
}

/* `inherited` (may be NULL): what this process has from its parent. */
static int say_hello(int socket, const struct lendis_pool *pool, const struct attachment *inherited,
                     struct wire_welcome *welcome)
{
    struct wire_hello hello;
    int result;

    make_hello(&hello, pool);
    if (inherited)
        hello.segment = inherited->segment.instance;
    result =
        ask(socket, &hello, WIRE_WELCOME, welcome, sizeof *welcome, NULL, pool->attach_timeout_ms);
    return result != 0 ? result : welcome->result;
}

int attachment_ask_direct(const struct lendis_pool *pool, int timeout_ms, int *fd, int *token)
{
    struct wire_hello hello = {0};
    struct wire_descriptor answer;
    int result;

    result = connect_broker(pool->socket_path, token);
    if (result != 0)
        return result;
    wire_header(&hello.header, WIRE_DIRECT, sizeof hello);
    strncpy(hello.pool, pool->pool_name, sizeof hello.pool - 1);
    *fd = -1;
    result = ask(*token, &hello, WIRE_DESCRIPTOR, &answer, sizeof answer, fd, timeout_ms);
    if (result == 0 && answer.result == 0 && answer.what == WIRE_PRIVATE && *fd >= 0)
        return 0;
    close_fd(token);
    if (result != 0)
        return result;
    close_fd(fd);
    return answer.result != 0 ? answer.result : -EPROTO;
}

void attachment_end_direct(int token)
{
    struct wire_header message;

    wire_header(&message, WIRE_RETURN, sizeof message);
    wire_send(token, &message, -1);
    close(token);
}

static int fetch_catalog(struct attachment *attachment)
{
    int fd, result;

    result = fetch(attachment, WIRE_CATALOG, 0, 0, &fd);
    if (result != 0)
        return result;
    result = catalog_map(fd, &attachment->catalog);
    close(fd);
    return result == -EPROTONOSUPPORT ? LENDIS_E_ABI : result;
}

static int fetch_segment(struct attachment *attachment)
{
    int fd, result;

    result = fetch(attachment, WIRE_SEGMENT, 0, 0, &fd);
    if (result != 0)
        return result;
    result = segment_map(fd, true, &attachment->segment);
    close(fd);
    return result == -EPROTONOSUPPORT ? LENDIS_E_ABI : result;
}

/* The tables of this process, one entry per connection that there may be: zero until it is used, for most never are. */
static int make_tables(struct attachment *attachment)
{
    uint32_t count = attachment->segment.connection_max;

    attachment->cached = calloc(count, sizeof *attachment->cached);
    attachment->leases = calloc(count, sizeof *attachment->leases);
    if (!attachment->cached || !attachment->leases)
        return -ENOMEM;
    return 0;
}

/* Rings bells for waiters that poll, or has the broker do it. */
static void ring_bells(void *context, uint32_t groups)
{
    const struct attachment *attachment = context;

    if (!atomic_load_explicit(&attachment->has_bells, memory_order_acquire)) {
        shm_or32(&attachment->segment.queue->told, groups);
        attachment_ring(attachment);
        return;
    }
    for (uint32_t group = 0; group < BELLS; group++)
        if (groups >> group & 1)
            bell_ring(attachment->bells[group]);
}

static int fill(struct attachment *attachment, const struct wire_welcome *welcome)
{
    struct catalog_pool settings;
    int result;

    attachment->worker = welcome->worker;
    attachment->tenant = welcome->tenant;
    attachment->pool_index = welcome->pool;
    attachment->serial = welcome->serial;
    result = fetch_catalog(attachment);
    if (result == 0)
        result = fetch_segment(attachment);
    if (result == 0)
        result = fetch(attachment, WIRE_DOORBELL, 0, 0, &attachment->doorbell);
    if (result == 0)
        result = renumber(&attachment->socket);
    if (result == 0)
        result = make_tables(attachment);
    if (result != 0)
        return result;
    result = catalog_read_pool(&attachment->catalog, welcome->pool, &settings);
    if (result != 0 || attachment->worker >= attachment->segment.worker_max)
        return result != 0 ? result : -EPROTO;
    attachment->segment.ring = ring_bells;
    attachment->segment.ring_context = attachment;
    attachment->segment.gates = &attachment->catalog.header->gates;
    attachment->segment.gate_bit = UINT64_C(1) << welcome->pool;
    attachment->segment.places = &attachment_settings(attachment)->places;
    atomic_store_explicit(&attachment->filled, true, memory_order_release);
    return 0;
}

/* Keeps `lease` for lease_is_mine() alone. Caller holds the lock. */
static void keep_foreign(struct lendis_pool *pool, struct lendis_lease *lease)
{
    atomic_store_explicit(&lease->held, false, memory_order_relaxed);
    lease->next_extra = pool->foreign;
    pool->foreign = lease;
}

static void disown_extra(struct attachment *attachment)
{
    while (attachment->extra) {
        struct lendis_lease *lease = attachment->extra;

        attachment->extra = lease->next_extra;
        keep_foreign(attachment->pool, lease);
    }
}

/* In a forked child whose parent was a worker of another broker: nothing of it is ours. Its socket is a
 * copy, by which nobody must say goodbye. */
static void disown(struct attachment *attachment)
{
    close_fd(&attachment->socket);
    for (uint32_t i = 0; i < attachment->segment.connection_max; i++) {
        struct lendis_lease *lease = lease_of(attachment, i);

        if (lease)
            keep_foreign(attachment->pool, lease);
    }
    disown_extra(attachment);
    free(attachment->leases);
    attachment->leases = NULL;
    atomic_store_explicit(&attachment->users, 0, memory_order_relaxed);
}

/*
 * In a forked child: what the parent had, but for its identity. Mappings, doorbell and cached
 * descriptors stay; the parent's socket is closed here (the parent has its own copy) and its leases
 * are not ours.
 */
static void take_over(struct attachment *attachment, int socket, const struct wire_welcome *welcome)
{
    close_fd(&attachment->socket);
    attachment->socket = socket;
    attachment->cookie = socket_cookie(socket);
    attachment->worker = welcome->worker;
    attachment->tenant = welcome->tenant;
    attachment->unanswered = false;
    atomic_store_explicit(&attachment->hung_up, false, memory_order_relaxed);
    atomic_store_explicit(&attachment->refused, false, memory_order_relaxed);
    atomic_store_explicit(&attachment->users, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < attachment->segment.connection_max; i++) {
        struct lendis_lease *lease = lease_of(attachment, i);

        /* Only what differs is written: a page that stays as it was stays shared with the parent. A
         * context of the parent's is left alone: another thread may have been at work in it when we
         * were forked. */
        if (lease && atomic_load_explicit(&lease->held, memory_order_relaxed))
            *lease = (struct lendis_lease){.attachment = attachment, .index = i, .fd = -1};
    }
    disown_extra(attachment);
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
        forget_bells(each);
        each->next = pool->attachments;
        pool->attachments = each;
    }
    return each;
}

/* A fresh attachment over `socket`, which it owns from now on. Results as attachment_open(). */
static int make_fresh(struct lendis_pool *pool, int socket, const struct wire_welcome *welcome,
                      struct attachment **attachment)
{
    struct attachment *fresh = find_empty(pool);
    int result;

    if (!fresh) {
        take_back_hello(socket);
        return -ENOMEM;
    }
    fresh->socket = socket;
    fresh->cookie = socket_cookie(socket);
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

int attachment_open(struct lendis_pool *pool, struct attachment *inherited,
                    struct attachment **attachment)
{
    struct wire_welcome welcome;
    int socket = -1, result;

    attachment_forget_greeting(pool);
    result = connect_broker(pool->socket_path, &socket);
    if (result != 0)
        return result;
    result = say_hello(socket, pool, inherited, &welcome);
    if (result != 0) {
        take_back_hello(socket);
        return result;
    }
    if (inherited && inherited->catalog.instance == welcome.instance &&
        inherited->pool_index == welcome.pool && inherited->serial == welcome.serial &&
        welcome.worker < inherited->segment.worker_max) {
        take_over(inherited, socket, &welcome);
        *attachment = inherited;
        return 0;
    }
    result = make_fresh(pool, socket, &welcome, attachment);
    if (result == 0 && inherited)
        disown(inherited);
    return result;
}

/* ---- after the broker's end ---- */

void attachment_forget_greeting(struct lendis_pool *pool)
{
    struct greeting *greeting = &pool->greeting;

    /* No goodbye: it may be a copy of the parent's. Who has fetched nothing has no place to keep. */
    if (is_socket(greeting->socket, greeting->cookie))
        close(greeting->socket);
    greeting->socket = -1;
}

static int greet(struct lendis_pool *pool, const struct attachment *former)
{
    struct greeting *greeting = &pool->greeting;
    struct wire_hello hello;
    int socket = -1, result;

    result = connect_broker(pool->socket_path, &socket);
    if (result != 0)
        return result;
    make_hello(&hello, pool);
    hello.segment = former->segment.instance;
    hello.worker = former->worker;
    hello.tenant = former->tenant;
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
static void share_descriptors(const struct attachment *former, struct attachment *fresh)
{
    for (uint32_t i = 0; i < former->segment.connection_max; i++) {
        const struct cached_descriptor *from = &former->cached[i];
        struct cached_descriptor *to = &fresh->cached[i];

        if (!is_cached(from) || !is_socket(from->fd, from->cookie))
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
 * A broker said `result` to our HELLO. If it does not want us, we are not to go on with what is open
 * either; but for an upgrade: a broker of another layout leaves our segment alone.
 */
static void note_refusal(struct attachment *former, int result)
{
    if (result != 0 && result != LENDIS_E_ABI && result != LENDIS_E_DOWN)
        atomic_store_explicit(&former->refused, true, memory_order_relaxed);
}

int attachment_reopen(struct lendis_pool *pool, struct attachment *former,
                      struct attachment **attachment)
{
    struct greeting *greeting = &pool->greeting;
    struct wire_welcome welcome;
    int socket, result;

    if (greeting->socket < 0)
        return greet(pool, former);
    result = take_answer(greeting->socket, WIRE_WELCOME, &welcome, sizeof welcome, NULL, 0);
    if (result == LENDIS_E_TIMEOUT)
        return -EAGAIN;
    if (result == 0) {
        result = welcome.result;
        note_refusal(former, result);
    }
    if (result != 0) {
        attachment_forget_greeting(pool);
        return result;
    }
    socket = greeting->socket;
    greeting->socket = -1;
    result = make_fresh(pool, socket, &welcome, attachment);
    if (result == 0 && welcome.resumed == 1 &&
        (*attachment)->segment.instance == former->segment.instance &&
        (*attachment)->segment.connection_max == former->segment.connection_max)
        share_descriptors(former, *attachment);
    return result;
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
    LENDIS_STEP("close");
    for (uint32_t group = 0; group < BELLS; group++)
        close_fd(&attachment->bells[group]);
    atomic_store_explicit(&attachment->has_bells, false, memory_order_relaxed);
    close_fd(&attachment->doorbell);
    close_fd(&attachment->socket);
}

void attachment_leave(struct attachment *attachment)
{
    LENDIS_STEP("goodbye");
    if (is_socket(attachment->socket, attachment->cookie)) {
        say_goodbye(attachment->socket);
        /* A child forked before may have a copy of it. */
        shutdown(attachment->socket, SHUT_RDWR);
    }
    attachment_empty(attachment);
}

/* What another thread was filling or emptying: its state is unknown, but for the socket's. */
static void forget(struct attachment *attachment)
{
    int socket = attachment->socket;

    attachment->socket = -1;
    attachment->doorbell = -1;
    forget_bells(attachment);
    attachment->cached = NULL;
    attachment->leases = NULL;
    attachment->extra = NULL;
    attachment->segment = (struct segment){0};
    attachment->catalog = (struct catalog){0};
    atomic_store_explicit(&attachment->users, 0, memory_order_relaxed);
    atomic_store_explicit(&attachment->retired, true, memory_order_relaxed);
    /* Ours is a copy: the broker sees when the parent hangs up only when it is closed. */
    if (is_socket(socket, attachment->cookie))
        close(socket);
}

void attachment_inherit(struct attachment *attachment)
{
    if (!atomic_load_explicit(&attachment->filled, memory_order_acquire)) {
        forget(attachment);
        return;
    }
    for (uint32_t i = 0; i < attachment->segment.connection_max; i++) {
        struct cached_descriptor *cached = &attachment->cached[i];

        if (!is_cached(cached) || is_socket(cached->fd, cached->cookie))
            continue;
        forget_cached(cached, false);
    }
    /* Some may have come, which is not to be known. */
    if (!atomic_load_explicit(&attachment->has_bells, memory_order_relaxed))
        forget_bells(attachment);
    if (!is_socket(attachment->socket, attachment->cookie)) {
        attachment->socket = -1;
        attachment->doorbell = -1;
        forget_bells(attachment);
        atomic_store_explicit(&attachment->retired, true, memory_order_relaxed);
    }
    if (atomic_load_explicit(&attachment->retired, memory_order_relaxed)) {
        disown(attachment);
        attachment_empty(attachment);
    }
}

/* After a question that got `result` for an answer. */
static int settle(struct attachment *attachment, int result)
{
    if (result == LENDIS_E_TIMEOUT)
        return LENDIS_E_DOWN; /* now */
    if (result != LENDIS_E_DOWN && result != -EPROTO)
        return result;
    close_fd(&attachment->socket);
    atomic_store_explicit(&attachment->hung_up, true, memory_order_relaxed);
    return LENDIS_E_DOWN;
}

/* Caller holds the lock. */
static int fetch_bells(struct attachment *attachment)
{
    int result = attachment->socket < 0 ? LENDIS_E_DOWN : 0;

    for (uint32_t group = 0; group < BELLS && result == 0; group++)
        if (attachment->bells[group] < 0)
            result = fetch(attachment, WIRE_BELL, group, 0, &attachment->bells[group]);
    if (result != 0)
        return settle(attachment, result);
    result = renumber(&attachment->socket);
    if (result == 0)
        atomic_store_explicit(&attachment->has_bells, true, memory_order_release);
    return result;
}

int attachment_fetch_bells(struct attachment *attachment)
{
    int result = 0;

    if (atomic_load_explicit(&attachment->has_bells, memory_order_acquire))
        return 0;
    pthread_mutex_lock(&attachment->pool->local->lock);
    if (!atomic_load_explicit(&attachment->has_bells, memory_order_relaxed))
        result = fetch_bells(attachment);
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
    if (attachment->socket < 0)
        result = LENDIS_E_DOWN;
    else
        result = fetch(attachment, WIRE_CONNECTION, index, generation, &got);
    if (result == 0) {
        /* Who still holds a revoked lease of the old generation uses the old descriptor, and closes
         * it. */
        revoked = lease_find(attachment, index,
                             atomic_load_explicit(&cached->generation, memory_order_relaxed) - 1);
        if (revoked)
            revoked->owns_fd = true;
        else
            forget_cached(cached, true);
        cached->fd = got;
        cached->cookie = socket_cookie(got);
        atomic_store_explicit(&cached->generation, 1 + generation, memory_order_relaxed);
        atomic_fetch_or_explicit(&attachment->descriptors, 1u << (index % 32),
                                 memory_order_relaxed);
        attachment_count(attachment, COUNTER_fetches, 1);
        fallback_rest(attachment->pool);
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
    for (int looks = 0; looks < 1000; looks++) {
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
