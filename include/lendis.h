/* SPDX-License-Identifier: MIT */
/*
 * liblendis: borrow Redis connections that one broker per host, lendisd, keeps for all processes.
 *
 * This header needs no hiredis. A pool handle works in every thread and after fork: a child that
 * uses it becomes a worker of its own on its first call and keeps the inherited descriptors. The
 * library starts no threads, installs no signal handlers, prints nothing and never ends the
 * process. A thread that is cancelled inside a call ends when the call returns. A signal handler
 * calls nothing of it, and does not leave a call of it by siglongjmp(3). liblendis(3), THREADS,
 * FORK AND SIGNALS, has the rest.
 *
 * Functions that return int give 0 for success; a negative -errno when something failed; a positive
 * LENDIS_E_* for an outcome that a caller should expect and handle. lendis_strerror() has a
 * sentence for each.
 */
#ifndef LENDIS_H
#define LENDIS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LENDIS_VERSION_MAJOR 0
#define LENDIS_VERSION_MINOR 1
#define LENDIS_VERSION_PATCH 0
#define LENDIS_VERSION       "0.1.0"

enum lendis_result {
    LENDIS_OK = 0,
    LENDIS_E_TIMEOUT = 1,   /* the time limit passed; nothing was sent, or only reads */
    LENDIS_E_BUSY = 2,      /* no connection was idle (timeout 0), or the wait queue is full */
    LENDIS_E_REVOKED = 3,   /* the broker took the lease back, or Redis ended the connection */
    LENDIS_E_UNCERTAIN = 4, /* the command was sent; whether it was executed is unknown */
    LENDIS_E_DOWN = 5,      /* Redis, or the broker when it is needed, cannot be reached */
    LENDIS_E_DENIED = 6,    /* this user may not use this pool */
    LENDIS_E_DISABLED = 7,  /* the pool is switched off */
    LENDIS_E_ABI = 8,       /* library and broker are of different versions */
    LENDIS_E_AGAIN = 9,     /* not yet: poll lendis_acquire_fd() and ask again */
};

struct lendis_pool;
struct lendis_lease;
struct lendis_wait;
struct lendis_call;

/* Options of lendis_attach(). Zero-fill it, set `size` to sizeof(struct lendis_options), then what
 * you need. */
struct lendis_options {
    size_t size;           /* of this struct, as the caller was compiled */
    unsigned flags;        /* LENDIS_LAZY, LENDIS_REPLICA, both or 0 */
    int attach_timeout_ms; /* limit for one attempt to attach; 0 means 1000 */

    /*
     * Where to go when the broker cannot be reached: redis://HOST:PORT/DB or unix:///PATH?db=N;
     * NULL: nowhere, calls get LENDIS_E_DOWN. The user (NULL: none) and a file with the password
     * (NULL: no login), which is read for each connection. At most fallback_connections at a time
     * in this process, 0 means 8. All text is copied.
     */
    const char *fallback_url;
    const char *fallback_username;
    const char *fallback_password_file;
    unsigned fallback_connections;
};

/* lendis_attach() succeeds without a broker; the first use attaches. */
#define LENDIS_LAZY 1u
/* Of a service: leases are of a replica, of the primary if none is up. */
#define LENDIS_REPLICA 2u

/*
 * Attaches this process to pool `pool_name` of the broker at `socket_path` (NULL: $LENDIS_SOCKET,
 * else /run/lendis/lendis.sock). `options` NULL means the defaults. Results: 0, and *pool is the
 * caller's until lendis_detach(); -ENOENT, -ECONNREFUSED or -EACCES from connect(2): no broker
 * there, or one that this user may not reach; -ESRCH, the broker has no pool of that name;
 * LENDIS_E_DENIED; LENDIS_E_BUSY, the broker's worker table is full, or this
 * user's part of it (per_uid_workers); LENDIS_E_ABI;
 * LENDIS_E_TIMEOUT, the broker did not answer; -errno. Thread-safe.
 *
 * `pool_name` can also be that of a service, a primary and its replicas (lendis.conf(5)): commands
 * and pipelines that only read go to a replica, the least busy one that is up, or to the primary
 * when none is; all else, and leases, to the primary. What a replica answers can be older than what
 * this process has written.
 *
 * With options->fallback_url it succeeds without a broker, too, and calls are served on connections
 * that this process opens there, until there is a broker. -EINVAL: not such an address. A pool that
 * is switched off (enabled = no) is attached to like any other; its calls get LENDIS_E_DISABLED or,
 * with fallback = direct, connections that the broker opens for this process alone.
 */
int lendis_attach(const char *socket_path, const char *pool_name,
                  const struct lendis_options *options, struct lendis_pool **pool);

/*
 * Leaves the pool and frees the handle. Leases still held are given back as broken, waits under way
 * are cancelled. No other thread may use the handle or its leases any more. NULL is allowed. In a
 * forked child it leaves the parent's membership alone.
 */
void lendis_detach(struct lendis_pool *pool);

/*
 * Leases a connection for the caller alone. When all are busy the call waits, first come, first
 * served, for at most timeout_ms (-1: the pool's wait_timeout; 0: not at all). Results: 0, and
 * *lease is the caller's until lendis_release() or lendis_discard(); LENDIS_E_TIMEOUT;
 * LENDIS_E_BUSY; LENDIS_E_DOWN; -errno. A lease belongs to one thread at a time and to the process
 * that took it, not to its children.
 */
int lendis_acquire(struct lendis_pool *pool, int timeout_ms, struct lendis_lease **lease);

/*
 * The same for programs with an event loop (libuv, libevent, sd-event, asyncio), in steps that do
 * not wait for a connection. begin joins the same queue as lendis_acquire() and returns at once;
 * then, until finish says something else than LENDIS_E_AGAIN: poll the descriptor for reading, call
 * finish.
 *
 * begin: 0, and *wait is the caller's until finish ends it or lendis_acquire_cancel(); timeout_ms
 * as lendis_acquire(). Otherwise as lendis_acquire(). It attaches if this process is not attached,
 * which can take as long as attach_timeout_ms: make sure that it is by lendis_attach() without
 * LENDIS_LAZY, or some first command, before the loop starts.
 *
 * fd: what to poll for reading (POLLIN), level-triggered; a descriptor of the wait's own, closed
 * when it ends. It also becomes readable now and then without a connection, and when the time is
 * over. -EINVAL, not a wait of this process; -errno.
 *
 * finish: 0, and *lease is the caller's; LENDIS_E_AGAIN, poll and come again; otherwise it failed,
 * as lendis_acquire(). After anything but LENDIS_E_AGAIN and -EINVAL, not a wait of this process,
 * the wait is gone: take its descriptor out of the event loop before calling finish where the loop
 * demands it. Call it once right after begin: a connection may be there. It asks the broker for the
 * connection's descriptor when this process uses it for the first time: some 10 us.
 *
 * cancel: gives up the place in the queue and frees the wait. NULL is allowed. In a forked child it
 * only frees. A wait belongs to one thread at a time and to the process that began it. It takes two
 * descriptors besides eight for each pool and a place in the queue, of which a pool has max_workers
 * / 4 + 64 beyond one per process: LENDIS_E_BUSY when all are taken.
 */
int lendis_acquire_begin(struct lendis_pool *pool, int timeout_ms, struct lendis_wait **wait);
int lendis_acquire_fd(const struct lendis_wait *wait);
int lendis_acquire_finish(struct lendis_wait *wait, struct lendis_lease **lease);
void lendis_acquire_cancel(struct lendis_wait *wait);

/*
 * Gives the connection back; the lease is gone, whatever the result. A connection that is not
 * proven clean goes to the broker: for a reset in the background if its session is changed (an open
 * MULTI or WATCH, another db, ...) or unknown, because the caller got hold of the descriptor or of
 * a context; for replacement if its stream is broken (unread replies, unsent output). Else it goes
 * to the oldest waiter or to the idle ones. Results: 0; LENDIS_E_REVOKED, the broker had taken it
 * back; -EINVAL, not a lease of this process. Never waits.
 */
int lendis_release(struct lendis_lease *lease);

/* Gives the connection back as broken: the broker replaces it. Results as lendis_release(). */
int lendis_discard(struct lendis_lease *lease);

/*
 * The connection's descriptor, for reading and writing RESP. It stays lendis' own: do not close it,
 * shut it down or change its flags. After this call the connection's state is unknown when it is
 * returned, so the broker resets it; read all replies and write whole commands, arrays of bulk
 * strings, before that, or it is replaced. Results: the descriptor; -EINVAL, not a lease of this
 * process.
 */
int lendis_lease_fd(const struct lendis_lease *lease);

/* What lendis_classify() says of a request, a set of these. */
#define LENDIS_REQUEST_READS 1u /* it only reads: it may be sent twice */
#define LENDIS_REQUEST_ALONE 2u /* it blocks, or changes the session: no other command beside it */
#define LENDIS_REQUEST_LEASE 4u /* of use to who keeps the lease: lendis_exec() refuses it */

/*
 * For programs that send several callers' commands over one lease: what kind of request this is, by
 * what the library, the pool's server and its configuration know of its commands. Results: a set of
 * LENDIS_REQUEST_*; -EINVAL, not whole RESP commands, or not a lease of this process.
 */
int lendis_classify(const struct lendis_lease *lease, const void *request, size_t request_size);

/*
 * A command, or a pipeline of several, on a leased connection in steps that do not wait. begin
 * sends it; then, until finish says something else than LENDIS_E_AGAIN: poll the descriptor, call
 * finish. The library sees what is sent, so a connection that is left clean need not be reset.
 *
 * begin: `request` as lendis_exec() has it; timeout_ms limits the call, 0 and -1: by the pool's
 * command_timeout, a command that blocks in the server not at all. 0, and *call is the caller's
 * until finish ends it or lendis_call_cancel(). Otherwise as finish.
 *
 * poll: what to poll for *events (poll(2)), level-triggered, and when to call finish at the latest,
 * *timeout_ms from now (-1: no limit). It is the connection's descriptor and stays lendis' own:
 * take it out of the event loop before the lease is given back. -EINVAL, not a call of this
 * process.
 *
 * finish: 0, and *reply is the RESP bytes of the reply or replies, to be freed with lendis_free();
 * LENDIS_E_AGAIN, poll and come again; LENDIS_E_TIMEOUT, nothing was sent, or only reads;
 * LENDIS_E_UNCERTAIN, it was sent and not answered; LENDIS_E_REVOKED or LENDIS_E_DOWN, the
 * connection is lost, and nothing was executed, or only reads; -EINVAL, not whole RESP commands, or
 * not a call of this process; -errno. After anything but LENDIS_E_AGAIN and -EINVAL from poll and
 * finish the call is gone; after anything but 0 the lease is of no more use than to give it back.
 *
 * cancel: frees the call. NULL is allowed. Its reply is never read: the lease comes back as broken,
 * and the broker replaces the connection. A lease has one call at a time, and it ends before the
 * lease is given back. A call belongs to one thread at a time and to the process that began it; in
 * a forked child it can only be cancelled, which leaves the parent's alone.
 */
int lendis_call_begin(struct lendis_lease *lease, const void *request, size_t request_size,
                      int timeout_ms, struct lendis_call **call);
int lendis_call_poll(const struct lendis_call *call, short *events, int *timeout_ms);
int lendis_call_finish(struct lendis_call *call, void **reply, size_t *reply_size);
void lendis_call_cancel(struct lendis_call *call);

/*
 * Sends one command, or a pipeline of several, and waits for the reply, or all replies in their
 * order, for at most timeout_ms in all (-1: the pool's limits; 0: does not wait for a connection).
 * `request` is `request_size` bytes of RESP, an array of bulk strings for each command. When all
 * connections are busy the request is handed to a process that holds one; what may not share a
 * connection (blocking commands, AUTH, MULTI with what follows it, ...; in a pipeline: any of them)
 * gets one for itself for the time of the call, and the connection is reset if the request
 * leaves its session changed. What makes sense only for who keeps the connection is refused:
 * SUBSCRIBE and its kind, MONITOR, SYNC, PSYNC, REPLCONF, QUIT, CLIENT REPLY OFF or SKIP; what is
 * for the commands behind it alone, and has none: MULTI, WATCH, SELECT, READONLY, READWRITE,
 * ASKING, HIMPORT, CLIENT CACHING, TRACKING, NO-EVICT and NO-TOUCH; and WAIT and WAITAOF, which
 * tell of what their own connection has written, unless a write stands before them in the same
 * request. lendis_acquire() is for these. Results: 0, and *reply is the RESP bytes of the reply or
 * replies, reply_size of them, to be freed with lendis_free(); LENDIS_E_TIMEOUT; LENDIS_E_BUSY;
 * LENDIS_E_DOWN; LENDIS_E_UNCERTAIN, it was sent and not answered; -EINVAL, not whole RESP
 * commands; -EOPNOTSUPP, it needs a lease, as above; -errno. An error reply of Redis is a reply: 0.
 * A request that only reads is sent again by itself when its connection turns out dead. The
 * requests of one thread are executed in their order.
 */
int lendis_exec(struct lendis_pool *pool, const void *request, size_t request_size, int timeout_ms,
                void **reply, size_t *reply_size);

/* Frees what lendis_exec() returned. NULL is allowed. */
void lendis_free(void *reply);

/* A sentence for a result of any function here; constant, never NULL. */
const char *lendis_strerror(int result);

#ifdef __cplusplus
}
#endif

#endif
