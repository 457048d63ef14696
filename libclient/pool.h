/* SPDX-License-Identifier: MIT */
/*
 * What a handle of this library consists of. The functions that work on each part are in the header
 * of the file that has them.
 *
 *   struct lendis_pool    the caller's handle; survives fork and broker restarts
 *   struct local          the part of a handle that a forked child must not inherit
 *   struct attachment     this process as a worker of one broker: socket, segments, descriptors
 *   struct lendis_lease   a leased connection
 *
 * Fork: `local` is a page with MADV_WIPEONFORK (madvise(2)), so a child finds it zeroed, without a
 * system call: current is NULL, the lock is a fresh one (all-zero is PTHREAD_MUTEX_INITIALIZER in
 * glibc and musl). The child then attaches as itself and takes over the inherited descriptors.
 */
#ifndef LENDIS_POOL_H
#define LENDIS_POOL_H

#include <pthread.h>
#include "lendis.h"
#include "lendis/poll_wakeup.h"
#include "lendis/catalog.h"
#include "lendis/segment.h"
#include "libclient/membership/reach.h"
#include "libclient/membership/redis_peer.h"
#include "libclient/connection/session.h"

#define LENDIS_PUBLIC __attribute__((visibility("default")))

/* lendis_acquire()'s limits: absolute, CLOCK_MONOTONIC; 0: do not wait; DEADLINE_OF_POOL: the
 * pool's wait_timeout. */
#define DEADLINE_OF_POOL INT64_C(-1)

/* A descriptor of a connection, kept for as long as the generation is the same. Changed only by who
 * leases it. */
struct cached_descriptor {
    _Atomic uint64_t generation; /* 1 + the generation; 0: none */
    uint64_t cookie;             /* SO_COOKIE of what `fd` is; see inherit_attachment() */
    int fd;
};

struct lendis_lease {
    struct attachment *attachment;
    uint64_t word; /* what we put into the connection's word */
    uint32_t index;
    int fd;
    _Atomic bool held;
    /* Revoked, and the cache has gone on to a new generation; under the pool's lock. */
    bool owns_fd;
    bool used;  /* something was sent on it, or the caller could have */
    bool timed; /* by the precise clock: it stands for LEASE_SAMPLE leases */
    int64_t began_ns;
    bool rested;    /* the connection was not in use for a while: check it before the first use */
    bool private;   /* of a connection of this process alone: fallback.h */
    bool exclusive; /* for the caller alone, not for handed-over commands */
    bool exposed;   /* the caller got hold of the descriptor or a context */
    bool bare;      /* of the descriptor itself */
    bool broken;    /* its byte stream is not at a command's boundary */
    struct session session; /* as far as it was seen */
    uint64_t cookie;        /* SO_COOKIE of `fd`, once it is exposed */
    void *context;          /* redisContext, hiredis.c's */
    int context_fd;         /* a copy of `fd`, the context's own */
    /* Ends the context. True: nothing was left in it, and it was not freed by mistake. */
    bool (*context_end)(struct lendis_lease *lease);
    struct lendis_lease *next_extra; /* of attachment->extra */
};

/* A descriptor that is there for a moment, and what a child knows it by: see inherit.h. */
struct passing_file {
    int fd; /* -1: none */
    uint64_t device;
    uint64_t inode;
};

struct attachment {
    /* Of pool->attachments; structs are reused, never freed before detach. */
    struct attachment *next;
    struct lendis_pool *pool;
    struct catalog catalog;
    struct segment segment;
    uint32_t worker;
    uint32_t pool_index;
    uint32_t serial; /* of the pool, as wire_welcome has it */
    uint64_t cookie; /* SO_COOKIE of `socket` */
    int socket;
    bool renumbered; /* `socket` has its second number, which it gets after the doorbell has come */
    int doorbell;
    struct passing_file passing; /* while the attachment is filled */
    int wakeups[POLL_WAKEUPS];   /* fetched by the first wait that polls; -1 before */
    _Atomic bool has_wakeups;
    _Atomic uint32_t users; /* calls under way and leases held */
    _Atomic bool retired;   /* a newer one is current; emptied when users falls to 0 */
    _Atomic bool filled;    /* all of it is there: not so in a child forked while it was filled */
    _Atomic bool hung_up;   /* the broker hung up on us, or has died */
    _Atomic bool refused;   /* a later broker does not have this process as a worker */
    uint32_t tenant;        /* what says in our slot that the place is ours */
    bool unanswered;        /* the broker still owes the answer to a FETCH; under the pool's lock */
    struct cached_descriptor *cached;
    _Atomic uint32_t descriptors; /* as in wait_slot */
    /* One per connection, made by the first lease of it: a worker uses few of them, and mostly the
     * same. */
    _Atomic(struct lendis_lease *) *leases;
    struct lendis_lease *extra; /* further ones, see find_lease(); under the pool's lock */
    struct redis_peer peer;     /* where its connections lead; under the pool's lock */
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
    _Atomic uint32_t sample;  /* which leases are timed, see lease.c */
    _Atomic int64_t retry_ns; /* no attempt to attach again before this */
    _Atomic int lost;         /* why the broker cannot be reached any more, see reach.h */
    _Atomic bool deserted;    /* broker and Redis refuse connections, likewise */
    uint32_t failures;        /* attempts that failed in a row; under lock */
    int last_failure;         /* why; under lock */
    _Atomic(struct reply_reader *) reader; /* a spare one, hiredis.c's */
    _Atomic bool buffer_taken;             /* pool->buffer is in use, call.c's */
};

struct reply_reader;
typedef void reply_reader_free(struct reply_reader *reader);

/* A socket to a broker that no attachment has yet: its HELLO was not answered, or just now. A
 * broker that is starting takes its time: only it, or its end, ends the wait. */
struct greeting {
    int socket; /* -1: none */
    uint64_t cookie;
};

struct lendis_pool {
    struct local *local;
    char *buffer; /* CALL_RECEIVE_SIZE, behind `local` and like it not for children; call.c's */
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
    /* Leases of a parent process: kept, so that they can be told from ours. Linked by
     * next_extra. */
    struct lendis_lease *foreign;
    _Atomic(reply_reader_free *) reader_free; /* set by hiredis.c when there can be a reader */
};

#endif
