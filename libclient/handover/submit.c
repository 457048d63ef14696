/* SPDX-License-Identifier: MIT */
/*
 * The owner's side of handing a command over (lendis/mailbox.h): it puts the command into the
 * mailbox of a wait slot, queues up, sleeps, and takes what comes: the reply, a connection, or the
 * rest of somebody's batch.
 *
 * Between QUEUED and the end the mailbox may be the combiner's; it is taken and given up only by
 * moving the mail word that was seen (I4). A word with another sequence than the command's is
 * somebody else's: this process lost its place. Needs neither the broker nor a thread.
 */
#include "libclient/handover/submit.h"

#include <errno.h>
#include <string.h>
#include "lendis/mailbox.h"
#include "lendis/waiter.h"
#include "libclient/membership/attachment.h"
#include "libclient/clock.h"
#include "libclient/handover/combiner.h"
#include "libclient/lease.h"
#include "libclient/lending.h"
#include "libclient/lending_policy.h"
#include "libclient/membership/membership.h"
#include "libclient/result.h"
#include "libclient/handover/takeover.h"
#include "libclient/handover/wait_slot.h"

struct pending_command {
    struct attachment *attachment;
    const struct segment *segment;
    struct wait_slot *shared;
    const struct call *call;
    uint32_t slot;
    uint64_t mail; /* the word that the mailbox was taken with: its sequence is the command's */
    bool released; /* the slot is not ours any more */
    int64_t begun_ns;
    struct waiter waiter;
};

/* ---- the mailbox ---- */

/* Takes the mailbox. False: it is not free. */
static bool open_mail(struct pending_command *pending)
{
    uint64_t mail = shm_load(&pending->shared->mail);

    pending->mail = mail_next(mail);
    return mail_state(mail) == MAIL_FREE && shm_cas(&pending->shared->mail, mail, pending->mail);
}

/* The mailbox is OWNED: it is free again. */
static void leave_mail(struct pending_command *pending)
{
    uint64_t mail = mail_with(shm_load(&pending->shared->mail), MAIL_OWNED);

    /* Somebody else's if this process lost its place meanwhile. */
    if (mail_sequence(mail) == mail_sequence(pending->mail))
        shm_cas(&pending->shared->mail, mail, mail_with(mail, MAIL_FREE));
}

/* Puts the command into the mailbox, or a chunk. False: it is too large, or there is no chunk. */
static bool write_request(struct pending_command *pending)
{
    struct wait_slot *shared = pending->shared;
    const struct call *call = pending->call;
    char *to = mail_room(pending->segment, pending->slot, call->size);
    int chunk = -1;

    if (!to) {
        if (call->size > CHUNK_SIZE)
            return false;
        chunk = chunk_claim(pending->segment, pending->slot);
        if (chunk < 0)
            return false;
        to = segment_chunk(pending->segment, (uint32_t)chunk);
    }
    memcpy(to, call->request, call->size);
    shm_store32(&shared->request_chunk, (uint32_t)(1 + chunk));
    shm_store32(&shared->request_size, (uint32_t)call->size);
    shm_store32(&shared->replies, call->replies);
    shm_store32(&shared->read_only, (call->command.flags & COMMAND_READ_ONLY) ? 1 : 0);
    shm_store32(&shared->descriptors,
                atomic_load_explicit(&pending->attachment->descriptors, memory_order_relaxed));
    shm_store32(&shared->reply_chunk, 0);
    shm_store32(&shared->reply_size, 0);
    return true;
}

/* Posts the command. False: it cannot be handed over. */
static bool post(struct pending_command *pending)
{
    if (!open_mail(pending))
        return false;
    if (!write_request(pending)) {
        leave_mail(pending);
        return false;
    }
    return shm_cas(&pending->shared->mail, pending->mail, mail_with(pending->mail, MAIL_QUEUED));
}

/* True if `mail` is of this command, not of another process that has the place by now. */
static bool is_ours(const struct pending_command *pending, uint64_t mail)
{
    return mail_sequence(mail) == mail_sequence(pending->mail);
}

/*
 * Moves the mail word from `mail`, which was seen and lets go of the mailbox, to FREE, and frees
 * the chunks that it used. False: the word had changed; what was seen in the mailbox does not
 * count.
 */
static bool close_mail(struct pending_command *pending, uint64_t mail)
{
    uint32_t request_chunk = shm_load32(&pending->shared->request_chunk);
    uint32_t reply_chunk = shm_load32(&pending->shared->reply_chunk);

    if (request_chunk == 0 && reply_chunk == 0)
        return shm_cas(&pending->shared->mail, mail, mail_with(mail, MAIL_FREE));
    if (!shm_cas(&pending->shared->mail, mail, mail_with(mail, MAIL_OWNED)))
        return false;
    chunk_free(pending->segment, request_chunk - 1, pending->slot);
    chunk_free(pending->segment, reply_chunk - 1, pending->slot);
    leave_mail(pending);
    return true;
}

/* Likewise, of a mailbox that is OWNED, after a combiner that may have died: nobody can say what it
 * had begun to use. */
static void clear_owned(struct pending_command *pending)
{
    chunks_free_all(pending->segment, pending->slot);
    leave_mail(pending);
}

static bool clear_mail(struct pending_command *pending, uint64_t mail)
{
    if (!shm_cas(&pending->shared->mail, mail, mail_with(mail, MAIL_OWNED)))
        return false;
    clear_owned(pending);
    return true;
}

/* It was sent or not, and no reply comes. */
static int unanswered(struct pending_command *pending, bool sent, bool lost)
{
    return call_failure(pending->attachment, pending->call, sent,
                        lost ? LOSS_MEANWHILE : LOSS_NONE);
}

/* The mailbox is not ours: the broker took this process for gone and gave its place away, or the
 * segment is corrupted. */
static int disowned(struct pending_command *pending)
{
    uint32_t index;
    uint64_t word;

    /* No combiner takes us out of the queue any more. */
    if (waiter_leave(&pending->waiter, &index, &word))
        queue_pass_on(pending->segment, index, word);
    return unanswered(pending, true, true);
}

/* Takes the reply that was delivered. */
static int take_reply(struct pending_command *pending, uint64_t mail)
{
    const struct segment *segment = pending->segment;
    uint32_t size = shm_load32(&pending->shared->reply_size);
    uint32_t chunk = shm_load32(&pending->shared->reply_chunk);
    const struct reply_sink *sink = pending->call->sink;
    const char *bytes = NULL;
    int result = -EPROTO;

    if (chunk == 0 && size <= MAILBOX_SIZE)
        bytes = mail_room(segment, pending->slot, size);
    else if (chunk >= 1 && chunk <= CHUNKS && size <= CHUNK_SIZE)
        bytes = segment_chunk(segment, chunk - 1);
    else
        return close_mail(pending, mail) ? result : disowned(pending);
    result = bytes ? sink->take(sink->context, bytes, size) : -ENOMEM;
    if (result == -ENOMEM)
        result = call_no_memory(pending->attachment, &pending->call->command);
    /* Only now: until the word is moved, nobody else may have used the mailbox. */
    return close_mail(pending, mail) ? result : disowned(pending);
}

/* Has the broker inspect the combiner that has the command. */
static void report_combiner(struct pending_command *pending, uint64_t mail)
{
    uint32_t index = mail_connection(mail);
    struct connection *connection = &pending->segment->connections[index];
    uint64_t word;

    if (index >= pending->segment->connection_max)
        return;
    word = shm_load(&connection->word);
    if (!mail_fits(mail, word) || shm_load(&connection->stalled) == 1 + word_generation(word))
        return;
    shm_store(&connection->stalled, 1 + word_generation(word));
    attachment_ring(pending->attachment);
}

/* Leaves the command to its combiner. False: it moved on meanwhile, look again. */
static bool abandon(struct pending_command *pending, uint64_t mail, bool lost, int *result)
{
    if (!shm_cas(&pending->shared->mail, mail, mail_with(mail, MAIL_ABANDONED)))
        return false;
    /* It may have stopped, and we are not there any more to see it. */
    if (!lost)
        report_combiner(pending, mail);
    /* Read after abandoning: pairs with batch_send(). */
    *result = unanswered(pending, mail_was_sent(pending->segment, mail), lost);
    return true;
}

/* ---- what can happen while it waits ---- */

/*
 * The attachment, in use by the caller, by which this process has the descriptor of a connection
 * that is transferred to it; NULL: not now, there is no broker to ask. One that comes back may know us
 * still.
 */
static struct attachment *transferred_by(struct pending_command *pending, uint32_t index,
                                         uint64_t generation)
{
    struct attachment *before = pending->attachment, *now;
    int fd;

    if (attachment_descriptor(before, index, generation, &fd) != LENDIS_E_DOWN) {
        atomic_fetch_add_explicit(&before->users, 1, memory_order_seq_cst);
        return before;
    }
    if (membership_enter(before->pool, &now) != 0)
        return NULL;
    if (now != before && now->worker == before->worker &&
        now->segment.instance == before->segment.instance &&
        attachment_descriptor(now, index, generation, &fd) != LENDIS_E_DOWN)
        return now;
    membership_leave(now);
    return NULL;
}

/* Goes on with the batch on connection `index`, which was transferred to us and is ours as `word`; the
 * mailbox is OWNED. `attachment`: transferred_by(). Results: as combiner_run(). */
static int go_on(struct pending_command *pending, struct attachment *attachment, uint32_t index,
                 uint64_t word)
{
    int result = LENDIS_E_DOWN;
    struct lendis_lease *lease;

    if (attachment)
        result = lease_make(attachment, index, word, false, &lease);
    if (result == 0)
        return combiner_continue(lease, pending->call, pending->slot);
    if (attachment)
        membership_leave(attachment);
    else if (word_return(&pending->segment->connections[index].word, word))
        attachment_ring(pending->attachment);
    takeover_lose(pending->segment, pending->slot);
    return unanswered(pending, true, true);
}

/* A combiner left us the rest of its batch. Results: as combiner_run(); -EAGAIN, the connection is
 * not here yet, or its descriptor. */
static int take_over(struct pending_command *pending, uint64_t mail, bool late)
{
    uint32_t index = mail_connection(mail);
    struct attachment *attachment;
    shm_u64 *at;
    uint64_t word;
    int result;

    if (index >= pending->segment->connection_max)
        return -EAGAIN;
    at = &pending->segment->connections[index].word;
    word = shm_load(at);
    if (word_state(word) != WORD_TRANSFERRED || word_owner(word) != pending->slot)
        return -EAGAIN;
    attachment = transferred_by(pending, index, word_generation(word));
    if (!attachment && !late)
        return -EAGAIN;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a pending command always has one */
    if (!word_continue(at, pending->slot, pending->attachment->worker, &word)) {
        if (attachment)
            membership_leave(attachment);
        return -EAGAIN;
    }
    if (mail_state(mail) == MAIL_TAKEOVER &&
        !shm_cas(&pending->shared->mail, mail, mail_with(mail, MAIL_OWNED))) {
        /* Another process has the place, and it is its batch. */
        if (word_return(at, word))
            attachment_ring(pending->attachment);
        if (attachment)
            membership_leave(attachment);
        return disowned(pending);
    }
    result = go_on(pending, attachment, index, word);
    clear_owned(pending);
    return result;
}

/* A connection was handed to us. */
static int serve_ourselves(struct pending_command *pending, uint64_t mail, uint32_t index,
                           uint64_t word)
{
    struct lendis_lease *lease;
    int result;

    if (!close_mail(pending, mail)) {
        /* Somebody took the command all the same: we had queued up twice. */
        queue_pass_on(pending->segment, index, word);
        return -EAGAIN;
    }
    waiter_finish(&pending->waiter);
    wait_slot_release(pending->attachment, pending->slot);
    pending->released = true;
    atomic_fetch_add_explicit(&pending->attachment->users, 1, memory_order_seq_cst);
    result = lease_make(pending->attachment, index, word, true, &lease);
    if (result != 0) {
        membership_leave(pending->attachment);
        return result;
    }
    return combiner_run(lease, pending->call);
}

/*
 * After a while a combiner is reported. That says no more than that it keeps us waiting: the broker
 * watches it then, by its beat, and finds out whether it goes on, and if not, why. It is said once
 * for all who wait, see stalled.c.
 */
static void report_stall(struct pending_command *pending, uint64_t mail)
{
    if (clock_coarse_ns() - pending->begun_ns >= WAITER_SERVED_PATIENCE_NS)
        report_combiner(pending, mail);
}

/* The connection that it was taken for is no longer its combiner's. */
static bool combiner_lost(const struct pending_command *pending, uint64_t mail)
{
    uint32_t index = mail_connection(mail);

    return index >= pending->segment->connection_max ||
           !mail_fits(mail, shm_load(&pending->segment->connections[index].word));
}

/*
 * Inspects the mailbox. Results: -EAGAIN, sleep; else the call's result, with the mailbox closed
 * or abandoned.
 */
static int inspect(struct pending_command *pending, bool thorough, bool late)
{
    uint64_t mail = shm_load(&pending->shared->mail), word;
    uint32_t index;
    int result;

    if (!is_ours(pending, mail))
        return disowned(pending);
    switch (mail_state(mail)) {
    case MAIL_DONE:
        return take_reply(pending, mail);
    case MAIL_RETRY:
        result = shm_load32(&pending->shared->reply_size) == REPLY_TOO_LARGE ? RESULT_NEEDS_LEASE
                                                                             : RESULT_TRY_AGAIN;
        return clear_mail(pending, mail) ? result : disowned(pending);
    case MAIL_FAILED:
        result = shm_load32(&pending->shared->reply_size) == REPLY_LOST
                     ? call_failure(pending->attachment, pending->call, true, LOSS_ANSWERING)
                     : unanswered(pending, true, true);
        return clear_mail(pending, mail) ? result : disowned(pending);
    case MAIL_TAKEOVER:
        if (thorough)
            report_stall(pending, mail);
        result = take_over(pending, mail, late);
        if (result != -EAGAIN)
            return result;
        if (!late && !combiner_lost(pending, mail))
            return -EAGAIN;
        /* Pairs with takeover_hand_on(), which transfers the connection and then looks
         * whether we have given up: it sees that, or we see the connection. */
        if (!shm_cas(&pending->shared->mail, mail, mail_with(mail, MAIL_OWNED)))
            return disowned(pending);
        result = take_over(pending, mail_with(mail, MAIL_OWNED), true);
        if (result != -EAGAIN)
            return result;
        clear_owned(pending);
        return unanswered(pending, true, !late);
    case MAIL_TAKEN:
        if (thorough)
            report_stall(pending, mail);
        if ((late || (thorough && combiner_lost(pending, mail))) &&
            abandon(pending, mail, !late, &result))
            return result;
        return -EAGAIN;
    case MAIL_QUEUED:
        result = waiter_take(&pending->waiter, thorough, &index, &word);
        if (result == 1)
            return serve_ourselves(pending, mail, index, word);
        return result == 0 ? -EAGAIN : result;
    default:
        return disowned(pending);
    }
}

/* Time is up while it is queued. Results as inspect(). */
static int give_up(struct pending_command *pending, int otherwise)
{
    uint64_t mail = shm_load(&pending->shared->mail), word;
    uint32_t index;

    if (mail_state(mail) != MAIL_QUEUED || !is_ours(pending, mail) || !close_mail(pending, mail))
        return -EAGAIN;
    if (waiter_leave(&pending->waiter, &index, &word))
        queue_pass_on(pending->segment, index, word);
    return otherwise;
}

/* Waits for the command's end. */
static int wait_for_reply(struct pending_command *pending, int64_t wait_deadline_ns)
{
    int64_t deadline_ns = pending->call->deadline_ns;
    struct attachment *attachment = pending->attachment;
    bool thorough = false;

    for (;;) {
        bool late = false;
        int result;

        if (policy_fails_fast(attachment))
            thorough = true;
        if (thorough) {
            int64_t now_ns = clock_now_ns();

            late = now_ns >= deadline_ns;
            if (now_ns >= wait_deadline_ns || late || lending_is_disabled(attachment) ||
                policy_fails_fast(attachment)) {
                result = give_up(pending, lending_why_none(attachment, LENDIS_E_TIMEOUT));
                if (result != -EAGAIN)
                    return result;
            }
            if (membership_must_restart(attachment)) {
                result = give_up(pending, RESULT_TRY_AGAIN);
                if (result != -EAGAIN)
                    return result;
            }
        }
        result = inspect(pending, thorough, late);
        if (result != -EAGAIN)
            return result;
        pending->waiter.served = mail_state(shm_load(&pending->shared->mail)) != MAIL_QUEUED;
        if (thorough && !pending->waiter.served)
            policy_go_on_waiting(attachment, &pending->waiter);
        /* Told since we looked, or that the connection was revoked from the combiner. */
        if (waiter_hinted(&pending->waiter)) {
            thorough = true;
            continue;
        }
        thorough =
            waiter_sleep(&pending->waiter, !pending->waiter.served && wait_deadline_ns < deadline_ns
                                               ? wait_deadline_ns
                                               : deadline_ns);
    }
}

int submit_call(struct attachment *attachment, const struct call *call, int64_t wait_deadline_ns)
{
    const struct reply_sink *sink = call->sink;
    int64_t start_ns = clock_now_ns();
    struct pending_command pending = {.attachment = attachment,
                                      .segment = &attachment->segment,
                                      .call = call,
                                      .begun_ns = start_ns};
    int result;

    if (!wait_slot_claim(attachment, &pending.slot))
        return LENDIS_E_BUSY;
    pending.shared = &attachment->segment.slots[pending.slot];
    wait_slot_since(attachment, pending.slot, start_ns);
    if (!post(&pending)) {
        wait_slot_release(attachment, pending.slot);
        return RESULT_NEEDS_LEASE;
    }
    result = waiter_join(&pending.waiter, pending.segment, attachment->worker, pending.slot,
                         CELL_COMMAND);
    if (result == 0) {
        lending_ask_for_more(attachment); /* now that the broker can see that somebody waits */
        if (!policy_queue_is_full(attachment, pending.waiter.ticket) ||
            (result = give_up(&pending, LENDIS_E_BUSY)) == -EAGAIN)
            result = wait_for_reply(&pending, wait_deadline_ns);
    } else {
        give_up(&pending, 0);
    }
    /* What other processes wrote, before its owner gets it: exactly what it asked for (I4). */
    if (result == 0 && sink->whole && !sink->whole(sink->context, call->replies))
        result = unanswered(&pending, true, true);
    if (!pending.released) {
        waiter_finish(&pending.waiter);
        wait_slot_release(attachment, pending.slot);
    }
    wait_slot_count(attachment, HISTOGRAM_command, start_ns, result);
    return result;
}
