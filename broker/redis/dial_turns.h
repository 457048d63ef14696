/* SPDX-License-Identifier: MIT */
/*
 * Who may dial now: so many dials at a time in the whole broker, so many in a second, and a share
 * of both for every node, so that one that accepts and never answers costs the others nothing.
 *
 * Whoever wants to dial asks for a turn. Turns go round the nodes that are waited for, and within a
 * node by the order of asking. A node gets half of the turns at most, once there is another one,
 * and a single one after a dial of it has failed. A dial that is under way for DIAL_TURN_MS keeps
 * its turn no longer: it goes on, others may dial, and its node gets no other turn until it is
 * over. So a node that hangs has its share of turns for that long, however long connect_timeout is.
 */
#ifndef LENDIS_BROKER_DIAL_TURNS_H
#define LENDIS_BROKER_DIAL_TURNS_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "lendis/catalog.h"

/* Many times what a server takes that is well, a busy or distant one included. */
#define DIAL_TURN_MS 250u

/* A server, whichever pools have it: by its address. */
struct dial_node {
    uint64_t key;    /* 0: free */
    uint64_t served; /* when it had its last turn, by counting turns */
    uint32_t active; /* dials under way */
    uint32_t slow;   /* of these, that have no turn any more */
    bool suspected;  /* the last dial failed */
};

/* A turn that was asked for; part of whoever asks, all-zero at first. */
struct dial_turn {
    struct dial_turn *next;
    bool queued;
    uint64_t node;                       /* dial_node_key() */
    void (*run)(struct dial_turn *turn); /* makes at most one dial */
};

/* A dial that is under way; part of it. */
struct dial_slot {
    struct dial_slot *next, **link;
    struct dial_node *node; /* NULL: more nodes than there is room for */
    uint64_t since_us;
    bool slow;
};

struct dialler {
    sd_event *event;
    uint32_t limit;
    uint32_t rate;         /* dials a second; 0: no limit */
    uint32_t busy;         /* dials that have a turn */
    uint64_t due_us;       /* when the next dial would be, were they evenly spaced */
    uint64_t turns;        /* given so far */
    sd_event_source *pace; /* a turn is due by the rate */
    sd_event_source *ends; /* the oldest turn ends */
    bool running;          /* turns are being given */
    struct dial_turn *first, **last;
    struct dial_slot *dials;
    struct dial_node nodes[CATALOG_MAX_POOLS];
};

/* `limit` dials at the same time, `rate` in a second (0: as many as there are) but for a burst of
 * the first `limit`. Results: 0, dialler_free() must follow; -errno. */
int dialler_init(struct dialler *dialler, sd_event *event, uint32_t limit, uint32_t rate);
void dialler_free(struct dialler *dialler);

/* What identifies a node: the address without the database; `path` or `host` may be NULL. */
uint64_t dial_node_key(const char *host, uint16_t port, const char *path);

/* There is such a node, whether or not it is dialled yet: others get their share beside it. */
void dialler_expect(struct dialler *dialler, uint64_t node);

/* Asks for a turn; it may come before this returns. A turn that is queued already is not queued
 * again. */
void dialler_ask(struct dialler *dialler, struct dial_turn *turn);
/* For those who wait, when a dial was cancelled. */
void dialler_give_turns(struct dialler *dialler);
void dialler_withdraw(struct dialler *dialler, struct dial_turn *turn);

/* ---- the dial's ---- */

enum dial_outcome { DIAL_OUTCOME_GOOD, DIAL_OUTCOME_BAD, DIAL_OUTCOME_NONE };

void dial_slot_begin(struct dialler *dialler, struct dial_slot *slot, uint64_t node);
void dial_slot_end(struct dialler *dialler, struct dial_slot *slot, enum dial_outcome outcome);

#endif
