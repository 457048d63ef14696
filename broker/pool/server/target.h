/* SPDX-License-Identifier: MIT */
/*
 * Whom a pool dials: the configured address, or, of a name, those that it was looked up as, one
 * after the other. What follows from a lookup is left to others, by struct target_events.
 */
#ifndef LENDIS_BROKER_TARGET_H
#define LENDIS_BROKER_TARGET_H

#include <stdbool.h>
#include <stdint.h>
#include "broker/base/resolver.h"
#include "broker/redis/dialler.h"

/* Far longer than a name server takes that is well, and no long wait for a caller. */
#define LOOKUP_PATIENCE_MS 500u

struct broker_pool;

/* Called when a lookup begins; when it found addresses; when it failed, with true for the answer if
 * those of an earlier one are used again; and after either: whether there are any. The last one
 * also when a password was got, or could not be (credential.h). */
struct target_events {
    void (*begun)(struct broker_pool *pool);
    void (*found)(struct broker_pool *pool);
    bool (*failed)(struct broker_pool *pool, const char *error);
    void (*settled)(struct broker_pool *pool, bool found);
};

struct target {
    bool numeric;  /* the host needs no lookup, or there is none */
    bool resolved; /* `addresses` can be used */
    uint32_t current;
    uint64_t begun_ms; /* the last lookup */
    uint64_t resolved_ms;
    uint64_t node; /* dial_node_key() */
    struct lookup *lookup;
    struct addresses addresses;
    const struct target_events *events;
};

/* Looks the configured address up anew, for connections that are dialled from now on. */
void target_set(struct broker_pool *pool);

/* Looks the name up, unless that is under way. */
void target_look_up(struct broker_pool *pool);

/* Before the turn of a dial. True: there is an address, perhaps an old one, and a password, where
 * one is needed. False: either is awaited, or could not be had. */
bool target_is_ready(struct broker_pool *pool);

/* Either is awaited: target.events->settled follows. */
bool target_is_pending(const struct broker_pool *pool);

/* Uses the addresses of an earlier lookup again. False: there are none. */
bool target_reuse(struct broker_pool *pool);

/* Whom to dial, and as whom, without command info. False: as above; or TLS cannot be used, which
 * counts as a dial that failed. */
bool target_get(struct broker_pool *pool, struct dial_target *target);

/* Address `address` is no good: on to the next one, or to another lookup. */
void target_pass(struct broker_pool *pool, uint32_t address);

/* Perhaps the name means another host by now. */
void target_forget(struct broker_pool *pool);

/* No more lookups. */
void target_cancel(struct broker_pool *pool);

#endif
