/* SPDX-License-Identifier: MIT */
/* A place in the pool's queue for one thread or wait of this process: its own, or one of the
 * further ones. */
#ifndef LENDIS_WAIT_SLOT_H
#define LENDIS_WAIT_SLOT_H

#include "libclient/pool.h"

/* A wait slot with a free mailbox for the calling thread. False: all are taken. */
bool wait_slot_claim(struct attachment *attachment, uint32_t *slot);
/* Notes since when its owner waits, for lendisctl. */
static inline void wait_slot_since(struct attachment *attachment, uint32_t slot, int64_t start_ns)
{
    atomic_store_explicit(&attachment->segment.slots[slot].since_ms, (uint32_t)(start_ns / 1000000),
                          memory_order_relaxed);
}
void wait_slot_release(struct attachment *attachment, uint32_t slot);

/* Counts a wait that began at start_ns and ended with `result`, in histogram `name`. */
void wait_slot_count(const struct attachment *attachment, enum histogram_name name,
                     int64_t start_ns, int result);

#endif
