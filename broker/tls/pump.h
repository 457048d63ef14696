/* SPDX-License-Identifier: MIT */
/*
 * What one relay does when something has happened: passes on what there is, in both directions,
 * without ever waiting. Knows no threads; whoever watches the two descriptors (edge-triggered,
 * epoll(7)) notes what was seen and calls pump_run().
 */
#ifndef LENDIS_BROKER_TLS_PUMP_H
#define LENDIS_BROKER_TLS_PUMP_H

#include "broker/tls/connection.h"
#include "broker/tls/relay.h"

/* One direction: what was read and could not be passed on yet. */
struct flow {
    char bytes[RELAY_BUFFER];
    size_t start, size;
    bool ended;    /* nothing more comes in */
    bool finished; /* its end was passed on */
};

/* One side's descriptor, as far as is known. */
struct side {
    bool readable, writable;
    bool hung;   /* the other end was closed, in one direction at least */
    bool closed; /* in both */
};

struct pump {
    struct tls_connection *tls; /* of the server */
    int local;                  /* the end that is not the worker's */
    struct side server, worker;
    bool worker_gone; /* nobody can read there any more */
    bool broken;      /* the TLS connection failed: no goodbye */
    struct flow up;   /* from the worker to the server */
    struct flow down;
};

/* Seen by epoll on the worker's or the server's descriptor. */
void pump_note(struct side *side, uint32_t events);

enum pump_result {
    PUMP_RESTING, /* until something is seen */
    PUMP_BUSY,    /* there is more to do: others first */
    PUMP_OVER,    /* nothing is left to pass on, or nobody to pass it to */
};
enum pump_result pump_run(struct pump *pump);

/* The worker's side has ended: the rest has some time, and no more. */
bool pump_is_leaving(const struct pump *pump);

#endif
