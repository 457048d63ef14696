/* SPDX-License-Identifier: MIT */
/*
 * A well-behaved worker process that leases, gives back and sends commands on order, while another
 * one crashes. A lease counts only when an ECHO on it comes back right: a connection that another
 * worker left unclean shows here. So does a reply that was meant for another's command.
 */
#ifndef LENDIS_TESTS_CRASH_PEER_H
#define LENDIS_TESTS_CRASH_PEER_H

#include "tests/support/support.h"

enum peer_order {
    PEER_LEASE,
    PEER_RELEASE,
    PEER_READ,
    PEER_WRITE,
    PEER_READ_PAGE,  /* a reply that takes a chunk */
    PEER_READ_CHUNK, /* one that comes in several reads */
    PEER_READ_LARGE, /* one that does not fit a chunk */
    PEER_READ_HASTY, /* with a limit that is shorter than PEER_SLOW */
    PEER_SLOW,       /* keeps Redis busy for a while */
};

/* What PEER_READ and a subject that reads find: put there by the watching process. */
#define PEER_KEY   "peer:value"
#define PEER_VALUE "the value of peer:value"

#define PEER_PAGE  8192u
#define PEER_CHUNK 30000u
#define PEER_LARGE 200000u

/* Values of these sizes; to be there before anybody asks for them. */
void peer_prepare(const struct redis_server *redis);

/* True if `reply` is such a value. */
bool peer_value_is(const redisReply *reply, size_t size);

/* Read-only commands that take long. */
#define PEER_SPIN      "local n = 0 for i = 1, tonumber(ARGV[1]) do n = n + i end return 'slow'"
#define PEER_SPIN_SLOW "1500000"
#define PEER_HASTY_MS  3

struct lendis_pool;

/* GET PEER_KEY in at most PEER_HASTY_MS. Results: 0, also when that passed or the
 * connection was lost; -EBADMSG; others. */
int peer_read_hastily(struct lendis_pool *pool);

struct peer {
    const char *name;
    pid_t pid;
    uint32_t worker;       /* its index, = its wait slot */
    int link;              /* ours */
    int other_link;        /* the peer's */
    bool asked;            /* an answer is outstanding */
    enum peer_order order; /* the last one */
    unsigned held;         /* as of the last answer */
};

struct peer_answer {
    int result;      /* as lendis_acquire() or lendis_pool_error(); -EBADMSG, a wrong reply */
    unsigned count;  /* how many were leased, given back or answered */
    int64_t when_ns; /* CLOCK_MONOTONIC, at the end */
    char text[160];
};

/* Makes the link; peer_run() is the process' part, which never ends by itself. */
void peer_init(struct peer *peer, const char *name);
int peer_run(struct peer *peer, const char *socket_path, const char *pool_name);

/* The watching process' part, after the fork: waits until the peer has attached. */
void peer_ready(struct peer *peer, pid_t pid);
void peer_close(struct peer *peer);

/* Orders to lease `count` more, waiting at most timeout_ms for each, or to give `count` back. */
void peer_ask_lease(struct peer *peer, unsigned count, int timeout_ms);
void peer_ask_release(struct peer *peer, unsigned count);

/* Orders a command, PEER_READ or PEER_WRITE. A write is an INCR; the peer knows what comes next. */
void peer_ask_command(struct peer *peer, enum peer_order order);

/* True if the answer is there. */
bool peer_answered(const struct peer *peer);

/* Waits for it. False: none within limit_ms. */
bool peer_answer(struct peer *peer, struct peer_answer *answer, int limit_ms);

#endif
