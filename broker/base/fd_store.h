/* SPDX-License-Identifier: MIT */
/*
 * The descriptor store: what survives the broker. The service manager (systemd's FDSTORE=,
 * sd_notify(3), or lendisd --supervise, which does the same) keeps duplicates of the descriptors
 * that a broker hands it, each under a name, and passes them to the next one. So that process can
 * take everything over, however this one ends.
 *
 *   catalog.MADE                     the catalog, for who the workers are; made when, as below
 *   segment.POOL, doorbell.POOL      of a pool
 *   connection.POOL.INDEX.GENERATION.OPENED
 *                                    a connection to Redis; opened when, CLOCK_MONOTONIC in ms
 *   listener                         the socket, if the broker made it itself
 *
 * It owns the descriptors that were passed until they are taken. Without a service manager it does
 * nothing.
 */
#ifndef LENDIS_BROKER_STORE_H
#define LENDIS_BROKER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>
#include "broker/base/log.h"

#define STORED_CATALOG    "catalog.%ju"
#define STORED_LISTENER   "listener"
#define STORED_SEGMENT    "segment.%s"
#define STORED_DOORBELL   "doorbell.%s"
#define STORED_CONNECTION "connection.%s.%u.%ju.%ju"

struct stored {
    char *name;
    int fd; /* -1: taken */
};

struct fd_store {
    struct stored *passed;
    size_t passed_count;
    bool on;              /* somebody listens to us */
    bool begun;           /* what is put goes out at once */
    struct stored *early; /* put before; their descriptors are not ours */
    size_t early_count;
    unsigned held;    /* descriptors that are in the descriptor store now, as far as we know */
    unsigned highest; /* most of them so far */
    sd_event *event;
    int probe; /* see fd_store.c */
    sd_event_source *refusal;
    struct log_limit limit;
};

/* Takes over what was passed to this process. Results: 0, fd_store_close() must follow; -errno. */
int fd_store_open(struct fd_store *store, sd_event *event);

/* The passed descriptor `name`, now the caller's, or -1. */
int fd_store_take(struct fd_store *store, const char *name);

/* One of the passed descriptors whose names begin with `prefix`, now the caller's, and in *rest
 * what comes after that in its name, valid until fd_store_close(). False: there is none (any
 * more). */
bool fd_store_take_next(struct fd_store *store, const char *prefix, int *fd, const char **rest);

/* A passed listening socket for whole messages, from the socket unit. Results: the descriptor, now
 * the caller's; -ENOENT, none was passed; -EPROTOTYPE, only of other kinds. */
int fd_store_take_listener(struct fd_store *store);

/* Has `fd`, which stays the caller's, kept under a name. */
void fd_store_put(struct fd_store *store, int fd, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Sends what was put so far, and from now on at once: after READY=1, which must not stand behind
 * it. What was put must still be open. */
void fd_store_begin(struct fd_store *store);

/* Has the descriptor of this name forgotten. */
void fd_store_remove(struct fd_store *store, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Closes what nobody took, and has it forgotten; says how many that were. */
void fd_store_discard_rest(struct fd_store *store);

/* Frees all. What is in the service manager's hands stays there. */
void fd_store_close(struct fd_store *store);

/* Logs which sockets were passed and are not what is wanted. */
void fd_store_report_sockets(const struct fd_store *store);

#endif
