/* SPDX-License-Identifier: MIT */
/*
 * The combiner's side of handing commands over (lendis/mailbox.h, include/lendis/README.md).
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
#include "libclient/handover/combiner.h"

#include <errno.h>
#include <string.h>
#include "libclient/membership/attachment.h"
#include "libclient/clock.h"
#include "libclient/lease.h"
#include "libclient/notice.h"
#include "libclient/connection/socket_io.h"
#include "libclient/handover/takeover.h"

/* Batches that a combiner serves before it passes the connection on; its own caller waits
 * meanwhile. */
#define ROUNDS_MAX 16
/* How long a combiner that only serves others waits for Redis before one of them shall. */
#define SERVICE_PATIENCE_NS INT64_C(5000000)

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
            batch_settle(combiner, item,
                         shm_load32(&shared->read_only) == 1 ? MAIL_RETRY : MAIL_FAILED);
            item->route = ROUTE_DISCARD;
            return;
        }
    }
    if (combiner->chunk >= 0) {
        memcpy(segment_chunk(segment, (uint32_t)combiner->chunk) + combiner->assembled, data, size);
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
    memcpy(segment_chunk(combiner->segment, (uint32_t)combiner->chunk) + combiner->assembled,
           combiner->buffer + combiner->start, size);
    combiner->assembled += size;
    combiner->start = combiner->at = combiner->end = 0;
    return 0;
}

/* Puts the replies that were received where they belong. Results: 0; -EPROTO; -errno of the
 * sink. */
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
            (combiner->end == combiner->buffer_size && !socket_is_silent(combiner->lease->fd)));
}

/* Ends the items from `first` on, whose owners are woken for it. */
static void settle_answered(struct combiner *combiner, uint32_t first, enum mail_state state)
{
    for (; first < combiner->next; first++)
        if (combiner->items[first].route == ROUTE_ANSWERED)
            batch_settle(combiner, &combiner->items[first], state);
}

/* Goes through what was received, and wakes nobody before all of it fits (I4). Results: 0; -EPROTO;
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

enum batch_state {
    BATCH_ANSWERED,
    BATCH_LOST,
    BATCH_GIVE_UP,
    BATCH_TOO_LARGE,
    BATCH_NO_MEMORY,
    BATCH_MORE, /* than a small room is for */
};

/* Reads replies until all are delivered, or it cannot or need not go on. */
static enum batch_state receive_batch(struct combiner *combiner)
{
    while (combiner->next < combiner->count) {
        int64_t until_ns;
        ssize_t got;
        int result;

        if (combiner->start == combiner->end)
            combiner->start = combiner->at = combiner->end = 0;
        until_ns = combiner->answered ? combiner->patience_ns : combiner->call->deadline_ns;
        got = socket_receive(combiner->lease->fd, combiner->buffer + combiner->end,
                             combiner->buffer_size - combiner->end, until_ns,
                             &combiner->connection->beat);
        if (got == 0) {
            combiner->end_error = errno;
            return BATCH_LOST;
        }
        if (got < 0) {
            combiner->patience_ns = clock_now_ns() + SERVICE_PATIENCE_NS;
            return BATCH_GIVE_UP;
        }
        combiner->end += (size_t)got;
        result = split(combiner);
        wake_flush(combiner->segment, &combiner->to_wake);
        /* Afterwards: our own reply may have been among them, and what is left is only others'. */
        if (combiner->answered && combiner->next < combiner->count)
            note_progress(combiner);
        if (result == -EFBIG)
            return BATCH_TOO_LARGE;
        if (result != 0)
            return result == -ENOMEM ? BATCH_NO_MEMORY : BATCH_LOST;
        if (is_small(combiner) && combiner->next < combiner->count)
            return BATCH_MORE;
    }
    return BATCH_ANSWERED;
}

/* The call's own command got no reply. */
static void fail_own(struct combiner *combiner, bool sent, enum loss loss)
{
    if (combiner->answered)
        return;
    /* Own is always the batch's first unanswered one when its reply has begun. */
    if (loss == LOSS_ANSWERING && combiner->next < combiner->count &&
        combiner->items[combiner->next].route != ROUTE_OWN)
        loss = LOSS_MEANWHILE;
    combiner->result = call_failure(combiner->attachment, combiner->call, sent, loss);
    combiner->answered = true;
}

/* Reports to the broker whose command the connection was lost to. */
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
        item->route == ROUTE_MAILBOX ? batch_request(combiner->segment, item->slot, &size) : NULL;
    if (request)
        loss_report(combiner->lease, shm_load32(&shared->owner) - 1, request, size, number);
}

/*
 * The connection ended, or what came makes no sense. Redis writes replies when it has executed all
 * that it has read: with several commands unanswered any of them can be the one that cost the
 * connection. Those that only read are sent again, each alone, and then it shows.
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
        batch_settle(combiner, item,
                     shm_load32(&shared->read_only) == 1 ? MAIL_RETRY : MAIL_FAILED);
        wake_flush(combiner->segment, &combiner->to_wake);
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
        case BATCH_ANSWERED:
            return true;
        case BATCH_MORE:
            return read_large(combiner);
        case BATCH_TOO_LARGE:
            if (takeover_hand_on(combiner, true))
                return false;
            drop_current(combiner);
            continue;
        case BATCH_GIVE_UP:
            if (!combiner->answered)
                note_progress(combiner);
            last = clock_now_ns() - combiner->progress_ns >= LAST_PATIENCE_NS;
            fail_own(combiner, true, LOSS_NONE);
            if (takeover_hand_on(combiner, last))
                return false;
            if (!last)
                continue;
            break;
        case BATCH_NO_MEMORY:
            combiner->result = call_no_memory(combiner->attachment, &combiner->call->command);
            combiner->answered = true;
            break;
        case BATCH_LOST:
            judge_loss(combiner);
            fail_own(combiner, true, combiner->loss);
            break;
        }
        batch_settle_rest(combiner, MAIL_FAILED);
        return true;
    }
}

/* The rest of a batch that was begun in a small room. Not inlined: the large one is on the
 * stack. */
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
    socket_beat(&combiner->connection->beat, clock_coarse_ns());
    batch_take(combiner, combiner->answered ? 0 : combiner->call->size);
    if (combiner->count == 0)
        return false;
    if (combiner->lease->rested && !socket_is_silent(combiner->lease->fd))
        sent = -ECANCELED;
    else
        sent = batch_send(combiner);
    combiner->lease->rested = false;
    begin_reply(combiner); /* also when it failed: no byte of a reply has come */
    if (sent != 0) {
        combiner->loss = judge_sending(sent);
        if (combiner->loss == LOSS_MEANWHILE && is_alone(combiner) &&
            call_take_last_words(combiner->lease->fd, combiner->call)) {
            combiner->result = 0;
            combiner->answered = true;
        }
        /* Part of a batch may have been executed. */
        fail_own(combiner, sent != -ECANCELED, combiner->loss);
        batch_settle_rest(combiner, sent == -ECANCELED ? MAIL_RETRY : MAIL_FAILED);
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
    combiner->to_wake.groups = 0;
}

/* The end of a combiner's work; `ours`: the lease is still there. */
static int finish(struct combiner *combiner, bool ours)
{
    /* Commands that may share a connection leave its session as it is. */
    if (ours)
        lease_release(combiner->lease);
    return combiner->result;
}

int combiner_run(struct lendis_lease *lease, const struct call *call)
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

int combiner_continue(struct lendis_lease *lease, const struct call *call, uint32_t slot)
{
    const struct segment *segment = &lease->attachment->segment;
    uint32_t chunk = shm_load32(&segment->slots[slot].reply_chunk) - 1;
    struct combiner combiner;
    struct large_room room;

    combiner_init(&combiner, lease, call);
    use_large(&combiner, &room);
    if (chunk >= CHUNKS) {
        lease->broken = true;
        return finish(&combiner, true);
    }
    if (!takeover_adopt(&combiner, chunk, slot)) {
        fail_own(&combiner, true, LOSS_MEANWHILE);
        batch_settle_rest(&combiner, MAIL_FAILED);
        return finish(&combiner, true);
    }
    if (combiner.end > 0) {
        int result = split(&combiner);

        wake_flush(segment, &combiner.to_wake);
        if (result == -EFBIG && !takeover_hand_on(&combiner, true))
            drop_current(&combiner);
        else if (result == -EFBIG)
            return finish(&combiner, false);
        else if (result != 0) {
            judge_loss(&combiner);
            fail_own(&combiner, true, combiner.loss);
            batch_settle_rest(&combiner, MAIL_FAILED);
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
