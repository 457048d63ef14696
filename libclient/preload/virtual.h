/* SPDX-License-Identifier: MIT */
/*
 * A virtual connection: what a program takes for its connection to Redis, while no connection of
 * the pool is tied up. Its descriptor's number is the program's. Behind the number is a socket that
 * is private to the process, so that whatever reads or writes there past the hooks, or inherits the
 * descriptor, does not reach a connection that others use:
 *
 *   PARKED     a copy of the process' one parked socket: never anything to read, and whoever writes
 *              there past the hooks finds a broken pipe
 *   LEASED     the same. The hooks use the lease's own descriptor, from a request to the end of its
 *              reply, or for as long as the session needs the same connection (MULTI, WATCH,
 *              another database); poll(2) and epoll(7) are given that one
 *   ANSWERED   an end of a pair of its own, with replies in it that came another way
 *   ENDED      the end of the stream: the pooled connection was lost, or the program shut it down
 *
 * A leased connection is shown (dup3(2)) where the number itself has to be it: select(2) on it, a
 * copy of a descriptor that owes a reply. Then the number is the pooled connection until the end of
 * the reply, and no longer.
 *
 * A connection that the pool cannot stand for becomes a real one of the program's own
 * (private.h): it leaves the table, and nothing of ours acts on it any more.
 *
 * Each is used under its lock. Nobody keeps the lock while waiting. The structs are never freed,
 * so one that was found is safe to lock, and is then checked again.
 */
#ifndef LENDIS_PRELOAD_VIRTUAL_H
#define LENDIS_PRELOAD_VIRTUAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "lendis.h"
#include "libclient/preload/stream.h"

enum virtual_state { VIRTUAL_PARKED, VIRTUAL_LEASED, VIRTUAL_ANSWERED, VIRTUAL_ENDED };

/* Socket options that programs set and read again; what they say does not reach a pooled socket. */
#define VIRTUAL_OPTIONS 8

struct virtual_option {
    int level, name, value;
};

struct registration; /* epoll_table.h */
struct route;        /* map.h */

struct virtual
{
    _Atomic(void *) holder; /* of the lock: a thread; NULL: nobody */
    _Atomic int number;     /* the program's; -1: not in use */
    enum virtual_state state;
    struct virtual *next; /* of those not in use */
    uint64_t cookie;      /* SO_COOKIE of what is behind the number */

    struct lendis_lease *lease;
    bool shown;         /* LEASED, and the pooled connection is behind the number */
    bool counted;       /* for the operator: tally.h */
    bool checked;       /* just now: the number is ours, for the next call */
    unsigned receivers; /* threads that are inside recv(2) on the pooled connection */
    struct stream stream;

    const struct route *route;
    struct lendis_pool *pool;       /* the first one of the route: it counts there */
    uint32_t db;                    /* that the program has selected */
    char name[STREAM_NAME_MAX + 1]; /* that it has given the connection; "": none */
    bool logged_in;                 /* by the pool's own login: a real connection could not be */
    bool loss_untold;               /* ENDED: what is sent vanishes until the end was read */
    bool ends;                      /* ANSWERED: behind the last answer the stream ends */
    bool mute;                      /* it has shut its writing side */

    int pair;      /* the other end of the pair; -1: none */
    size_t unread; /* bytes of answers in the pair and in `backlog` */
    char *backlog; /* answers that the pair has no room for */
    size_t backlog_size, backlog_at;
    char *gathered; /* a request that has not come whole yet, to be handed over */
    size_t gathered_size;

    int domain;
    struct sockaddr_storage peer;
    socklen_t peer_size;
    bool nonblocking, close_on_exec;
    int64_t receive_ns, send_ns; /* SO_RCVTIMEO, SO_SNDTIMEO; 0: none */
    unsigned option_count;
    struct virtual_option options[VIRTUAL_OPTIONS];
    struct registration *registrations;
};

/* ---- the table ---- */

/* By number, in pages that are made on demand; table.c's. */
#define VIRTUAL_PAGE  512u
#define VIRTUAL_PAGES 2048u

struct virtual_page {
    _Atomic(struct virtual *) entries[VIRTUAL_PAGE];
};

extern _Atomic(struct virtual_page *) virtual_pages[VIRTUAL_PAGES];

/* The virtual connection of a number, or NULL: a load and a compare for any other descriptor. */
static inline struct virtual *virtual_find(int fd)
{
    unsigned at = (unsigned)fd / VIRTUAL_PAGE;
    struct virtual_page *page;

    if (at >= VIRTUAL_PAGES)
        return NULL;
    /* Acquire: with the release of virtual_enter(). */
    page = atomic_load_explicit(&virtual_pages[at], memory_order_acquire);
    return page ? atomic_load_explicit(&page->entries[(unsigned)fd % VIRTUAL_PAGE],
                                       memory_order_acquire)
                : NULL;
}

/* Locks it. False: it is another one's or nobody's by now, or this thread has it locked (a signal
 * handler). */
bool virtual_lock(struct virtual *virtual, int fd);
void virtual_unlock(struct virtual *virtual);
bool virtual_is_held_here(const struct virtual *virtual);

/* A fresh one for `fd`, locked, PARKED, not in the table yet. NULL: no memory. */
struct virtual *virtual_new(int fd);

/* Puts it into the table. False: there is no room; it was freed. */
bool virtual_enter(struct virtual *virtual);

/* Takes it out of the table and unlocks it; what it holds was given up before. */
void virtual_free(struct virtual *virtual);

/* Calls `visit` for each that is in the table, in a child that has one thread. */
void virtual_each(void (*visit)(struct virtual *virtual));

/* All that are in the table with numbers from first to last, one after the other: the next one, or
 * -1. */
int virtual_next(unsigned first, unsigned last);

#endif
