/* SPDX-License-Identifier: MIT */
/*
 * Connections that are out with one process alone (fallback = direct), and their limits (I8).
 *
 * A process gets one over a socket that it keeps open for as long as it has the connection. The
 * broker keeps a duplicate: when the process hangs up, or ends, the connection is shut down, so
 * that none is in use that is not counted. A process says WIRE_RETURN before it hangs up, and its
 * place is free at once; the place of one that does not, and lives, rests.
 *
 * Limits: `size` in each process; `per_uid_leases` connections and `per_uid_workers` processes of
 * one user; `fallback_connections` in the pool. A process of another PID namespace, whose number is
 * not known, has the other three.
 */
#ifndef LENDIS_BROKER_PRIVATE_H
#define LENDIS_BROKER_PRIVATE_H

#include <sys/socket.h>
#include "broker/base/log.h"

struct broker_pool;
struct private;

/* What limits them: keys of the configuration. */
enum private_limit {
    PRIVATE_size,
    PRIVATE_per_uid_leases,
    PRIVATE_per_uid_workers,
    PRIVATE_fallback_connections,
    PRIVATE_LIMITS
};

/* A pool's; all zero at first. */
struct privates {
    struct private *first;
    struct log_limit limits[PRIVATE_LIMITS]; /* what is reached often hides none of the others */
};

/*
 * A place for one more, of process `peer`. Results: 0, and *place is to be filled by private_keep()
 * or given up by private_free(); LENDIS_E_BUSY, a limit is reached, which was logged; -ENOMEM.
 */
int private_admit(struct broker_pool *pool, const struct ucred *peer, struct private **place);

/*
 * The connection `fd`, borrowed, is out. Takes over `socket`, by which the process has it, and
 * `process`, its pidfd (-1: there is none). Results: 0; -errno, and they stay the caller's, as does
 * the place.
 */
int private_keep(struct private *place, int socket, int process, int fd);

/* NULL does nothing. */
void private_free(struct private *place);

/* The pool is about to go: they are counted no more, and what is out stays so. */
void private_forget(struct broker_pool *pool);

#endif
