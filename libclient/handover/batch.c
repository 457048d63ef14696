/* SPDX-License-Identifier: MIT */
/*
 * A batch up to when it is sent, and its end without replies: see batch.h.
 *
 * Upholds I4: a command is ended only by moving the mail word that it was taken with.
 */
#include "libclient/handover/batch.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "lendis/mailbox.h"
#include "libclient/membership/attachment.h"
#include "libclient/clock.h"
#include "libclient/connection/socket_io.h"

/* Bytes of a batch's requests: what a Unix socket takes in one write by default
 * (net.core.wmem_default / 2). */
#define BATCH_BYTES (96 * 1024)

/* ---- taking ---- */

const char *batch_request(const struct segment *segment, uint32_t slot, uint32_t *size)
{
    const struct wait_slot *shared = &segment->slots[slot];
    uint32_t chunk = shm_load32(&shared->request_chunk);

    *size = shm_load32(&shared->request_size);
    if (chunk == 0)
        return mail_room(segment, slot, *size);
    return chunk <= CHUNKS && *size <= CHUNK_SIZE ? segment_chunk(segment, chunk - 1) : NULL;
}

/* Takes one queued command. Results: 1, *item; 0, the queue's head is none; -EAGAIN, look again. */
static int take_one(struct combiner *combiner, struct item *item)
{
    const struct segment *segment = combiner->segment;
    struct wait_slot *shared;
    uint64_t ticket, mail, taken;
    uint32_t slot, size;

    if (queue_head(segment, &ticket, &slot) != CELL_COMMAND)
        return 0;
    shared = &segment->slots[slot];
    mail = shm_load(&shared->mail);
    /* Its owner gets a connection instead, and sends it itself. */
    if (!batch_request(segment, slot, &size))
        return 0;
    if (!queue_leave(segment, slot, ticket) || mail_state(mail) != MAIL_QUEUED)
        return -EAGAIN;
    taken = mail_taken(mail, combiner->lease->index, word_generation(combiner->lease->word),
                       combiner->batch);
    shm_store32(&shared->taker, 1 + combiner->attachment->worker);
    if (!shm_cas(&shared->mail, mail, taken))
        return -EAGAIN; /* its owner gave up */
    *item = (struct item){.route = ROUTE_MAILBOX,
                          .slot = slot,
                          .mail = taken,
                          .replies = shm_load32(&shared->replies)};
    return 1;
}

void batch_take(struct combiner *combiner, size_t bytes)
{
    if (attachment_is_expelled(combiner->attachment))
        return;
    /* A hostile or dying crowd could keep us here; twice the ring is more than can honestly be
     * queued. */
    for (uint32_t looks = 0; looks < 2 * combiner->segment->cell_count; looks++) {
        struct item *item = &combiner->items[combiner->count];
        int result;

        if (combiner->count == combiner->items_max || bytes > BATCH_BYTES)
            return;
        result = take_one(combiner, item);
        if (result == 0)
            return;
        if (result == 1) {
            uint32_t size;

            bytes += batch_request(combiner->segment, item->slot, &size) ? size : 0;
            combiner->count++;
        }
    }
}

/* ---- ending commands without a reply ---- */

void batch_settle(struct combiner *combiner, struct item *item, enum mail_state state)
{
    shm_u64 *mail = &combiner->segment->slots[item->slot].mail;

    if (shm_cas(mail, item->mail, mail_with(item->mail, state)))
        wake_hint(combiner->segment, &combiner->to_wake, item->slot, WAKE_MAIL);
    else
        mail_acknowledge(combiner->segment, item->slot, item->mail);
}

/* What a command that ends with `state` comes to, as far as it knows how its connection ended. */
static enum mail_state settle_lost(const struct combiner *combiner, const struct item *item,
                                   enum mail_state state)
{
    struct wait_slot *shared = &combiner->segment->slots[item->slot];

    if (state != MAIL_FAILED)
        return state;
    if (combiner->loss == LOSS_ANSWERING && item == &combiner->items[combiner->next])
        shm_store32(&shared->reply_size, REPLY_LOST);
    return combiner->loss == LOSS_BEFORE && shm_load32(&shared->read_only) == 1 ? MAIL_RETRY
                                                                                : MAIL_FAILED;
}

void batch_settle_rest(struct combiner *combiner, enum mail_state state)
{
    if (combiner->chunk >= 0)
        chunk_free(combiner->segment, (uint32_t)combiner->chunk,
                   combiner->items[combiner->next].slot);
    combiner->chunk = -1;
    for (uint32_t i = combiner->next; i < combiner->count; i++)
        if (combiner->items[i].route == ROUTE_MAILBOX)
            batch_settle(combiner, &combiner->items[i],
                         settle_lost(combiner, &combiner->items[i], state));
    combiner->next = combiner->count;
    wake_flush(combiner->segment, &combiner->to_wake);
    combiner->lease->broken = true;
}

/* ---- sending ---- */

/*
 * Leaves out what was abandoned. Comes after connection.batch was raised: an owner that abandons
 * later reads the raised number and knows that its command may be sent.
 */
static void drop_abandoned(struct combiner *combiner)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < combiner->count; i++) {
        struct item *item = &combiner->items[i];

        if (item->route == ROUTE_MAILBOX &&
            shm_load(&combiner->segment->slots[item->slot].mail) != item->mail) {
            mail_acknowledge(combiner->segment, item->slot, item->mail);
            continue;
        }
        if (kept != i)
            combiner->items[kept] = *item;
        kept++;
    }
    combiner->count = kept;
}

/* Sends `parts`. Results: 0; LENDIS_E_TIMEOUT; -errno; -ENOTCONN, the connection was dead before a
 * byte went out. */
static int send_parts(int fd, struct iovec *parts, int count, int64_t deadline_ns, shm_u64 *beat)
{
    bool any = false;

    while (count > 0) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        ssize_t wrote;

        LENDIS_STEP("send batch");
        /* One is the rule where nobody waits: send(2) is cheaper then. */
        wrote = count == 1 ? send(fd, parts->iov_base, parts->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
                           : sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (wrote < 0 && errno == EAGAIN) {
            int result = socket_wait_to_send(fd, deadline_ns, beat);

            if (result != 0)
                return result;
            continue;
        }
        if (wrote < 0 && errno != EINTR)
            return any ? -errno : -ENOTCONN;
        any = any || wrote > 0;
        for (; count > 0 && wrote >= (ssize_t)parts->iov_len; parts++, count--)
            wrote -= (ssize_t)parts->iov_len;
        if (count > 0 && wrote > 0) {
            parts->iov_base = (char *)parts->iov_base + wrote;
            parts->iov_len -= (size_t)wrote;
        }
    }
    return 0;
}

static int64_t batch_deadline(const struct combiner *combiner)
{
    if (!combiner->answered)
        return combiner->call->deadline_ns;
    return clock_now_ns() + LAST_PATIENCE_NS;
}

/* Sends the requests of all items. Results as send_parts(). */
static int send_items(const struct combiner *combiner, struct iovec *parts)
{
    for (uint32_t i = 0; i < combiner->count; i++) {
        const struct item *item = &combiner->items[i];
        const char *request = combiner->call->request;
        uint32_t size = 0;

        if (item->route == ROUTE_MAILBOX)
            request = batch_request(combiner->segment, item->slot, &size);
        parts[i] = (struct iovec){.iov_base = (char *)request,
                                  .iov_len = item->route == ROUTE_OWN ? combiner->call->size
                                             : request                ? size
                                                                      : 0};
    }
    return send_parts(combiner->lease->fd, parts, (int)combiner->count, batch_deadline(combiner),
                      &combiner->connection->beat);
}

static __attribute__((noinline)) int send_many(const struct combiner *combiner)
{
    struct iovec parts[BATCH_MAX];

    return send_items(combiner, parts);
}

int batch_send(struct combiner *combiner)
{
    struct iovec part;

    if (!shm_cas(&combiner->connection->batch, combiner->batch - 1, combiner->batch))
        return -ECANCELED;
    drop_abandoned(combiner);
    return combiner->count <= 1 ? send_items(combiner, &part) : send_many(combiner);
}
