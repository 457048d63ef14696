/* SPDX-License-Identifier: MIT */
/*
 * The messages between a worker or a tool and the broker, on a SOCK_SEQPACKET Unix socket: one
 * struct per message, in host byte order (both ends are on one host), and at most one descriptor
 * with it.
 *
 *   worker                          broker
 *   HELLO(pool, who it was)      -> WELCOME(result, worker index, instance)
 *   FETCH(what, index, gen)      -> DESCRIPTOR(result, what, index, gen) + descriptor
 *   GOODBYE
 *
 *   tool                            broker
 *   CONTROL(verb, pool, ...)     -> NOTICE(text) any number of times, OUTCOME(result, text)
 *
 *   process                         broker
 *   DIRECT(pool)                 -> DESCRIPTOR(result) + a connection for this process alone
 *                                   (broker/pool/direct.h),
 *                                   which it has for as long as it keeps this socket open
 *   RETURN                          before it hangs up: it has closed the connection
 *
 *   unmodified program              broker
 *   ADDRESSES                    -> DESCRIPTOR(result) + the catalog, which has the addresses
 *   LOGIN(pool, user, password)  -> OUTCOME(result): whether it is the pool's own login
 *
 * A worker asks one thing at a time. The broker checks every field, answers a request that it
 * refuses with a result, and hangs up on what is not a message. It never waits: a worker that asks
 * again while an answer is still unread (SIOCOUTQ, unix(7)) is disconnected, so at most one
 * descriptor is in flight per worker. Descriptors that a worker sends are closed unseen. A worker
 * that gave up waiting for an answer waits for it before it asks again.
 *
 * GOODBYE says that the process uses the place no more, and ends the connection: the place is free
 * at once. A socket that is closed without it leaves a place that is given to nobody else as long
 * as its process lives (broker/workers/worker.h).
 *
 * ADDRESSES and LOGIN are the only messages of their connections
 * (broker/workers/question.h).
 *
 * CONTROL is for root and the broker's own user, and is the only message of its connection. Its
 * OUTCOME comes when it is so, or when the limit has passed, and the broker hangs up behind it.
 * Closing the socket before that takes nothing back.
 */
#ifndef LENDIS_WIRE_H
#define LENDIS_WIRE_H

#include <stdint.h>
#include "lendis/catalog.h"

#define WIRE_MAGIC            0x4c4e4453u /* "LNDS" */
#define LENDIS_DEFAULT_SOCKET "/run/lendis/lendis.sock"

enum wire_type {
    WIRE_HELLO = 1,
    WIRE_WELCOME = 2,
    WIRE_FETCH = 3,
    WIRE_DESCRIPTOR = 4,
    WIRE_CONTROL = 5,
    WIRE_NOTICE = 6,
    WIRE_OUTCOME = 7,
    WIRE_DIRECT = 8,
    WIRE_RETURN = 9, /* a header alone */
    WIRE_GOODBYE = 10,
    WIRE_ADDRESSES = 11, /* a header alone */
    WIRE_LOGIN = 12,
};

enum wire_what {
    WIRE_CATALOG = 1,     /* the catalog, read-only */
    WIRE_SEGMENT = 2,     /* the pool's segment */
    WIRE_DOORBELL = 3,    /* the pool's eventfd */
    WIRE_CONNECTION = 4,  /* a connection; the caller has it LEASED */
    WIRE_POLL_WAKEUP = 5, /* the poll wake-up of group `index`, see poll_wakeup.h */
    WIRE_PRIVATE = 6,     /* in the answer to DIRECT alone: a connection for the process alone */
};

/* What lendisctl(1) calls its commands. */
enum wire_verb {
    WIRE_PAUSE = 1,
    WIRE_RESUME = 2,
    WIRE_DRAIN = 3,
    WIRE_KILL = 4,
    WIRE_RECONNECT = 5,
    WIRE_SET = 6,
    WIRE_RELOAD = 7,
    WIRE_SHOW =
        8, /* each OUTCOME but the last one comes with a descriptor: the catalog, then segments */
};

#define WIRE_ANY UINT32_MAX /* of wire_control.connection and .pid */

struct wire_header {
    uint32_t magic;
    uint16_t type; /* enum wire_type */
    uint16_t size; /* of the whole message */
    uint32_t abi_major;
    uint32_t abi_minor;
};

struct wire_hello {
    struct wire_header header;    /* WIRE_HELLO or WIRE_DIRECT */
    char pool[CATALOG_NAME_SIZE]; /* zero-terminated */
    /* Of one who has been a worker, and has leases perhaps: who it was. */
    uint64_t segment; /* the instance of the segment that it has mapped; 0: none */
    uint32_t worker;
    uint32_t tenant; /* 0: it has the segment from its parent */
};

struct wire_welcome {
    struct wire_header header;
    int32_t result; /* 0, or a LENDIS_E_* outcome, or -errno; the fields below are 0 then */
    uint32_t worker;
    uint32_t pool;
    uint32_t serial;  /* of the pool: another one in its place in the catalog has another */
    uint32_t resumed; /* 1: it is still that worker, of the same segment */
    uint32_t tenant;  /* what stands in the worker's slot as long as the place is its own, not 0 */
    uint64_t instance;
    char text[128]; /* what is wrong and what to do, for people; "" when result is 0 */
};

struct wire_goodbye {
    struct wire_header header;
};

struct wire_fetch {
    struct wire_header header;
    uint32_t what;  /* enum wire_what */
    uint32_t index; /* of the connection or poll wake-up, else 0 */
    uint64_t generation;
};

struct wire_descriptor {
    struct wire_header header;
    int32_t result; /* 0 and a descriptor; -ESTALE, another generation by now; -EINVAL; -errno */
    uint32_t what;
    uint32_t index;
    uint32_t reserved;
    uint64_t generation;
};

struct wire_control {
    struct wire_header header;
    uint32_t verb; /* enum wire_verb */
    uint32_t timeout_ms;
    char pool[CATALOG_NAME_SIZE]; /* zero-terminated; "": all */
    uint32_t connection;          /* WIRE_KILL: this one alone, or WIRE_ANY */
    uint32_t pid;                 /* WIRE_KILL: this worker's alone, or WIRE_ANY */
    char key[32];                 /* WIRE_SET; zero-terminated, as all texts */
    char value[192];              /* likewise */
};

/* What a program says by AUTH or HELLO: wiped by both sides as soon as it is read. */
struct wire_login {
    struct wire_header header;
    char pool[CATALOG_NAME_SIZE]; /* zero-terminated */
    char username[64];            /* likewise */
    uint32_t size;                /* of the password */
    char password[236];
};

/* Something to report to the operator while it is under way. */
struct wire_notice {
    struct wire_header header;
    char text[240];
};

struct wire_outcome {
    struct wire_header header;
    int32_t result; /* 0; -ETIMEDOUT, the limit passed; -EPERM; -ESRCH, no such pool; -errno;
                       of a LOGIN -EACCES, it is another; LENDIS_E_DENIED */
    uint32_t count; /* what was done, in connections, leases or keys */
    char text[360]; /* what is wrong and what to do, or what was done; may be "" */
};

_Static_assert(sizeof(struct wire_header) == 16, "layout");
_Static_assert(sizeof(struct wire_hello) == 96, "layout");
_Static_assert(sizeof(struct wire_welcome) == 176, "layout");
_Static_assert(sizeof(struct wire_goodbye) == 16, "layout");
_Static_assert(sizeof(struct wire_fetch) == 32, "layout");
_Static_assert(sizeof(struct wire_descriptor) == 40, "layout");
_Static_assert(sizeof(struct wire_control) == 320, "layout");
_Static_assert(sizeof(struct wire_notice) == 256, "layout");
_Static_assert(sizeof(struct wire_login) == 384, "layout");
_Static_assert(sizeof(struct wire_outcome) == 384, "layout");

/* The largest message; a receiver offers one byte more, so that a longer one shows. */
#define WIRE_MAX sizeof(struct wire_outcome)

/*
 * Sends `message` (its header has the size), with descriptor `fd` unless that is -1 (it stays the
 * caller's). Never blocks, never raises SIGPIPE. Results: 0; -EAGAIN, the peer does not read;
 * -errno.
 */
int wire_send(int socket, const void *message, int fd);

/*
 * Receives one message into `message`, at most `size` bytes, and its descriptor into *fd (-1
 * without one; the caller's). With `fd` NULL, descriptors are closed unseen. Waits for at most
 * timeout_ms (0 not at all, -1 for ever). Results: bytes received; 0, the peer hung up; -EAGAIN or
 * -ETIMEDOUT, nothing came; -EMFILE, a descriptor came and could not be taken (RLIMIT_NOFILE;
 * MSG_CTRUNC): everything received was closed; -EMSGSIZE, longer than `size`; -EBADMSG, more than
 * one descriptor; -errno.
 */
int wire_receive(int socket, void *message, size_t size, int *fd, int timeout_ms);

/* Fills in a header. */
void wire_header(struct wire_header *header, enum wire_type type, size_t size);

/* True if `message` of `size` bytes starts with a header of this type and size, of our ABI major.
 */
bool wire_is(const void *message, size_t size, enum wire_type type, size_t expected);

#endif
