/* SPDX-License-Identifier: MIT */
/*
 * Opening one connection to Redis: connect, TLS, if the pool has it, the handshake (handshake.h),
 * then COMMAND, where command info is due, all on sd-event and within one time limit. What comes
 * out is a plain blocking socket, ready to be lent, or a sentence that says what went wrong. The
 * only part of the broker that knows addresses and TCP. dial_turns.h says when one may dial.
 */
#ifndef LENDIS_BROKER_DIALLER_H
#define LENDIS_BROKER_DIALLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "broker/redis/dial_turns.h"
#include "broker/redis/redirection.h"
#include "broker/redis/rights.h"
#include "broker/redis/command_info.h"
#include "broker/tls/tls.h"

#define DIAL_ERROR_SIZE TLS_TEXT_SIZE

/* Where and as whom. Everything is borrowed for the time of dial_start(). */
struct dial_target {
    const char *host; /* numeric; NULL: `path` */
    const char *path;
    uint16_t port;
    uint32_t db;
    const char *username; /* may be NULL */
    const char *password; /* NULL: no login */
    size_t password_size;
    const char *client_name;
    uint32_t timeout_ms;             /* for everything together */
    uint32_t keepalive_ms;           /* of TCP; 0: off */
    uint64_t node;                   /* dial_node_key() */
    const struct tls_functions *tls; /* NULL: without TLS */
    struct tls_context *tls_context;
    /* Answered if it is due; must outlive the dial. NULL: none. */
    struct command_info *command_info;
    struct rights *rights; /* must outlive the dial, too */
};

struct dial;

/*
 * The error of a dial whose connection ended at a command, or at kernel TLS, that lendis can do
 * without: the next one goes without it, and is to follow at once. This very pointer.
 */
extern const char dial_again[];

/*
 * Gets `fd`, which is the receiver's from now on, and what it leads to, or -1 and why. The dial is
 * gone. The local end of a relay has size 0: it cannot be connected elsewhere.
 */
typedef void dial_done(void *context, int fd, const struct socket_ends *ends, const char *error);

/*
 * Dials. Results: 0, *dial is under way, and `done` is called once, later, unless dial_cancel()
 * comes first; -errno, and `error` says why.
 */
int dial_start(struct dialler *dialler, const struct dial_target *target, dial_done *done,
               void *context, struct dial **dial, char error[DIAL_ERROR_SIZE]);

/*
 * Makes a socket what one is when it is lent: blocking for a moment, with no option that a holder
 * may have set, and, over TCP, without delay and noticing a dead peer after keepalive_ms (0: not).
 * Results: 0; -errno.
 */
int dial_finish_socket(int fd, uint32_t keepalive_ms);

/* A holder has fixed the size of its buffers, which cannot be undone. (False before Linux 5.14.) */
bool dial_is_resized(int fd);

/* Gives up; no turn is given in its place: dialler_give_turns(). NULL is allowed. */
void dial_cancel(struct dial *dial);

#endif
