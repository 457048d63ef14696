/* SPDX-License-Identifier: MIT */
/* One command and its reply on a connection. */
#ifndef LENDIS_EXEC_H
#define LENDIS_EXEC_H

#include <sys/types.h>
#include "libclient/client.h"
#include "libclient/loss.h"

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
    uint32_t
        *losses; /* NULL, or how often it was sent and lost with its connection; exec_failure()'s */
    const struct reply_sink *sink;
};

/* Fills in what follows from the request. Results: 0; -EINVAL, not whole RESP commands. */
int call_init(struct call *call, const char *request, size_t size, const struct reply_sink *sink);

/*
 * Sends `call` on `lease` and takes its replies. Results: 0; LENDIS_E_TIMEOUT, nothing was sent;
 * LENDIS_E_UNCERTAIN, it was sent and no whole reply came; LENDIS_E_DOWN, the connection was dead,
 * and nothing was sent or it only reads and no byte of a reply came; -errno of the sink. After
 * anything but 0 the lease is broken.
 */
int exec_on_lease(struct lendis_lease *lease, const struct call *call);

/*
 * lendis_exec() with a sink: leases, sends, gives back, and repeats what DESIGN section 7 says may
 * be repeated. timeout_ms as lendis_exec(); a refused request is -EINVAL.
 */
int exec_command(struct lendis_pool *pool, const char *request, size_t size, int timeout_ms,
                 const struct reply_sink *sink);

/* The same, waiting for a connection no longer than wait_ms. 0: no such limit. */
int exec_command_within(struct lendis_pool *pool, const char *request, size_t size, int timeout_ms,
                        int wait_ms, const struct reply_sink *sink);

/*
 * The end of the wait for a reply when the caller named none: the pool's command_timeout from now_ns;
 * none for a command that blocks in the server, which has a limit of its own.
 */
int64_t exec_reply_deadline(const struct attachment *attachment, const struct command *command,
                            int64_t now_ns);

/*
 * Nothing waits to be read on a connection whose stream is at a command's boundary. What does is a
 * reply that came when nobody asked (I4), or the end of the connection: found here, before a
 * command is sent, it costs no command. (Some 250 ns of the 30 us and more that a command takes.)
 */
bool exec_is_silent(int fd);

/* This thread runs: see beat_make(). now_ns is any clock of this process. */
void exec_beat(shm_u64 *beat, int64_t now_ns);

/* Waits until something can be sent; *beat says now and then that this thread runs. Results: 0;
 * LENDIS_E_TIMEOUT; -errno. */
int exec_wait_to_send(int fd, int64_t deadline_ns, shm_u64 *beat);

/*
 * Receives what comes, at most `size` bytes; meanwhile *beat (may be NULL) says now and then that this thread runs. Results:
 * bytes; 0, the connection is lost, and errno says how, see loss_judge(); -ETIMEDOUT, deadline_ns passed.
 */
ssize_t exec_receive(int fd, void *buffer, size_t size, int64_t deadline_ns, shm_u64 *beat);

/* What a command that was not answered comes to, and counts it. `sent`: any of it may have reached
 * Redis. */
int exec_failure(struct attachment *attachment, const struct call *call, bool sent, enum loss loss);

/*
 * After a write that failed: an error reply that Redis sent before it ended the connection, because of
 * what it had read of the request by then, goes to the sink. True: there was one.
 */
bool exec_take_last_words(int fd, const struct call *call);

/* What a command comes to that was sent and whose reply nobody has memory for: -ENOMEM if it only reads, else LENDIS_E_UNCERTAIN,
 * which it counts. */
int exec_no_memory(struct attachment *attachment, const struct command *command);

/* Frees the spare buffer of `local`. */
void exec_forget(struct local *local);

#endif
