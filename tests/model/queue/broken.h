/* SPDX-License-Identifier: MIT */
/*
 * For the broken variants (broken.c): steps that are not atomic any more. Included by steps.h, so
 * that it holds wherever the variant is compiled.
 */
#ifndef MODEL_BROKEN_H
#define MODEL_BROKEN_H

#include "lendis/word.h"

#if MODEL_BREAK == 5
/* A lease by load and store. */
static inline bool broken_lease(shm_u64 *at, uint32_t worker, uint64_t *word)
{
    uint64_t seen = shm_load(at);

    if (word_state(seen) != WORD_IDLE)
        return false;
    *word = word_with(seen, WORD_LEASED, worker);
    shm_store(at, *word);
    return true;
}
#define word_lease(at, worker, word) broken_lease(at, worker, word)
#endif

#if MODEL_BREAK == 6
/* The waiter is told by load and store. */
static inline uint32_t broken_exchange32(shm_u32 *at, uint32_t value)
{
    uint32_t seen = shm_load32(at);

    shm_store32(at, value);
    return seen;
}
#undef shm_exchange32
#define shm_exchange32(at, value) broken_exchange32(at, value)
#endif

#endif
