/* SPDX-License-Identifier: MIT */
/*
 * The combiner's side of handing commands over (lendis/mailbox.h, DESIGN section 5).
 *
 * A round: take what is queued, send it in one write, read, split, put each reply into its owner's
 * mailbox, wake all owners of what one read brought together. The first round has the caller's own
 * command in it. After ROUNDS_MAX rounds, or when nothing is queued, the connection is passed on
 * like any lease, to the oldest waiter, who goes on.
 *
 * A combiner never waits for another process. A reply that is too large to be handed over, or a
 * caller whose time is up, is a take-over: the batch, as far as it is unanswered, goes to the owner
 * of the next reply, with the connection.
 *
 * Upholds I4: a reply is delivered only by moving the mail word that the command was taken with,
 * and the stream must end exactly where the last reply ends, else the connection is broken.
 */
#include "libclient/combiner.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "libclient/lease.h"
#include "lendis/mailbox.h"
#include "libclient/notice.h"
#include "libclient/resp.h"

#ifdef LENDIS_MODEL /* tests/model: in small, for every byte is part of the states that are explored */
#define BATCH_MAX   3
#define BUFFER_SIZE 16
#define SMALL_SIZE  12
#else
/* Commands of one batch; more do not make it faster (make bench, 500 workers). */
#define BATCH_MAX   128
#define BUFFER_SIZE (16 * 1024)
/* For the reply to a command that is sent alone. Pages of the stack are each worker's own: most workers never need
 * those of a large buffer. */
#define SMALL_SIZE  2048
#endif
/* Batches that a combiner serves before it passes the connection on; its own caller waits
 * meanwhile. */
#define ROUNDS_MAX 16
/* How long a combiner that only serves others waits for Redis before one of them shall. */
#define SERVICE_PATIENCE_NS INT64_C(5000000)
/* The same where none of them can: what was sent in part cannot be handed on, and who has no descriptor
 * of the connection needs a broker that answers. */
#define LAST_PATIENCE_NS INT64_C(1000000000)
/* Bytes of a batch's requests: what a Unix socket takes in one write by default
 * (net.core.wmem_default / 2). */
#define BATCH_BYTES (96 * 1024)

enum route {
    ROUTE_MAILBOX,
    ROUTE_OWN,
    ROUTE_DISCARD,
    ROUTE_ANSWERED, /* its reply is in its mailbox, its owner does not know yet */
};

struct item {
    enum route route;
    uint32_t slot;
    uint32_t replies;
    uint64_t mail; /* the word that it was taken with */
};

/* What a take-over leaves in the target's reply chunk: at the end of it, the bytes at its start. */
struct carry {
    struct resp_scan scan;
    uint32_t count;
    uint32_t replies; /* of the first item, still to come */
    uint32_t scanned; /* bytes that belong to the first item and were scanned */
    uint32_t bytes;   /* scanned and unscanned */
    struct item items[BATCH_MAX];
};
_Static_assert(sizeof(struct carry) + 3 * BUFFER_SIZE <= CHUNK_SIZE,
               "a take-over must fit a chunk");

/* A reply that has come so far is kept in a chunk up to this; a further read still fits then. */
#define ASSEMBLY_MAX (CHUNK_SIZE - sizeof(struct carry) - BUFFER_SIZE)

struct combiner {
    struct lendis_lease *lease;
    struct attachment *attachment;
    const struct segment *segment;
    struct connection *connection;
    const struct call *call;
    int result; /* the call's, once its item is answered */
    bool answered;
    uint64_t batch;
    uint32_t count; /* items of the batch */
    uint32_t next;  /* the first that is not answered */
    uint32_t replies;
    struct resp_scan scan;
    int chunk;      /* of the reply under way, or -1 */
    int end_error;  /* how the connection ended: errno, 0 in good order; -1: it has not */
    enum loss loss; /* what that is to the first command that is not answered */
    size_t assembled;
    size_t start; /* in buffer: of the reply under way */
    size_t at;    /* scanned up to here */
    size_t end;   /* received up to here */
    int64_t
        progress_ns; /* when something was sent or received last; kept once the call is answered */
    int64_t patience_ns; /* until when Redis is waited for, then */
    struct wake_set told;
    struct item *items;
    uint32_t items_max;
    char *buffer;
    size_t buffer_size;
};

/* What a combiner needs room for: the caller's command alone, or whole batches. */
struct small_room {
    struct item items[1];
    char buffer[SMALL_SIZE];
};

struct large_room {
    struct item items[BATCH_MAX];
    char buffer[BUFFER_SIZE];
};

static void use_small(struct combiner *combiner, struct item items[1], char buffer[SMALL_SIZE])
{
    combiner->items = items;
    combiner->items_max = 1;
    combiner->buffer = buffer;
    combiner->buffer_size = SMALL_SIZE;
}

static void use_large(struct combiner *combiner, struct large_room *room)
{
    combiner->items = room->items;
    combiner->items_max = BATCH_MAX;
    combiner->buffer = room->buffer;
    combiner->buffer_size = BUFFER_SIZE;
}

static bool is_small(const struct combiner *combiner)
{
    return combiner->items_max == 1;
}

/* ---- taking ---- */

/* Where the request of a taken command is; NULL if the slot makes no sense. */
static const char *request_of(const struct segment *segment, uint32_t slot, uint32_t *size)
{
    const struct wait_slot *shared = &segment->slots[slot];
    uint32_t chunk = shm_load32(&shared->request_chunk);

    *size = shm_load32(&shared->request_size);
    if (chunk == 0)
        return mail_room(segment, slot, *size);
    return chunk <= CHUNKS && *size <= CHUNK_SIZE ? segment->chunks[chunk - 1].bytes : NULL;
}

/* Takes one queued command. Results: 1, *item; 0, the queue's head is none; -EAGAIN, look again. */
static int take_one(struct combiner *combiner, struct item *item)
{
    const struct segment *segment = combiner->segment;
    struct wait_slot *shared;
    uint64_t ticket, mail, taken;
    uint32_t slot;

    if (queue_head(segment, &ticket, &slot) != CELL_COMMAND)
        return 0;
    shared = &segment->slots[slot];
    mail = shm_load(&shared->mail);
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

/* Fills the batch from the queue. */
static void take_queued(struct combiner *combiner, size_t bytes)
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

            bytes += request_of(combiner->segment, item->slot, &size) ? size : 0;
            combiner->count++;
        }
    }
}

/* ---- ending commands without a reply ---- */

static void settle(struct combiner *combiner, struct item *item, enum mail_state state)
{
    shm_u64 *mail = &combiner->segment->slots[item->slot].mail;

    if (shm_cas(mail, item->mail, mail_with(item->mail, state)))
        wake_tell(combiner->segment, &combiner->told, item->slot, WAKE_MAIL);
    else
        mail_acknowledge(combiner->segment, item->slot, item->mail);
}

/* What a command that ends with `state` is told besides, as far as it knows how its connection ended. */
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

/* The connection is lost, or shall not be used any more: everything unanswered ends with `state`.
 */
static void settle_rest(struct combiner *combiner, enum mail_state state)
{
    if (combiner->chunk >= 0)
        chunk_free(combiner->segment, (uint32_t)combiner->chunk,
                   combiner->items[combiner->next].slot);
    combiner->chunk = -1;
    for (uint32_t i = combiner->next; i < combiner->count; i++)
        if (combiner->items[i].route == ROUTE_MAILBOX)
            settle(combiner, &combiner->items[i],
                   settle_lost(combiner, &combiner->items[i], state));
    combiner->next = combiner->count;
    wake_flush(combiner->segment, &combiner->told);
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

/* Sends `parts`. Results: 0; LENDIS_E_TIMEOUT; -errno; -ENOTCONN, the connection was dead before a byte went out. */
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
            int result = exec_wait_to_send(fd, deadline_ns, beat);

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
            request = request_of(combiner->segment, item->slot, &size);
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

/* Sends the batch. Results as send_parts(); -ECANCELED, the connection was revoked or is dead:
 * nothing was sent. */
static int send_batch(struct combiner *combiner)
{
    struct iovec part;

    if (!shm_cas(&combiner->connection->batch, combiner->batch - 1, combiner->batch))
        return -ECANCELED;
    drop_abandoned(combiner);
    return combiner->count <= 1 ? send_items(combiner, &part) : send_many(combiner);
}

/* ---- delivering ---- */

static void begin_reply(struct combiner *combiner)
{
    combiner->scan = (struct resp_scan){0};
    combiner->chunk = -1;
    combiner->assembled = 0;
    combiner->start = combiner->at;
    if (combiner->next < combiner->count)
        combiner->replies = combiner->items[combiner->next].replies;
}

/* Puts the reply, `size` bytes at `data`, or what is in the chunk, into its owner's mailbox. */
static void deliver(struct combiner *combiner, struct item *item)
{
    const struct segment *segment = combiner->segment;
    struct wait_slot *shared = &segment->slots[item->slot];
    size_t size = combiner->at - combiner->start;
    const char *data = combiner->buffer + combiner->start;

    if (combiner->chunk < 0 && !mail_room(segment, item->slot, size)) {
        combiner->chunk = chunk_claim(segment, item->slot);
        if (combiner->chunk < 0) {
            /* No room now. A read is done again by its owner, alone. */
            shm_store32(&shared->reply_size, REPLY_TOO_LARGE);
            settle(combiner, item, shm_load32(&shared->read_only) == 1 ? MAIL_RETRY : MAIL_FAILED);
            item->route = ROUTE_DISCARD;
            return;
        }
    }
    if (combiner->chunk >= 0) {
        memcpy(segment->chunks[combiner->chunk].bytes + combiner->assembled, data, size);
        size += combiner->assembled;
    } else {
        memcpy(mail_room(segment, item->slot, size), data, size);
    }
    shm_store32(&shared->reply_chunk, (uint32_t)(1 + combiner->chunk));
    shm_store32(&shared->reply_size, (uint32_t)size);
    item->route = ROUTE_ANSWERED;
}

/* The item's last reply is complete. */
static void finish_item(struct combiner *combiner)
{
    struct item *item = &combiner->items[combiner->next];

    if (item->route == ROUTE_MAILBOX) {
        deliver(combiner, item);
    } else if (item->route == ROUTE_OWN) {
        combiner->answered = true;
        combiner->result = 0;
    }
    combiner->next++;
    begin_reply(combiner);
}

/* ---- take-over ---- */

/*
 * The owner of `item` gave up: its reply will be read and dropped. What it had of it so far is not ours any more, the
 * slot may use its chunks for its next command.
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

/*
 * Leaves the rest of the batch to the owner of the next reply, with the connection. False: nobody
 * could be found; all is as before. True: the lease is gone.
 */
static bool hand_on(struct combiner *combiner, bool urgent)
{
    const struct segment *segment = combiner->segment;
    struct item *successor;
    struct carry *carry;
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
    bytes = segment->chunks[chunk].bytes;
    carry = (struct carry *)(bytes + CHUNK_SIZE - sizeof *carry);
    memcpy(bytes + combiner->assembled, combiner->buffer + combiner->start,
           combiner->end - combiner->start);
    *carry = (struct carry){
        .scan = combiner->scan,
        .count = combiner->count - combiner->next,
        .replies = combiner->replies,
        .scanned = (uint32_t)(combiner->assembled + combiner->at - combiner->start),
        .bytes = (uint32_t)(combiner->assembled + combiner->end - combiner->start),
    };
    memcpy(carry->items, &combiner->items[combiner->next], carry->count * sizeof(struct item));
    if (!shm_cas(&segment->slots[slot].mail, successor->mail,
                 mail_with(successor->mail, MAIL_TAKEOVER))) {
        mail_acknowledge(segment, slot, successor->mail);
        discard(combiner, successor);
        return hand_on(combiner, urgent);
    }
    if (!lease_carry(combiner->lease, slot)) {
        /* Revoked: the successor sees that for itself, and what else was taken is still ours to end. */
        wake_tell(segment, &combiner->told, slot, WAKE_MAIL);
        discard(combiner, successor);
        return false;
    }
    /* The successor may have given up before it could see the connection: then it stays ours. */
    if (shm_load(&segment->slots[slot].mail) != mail_with(successor->mail, MAIL_TAKEOVER) &&
        lease_carry_back(combiner->lease, slot)) {
        discard(combiner, successor);
        return hand_on(combiner, urgent);
    }
    wake_tell(segment, &combiner->told, slot, WAKE_MAIL);
    wake_flush(combiner->segment, &combiner->told);
    attachment_count(combiner->attachment, COUNTER_takeovers, 1);
    lease_forget(combiner->lease);
    combiner->lease = NULL;
    return true;
}

/* ---- receiving ---- */

/* A reply that does not fit the buffer goes to a chunk. Results: 0; -EFBIG, too large for that. */
static int spill(struct combiner *combiner)
{
    struct item *item = &combiner->items[combiner->next];
    size_t size = combiner->at - combiner->start;

    if (combiner->chunk < 0)
        combiner->chunk = chunk_claim(combiner->segment, item->slot);
    if (combiner->chunk < 0 || combiner->assembled + size + combiner->scan.skip > ASSEMBLY_MAX)
        return -EFBIG;
    memcpy(combiner->segment->chunks[combiner->chunk].bytes + combiner->assembled,
           combiner->buffer + combiner->start, size);
    combiner->assembled += size;
    combiner->start = combiner->at = combiner->end = 0;
    return 0;
}

/* Puts the replies that were received where they belong. Results: 0; -EPROTO; -errno of the sink. */
static int sort_replies(struct combiner *combiner)
{
    while (combiner->at < combiner->end && combiner->next < combiner->count) {
        struct item *item = &combiner->items[combiner->next];
        size_t used;
        int result = resp_scan(&combiner->scan, combiner->buffer + combiner->at,
                               combiner->end - combiner->at, &used);

        /* A push (RESP3) is nobody's reply, and no connection that is shared gets any. */
        if (result < 0 || combiner->scan.first == '>')
            return -EPROTO;
        if (item->route == ROUTE_OWN &&
            combiner->call->sink->take(combiner->call->sink->context,
                                       combiner->buffer + combiner->at, used) != 0)
            return -ENOMEM;
        if (result == 1 && combiner->buffer[combiner->at] == '-')
            notice_error(combiner->lease, combiner->buffer + combiner->at, used);
        combiner->at += used;
        if (item->route != ROUTE_MAILBOX)
            combiner->start = combiner->at;
        if (result == 1 && --combiner->replies == 0)
            finish_item(combiner);
    }
    return 0;
}

/* More came than was asked for: which reply is whose? (A read that just fills the buffer can hide
 * what follows.) */
static bool has_surplus(const struct combiner *combiner)
{
    return combiner->next == combiner->count &&
           (combiner->at < combiner->end ||
            (combiner->end == combiner->buffer_size && !exec_is_silent(combiner->lease->fd)));
}

/* Tells the owners of the items from `first` on what became of them. */
static void settle_answered(struct combiner *combiner, uint32_t first, enum mail_state state)
{
    for (; first < combiner->next; first++)
        if (combiner->items[first].route == ROUTE_ANSWERED)
            settle(combiner, &combiner->items[first], state);
}

/* Goes through what was received, and tells nobody before all of it fits (I4). Results: 0; -EPROTO;
 * -EFBIG, a reply is too large to be handed over; -errno of the sink. */
static int split(struct combiner *combiner)
{
    uint32_t first = combiner->next;
    bool answered = combiner->answered;
    int result = sort_replies(combiner);

    if (result == 0 && has_surplus(combiner)) {
        settle_answered(combiner, first, MAIL_FAILED);
        combiner->answered = answered;
        return -EPROTO;
    }
    settle_answered(combiner, first, MAIL_DONE);
    if (result != 0 || combiner->next == combiner->count)
        return result;
    /* The rest of a reply must find room behind what there is of it. */
    if (combiner->start > 0) {
        memmove(combiner->buffer, combiner->buffer + combiner->start,
                combiner->end - combiner->start);
        combiner->end -= combiner->start;
        combiner->at -= combiner->start;
        combiner->start = 0;
    }
    if (combiner->items[combiner->next].route != ROUTE_MAILBOX)
        return 0;
    return combiner->end == combiner->buffer_size || combiner->chunk >= 0 ? spill(combiner) : 0;
}

static void note_progress(struct combiner *combiner)
{
    combiner->progress_ns = clock_now_ns();
    combiner->patience_ns = combiner->progress_ns + SERVICE_PATIENCE_NS;
}

enum received {
    RECEIVED,
    RECEIVE_LOST,
    RECEIVE_GIVE_UP,
    RECEIVE_TOO_LARGE,
    RECEIVE_NO_MEMORY,
    RECEIVE_MORE, /* than a small room is for */
};

/* Reads replies until all are delivered, or it cannot or need not go on. */
static enum received receive_batch(struct combiner *combiner)
{
    while (combiner->next < combiner->count) {
        int64_t until_ns;
        ssize_t got;
        int result;

        if (combiner->start == combiner->end)
            combiner->start = combiner->at = combiner->end = 0;
        until_ns = combiner->answered ? combiner->patience_ns : combiner->call->deadline_ns;
        got = exec_receive(combiner->lease->fd, combiner->buffer + combiner->end,
                           combiner->buffer_size - combiner->end, until_ns,
                           &combiner->connection->beat);
        if (got == 0) {
            combiner->end_error = errno;
            return RECEIVE_LOST;
        }
        if (got < 0) {
            combiner->patience_ns = clock_now_ns() + SERVICE_PATIENCE_NS;
            return RECEIVE_GIVE_UP;
        }
        combiner->end += (size_t)got;
        result = split(combiner);
        wake_flush(combiner->segment, &combiner->told);
        /* Afterwards: our own reply may have been among them, and what is left is only others'. */
        if (combiner->answered && combiner->next < combiner->count)
            note_progress(combiner);
        if (result == -EFBIG)
            return RECEIVE_TOO_LARGE;
        if (result != 0)
            return result == -ENOMEM ? RECEIVE_NO_MEMORY : RECEIVE_LOST;
        if (is_small(combiner) && combiner->next < combiner->count)
            return RECEIVE_MORE;
    }
    return RECEIVED;
}

/* ---- rounds ---- */

/* The call's own command got no reply. */
static void fail_own(struct combiner *combiner, bool sent, enum loss loss)
{
    if (combiner->answered)
        return;
    /* Own is always the batch's first unanswered one when its reply has begun. */
    if (loss == LOSS_ANSWERING && combiner->next < combiner->count &&
        combiner->items[combiner->next].route != ROUTE_OWN)
        loss = LOSS_MEANWHILE;
    combiner->result = exec_failure(combiner->attachment, combiner->call, sent, loss);
    combiner->answered = true;
}

/* Tells the broker whose command the connection was lost to. */
static void report_loss(const struct combiner *combiner)
{
    const struct item *item = &combiner->items[combiner->next];
    const struct wait_slot *shared = &combiner->segment->slots[item->slot];
    uint32_t number = item->replies - combiner->replies, size = 0;
    const char *request;

    if (item->route == ROUTE_OWN) {
        loss_report(combiner->lease, combiner->attachment->worker, combiner->call->request,
                    combiner->call->size, number);
        return;
    }
    request =
        item->route == ROUTE_MAILBOX ? request_of(combiner->segment, item->slot, &size) : NULL;
    if (request)
        loss_report(combiner->lease, shm_load32(&shared->owner) - 1, request, size, number);
}

/*
 * The connection ended, or what came makes no sense. Redis writes replies when it has executed all that it has read: with
 * several commands unanswered any of them can be the one that cost the connection. Those that only read are sent again,
 * each alone, and then it shows.
 */
static void judge_loss(struct combiner *combiner)
{
    uint32_t left = combiner->count - combiner->next;
    bool any = left == 0 || combiner->scan.first || combiner->at < combiner->end ||
               combiner->replies != combiner->items[combiner->next].replies;

    combiner->loss = loss_judge(combiner->lease, combiner->end_error, any);
    if (left == 0 || combiner->loss != LOSS_ANSWERING || combiner->end_error < 0)
        return;
    if (any || left == 1) {
        report_loss(combiner);
    } else {
        loss_report_several(combiner->lease);
        combiner->loss = LOSS_MEANWHILE;
    }
}

/*
 * The reply under way is too large and nobody can take over (no chunk is free): it is read and
 * dropped. A read is done again by its owner, alone.
 */
static void drop_current(struct combiner *combiner)
{
    struct item *item = &combiner->items[combiner->next];
    struct wait_slot *shared = &combiner->segment->slots[item->slot];

    if (item->route == ROUTE_MAILBOX) {
        shm_store32(&shared->reply_size, REPLY_TOO_LARGE);
        settle(combiner, item, shm_load32(&shared->read_only) == 1 ? MAIL_RETRY : MAIL_FAILED);
        wake_flush(combiner->segment, &combiner->told);
    }
    item->route = ROUTE_DISCARD;
    combiner->start = combiner->at;
}

static bool read_large(struct combiner *combiner);

/* Reads the batch's replies. True: the lease can be given back, broken or not; false: it is gone.
 */
static bool read_batch(struct combiner *combiner)
{
    bool last;

    for (;;) {
        switch (receive_batch(combiner)) {
        case RECEIVED:
            return true;
        case RECEIVE_MORE:
            return read_large(combiner);
        case RECEIVE_TOO_LARGE:
            if (hand_on(combiner, true))
                return false;
            drop_current(combiner);
            continue;
        case RECEIVE_GIVE_UP:
            if (!combiner->answered)
                note_progress(combiner);
            last = clock_now_ns() - combiner->progress_ns >= LAST_PATIENCE_NS;
            fail_own(combiner, true, LOSS_NONE);
            if (hand_on(combiner, last))
                return false;
            if (!last)
                continue;
            break;
        case RECEIVE_NO_MEMORY:
            combiner->result = exec_no_memory(combiner->attachment, &combiner->call->command);
            combiner->answered = true;
            break;
        case RECEIVE_LOST:
            judge_loss(combiner);
            fail_own(combiner, true, combiner->loss);
            break;
        }
        settle_rest(combiner, MAIL_FAILED);
        return true;
    }
}

/* The rest of a batch that was begun in a small room. Not inlined: the large one is on the stack. */
static __attribute__((noinline)) bool read_large(struct combiner *combiner)
{
    struct item *items = combiner->items;
    char *buffer = combiner->buffer;
    struct large_room room;
    bool ours;

    memcpy(room.items, items, sizeof *items);
    memcpy(room.buffer, buffer, combiner->end);
    use_large(combiner, &room);
    ours = read_batch(combiner);
    use_small(combiner, items, buffer);
    combiner->start = combiner->at = combiner->end = 0;
    return ours;
}

/* What a batch that could not be sent means to its commands. */
static enum loss judge_sending(int result)
{
    if (result == LENDIS_E_TIMEOUT)
        return LOSS_NONE;
    return result == -ECANCELED || result == -ENOTCONN ? LOSS_BEFORE : LOSS_MEANWHILE;
}

/* The call's own command is all of the batch. */
static bool is_alone(const struct combiner *combiner)
{
    return combiner->count == 1 && combiner->items[0].route == ROUTE_OWN;
}

/* Takes and sends a batch. False: there was nothing, or it failed and the lease is broken. */
static bool begin_batch(struct combiner *combiner)
{
    int sent;

    combiner->batch = shm_load(&combiner->connection->batch) + 1;
    exec_beat(&combiner->connection->beat, clock_coarse_ns());
    take_queued(combiner, combiner->answered ? 0 : combiner->call->size);
    if (combiner->count == 0)
        return false;
    if (combiner->lease->rested && !exec_is_silent(combiner->lease->fd))
        sent = -ECANCELED;
    else
        sent = send_batch(combiner);
    combiner->lease->rested = false;
    begin_reply(combiner); /* also when it failed: no byte of a reply has come */
    if (sent != 0) {
        combiner->loss = judge_sending(sent);
        if (combiner->loss == LOSS_MEANWHILE && is_alone(combiner) &&
            exec_take_last_words(combiner->lease->fd, combiner->call)) {
            combiner->result = 0;
            combiner->answered = true;
        }
        /* Part of a batch may have been executed. */
        fail_own(combiner, sent != -ECANCELED, combiner->loss);
        settle_rest(combiner, sent == -ECANCELED ? MAIL_RETRY : MAIL_FAILED);
        return false;
    }
    attachment_count(combiner->attachment, COUNTER_batches, 1);
    attachment_measure(combiner->attachment, HISTOGRAM_batch, combiner->count, 1);
    if (combiner->answered || combiner->count > 1)
        attachment_count(combiner->attachment, COUNTER_handed,
                         combiner->count - (combiner->answered ? 0 : 1));
    if (combiner->answered)
        note_progress(combiner);
    return true;
}

/* Somebody's command is next in the queue. */
static bool others_wait(const struct segment *segment)
{
    uint64_t ticket;
    uint32_t slot;

    return queue_head(segment, &ticket, &slot) == CELL_COMMAND;
}

static bool serve_large(struct combiner *combiner, int rounds);

/* Serves up to `rounds` more batches. Results as read_batch(). */
static bool serve(struct combiner *combiner, int rounds)
{
    for (; rounds > 0 && begin_batch(combiner); rounds--) {
        if (!read_batch(combiner))
            return false;
        if (combiner->lease->broken)
            return true;
        combiner->count = combiner->next = 0;
        if (is_small(combiner))
            return !others_wait(combiner->segment) || serve_large(combiner, rounds - 1);
    }
    return true;
}

/* The same in a large room. Not inlined: it is on the stack. */
static __attribute__((noinline)) bool serve_large(struct combiner *combiner, int rounds)
{
    struct large_room room;

    if (combiner->count > 0)
        room.items[0] = combiner->items[0];
    use_large(combiner, &room);
    return serve(combiner, rounds);
}

static void combiner_init(struct combiner *combiner, struct lendis_lease *lease,
                          const struct call *call)
{
    lease->used = true;
    combiner->lease = lease;
    combiner->attachment = lease->attachment;
    combiner->segment = &lease->attachment->segment;
    combiner->connection = &combiner->segment->connections[lease->index];
    combiner->call = call;
    combiner->result = LENDIS_E_UNCERTAIN;
    combiner->answered = false;
    combiner->count = combiner->next = 0;
    combiner->replies = 0;
    combiner->scan = (struct resp_scan){0};
    combiner->chunk = -1;
    combiner->end_error = -1;
    combiner->loss = LOSS_NONE;
    combiner->assembled = combiner->start = combiner->at = combiner->end = 0;
    combiner->told.groups = 0;
}

/* The end of a combiner's work; `ours`: the lease is still there. */
static int finish(struct combiner *combiner, bool ours)
{
    /* Commands that may share a connection leave its session as it is. */
    if (ours)
        lendis_release(combiner->lease);
    return combiner->result;
}

int combine(struct lendis_lease *lease, const struct call *call)
{
    struct combiner combiner; /* most of it needs no initial value */
    struct small_room room;

    combiner_init(&combiner, lease, call);
    use_small(&combiner, room.items, room.buffer);
    combiner.items[0] = (struct item){.route = ROUTE_OWN, .replies = call->replies};
    combiner.count = 1;
    attachment_count(combiner.attachment, COUNTER_commands, call->replies);
    return finish(&combiner, others_wait(combiner.segment) ? serve_large(&combiner, ROUNDS_MAX)
                                                           : serve(&combiner, ROUNDS_MAX));
}

/* Takes the items of `carry`, which others can write: checked as it is copied. False: it makes no
 * sense. */
static bool adopt_items(struct combiner *combiner, const struct carry *carry, uint32_t slot)
{
    const struct segment *segment = combiner->segment;
    uint32_t count = carry->count;
    bool own = false;

    if (count < 1 || count > BATCH_MAX)
        return false;
    memcpy(combiner->items, carry->items, count * sizeof *combiner->items);
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
static bool adopt_bytes(struct combiner *combiner, const struct carry *carry, const char *bytes)
{
    uint32_t scanned = carry->scanned, size = carry->bytes;

    if (size > CHUNK_SIZE - sizeof *carry || scanned > size || size - scanned > BUFFER_SIZE)
        return false;
    if (combiner->items[0].route == ROUTE_OWN &&
        combiner->call->sink->take(combiner->call->sink->context, bytes, scanned) != 0)
        return false;
    memcpy(combiner->buffer, bytes + scanned, size - scanned);
    combiner->end = size - scanned;
    combiner->scan = carry->scan;
    combiner->replies = carry->replies;
    return combiner->replies > 0;
}

int combine_take_over(struct lendis_lease *lease, const struct call *call, uint32_t slot)
{
    const struct segment *segment = &lease->attachment->segment;
    uint32_t chunk = shm_load32(&segment->slots[slot].reply_chunk) - 1;
    const struct carry *carry;
    struct combiner combiner;
    struct large_room room;
    const char *bytes;

    combiner_init(&combiner, lease, call);
    use_large(&combiner, &room);
    if (chunk >= CHUNKS) {
        lease->broken = true;
        return finish(&combiner, true);
    }
    bytes = segment->chunks[chunk].bytes;
    carry = (const struct carry *)(bytes + CHUNK_SIZE - sizeof *carry);
    if (!adopt_items(&combiner, carry, slot) || !adopt_bytes(&combiner, carry, bytes)) {
        fail_own(&combiner, true, LOSS_MEANWHILE);
        settle_rest(&combiner, MAIL_FAILED);
        return finish(&combiner, true);
    }
    if (combiner.end > 0) {
        int result = split(&combiner);

        wake_flush(segment, &combiner.told);
        if (result == -EFBIG && !hand_on(&combiner, true))
            drop_current(&combiner);
        else if (result == -EFBIG)
            return finish(&combiner, false);
        else if (result != 0) {
            judge_loss(&combiner);
            fail_own(&combiner, true, combiner.loss);
            settle_rest(&combiner, MAIL_FAILED);
            return finish(&combiner, true);
        }
    }
    note_progress(&combiner);
    if (!read_batch(&combiner))
        return finish(&combiner, false);
    if (combiner.lease->broken)
        return finish(&combiner, true);
    combiner.count = combiner.next = 0;
    return finish(&combiner, serve(&combiner, ROUNDS_MAX - 1));
}

void combine_lose(const struct segment *segment, uint32_t slot)
{
    uint32_t chunk = shm_load32(&segment->slots[slot].reply_chunk) - 1, count;
    struct wake_set told = {0};
    const struct carry *carry;

    if (chunk >= CHUNKS)
        return;
    carry = (const struct carry *)(segment->chunks[chunk].bytes + CHUNK_SIZE - sizeof *carry);
    count = carry->count;
    for (uint32_t i = 0; i < count && i < BATCH_MAX; i++) {
        struct item item = carry->items[i]; /* others can write it */

        if (item.route != ROUTE_MAILBOX || item.slot == slot || item.slot >= segment->slot_max ||
            mail_state(item.mail) != MAIL_TAKEN)
            continue;
        if (shm_cas(&segment->slots[item.slot].mail, item.mail, mail_with(item.mail, MAIL_FAILED)))
            wake_tell(segment, &told, item.slot, WAKE_MAIL);
        else
            mail_acknowledge(segment, item.slot, item.mail);
    }
    wake_flush(segment, &told);
}
