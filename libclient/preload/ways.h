/* SPDX-License-Identifier: MIT */
/*
 * The ways of a request that a program begins on a parked virtual connection: a leased connection
 * behind the number, which is the rule; handed over or on a lease of ours, its reply copied, when
 * none is idle or when replies that came so are not read yet; answered here; or a real connection.
 */
#ifndef LENDIS_PRELOAD_WAYS_H
#define LENDIS_PRELOAD_WAYS_H

#include <stddef.h>
#include "libclient/preload/virtual.h"

enum way {
    WAY_LEASED, /* a connection is behind the number: send it there */
    WAY_DONE,   /* the whole request is served, or kept until the rest of it has come */
    WAY_REAL,   /* the virtual connection is gone, unlocked: send it on the number */
    WAY_LOST,   /* nobody can serve it, the stream has ended: as if it had been sent */
};

/*
 * For `size` bytes with which a command begins. `waits`: the caller may be kept waiting. In
 * WAY_LEASED, *instead is what is to be sent in its place, if that is not NULL.
 */
enum way way_find(struct virtual *virtual, const char *request, size_t size, bool waits,
                  const char **instead);

/* Tells what differs at the server of the lease's pool: a stream_classifier; `context` is it. */
void way_classify(void *context, const char *request, size_t size, struct command *command);

#endif
