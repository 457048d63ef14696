/* SPDX-License-Identifier: MIT */
/*
 * The rest of a batch goes to the owner of the next reply, with the connection: what is left for it
 * in a chunk, and what it finds there. That owner is this combiner's successor.
 *
 * Chunks are shared memory, which any worker of the pool can write: what is found is checked as it
 * is copied (I5).
 */
#include "libclient/handover/takeover.h"

#include <string.h>
#include "lendis/mailbox.h"
#include "libclient/membership/attachment.h"
#include "libclient/lease.h"

/* ---- leaving a batch ---- */

/*
 * The owner of `item` gave up: its reply will be read and dropped. What it had of it so far is not
 * ours any more, the slot may use its chunks for its next command.
 */
static void discard(struct combiner *combiner, struct item *item)
{
    item->route = ROUTE_DISCARD;
    if (item != &combiner->items[combiner->next])
        return;
    combiner->chunk = -1;
    combiner->assembled = 0;
    combiner->start = combiner->at;
}

/* The item's owner says that it has a descriptor of this connection, or one that shares its bit. */
static bool has_descriptor(const struct combiner *combiner, const struct item *item)
{
    return shm_load32(&combiner->segment->slots[item->slot].descriptors) >>
               (combiner->lease->index % 32) &
           1;
}

/* Part of the next reply is here: its owner alone can go on with it. */
static bool reply_has_begun(const struct combiner *combiner)
{
    return combiner->at > combiner->start || combiner->assembled > 0;
}

/*
 * The first item from `combiner->next` on whose owner will read on; NULL: none. Marks it. Unless it
 * is `urgent`, only owners that need no broker to get the connection's descriptor.
 */
static struct item *find_successor(struct combiner *combiner, bool urgent, int *chunk)
{
    for (uint32_t i = combiner->next; i < combiner->count; i++) {
        struct item *item = &combiner->items[i];
        struct wait_slot *shared = &combiner->segment->slots[item->slot];

        if (item->route != ROUTE_MAILBOX)
            continue;
        if (!urgent && !has_descriptor(combiner, item)) {
            if (reply_has_begun(combiner))
                return NULL;
            continue;
        }
        *chunk = i == combiner->next && combiner->chunk >= 0
                     ? combiner->chunk
                     : chunk_claim(combiner->segment, item->slot);
        if (*chunk < 0)
            return NULL;
        shm_store32(&shared->reply_chunk, (uint32_t)(1 + *chunk));
        if (shm_load(&shared->mail) == item->mail)
            return item;
        mail_acknowledge(combiner->segment, item->slot, item->mail);
        discard(combiner, item);
    }
    return NULL;
}

bool takeover_hand_on(struct combiner *combiner, bool urgent)
{
    const struct segment *segment = combiner->segment;
    struct item *successor;
    struct transfer *transfer;
    uint32_t slot;
    char *bytes;
    int chunk;

    if (combiner->items[combiner->next].route == ROUTE_OWN)
        combiner->items[combiner->next].route = ROUTE_DISCARD;
    successor = find_successor(combiner, urgent, &chunk);
    if (!successor)
        return false;
    if (combiner->items[combiner->next].route == ROUTE_DISCARD)
        combiner->start = combiner->at;
    slot = successor->slot;
    bytes = segment_chunk(segment, (uint32_t)chunk); /* claimed, so it is there */
    transfer = (struct transfer *)(bytes + CHUNK_SIZE - sizeof *transfer);
    memcpy(bytes + combiner->assembled, combiner->buffer + combiner->start,
           combiner->end - combiner->start);
    *transfer = (struct transfer){
        .scan = combiner->scan,
        .count = combiner->count - combiner->next,
        .replies = combiner->replies,
        .scanned = (uint32_t)(combiner->assembled + combiner->at - combiner->start),
        .bytes = (uint32_t)(combiner->assembled + combiner->end - combiner->start),
    };
    memcpy(transfer->items, &combiner->items[combiner->next],
           transfer->count * sizeof(struct item));
    if (!shm_cas(&segment->slots[slot].mail, successor->mail,
                 mail_with(successor->mail, MAIL_TAKEOVER))) {
        mail_acknowledge(segment, slot, successor->mail);
        discard(combiner, successor);
        return takeover_hand_on(combiner, urgent);
    }
    if (!lease_transfer(combiner->lease, slot)) {
        /* Revoked: the successor sees that for itself, and what else was taken is still ours to
         * end. */
        wake_hint(segment, &combiner->to_wake, slot, WAKE_MAIL);
        discard(combiner, successor);
        return false;
    }
    /* The successor may have given up before it could see the connection: then it stays ours. */
    if (shm_load(&segment->slots[slot].mail) != mail_with(successor->mail, MAIL_TAKEOVER) &&
        lease_transfer_back(combiner->lease, slot)) {
        discard(combiner, successor);
        return takeover_hand_on(combiner, urgent);
    }
    wake_hint(segment, &combiner->to_wake, slot, WAKE_MAIL);
    wake_flush(combiner->segment, &combiner->to_wake);
    attachment_count(combiner->attachment, COUNTER_takeovers, 1);
    lease_forget(combiner->lease);
    combiner->lease = NULL;
    return true;
}

/* ---- continuing it ---- */

/* Takes the items of `transfer`, which others can write: checked as it is copied. False: it makes
 * no sense. */
static bool adopt_items(struct combiner *combiner, const struct transfer *transfer, uint32_t slot)
{
    const struct segment *segment = combiner->segment;
    uint32_t count = transfer->count;
    bool own = false;

    if (count < 1 || count > BATCH_MAX)
        return false;
    memcpy(combiner->items, transfer->items, count * sizeof *combiner->items);
    for (uint32_t i = 0; i < count; i++) {
        struct item *item = &combiner->items[i];

        if (item->slot >= segment->slot_max)
            return false; /* those before it are all there is */
        combiner->count = i + 1;
        if (item->route != ROUTE_MAILBOX) {
            item->route = ROUTE_DISCARD;
        } else if (item->slot == slot) {
            item->route = ROUTE_OWN;
            own = true;
        } else {
            shm_store32(&segment->slots[item->slot].taker, 1 + combiner->attachment->worker);
        }
    }
    return own;
}

/* Takes what had been received. False: it makes no sense. */
static bool adopt_bytes(struct combiner *combiner, const struct transfer *transfer,
                        const char *bytes)
{
    uint32_t scanned = transfer->scanned, size = transfer->bytes;

    if (size > CHUNK_SIZE - sizeof *transfer || scanned > size || size - scanned > BUFFER_SIZE)
        return false;
    if (combiner->items[0].route == ROUTE_OWN &&
        combiner->call->sink->take(combiner->call->sink->context, bytes, scanned) != 0)
        return false;
    memcpy(combiner->buffer, bytes + scanned, size - scanned);
    combiner->end = size - scanned;
    combiner->scan = transfer->scan;
    combiner->replies = transfer->replies;
    return combiner->replies > 0;
}

bool takeover_adopt(struct combiner *combiner, uint32_t chunk, uint32_t slot)
{
    const char *bytes = segment_chunk(combiner->segment, chunk);
    const struct transfer *transfer;

    if (!bytes)
        return false;
    transfer = (const struct transfer *)(bytes + CHUNK_SIZE - sizeof *transfer);
    return adopt_items(combiner, transfer, slot) && adopt_bytes(combiner, transfer, bytes);
}

void takeover_lose(const struct segment *segment, uint32_t slot)
{
    uint32_t chunk = shm_load32(&segment->slots[slot].reply_chunk) - 1, count;
    struct wake_set to_wake = {0};
    const struct transfer *transfer;
    const char *bytes = chunk < CHUNKS ? segment_chunk(segment, chunk) : NULL;

    if (!bytes)
        return;
    transfer = (const struct transfer *)(bytes + CHUNK_SIZE - sizeof *transfer);
    count = transfer->count;
    for (uint32_t i = 0; i < count && i < BATCH_MAX; i++) {
        struct item item = transfer->items[i]; /* others can write it */

        if (item.route != ROUTE_MAILBOX || item.slot == slot || item.slot >= segment->slot_max ||
            mail_state(item.mail) != MAIL_TAKEN)
            continue;
        if (shm_cas(&segment->slots[item.slot].mail, item.mail, mail_with(item.mail, MAIL_FAILED)))
            wake_hint(segment, &to_wake, item.slot, WAKE_MAIL);
        else
            mail_acknowledge(segment, item.slot, item.mail);
    }
    wake_flush(segment, &to_wake);
}
