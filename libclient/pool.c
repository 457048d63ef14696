/* SPDX-License-Identifier: MIT */
/*
 * The pool handle: attaching, renewing after the broker's death, fork, detaching. The data path
 * only passes through pool_enter() and pool_leave(): a few loads and one atomic add each.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "libclient/cancel.h"
#include "libclient/client.h"
#include "libclient/dial.h"
#include "libclient/exec.h"
#include "libclient/fallback.h"
#include "libclient/reach.h"
#include "libclient/service.h"
#include "lendis/wire.h"

/* Attempts to attach again: 10 ms, doubled up to 1 s, half of it random, so that hundreds of
 * workers do not come at once. */
#define RETRY_MIN_NS INT64_C(10000000)
#define RETRY_MAX_NS INT64_C(1000000000)

/* Between looks for the answer to a greeting. */
#define ANSWER_NS INT64_C(1000000)

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int64_t clock_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

int64_t clock_coarse_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC_COARSE);
}

int64_t clock_deadline_ns(int64_t timeout_ms)
{
    return timeout_ms < 0 ? INT64_MAX : clock_now_ns() + timeout_ms * 1000000;
}

/* The page that a child finds zeroed. */
static struct local *local_new(void)
{
    void *page = mmap(NULL, sizeof(struct local), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, sizeof(struct local), MADV_WIPEONFORK) < 0) {
        munmap(page, sizeof(struct local));
        return NULL;
    }
    return page;
}

/* When to try again. Caller holds the lock. */
static void schedule_retry(struct local *local, int why)
{
    int64_t delay = RETRY_MAX_NS, now = clock_coarse_ns();

    if (local->failures < 7)
        delay = RETRY_MIN_NS << local->failures;
    local->failures++;
    local->last_failure = why;
    /* The low bits of the clock and the pid are random enough to spread workers. */
    delay = delay / 2 + (clock_now_ns() ^ (int64_t)getpid() * 7919) % (delay / 2);
    atomic_store_explicit(&local->retry_ns, now + delay, memory_order_relaxed);
}

/* Makes `fresh` current; `old` (may be NULL) is emptied when its last user leaves. Caller holds the
 * lock. */
static void make_current(struct lendis_pool *pool, struct attachment *fresh, struct attachment *old)
{
    struct local *local = pool->local;

    local->failures = 0;
    reach_note(pool);
    /* Any start will do, as long as each process has one of its own. */
    atomic_store_explicit(&local->sample,
                          (uint32_t)(clock_now_ns() * 2654435761u) ^ (uint32_t)getpid() * 40503u,
                          memory_order_relaxed);
    atomic_store_explicit(&local->retry_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&local->current, fresh, memory_order_seq_cst);
    fallback_rest(pool);
    if (!old)
        return;
    atomic_store_explicit(&old->retired, true, memory_order_seq_cst);
    if (atomic_load_explicit(&old->users, memory_order_seq_cst) == 0)
        attachment_leave(old);
}

/* In a forked child: the parent's attachment that we may take over, the one that is filled and not
 * retired. Caller holds the lock, or is alone. */
static struct attachment *inherited_attachment(struct lendis_pool *pool)
{
    struct attachment *inherited = NULL;

    for (struct attachment *each = pool->attachments; each; each = each->next) {
        attachment_inherit(each);
        if (each->catalog.header && !atomic_load_explicit(&each->retired, memory_order_relaxed))
            inherited = each;
    }
    return inherited;
}

/* The first use in this process. Results as lendis_attach(). */
static int attach_first(struct lendis_pool *pool, bool now)
{
    struct local *local = pool->local;
    struct attachment *fresh, *inherited;
    int result = 0;

    pthread_mutex_lock(&local->lock);
    if (!atomic_load_explicit(&local->current, memory_order_relaxed)) {
        if (!now &&
            clock_coarse_ns() < atomic_load_explicit(&local->retry_ns, memory_order_relaxed)) {
            result = local->last_failure;
        } else {
            inherited = inherited_attachment(pool);
            result = attachment_open(pool, inherited, &fresh);
            if (result == 0)
                make_current(pool, fresh, inherited == fresh ? NULL : inherited);
            else if (result != -ENOMEM) { /* the broker has no part in that */
                reach_failed(pool, result);
                schedule_retry(local, result);
            }
        }
    }
    pthread_mutex_unlock(&local->lock);
    return result;
}

/* Tries to attach to a new broker, or anew, as the old one is gone or has expelled us. True: there is
 * another current attachment. */
static bool pool_renew(struct lendis_pool *pool, struct attachment *attachment)
{
    struct local *local = pool->local;
    struct attachment *fresh;
    bool renewed = true;

    if (atomic_load_explicit(&local->current, memory_order_acquire) != attachment)
        return true;
    if (clock_coarse_ns() < atomic_load_explicit(&local->retry_ns, memory_order_relaxed) ||
        pthread_mutex_trylock(&local->lock) != 0)
        return false;
    if (atomic_load_explicit(&local->current, memory_order_relaxed) == attachment) {
        int result = attachment_reopen(pool, attachment, &fresh);

        renewed = result == 0;
        if (result == 0)
            make_current(pool, fresh, attachment);
        else if (result == -EAGAIN &&
                 pool->greeting.socket >=
                     0) /* a millisecond or so: a broker that starts is soon there */
            atomic_store_explicit(&local->retry_ns, clock_coarse_ns() + ANSWER_NS,
                                  memory_order_relaxed);
        else {
            reach_failed(pool, result);
            schedule_retry(local, result);
        }
    }
    pthread_mutex_unlock(&local->lock);
    return renewed;
}

bool pool_must_restart(struct attachment *attachment)
{
    if (!attachment_is_orphan(attachment))
        return false;
    return attachment_is_expelled(attachment) || pool_renew(attachment->pool, attachment) ||
           reach_cut_off(attachment) != 0;
}

/* Why the last attempt to attach failed. Results: 0, it is under way; as lendis_attach(). */
static int why_not_renewed(struct lendis_pool *pool)
{
    struct local *local = pool->local;
    int result = 0;

    pthread_mutex_lock(&local->lock);
    if (pool->greeting.socket < 0 &&
        clock_coarse_ns() < atomic_load_explicit(&local->retry_ns, memory_order_relaxed))
        result = local->last_failure;
    pthread_mutex_unlock(&local->lock);
    return result;
}

/*
 * Attaches anew, as `expelled`, the current attachment, is not to be used: the caller waits for what
 * the broker says. Results: 0, there is another one; as lendis_attach().
 */
static int replace_expelled(struct lendis_pool *pool, struct attachment *expelled)
{
    static const struct timespec pause = {.tv_nsec = ANSWER_NS};
    int64_t deadline_ns = clock_now_ns() + pool->attach_timeout_ms * INT64_C(1000000);
    int result;

    while (!pool_renew(pool, expelled)) {
        result = why_not_renewed(pool);
        if (result != 0)
            return result;
        if (clock_now_ns() >= deadline_ns)
            return LENDIS_E_TIMEOUT;
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* Whether `current`, which the caller uses, will do, or there is a better one by now. Results: 0 and
 * *usable; as lendis_attach(). */
static int check_usable(struct lendis_pool *pool, struct attachment *current, bool *usable)
{
    *usable = !attachment_is_orphan(current);
    if (*usable)
        return 0;
    if (attachment_is_expelled(current))
        return replace_expelled(pool, current);
    *usable = !pool_renew(pool, current);
    return 0;
}

int pool_enter(struct lendis_pool *pool, struct attachment **attachment)
{
    struct local *local = pool->local;

    for (;;) {
        struct attachment *current = atomic_load_explicit(&local->current, memory_order_acquire);
        bool usable = false;
        int result = 0;

        if (!current) {
            result = attach_first(pool, false);
            if (result != 0)
                return result;
            continue;
        }
        /* Pairs with make_current(): either it sees our use, or we see that it is no longer
         * current. Only then may we look at what it has mapped. */
        atomic_fetch_add_explicit(&current->users, 1, memory_order_seq_cst);
        if (atomic_load_explicit(&local->current, memory_order_seq_cst) == current)
            result = check_usable(pool, current, &usable);
        if (usable) {
            *attachment = current;
            return 0;
        }
        pool_leave(current);
        if (result != 0)
            return result;
    }
}

void pool_leave(struct attachment *attachment)
{
    struct local *local = attachment->pool->local;

    if (atomic_fetch_sub_explicit(&attachment->users, 1, memory_order_seq_cst) != 1 ||
        !atomic_load_explicit(&attachment->retired, memory_order_seq_cst))
        return;
    pthread_mutex_lock(&local->lock);
    if (atomic_load_explicit(&attachment->retired, memory_order_relaxed) &&
        atomic_load_explicit(&attachment->users, memory_order_relaxed) == 0)
        attachment_leave(attachment);
    pthread_mutex_unlock(&local->lock);
}

static void pool_free(struct lendis_pool *pool)
{
    while (pool->foreign) {
        struct lendis_lease *next = pool->foreign->next_extra;

        free(pool->foreign);
        pool->foreign = next;
    }
    while (pool->attachments) {
        struct attachment *next = pool->attachments->next;

        free(pool->attachments);
        pool->attachments = next;
    }
    if (pool->local)
        munmap(pool->local, sizeof(struct local));
    if (pool->fallback_address)
        dial_address_free(pool->fallback_address);
    free(pool->fallback_address);
    free(pool->socket_path);
    free(pool->pool_name);
    free(pool);
}

static const char *default_socket_path(void)
{
    /* secure_getenv(3): a setuid program must not be led to another broker. */
    const char *path = secure_getenv("LENDIS_SOCKET");

    return path && *path ? path : LENDIS_DEFAULT_SOCKET;
}

static int set_fallback(struct lendis_pool *pool, const struct lendis_options *options)
{
    pool->fallback_connections = options->fallback_connections;
    if (!options->fallback_url) {
        if (!options->fallback_username && !options->fallback_password_file)
            return 0;
        error_note(-EINVAL, "fallback_username and fallback_password_file need fallback_url");
        return -EINVAL;
    }
    pool->fallback_address = calloc(1, sizeof *pool->fallback_address);
    if (!pool->fallback_address)
        return -ENOMEM;
    return dial_address_parse(options->fallback_url, options->fallback_username,
                              options->fallback_password_file, pool->fallback_address);
}

static int attach(const char *socket_path, const char *pool_name,
                  const struct lendis_options *options, struct lendis_pool **pool)
{
    struct lendis_options wanted = {0};
    struct lendis_pool *made;
    int result = 0;

    if (!pool_name || !pool || !*pool_name || strlen(pool_name) >= CATALOG_NAME_SIZE)
        return -EINVAL;
    if (options) {
        if (options->size < sizeof(size_t) + sizeof(unsigned))
            return -EINVAL;
        memcpy(&wanted, options, options->size < sizeof wanted ? options->size : sizeof wanted);
        if (wanted.flags & ~(LENDIS_LAZY | LENDIS_REPLICA))
            return -EINVAL;
    }
    made = calloc(1, sizeof *made);
    if (!made)
        return -ENOMEM;
    made->greeting.socket = -1;
    made->local = local_new();
    made->socket_path = strdup(socket_path ? socket_path : default_socket_path());
    made->pool_name = strdup(pool_name);
    made->flags = wanted.flags;
    made->attach_timeout_ms = wanted.attach_timeout_ms > 0 ? wanted.attach_timeout_ms : 1000;
    if (!made->local || !made->socket_path || !made->pool_name)
        result = -ENOMEM;
    if (result == 0)
        result = set_fallback(made, &wanted);
    if (result == 0 && !(wanted.flags & LENDIS_LAZY)) {
        result = attach_first(made, true);
        if (fallback_applies(made, result))
            result = 0; /* calls go there until there is a broker */
    }
    if (result != 0) {
        pool_free(made);
        return result;
    }
    *pool = made;
    return 0;
}

LENDIS_PUBLIC int lendis_attach(const char *socket_path, const char *pool_name,
                                const struct lendis_options *options, struct lendis_pool **pool)
{
    int before CANCEL_RESTORED = cancel_off();

    error_begin();
    last_result = attach(socket_path, pool_name, options, pool);
    return last_result;
}

LENDIS_PUBLIC void lendis_detach(struct lendis_pool *pool)
{
    int before CANCEL_RESTORED = cancel_off();
    struct attachment *current;
    reply_reader_free *reader_free;

    if (!pool)
        return;
    current = atomic_load_explicit(&pool->local->current, memory_order_relaxed);
    waits_cancel(pool);
    service_end(pool);
    LENDIS_STEP("hang up");
    /* In a child that never used the handle: its copies are closed, and nobody is told. */
    if (!current)
        inherited_attachment(pool);
    attachment_forget_greeting(pool);
    for (struct attachment *each = pool->attachments; each; each = each->next)
        current ? attachment_leave(each) : attachment_empty(each);
    fallback_end(pool);
    exec_forget(pool->local);
    reader_free = atomic_load(&pool->reader_free);
    if (reader_free)
        reader_free(atomic_load(&pool->local->reader));
    pool_free(pool);
}
