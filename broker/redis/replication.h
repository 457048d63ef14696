/* SPDX-License-Identifier: MIT */
/*
 * What a server says about its part in replication: a primary, a replica with its link to the
 * primary, or one without. ROLE says it, and INFO replication to a user who has no right to ROLE.
 * Knows bytes only; what follows from an answer is role_watch.h's. Nothing is allocated,
 * and no reply is trusted.
 */
#ifndef LENDIS_BROKER_REPLICATION_H
#define LENDIS_BROKER_REPLICATION_H

#include <stdbool.h>
#include "broker/redis/reply_walk.h"

enum replication {
    REPLICATION_WAITING, /* the answer is not whole yet */
    REPLICATION_PRIMARY,
    REPLICATION_LINKED,   /* a replica that follows its primary */
    REPLICATION_UNLINKED, /* one that does not: the link is down, or it loads its data */
    REPLICATION_ERROR,    /* the server answers, but with an error about itself */
    REPLICATION_REFUSED,  /* it does not answer this question */
};

/* An answer as it comes. */
struct replication_answer {
    bool by_info;
    enum replication found; /* so far */
    struct reply_walk walk;
    uint32_t line_size; /* of INFO: the line under way, as far as it is kept */
    char line[64];
};

/* Prepares for an answer. Returns the question, a constant. */
const char *replication_ask(struct replication_answer *answer, bool by_info);

/* Takes what has come. */
enum replication replication_take(struct replication_answer *answer, const char *data, size_t size);

#endif
