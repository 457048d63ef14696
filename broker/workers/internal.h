/* SPDX-License-Identifier: MIT */
/*
 * One worker, for the files of this folder alone. Functions are called downwards only: accept.c,
 * worker.c, question.c, direct_request.c, places.c, unattached.c, peer.c.
 */
#ifndef LENDIS_BROKER_WORKERS_INTERNAL_H
#define LENDIS_BROKER_WORKERS_INTERNAL_H

#include "broker/pool/direct.h"
#include "broker/pool/members.h"
#include "broker/pool/private.h"
#include "broker/workers/worker.h"

/* More than any message of ours, so that those of other versions can be answered. */
#define MESSAGE_ROOM 512u

struct worker {
    struct workers *all;
    struct worker *older, *newer; /* while it is not attached */
    sd_event_source *messages;
    sd_event_source *death; /* of its pidfd */
    sd_event_source *patience;
    struct broker_pool *pool; /* NULL: not attached */
    struct direct *direct;    /* it waits for a connection of its own */
    struct private *place;    /* which is counted already */
    uint64_t since_ms;
    uint32_t index;
    uint32_t tenant; /* as in wire_welcome */
    int socket;      /* -1: it is absent */
    int process;     /* pidfd, or -1 */
    bool mapped;     /* it may have the segment */
    bool returning;  /* it was absent, and has not fetched all that it needs yet */
    bool expelled;   /* see broker_pool_expel() */
    bool dead;       /* it died while there was no broker */
    uint64_t *lost;  /* what it held then; NULL: it is not known */
    struct ucred peer;
};

#endif
