/* SPDX-License-Identifier: MIT */
/* What a program is about to send, inspected before any of it goes out: which way it may go. */
#ifndef LENDIS_PRELOAD_PLAN_H
#define LENDIS_PRELOAD_PLAN_H

#include "libclient/preload/stream.h"

struct plan {
    unsigned commands; /* whole ones */
    bool partial;      /* a part of one is behind them */
    bool unknown;      /* not even the name of a command is known yet */
    bool foreign;      /* no arrays of bulk strings */
    bool shares;       /* each may go out together with commands of others */
    bool own;          /* something is there that may be answered here */
    bool ties;         /* MULTI, WATCH, or another one that needs the connection afterwards */
    bool blocks;       /* it may wait in the server */
    bool lasting;      /* ... for as long as the connection lasts */
    int select;        /* the database of a SELECT that stands first; -1: it does not begin so */
    struct sighting first;
    char why[16]; /* the command for which it is not just a lease */
};

/* Inspects `size` bytes, with which a command begins. */
void plan_make(struct plan *plan, const char *data, size_t size, stream_classifier *classifier,
               void *context);

/*
 * The same in a fraction of the time, where it can be: `size` bytes are whole commands, each of
 * which was found before to be one that shares, whatever its arguments are. False: ask plan_make(),
 * which remembers. Only where a pool's server differs in nothing from the built-in table.
 */
bool plan_known(struct plan *plan, const char *data, size_t size);

/* Where the first command of `size` bytes ends; 0: it is not whole. */
size_t plan_first_end(const char *data, size_t size);

#endif
