/* SPDX-License-Identifier: MIT */
/*
 * Whether a broker that cannot be reached again is away for a moment, or for this process for good:
 * it has changed its root (chroot(2)), its mount namespace or its rights since it attached.
 *
 * A broker that restarts looks like this to connect(2): ENOENT while its socket, and the folder of
 * it (RuntimeDirectory= of systemd.exec(5)), are not there; ECONNREFUSED before it listens; EACCES
 * between bind(2) and chmod(2). So:
 *
 *   ECONNREFUSED  is never for good: the socket is there.
 *   ENOENT        is for good if this process has another root or mount namespace than when it
 *                 attached, and where the socket's folder was is none or another folder. (A process
 *                 that sees the same folder from its new root sees a restart.)
 *   EACCES        is for good if a second attempt, milliseconds later, gets it from the same file
 *                 as the first.
 *   DENIED        is: a broker answered.
 *
 * Connections that are open go on to be used. When there are none left for a call, it says why at
 * once. So it does while the broker is away for a moment, if Redis is away as well: a call that
 * waited for a broker would wait for one that has nothing to lend.
 */
#ifndef LENDIS_REACH_H
#define LENDIS_REACH_H

#include <stdbool.h>
#include <sys/stat.h>

/* What a file is known by; all zero: it is not there. */
struct reach_file {
    dev_t device;
    ino_t inode;
    struct timespec changed;
};

struct reach {
    struct reach_file root, mounts, folder; /* when it attached last */
    struct reach_file refused;              /* from which the last attempt got EACCES */
    bool was_refused;
};

struct lendis_pool;
struct attachment;

/* Notes where the broker was reached. Caller holds the lock, as for the next one. */
void reach_note(struct lendis_pool *pool);

/* An attempt came to `result`. */
void reach_failed(struct lendis_pool *pool, int result);

/* Why the broker cannot be reached any more; 0: it can, or may be soon. */
int reach_lost(const struct lendis_pool *pool);

/* An attempt of a process that has `attachment` came to `result`: if there is no broker and nothing
 * that it can use, whether Redis is there. Caller holds the lock. */
void reach_look_for_redis(const struct attachment *attachment, int result);

/* The same as reach_lost() if nothing is open that a call on `attachment` can use;
 * RESULT_FAILS_FAST: for now, as Redis is not there either. */
int reach_cut_off(const struct attachment *attachment);

#endif
