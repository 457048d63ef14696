/* SPDX-License-Identifier: MIT */
/*
 * The places of workers: who has which, from HELLO until nobody can use it any more. A place whose
 * process may live is not given to anybody else: see worker.h.
 *
 * A worker is absent when its place has no socket: it is of the previous broker and has not come
 * back yet, it hung up before it had all that it came back for, or it was expelled.
 */
#ifndef LENDIS_BROKER_PLACES_H
#define LENDIS_BROKER_PLACES_H

#include <stdbool.h>
#include <systemd/sd-event.h>
#include "lendis/wire.h"

struct broker_pool;
struct worker;
struct workers;

/* The pool of that name that workers may attach to; NULL: there is none. */
struct broker_pool *workers_find_pool(struct workers *all, const char *name);

/*
 * The kernel gives the lowest number that is free (open(2)), so a high one means that all below are
 * in use. Workers stop well before the limit: then they can get the reason, and connections can
 * still be opened.
 */
bool workers_lack_descriptors(const struct worker *worker);

/* ---- coming ---- */

/* The place of an absent worker who says that it is `worker`; NULL: it is not. */
struct worker *place_find_absent(const struct worker *worker, const struct broker_pool *pool,
                                 const struct wire_hello *hello);

/* Its user has as many places in the pool as per_uid_workers allows. */
bool place_is_beyond_share(const struct worker *worker, const struct broker_pool *pool);

/*
 * Watches for the death of the worker's process. Results: 0; -ESRCH, it is gone; -EMFILE and the
 * like.
 */
int place_watch(struct worker *worker);

/* Whether there is a free place. */
bool places_have_room(struct workers *all);

/* Gives it a place; there must be a free one. */
void place_enter(struct worker *worker, struct broker_pool *pool);

/* `worker` takes the place of `absent`, which is itself. */
void place_resume(struct worker *worker, struct worker *absent);

/* ---- leaving ---- */

/* Closes and frees, and nothing else. */
void place_free(struct worker *worker);

/* Of the timer `departures` of struct workers. */
int places_on_dead(sd_event_source *source, uint64_t usec, void *workers);

/* The worker is gone, or has to go. `goodbye`: it says so itself. */
void worker_leave(struct worker *worker, bool goodbye);

/* It has to go; the log says why. */
void worker_disconnect(struct worker *worker, const char *why);

#endif
