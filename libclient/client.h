/* SPDX-License-Identifier: MIT */
/*
 * What the files of liblendis share: the pool handle, its attachments, and leases.
 *
 *   struct lendis_pool    the caller's handle; survives fork and broker restarts
 *   struct attachment     this process as a worker of one broker instance: socket, segments,
 * descriptors struct lendis_lease   a leased connection struct local          the part of a handle
 * that a forked child must not inherit
 *
 * Fork: `local` is a page with MADV_WIPEONFORK (madvise(2)), so a child finds it zeroed, without a
 * system call: current is NULL, the lock is a fresh one (all-zero is PTHREAD_MUTEX_INITIALIZER in
 * glibc and musl). The child then attaches as itself and takes over the inherited descriptors.
 */
#ifndef LENDIS_CLIENT_H
#define LENDIS_CLIENT_H

#include <pthread.h>
#include "lendis.h"
#include "lendis/poll_wakeup.h"
#include "lendis/catalog.h"
#include "lendis/segment.h"
#include "libclient/reach.h"
#include "libclient/session.h"

#define LENDIS_PUBLIC __attribute__((visibility("default")))

/* A descriptor of a connection, kept for as long as the generation is the same. Changed only by who
 * leases it. */
struct cached_descriptor {
    _Atomic uint64_t generation; /* 1 + the generation; 0: none */
    uint64_t cookie;             /* SO_COOKIE of what `fd` is; see attachment_inherit() */
    int fd;
};

struct lendis_lease {
    struct attachment *attachment;
    uint64_t word; /* what we put into the connection's word */
    uint32_t index;
    int fd;
    _Atomic bool held;
    bool
        owns_fd; /* revoked, and the cache has gone on to a new generation; under the pool's lock */
    bool used;   /* something was sent on it, or the caller could have */
    bool timed;  /* by the precise clock: it stands for LEASE_SAMPLE leases */
    int64_t began_ns;
    bool rested;    /* the connection was not in use for a while: look at it before the first use */
    bool private;   /* of a connection of this process alone: fallback.h */
    bool exclusive; /* for the caller alone, not for handed-over commands */
    bool exposed;   /* the caller got hold of the descriptor or a context */
    bool bare;      /* of the descriptor itself */
    bool broken;    /* its byte stream is not at a command's boundary */
    struct session session;
    uint64_t cookie; /* SO_COOKIE of `fd`, once it is exposed */
    void *context;   /* redisContext, hiredis.c's */
    int context_fd;  /* a copy of `fd`, the context's own */
    /* Ends the context. True: nothing was left in it, and it was not freed by mistake. */
    bool (*context_end)(struct lendis_lease *lease);
    struct lendis_lease *next_extra; /* of attachment->extra */
};

struct attachment {
    struct attachment
        *next; /* of pool->attachments; structs are reused, never freed before detach */
    struct lendis_pool *pool;
    struct catalog catalog;
    struct segment segment;
    uint32_t worker;
    uint32_t pool_index;
    uint32_t serial; /* of the pool, as wire_welcome has it */
    uint64_t cookie; /* SO_COOKIE of `socket` */
    int socket;
    int doorbell;
    int bells[BELLS]; /* fetched by the first wait that polls; -1 before */
    _Atomic bool has_bells;
    _Atomic uint32_t users; /* calls under way and leases held */
    _Atomic bool retired;   /* a newer one is current; emptied when users falls to 0 */
    _Atomic bool filled;    /* all of it is there: not so in a child forked while it was filled */
    _Atomic bool hung_up;   /* the broker hung up on us, or has died */
    _Atomic bool refused;   /* a later broker does not have this process as a worker */
    uint32_t tenant;        /* what says in our slot that the place is ours */
    bool unanswered;        /* the broker still owes the answer to a FETCH; under the pool's lock */
    struct cached_descriptor *cached;
    _Atomic uint32_t descriptors; /* as in wait_slot */
    /* One per connection, made by the first lease of it: a worker uses few of them, and mostly the same. */
    _Atomic(struct lendis_lease *) *leases;
    struct lendis_lease *extra; /* further ones, see lease_find(); under the pool's lock */
};

struct lendis_wait;
struct fallback;
struct service;
struct dial_address;

struct local {
    _Atomic(struct attachment *) current;
    _Atomic(struct fallback *) fallback; /* made when it is needed first, fallback.c's */
    struct lendis_wait *waits;           /* under way, see async.c; under lock */
    _Atomic int64_t mark; /* by which async.c tells this process' waits from its parent's */
    pthread_mutex_t lock; /* guards attaching, fetching, and what is said to be under it */
    _Atomic uint32_t last_index;
    _Atomic uint32_t leases; /* of idle connections, for lending_policy.c */
    _Atomic bool own_slot_busy;
    _Atomic uint32_t sample;  /* which leases are timed, see lease_time() */
    _Atomic int64_t retry_ns; /* no attempt to attach again before this */
    _Atomic int lost;         /* why the broker cannot be reached any more, see reach.h */
    uint32_t failures;        /* attempts that failed in a row; under lock */
    int last_failure;         /* why; under lock */
    _Atomic(struct reply_reader *) reader; /* a spare one, hiredis.c's */
    _Atomic(char *) spare;                 /* a spare receive buffer, exec.c's */
};

struct reply_reader;
typedef void reply_reader_free(struct reply_reader *reader);

/* A HELLO that was sent and not answered yet. A broker that is starting takes its time: only it, or its
 * end, ends the wait. */
struct greeting {
    int socket; /* -1: none */
    uint64_t cookie;
};

struct lendis_pool {
    struct local *local;
    char *socket_path;
    char *pool_name;
    int attach_timeout_ms;
    struct greeting greeting;              /* under local->lock */
    struct reach reach;                    /* likewise; reach.c's */
    unsigned flags;                        /* of struct lendis_options */
    _Atomic(struct service *) service;     /* of a service: its members; service.c's */
    struct dial_address *fallback_address; /* NULL: none */
    uint32_t fallback_connections;         /* 0: the default */
    struct fallback *fallbacks;            /* this process' and its parents'; under local->lock */
    struct attachment *attachments;        /* under local->lock */
    /* Leases of a parent process: kept, so that they can be told from ours. Linked by next_extra. */
    struct lendis_lease *foreign;
    _Atomic(reply_reader_free *) reader_free; /* set by hiredis.c when there can be a reader */
};

/* ---- pool.c ---- */

int64_t clock_now_ns(void);
/* CLOCK_MONOTONIC_COARSE: a few nanoseconds to read, right to a timer tick. */
int64_t clock_coarse_ns(void);
/* The absolute time for a limit of timeout_ms from now; INT64_MAX for -1. */
int64_t clock_deadline_ns(int64_t timeout_ms);

/*
 * The current attachment, made now if this process has none, and renewed (at most every few
 * milliseconds, with backoff) when its broker is gone. Results: 0, and *attachment is in use by the
 * caller until pool_leave(); as lendis_attach().
 */
int pool_enter(struct lendis_pool *pool, struct attachment **attachment);
void pool_leave(struct attachment *attachment);

/* Whether a call that waits has to start anew: its attachment is expelled, or there is another one by
 * now, which this makes when the broker is gone and a new one is there. */
bool pool_must_restart(struct attachment *attachment);

/* ---- attachment.c ---- */

/*
 * Attaches: one connect and HELLO, and what must be fetched. `inherited` (may be NULL) is an
 * attachment of the parent process; if the broker is still the same, it is made this process' own.
 * Results: 0 and *attachment (an empty struct of the pool's list, filled); as lendis_attach().
 * Caller holds the lock.
 */
int attachment_open(struct lendis_pool *pool, struct attachment *inherited,
                    struct attachment **attachment);

/*
 * Attaches again, in place of `former`, whose broker is gone, without waiting for a broker that does
 * not answer: -EAGAIN, it was asked, call again. A new broker may know this process still: then its
 * leases go on to be its, and the descriptors that it has are used on. Otherwise as attachment_open().
 */
int attachment_reopen(struct lendis_pool *pool, struct attachment *former,
                      struct attachment **attachment);

/* Closes the socket of a greeting that will not be waited for, in a child its copy. */
void attachment_forget_greeting(struct lendis_pool *pool);

/* Closes and unmaps all that it has. Caller holds the lock and knows that nobody uses it. */
void attachment_empty(struct attachment *attachment);

/* Likewise, and says goodbye to its broker, which then has the place for others at once. */
void attachment_leave(struct attachment *attachment);

/*
 * In a forked child, before its first attempt to attach and before it detaches: forgets each
 * descriptor that is not what it was in the parent, and all of an attachment that another thread
 * was filling or emptying when we were forked. Empties one that was retired.
 *
 * fork(2) copies the table of descriptors first and the memory later (copy_files() and copy_mm() in
 * kernel/fork.c). What another thread receives in between has a number in our memory, and that
 * number is free here or something of the program's. A socket is known by its cookie (SO_COOKIE,
 * socket(7); never used twice), the doorbell by the number of the attachment's socket, which it
 * gets only after the doorbell has come.
 */
void attachment_inherit(struct attachment *attachment);

/*
 * The descriptor of connection `index`, which the caller holds with `generation`: the cached one,
 * or fetched from the broker. Results: 0; LENDIS_E_DOWN, no broker to ask; -ESTALE, replaced
 * meanwhile; -EMFILE and other -errno.
 */
int attachment_descriptor(struct attachment *attachment, uint32_t index, uint64_t generation,
                          int *fd);

/*
 * Asks for a connection of this process alone, on a socket of its own (WIRE_DIRECT). Results: 0, *fd is the caller's, and so
 * is that socket, *token: when it is closed, the broker shuts the connection down; LENDIS_E_DOWN; LENDIS_E_BUSY, as many are
 * out as there may be; LENDIS_E_DISABLED, there is none to be had; -ESTALE, the pool lends; as lendis_attach().
 */
int attachment_ask_direct(const struct lendis_pool *pool, int timeout_ms, int *fd, int *token);

/* Closes the token of a connection that is closed. */
void attachment_end_direct(int token);

/*
 * Makes sure that the pool's bells are here, for a wait that polls. Results: 0; LENDIS_E_DOWN, no broker to ask: the
 * wait has to do without; -EMFILE and other -errno.
 */
int attachment_fetch_bells(struct attachment *attachment);

/*
 * `command`, of `request`, as the pool's server and configuration have it, where they differ from
 * the built-in table. They rarely do, and then this is a load.
 */
void attachment_classify(const struct attachment *attachment, const char *request, size_t size,
                         struct command *command);

/* The caller of a lease has closed its descriptor: it is not to be used again, nor closed, for its number may be
 * another's by now. */
void attachment_forget_descriptor(struct attachment *attachment, uint32_t index,
                                  uint64_t generation);

/* SO_COOKIE of a socket; 0: not a socket, or a kernel that has no cookies. */
uint64_t socket_cookie(int fd);
bool is_socket(int fd, uint64_t cookie);

/* Wakes the broker: connections were returned, or waiters need more of them. */
void attachment_ring(const struct attachment *attachment);

/*
 * The place is not ours any more: the broker took us for gone, or does not want us. Attach again, and
 * lend, hand over and combine nothing until then. (A load that needs no order: what is done by who
 * has not seen it yet ends as if the broker came a moment later.)
 */
static inline bool attachment_is_expelled(const struct attachment *attachment)
{
    return shm_load32_relaxed(&attachment->segment.slots[attachment->worker].tenant) !=
               attachment->tenant ||
           atomic_load_explicit(&attachment->refused, memory_order_relaxed);
}

/* The broker can neither be asked nor relied on: attach again, meanwhile go on with what is open,
 * unless we are expelled. */
static inline bool attachment_is_orphan(const struct attachment *attachment)
{
    return catalog_broker_gone(&attachment->catalog) || attachment_is_expelled(attachment) ||
           atomic_load_explicit(&attachment->hung_up, memory_order_relaxed);
}

/* What the broker says of the pool. It may change at any time: each field is read on its own. */
static inline const struct catalog_pool *attachment_settings(const struct attachment *attachment)
{
    return &attachment->catalog.pools[attachment->pool_index];
}

/* The lease of connection `index`, made by lease.c; NULL: this process never leased it. */
static inline struct lendis_lease *lease_of(const struct attachment *attachment, uint32_t index)
{
    /* Acquire: with the release of who made it, so that it is found as it was made. */
    return atomic_load_explicit(&attachment->leases[index], memory_order_acquire);
}

static inline void attachment_count(const struct attachment *attachment, enum counter counter,
                                    uint64_t amount)
{
    shm_count(&attachment->segment.workers[attachment->worker].counters[counter], amount);
}

static inline void attachment_measure(const struct attachment *attachment, enum histogram_name name,
                                      uint64_t value, uint64_t weight)
{
    uint32_t shard = attachment->worker % HISTOGRAM_SHARDS;

    shared_histogram_add(&attachment->segment.shards[shard].histograms[name], value, weight);
}

/* ---- error.c ---- */

/* What lendis_pool_error() gives, of the calling thread, as errno is. */
extern _Thread_local int last_result;

/* A call begins: nothing is known of it yet. */
void error_begin(void);
/* What and where, for who asks lendis_pool_error() about `result`; the last word counts. */
void error_note(int result, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* NULL: nothing was noted for `result`. */
const char *error_text(int result);

/* ---- async.c ---- */

/* Cancels and frees the waits of this process that are under way. */
void waits_cancel(struct lendis_pool *pool);

#endif
