/* SPDX-License-Identifier: MIT */
/*
 * What system tests, crash tests and benchmarks have on top of broker/testbed/testbed.h: a Redis
 * that misbehaves on demand, and a look into segments. The same rules hold: what a test starts ends
 * with it, and functions without a result give up.
 */
#ifndef LENDIS_TESTS_SUPPORT_H
#define LENDIS_TESTS_SUPPORT_H

#include <stdatomic.h>
#include "broker/testbed/worker_processes.h"
#include "broker/testbed/testbed.h"
#include "lendis/catalog.h"
#include "lendis/segment.h"

/* ---- a Redis that misbehaves ---- */

enum fake_action {
    FAKE_ANSWER = 0,   /* a proper reply */
    FAKE_SILENT,       /* no reply at all, the connection stays open */
    FAKE_STALL,        /* half of the reply, then silence */
    FAKE_GARBAGE,      /* bytes that are no RESP */
    FAKE_CLOSE,        /* closes without a byte of reply */
    FAKE_CLOSE_MIDWAY, /* half of the reply, then closes */
    FAKE_RESET, /* half of the reply, then closes with RST (TCP only; a Unix socket just closes) */
    FAKE_TRICKLE,    /* the reply in pieces of one byte, a write each, 1 ms apart */
    FAKE_TWICE,      /* two replies to one command, in one write */
    FAKE_LATE_TWICE, /* two replies, the second 20 ms later */
    FAKE_ENDLESS,    /* endless_head, then endless_more again and again */
    FAKE_LOGGED_OUT, /* -NOAUTH, and silence from then on */
    FAKE_ERROR,      /* -ERR refused by the test (to AUTH: -WRONGPASS) */
};

/* In memory shared with the fake's process: change actions and read counters at any time. */
struct fake_control {
    atomic_uint command; /* enum fake_action: what commands get */
    /* An enum fake_action: what AUTH, HELLO, SELECT, CLIENT, PING and RESET get. */
    atomic_uint handshake;
    atomic_uint command_info;  /* enum fake_action: what COMMAND gets */
    atomic_uint answer_first;  /* so many commands are answered properly before `command` applies */
    atomic_uint refuse;        /* 1: connections are closed as soon as they are accepted */
    atomic_uint accepted;      /* connections so far */
    atomic_uint open;          /* connections open now */
    atomic_uint commands;      /* commands so far, without those of handshakes and COMMAND */
    atomic_uint handshakes;    /* commands of handshakes so far */
    atomic_uint command_infos; /* COMMANDs so far */
    char endless_head[64];     /* of FAKE_ENDLESS */
    char endless_more[64];
    char command_info_reply[2048]; /* RESP: the proper reply to COMMAND; "": an empty list */
    char client_info[512];         /* what CLIENT INFO says; "": OK, as to any CLIENT command */
    char secret[64];               /* a text that it must never be sent; "": none */
    atomic_uint secrets;           /* times that it was */
};

/*
 * A process of its own that speaks just enough Redis: handshake commands get what a server gives,
 * any other command a bulk string that repeats its last argument ("GET key" yields "key"), unless
 * an action says otherwise.
 */
struct fake_redis {
    pid_t pid;
    int port;
    struct fake_control *control;
    char socket_path[TESTBED_PATH_SIZE];
    char unix_url[TESTBED_PATH_SIZE + 16];
    char tcp_url[64];
};

void fake_start(struct fake_redis *fake, enum fake_action command);
void fake_stop(struct fake_redis *fake);

/* ---- a look into a pool's segment ---- */

/* Attached over the wire as a worker of its own that never leases; both mappings are read-only. */
struct observer {
    int socket;
    uint32_t worker;
    struct catalog catalog;
    struct segment segment;
    uint32_t pool; /* its index in the catalog */
};

/* Gives up when the broker refuses or does not answer within 5 s. Survives the broker's death. */
void segment_observe(struct observer *observer, const char *socket_path, const char *pool);
void observer_close(struct observer *observer);

struct word_count {
    unsigned in[WORD_STATES]; /* words in each state: in[WORD_IDLE] */
    unsigned opened;          /* all but EMPTY and OPENING */
    unsigned total;
    unsigned waiting; /* cells of the queue that hold a waiter */
};

/*
 * I1: every word is in a valid state, with an owner that can exist, so the states sum to the pool's
 * size. Otherwise false, and the words are printed.
 */
bool observe_words(const struct observer *observer, struct word_count *count);

/* True if all opened words are IDLE, at least `idle` of them, none is being opened, and nobody
 * waits. */
bool pool_is_full(const struct observer *observer, unsigned idle);

/* Waits for pool_is_full(); prints the words when it did not become so within limit_ms. */
bool pool_fills(const struct observer *observer, unsigned idle, int limit_ms);

/* Words leased by this worker, and words in a state. */
unsigned leased_by(const struct observer *observer, uint32_t worker);
unsigned words_in(const struct observer *observer, enum word_state state);

/* Chunks of the segment that belong to some slot. */
unsigned chunks_in_use(const struct observer *observer);

/* A counter of enum counter, summed over workers, those that departed included. For a moment a
 * worker that departs is in both sums: compare with eventually(). */
uint64_t pool_counter(const struct observer *observer, enum counter counter);

/* What the broker says about the pool: catalog_read_pool(). */
void observe_pool(const struct observer *observer, struct catalog_pool *pool);

void print_words(const struct observer *observer);

#endif
