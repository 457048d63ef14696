/* SPDX-License-Identifier: MIT */
/*
 * A well-behaved worker process that leases and gives back on order, while another one crashes. A
 * lease counts only when an ECHO on it comes back right: a connection that another worker left
 * unclean shows here.
 */
#ifndef LENDIS_TESTS_CRASH_PEER_H
#define LENDIS_TESTS_CRASH_PEER_H

#include "tests/support/support.h"

struct peer {
    const char *name;
    pid_t pid;
    uint32_t worker; /* its index, = its wait slot */
    int link;        /* ours */
    int other_link;  /* the peer's */
    bool asked;      /* an answer is outstanding */
    bool leasing;    /* to an order to lease */
    unsigned held;   /* as of the last answer */
};

struct peer_answer {
    int result;      /* as lendis_acquire(); -EBADMSG, a wrong reply */
    unsigned count;  /* how many were leased or given back */
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

/* True if the answer is there. */
bool peer_answered(const struct peer *peer);

/* Waits for it. False: none within limit_ms. */
bool peer_answer(struct peer *peer, struct peer_answer *answer, int limit_ms);

#endif
