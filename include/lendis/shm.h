/* SPDX-License-Identifier: MIT */
/*
 * Access to shared memory, one step at a time.
 *
 * Every load, store and compare-and-swap on a segment goes through this file, so that one macro,
 * LENDIS_STEP(), stands before each of them. It is empty in a normal build. In the crash flavour it
 * is the kill point between every two shared-memory steps; in the model checker it is where another
 * process may run. What comes back is one read: check it, then use it, never read it twice.
 *
 * All accesses are sequentially consistent unless the name says "relaxed". On x86-64 that costs
 * nothing for loads and compare-and-swaps; the wake-up protocol in queue.h needs the
 * store-then-load order that only seq_cst gives.
 */
#ifndef LENDIS_SHM_H
#define LENDIS_SHM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define SHM_SINGLE_THREADED
#endif

#ifdef LENDIS_STEPS
void lendis_step(const char *where);
#define LENDIS_STEP(where) lendis_step(where)
#else
#define LENDIS_STEP(where) ((void)0)
#endif

typedef _Atomic uint64_t shm_u64;
typedef _Atomic uint32_t shm_u32;

_Static_assert(sizeof(shm_u64) == 8 && sizeof(shm_u32) == 4, "atomics must have their plain size");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
               "shared memory needs lock-free 64-bit atomics");

static inline uint64_t shm_load(const shm_u64 *at)
{
    LENDIS_STEP("load");
    return atomic_load_explicit(at, memory_order_seq_cst);
}

static inline void shm_store(shm_u64 *at, uint64_t value)
{
    LENDIS_STEP("store");
    atomic_store_explicit(at, value, memory_order_seq_cst);
}

/* True if *at held `expected` and now holds `desired`. */
static inline bool shm_cas(shm_u64 *at, uint64_t expected, uint64_t desired)
{
    LENDIS_STEP("cas");
    return atomic_compare_exchange_strong_explicit(at, &expected, desired, memory_order_seq_cst,
                                                   memory_order_seq_cst);
}

/* The same for 32 bits, written out: a macro for both would hide what a step does. */
static inline uint32_t shm_load32(const shm_u32 *at)
{
    LENDIS_STEP("load32");
    return atomic_load_explicit(at, memory_order_seq_cst);
}

static inline void shm_store32(shm_u32 *at, uint32_t value)
{
    LENDIS_STEP("store32");
    atomic_store_explicit(at, value, memory_order_seq_cst);
}

static inline bool shm_cas32(shm_u32 *at, uint32_t expected, uint32_t desired)
{
    LENDIS_STEP("cas32");
    return atomic_compare_exchange_strong_explicit(at, &expected, desired, memory_order_seq_cst,
                                                   memory_order_seq_cst);
}

static inline void shm_add32(shm_u32 *at, uint32_t amount)
{
    LENDIS_STEP("add32");
    atomic_fetch_add_explicit(at, amount, memory_order_seq_cst);
}

static inline void shm_or32(shm_u32 *at, uint32_t bits)
{
    LENDIS_STEP("or32");
    atomic_fetch_or_explicit(at, bits, memory_order_seq_cst);
}

static inline uint32_t shm_exchange32(shm_u32 *at, uint32_t value)
{
    LENDIS_STEP("exchange32");
    return atomic_exchange_explicit(at, value, memory_order_seq_cst);
}

static inline uint64_t shm_exchange(shm_u64 *at, uint64_t value)
{
    LENDIS_STEP("exchange");
    return atomic_exchange_explicit(at, value, memory_order_seq_cst);
}

/* For statistics: no order with anything else, no step of the protocol. */
static inline uint64_t shm_load_relaxed(const shm_u64 *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static inline uint32_t shm_load32_relaxed(const shm_u32 *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static inline void shm_store_relaxed(shm_u64 *at, uint64_t value)
{
    atomic_store_explicit(at, value, memory_order_relaxed);
}

/*
 * Maps the page of `at` by writing to it, without a change. A page that is read first brings those
 * around it, others' pages that this process never uses (fault_around_bytes of the kernel).
 */
static inline void shm_touch(void *at)
{
    atomic_fetch_or_explicit((shm_u32 *)at, 0, memory_order_relaxed);
}

/* True: this process has a single thread (libc_single_threaded(3)). What is only its own then needs
 * no atomic addition, which costs some 20 cycles; a plain one costs none to speak of. */
static inline bool shm_is_alone(void)
{
#ifdef SHM_SINGLE_THREADED
    return __libc_single_threaded;
#else
    return false;
#endif
}

/* The same for a counter that only this process adds to. */
static inline void shm_count(shm_u64 *at, uint64_t amount)
{
    if (shm_is_alone())
        shm_store_relaxed(at, shm_load_relaxed(at) + amount);
    else
        atomic_fetch_add_explicit(at, amount, memory_order_relaxed);
}

static inline void shm_add_relaxed(shm_u64 *at, uint64_t amount)
{
    atomic_fetch_add_explicit(at, amount, memory_order_relaxed);
}

#endif
