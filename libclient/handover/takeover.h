/* SPDX-License-Identifier: MIT */
/* How a batch goes from a combiner to its successor, in the reply chunk of the successor's slot. */
#ifndef LENDIS_TAKEOVER_H
#define LENDIS_TAKEOVER_H

#include "lendis/mailbox.h"
#include "libclient/handover/batch.h"

/* What a take-over leaves in the target's reply chunk: at the end of it, the bytes at its start. */
struct transfer {
    struct resp_scan scan;
    uint32_t count;
    uint32_t replies; /* of the first item, still to come */
    uint32_t scanned; /* bytes that belong to the first item and were scanned */
    uint32_t bytes;   /* scanned and unscanned */
    struct item items[BATCH_MAX];
};
_Static_assert(sizeof(struct transfer) + 3 * BUFFER_SIZE <= CHUNK_SIZE,
               "a take-over must fit a chunk");

/* A reply that has come so far is kept in a chunk up to this; a further read still fits then. */
#define ASSEMBLY_MAX (CHUNK_SIZE - sizeof(struct transfer) - BUFFER_SIZE)

/*
 * Leaves the rest of the batch to the owner of the next reply, with the connection. False: nobody
 * could be found; all is as before. True: the lease is gone.
 */
bool takeover_hand_on(struct combiner *combiner, bool urgent);

/*
 * Takes what another combiner left in `chunk` for the call of `combiner`, which waits in `slot`.
 * False: it makes no sense; the items that were taken by then are the batch.
 */
bool takeover_adopt(struct combiner *combiner, uint32_t chunk, uint32_t slot);

/*
 * For a successor that cannot use the connection after all (no broker to get its descriptor from):
 * the commands of others that came with it end as sent and lost.
 */
void takeover_lose(const struct segment *segment, uint32_t slot);

#endif
