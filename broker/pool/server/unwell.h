/* SPDX-License-Identifier: MIT */
/*
 * Whether services leave a pool (struct catalog_pool.unwell): what role_watch.h found of its
 * server, and what notice.h heard from it, in one mark. It never asks the server anything itself.
 */
#ifndef LENDIS_BROKER_UNWELL_H
#define LENDIS_BROKER_UNWELL_H

#include <stdbool.h>
#include "broker/base/log.h"

struct broker_pool;

/* Of a pool; all zero at first. */
struct unwell {
    const char *ill; /* what is wrong with its role, in words; NULL: nothing is, or nobody asks */
    bool erring;     /* a replica answers with errors about itself */
    struct log_limit limit;
};

/* Nothing is known of the server's role yet, which is no news. */
void unwell_assume(struct broker_pool *pool, const char *ill);

/* What is known of the server's role is new. */
void unwell_set_role(struct broker_pool *pool, const char *ill);

/* Whether the server answers with errors about itself is new. */
void unwell_set_erring(struct broker_pool *pool, bool erring);

#endif
