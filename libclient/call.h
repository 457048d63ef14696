/* SPDX-License-Identifier: MIT */
/* A command, or a pipeline of them, and its replies on one lease. Nothing here leases, waits for a
 * connection or repeats. */
#ifndef LENDIS_CALL_H
#define LENDIS_CALL_H

#include <sys/types.h>
#include "libclient/loss.h"
#include "libclient/connection/resp.h"
#include "libclient/pool.h"
#include "libclient/shared/command.h"

/* Where the bytes of a reply go, piece by piece. Results: 0; -errno, which breaks the connection.
 */
struct reply_sink {
    int (*take)(void *context, const char *data, size_t size);
    void (*restart)(void *context); /* forget what was taken: the command is sent again */
    void *context;
    /* Whether what was taken is exactly `replies` replies. What came through another process is a
     * reply only if it is (I4). NULL: the sink does not care. */
    bool (*whole)(void *context, uint32_t replies);
};

/* A command, or a pipeline of them, that a caller wants answered. */
struct call {
    const char *request;
    size_t size;
    uint32_t replies; /* how many it gets: 1, or the length of the pipeline */
    struct command command;
    int64_t deadline_ns; /* CLOCK_MONOTONIC; INT64_MAX: none */
    /* NULL, or how often it was sent and lost with its connection; call_failure()'s. */
    uint32_t *losses;
    const struct reply_sink *sink;
};

/* One read: what Redis' own clients read at once (hiredis, redis-py); a small reply fits, a large
 * one takes few reads. */
#define CALL_RECEIVE_SIZE (16 * 1024)

enum replies_state {
    REPLIES_WHOLE,
    REPLIES_AND_MORE, /* whole, but bytes followed them */
    REPLIES_PARTLY,   /* more must come */
    REPLIES_TIMEOUT,
    REPLIES_LOST, /* the connection ended, or what came was not RESP */
    REPLIES_SINK, /* the sink failed */
};

/* The replies to a call, as far as they have come. */
struct receiving {
    const struct lendis_lease *lease;
    const struct call *call;
    struct resp_scan scan;
    uint32_t replies; /* still to come */
    bool strange;     /* the session was, before the call: session_is_strange() */
    bool pushes;      /* what is pushed (RESP3) may come between them; it is dropped */
    bool any;         /* a byte came */
    bool error;       /* the last reply was an error reply */
    int end_error;    /* how the connection ended: errno, 0 in good order; -1: it has not */
};

/* Fills in what follows from the request. Results: 0; -EINVAL, not whole RESP commands. */
int call_init(struct call *call, const char *request, size_t size, const struct reply_sink *sink);

/*
 * Sends `call` on `lease` and takes its replies. Results: 0; LENDIS_E_TIMEOUT, nothing was sent;
 * LENDIS_E_UNCERTAIN, it was sent and no whole reply came; LENDIS_E_DOWN, the connection was dead,
 * and nothing was sent or it only reads and no byte of a reply came; -errno of the sink. After
 * anything but 0 the lease is broken.
 */
int call_on_lease(struct lendis_lease *lease, const struct call *call);

/*
 * The steps of call_on_lease(), for callers that do not wait (lease_call.c): open, send the
 * request; take what was received until it is another state than REPLIES_PARTLY; close. Results of
 * open: 0; otherwise the call has failed, as call_not_sent() says.
 */
int call_open(struct lendis_lease *lease, const struct call *call, struct receiving *receiving);
/* `got` bytes of a read of CALL_RECEIVE_SIZE; 0: the connection ended, see errno; negative: time is
 * up. */
enum replies_state call_take(struct receiving *receiving, const char *data, ssize_t got);
/* Results as call_on_lease(). */
int call_close(struct lendis_lease *lease, const struct receiving *receiving,
               enum replies_state received);
/* What a call comes to whose request could not be sent whole; `lost`: because the connection
 * ended. */
int call_not_sent(struct lendis_lease *lease, const struct call *call, size_t sent, bool lost);

/*
 * The end of the wait for a reply when the caller named none: the pool's command_timeout from
 * now_ns; none for a command that blocks in the server, which has a limit of its own.
 */
int64_t call_reply_deadline(const struct attachment *attachment, const struct command *command,
                            int64_t now_ns);

/* What a command that was not answered comes to, and counts it. `sent`: any of it may have reached
 * Redis. */
int call_failure(struct attachment *attachment, const struct call *call, bool sent, enum loss loss);

/*
 * After a write that failed: an error reply that Redis sent before it ended the connection, because
 * of what it had read of the request by then, goes to the sink. True: there was one.
 */
bool call_take_last_words(int fd, const struct call *call);

/* What a command comes to that was sent and whose reply nobody has memory for: -ENOMEM if it only
 * reads, else LENDIS_E_UNCERTAIN, which it counts. */
int call_no_memory(struct attachment *attachment, const struct command *command);

#endif
