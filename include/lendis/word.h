/* SPDX-License-Identifier: MIT */
/*
 * The connection word: the only truth about who has a connection.
 *
 * One 64-bit atomic: state (4 bits) | owner (20 bits) | generation (40 bits). Every other structure
 * of a pool is a hint that can be rebuilt from these words. All moves of a word are here and are
 * compiled alike into broker, client, tests and model checker. Upholds I1 (one state at a time) and
 * I2 (one lease per connection and generation): a lease *is* the success of one compare-and-swap
 * below.
 *
 *   from                to               who
 *   EMPTY(g)            OPENING(g)       broker
 *   OPENING(g)          CHECKING(g)      broker: the handshake is done
 *   CHECKING(g)         IDLE(g)          broker
 *   IDLE(g)             CHECKING(g)      broker: takes it, to check, close or hand over
 *   IDLE(g)             LEASED(w,g)      worker w
 *   LEASED(w,g)         IDLE(g)          worker w, after it proved it clean
 *   LEASED(w,g)         PASSED(s,g)      worker w, for the waiter in wait slot s; clean as above
 *   CHECKING(g)         PASSED(s,g)      broker, likewise
 *   PASSED(s,g)         LEASED(w,g)      worker w, the owner of s, picks it up
 *   PASSED(s,g)         what it was      who handed it, when the waiter has left the queue
 *   LEASED(w,g)         TRANSFERRED(s,g) worker w: slot s continues a batch (mailbox.h); not clean
 *   TRANSFERRED(s,g)    LEASED(w,g)      worker w, the owner of s
 *   TRANSFERRED(s,g)    what it was      who transferred it, when s has given up
 *   LEASED(w,g)         UNCLEAN(w,g)     worker w: to be reset; the doorbell rings
 *   LEASED(w,g)         RETURNED(w,g)    worker w: broken; the doorbell rings
 *   UNCLEAN(w,g)        CHECKING(g)      broker: resets it
 *   LEASED, PASSED,
 *   TRANSFERRED         RECLAIMED(g)     broker: the owner died or lost its right
 *   any                 EMPTY(g+1)       broker, after shutdown(2) and close
 */
#ifndef LENDIS_WORD_H
#define LENDIS_WORD_H

#include "lendis/shm.h"

enum word_state {
    WORD_EMPTY = 0,       /* no socket; an all-zero segment is a pool without connections */
    WORD_OPENING = 1,     /* the broker dials it */
    WORD_IDLE = 2,        /* clean and free for whoever comes */
    WORD_LEASED = 3,      /* owner = worker index */
    WORD_PASSED = 4,      /* owner = wait slot index; on its way to a waiter */
    WORD_RETURNED = 5,    /* owner = worker index; broken, the broker has to replace it */
    WORD_RECLAIMED = 6,   /* the broker took it from its owner */
    WORD_CHECKING = 7,    /* the broker holds it */
    WORD_TRANSFERRED = 8, /* owner = wait slot index; replies are under way: never lent as clean */
    WORD_UNCLEAN = 9,     /* owner = worker index; the broker has to reset it */
    WORD_STATES = 10
};

#define WORD_OWNER_MAX      ((1u << 20) - 1)
#define WORD_GENERATION_MAX ((UINT64_C(1) << 40) - 1)

static inline uint64_t word_make(enum word_state state, uint32_t owner, uint64_t generation)
{
    return (uint64_t)state | (uint64_t)(owner & WORD_OWNER_MAX) << 4 | generation << 24;
}

/* Any value may come out of a segment: this can be WORD_STATES or more for a corrupted one. */
static inline enum word_state word_state(uint64_t word)
{
    return (enum word_state)(word & 15);
}

static inline uint32_t word_owner(uint64_t word)
{
    return (uint32_t)(word >> 4) & WORD_OWNER_MAX;
}

static inline uint64_t word_generation(uint64_t word)
{
    return word >> 24;
}

/* It is on its way to a waiter: its owner is a wait slot. */
static inline bool word_is_passed(uint64_t word)
{
    return word_state(word) == WORD_PASSED || word_state(word) == WORD_TRANSFERRED;
}

/* Somebody has it, or is about to. Who: word_holder(). */
static inline bool word_is_out(uint64_t word)
{
    return word_state(word) == WORD_LEASED || word_is_passed(word);
}

static inline const char *word_state_name(uint64_t word)
{
    static const char *const names[WORD_STATES] = {
        "empty",    "opening",   "idle",     "leased",      "handed",
        "returned", "reclaimed", "checking", "transferred", "unclean"};
    return word_state(word) < WORD_STATES ? names[word_state(word)] : "invalid";
}

/* The same generation in another state. */
static inline uint64_t word_with(uint64_t word, enum word_state state, uint32_t owner)
{
    return word_make(state, owner, word_generation(word));
}

/*
 * Worker `worker` leases an idle connection. Results: true, and *word is what the caller now holds;
 * false, somebody else has it.
 */
static inline bool word_lease(shm_u64 *at, uint32_t worker, uint64_t *word)
{
    uint64_t seen = shm_load(at);

    if (word_state(seen) != WORD_IDLE)
        return false;
    *word = word_with(seen, WORD_LEASED, worker);
    return shm_cas(at, seen, *word);
}

/* The broker takes an idle connection; likewise. */
static inline bool word_check(shm_u64 *at, uint64_t *word)
{
    uint64_t seen = shm_load(at);

    if (word_state(seen) != WORD_IDLE)
        return false;
    *word = word_with(seen, WORD_CHECKING, 0);
    return shm_cas(at, seen, *word);
}

/*
 * The owner of wait slot `slot`, worker `worker`, picks up what was passed to it. Results: true,
 * and *word is the lease; false, this connection was not passed to the slot.
 */
static inline bool word_pick_up(shm_u64 *at, uint32_t slot, uint32_t worker, uint64_t *word)
{
    uint64_t seen = shm_load(at);

    if (word_state(seen) != WORD_PASSED || word_owner(seen) != slot)
        return false;
    *word = word_with(seen, WORD_LEASED, worker);
    return shm_cas(at, seen, *word);
}

/* The same for a connection that was transferred to the slot with a batch under way. */
static inline bool word_continue(shm_u64 *at, uint32_t slot, uint32_t worker, uint64_t *word)
{
    uint64_t seen = shm_load(at);

    if (word_state(seen) != WORD_TRANSFERRED || word_owner(seen) != slot)
        return false;
    *word = word_with(seen, WORD_LEASED, worker);
    return shm_cas(at, seen, *word);
}

/* The holder of `held` gives it back for replacement. False: it was revoked before. */
static inline bool word_return(shm_u64 *at, uint64_t held)
{
    return shm_cas(at, held, word_with(held, WORD_RETURNED, word_owner(held)));
}

/* Likewise for a reset. */
static inline bool word_return_unclean(shm_u64 *at, uint64_t held)
{
    return shm_cas(at, held, word_with(held, WORD_UNCLEAN, word_owner(held)));
}

/* The broker takes `seen`, an unclean connection, to reset it; *word is what it then holds. */
static inline bool word_take_unclean(shm_u64 *at, uint64_t seen, uint64_t *word)
{
    *word = word_with(seen, WORD_CHECKING, 0);
    return word_state(seen) == WORD_UNCLEAN && shm_cas(at, seen, *word);
}

/* The broker takes `seen`, a lease or a hand-over, from an owner that lost it. False: it moved on.
 */
static inline bool word_reclaim(shm_u64 *at, uint64_t seen)
{
    return shm_cas(at, seen, word_with(seen, WORD_RECLAIMED, 0));
}

#endif
