/* SPDX-License-Identifier: MIT */
/*
 * A combiner's batch: the commands that it took from the queue, its own among them, and how far
 * they are. What the parts of a combiner share (batch.c, takeover.c, combiner.c); nobody else looks
 * inside.
 *
 * A combiner never waits for another process.
 */
#ifndef LENDIS_BATCH_H
#define LENDIS_BATCH_H

#include "lendis/mailbox.h"
#include "lendis/waiter.h"
#include "libclient/call.h"
#include "libclient/connection/resp.h"

/* tests/model: in small, for every byte is part of the states that are explored. */
#ifdef LENDIS_MODEL
#define BATCH_MAX   3
#define BUFFER_SIZE 16
#define SMALL_SIZE  12
#else
/* Commands of one batch; more do not make it faster (make bench, 500 workers). */
#define BATCH_MAX   128
#define BUFFER_SIZE (16 * 1024)
/* For the reply to a command that is sent alone. Pages of the stack are each worker's own: most
 * workers never need those of a large buffer. */
#define SMALL_SIZE  2048
#endif
/* How long a combiner waits for Redis where none of those that it serves can go on: what was sent
 * in part cannot be handed on, and who has no descriptor of the connection needs a broker that
 * answers. */
#define LAST_PATIENCE_NS INT64_C(1000000000)

enum route {
    ROUTE_MAILBOX,
    ROUTE_OWN,
    ROUTE_DISCARD,
    ROUTE_ANSWERED, /* its reply is in its mailbox, its owner does not know yet */
};

struct item {
    enum route route;
    uint32_t slot;
    uint32_t replies;
    uint64_t mail; /* the word that it was taken with */
};

struct combiner {
    struct lendis_lease *lease;
    struct attachment *attachment;
    const struct segment *segment;
    struct connection *connection;
    const struct call *call;
    int result; /* the call's, once its item is answered */
    bool answered;
    uint64_t batch;
    uint32_t count; /* items of the batch */
    uint32_t next;  /* the first that is not answered */
    uint32_t replies;
    struct resp_scan scan;
    int chunk;      /* of the reply under way, or -1 */
    int end_error;  /* how the connection ended: errno, 0 in good order; -1: it has not */
    enum loss loss; /* what that is to the first command that is not answered */
    size_t assembled;
    size_t start; /* in buffer: of the reply under way */
    size_t at;    /* scanned up to here */
    size_t end;   /* received up to here */
    int64_t
        progress_ns; /* when something was sent or received last; kept once the call is answered */
    int64_t patience_ns; /* until when Redis is waited for, then */
    struct wake_set to_wake;
    struct item *items;
    uint32_t items_max;
    char *buffer;
    size_t buffer_size;
};

/* Where the request of a taken command is; NULL if the slot makes no sense. */
const char *batch_request(const struct segment *segment, uint32_t slot, uint32_t *size);

/* Fills the batch from the queue; `bytes` of requests are in it already. */
void batch_take(struct combiner *combiner, size_t bytes);

/* The command of `item` ends with `state`, unless its owner has abandoned it. Its owner is woken
 * later (to_wake). */
void batch_settle(struct combiner *combiner, struct item *item, enum mail_state state);

/* The connection is lost, or shall not be used any more: everything unanswered ends with `state`.
 */
void batch_settle_rest(struct combiner *combiner, enum mail_state state);

/* Sends the batch. Results: 0; LENDIS_E_TIMEOUT; -errno; nothing was sent: -ENOTCONN, the
 * connection was dead, -ECANCELED, it was revoked. */
int batch_send(struct combiner *combiner);

#endif
