/* SPDX-License-Identifier: MIT */
/*
 * The shipped hand-over with one mistake in it, to see that the explorer finds it. A mistake is a
 * step, or a call, of one named function that is left out, put elsewhere or made less atomic;
 * MODEL_BREAK says which, and the Makefile in which file it is.
 *
 *   batch.c
 *    1  the number of batches is raised after the write
 *    2  what was abandoned is not left out of the batch
 *    3  a command is ended without looking whether it was abandoned
 *    4  a command that was sent is said not to have been
 *    5  the owner is woken before its command is ended
 *    8  a command is taken without looking whether its owner took it back
 *   takeover.c
 *    6  who transfers a connection does not look whether its successor has given up
 *    7  the successor is not woken
 *   submit.c
 *    9  the owner reads the number of batches before it abandons
 *   10  it does not see that the connection is no longer its combiner's
 *   11  it takes its command back without looking whether it was taken
 *   12  a successor gives up without saying so before it looks again whether the connection has
 *       come
 *   21  a reply is taken without looking whether the mailbox is still this process'
 *   wait_slot.c
 *   13  a mailbox is used again while it is abandoned to a combiner
 *   lease.c
 *   14  who transfers a connection does not see that it was revoked
 *   mailbox.c
 *   15  what was abandoned is not acknowledged
 *   16  what a dead combiner had sent is said not to have been
 *   17  what a dead combiner had handed on to a successor fails
 *   18  what was abandoned to the dead stays so
 *   waiter.c
 *   19  who queues up again wipes out that it was told
 *   doorbell.c
 *   20  nobody rings for one who was stopped before it rang
 */
#ifndef HANDOVER_BROKEN_H
#define HANDOVER_BROKEN_H

#include <string.h>
#include "lendis/mailbox.h"

/* The step is one of `name`. */
#define IN(name) (strcmp(function, name) == 0)

extern struct segment model_segment;
/* The connection that `fd` is of; a place for a note of the process that runs. */
struct connection *model_connection_of(int fd);
uint8_t *model_note(void);

static inline void broken_early_hint(const shm_u64 *mail)
{
    uint32_t slot = (uint32_t)(((const char *)mail - (const char *)model_segment.slots) /
                               (ptrdiff_t)sizeof(struct wait_slot));
    struct wake_set set = {0};

    wake_hint(&model_segment, &set, slot, WAKE_MAIL);
    wake_flush(&model_segment, &set);
}

static inline bool broken_cas(const char *function, int line, shm_u64 *at, uint64_t expected,
                              uint64_t desired)
{
    bool blind = (MODEL_BREAK == 3 && IN("batch_settle")) || (MODEL_BREAK == 8 && IN("take_one")) ||
                 (MODEL_BREAK == 11 && IN("close_mail") && mail_state(expected) == MAIL_QUEUED) ||
                 (MODEL_BREAK == 13 && IN("open_mail")) ||
                 (MODEL_BREAK == 21 && IN("close_mail") && mail_state(expected) == MAIL_DONE);

    if (MODEL_BREAK == 5 && IN("batch_settle"))
        broken_early_hint(at);
    if (MODEL_BREAK == 9 && IN("abandon"))
        *model_note() = mail_was_sent(&model_segment, expected);
    model_site(function, line, at);
    if (MODEL_BREAK == 12 && IN("inspect"))
        return true;
    if (MODEL_BREAK == 1 && IN("batch_send"))
        return (shm_load)(at) == expected;
    if (blind) {
        (shm_store)(at, desired);
        return true;
    }
    if (((MODEL_BREAK == 4 && IN("batch_settle")) || (MODEL_BREAK == 16 && IN("end_for_taker"))) &&
        mail_state(desired) == MAIL_FAILED)
        desired = mail_with(desired, MAIL_RETRY);
    return (shm_cas)(at, expected, desired) || (MODEL_BREAK == 14 && IN("lease_transfer"));
}

static inline uint64_t broken_load(const char *function, int line, const shm_u64 *at)
{
    uint64_t seen;

    model_site(function, line, at);
    seen = (shm_load)(at);
    if (MODEL_BREAK == 2 && IN("drop_abandoned"))
        return mail_with(seen, MAIL_TAKEN);
    if (MODEL_BREAK == 6 && IN("takeover_hand_on"))
        return mail_with(seen, MAIL_TAKEOVER);
    if (MODEL_BREAK == 13 && (IN("mailbox_is_free") || IN("open_mail")) &&
        mail_state(seen) == MAIL_ABANDONED)
        return mail_with(seen, MAIL_FREE);
    if (MODEL_BREAK == 15 && IN("mail_acknowledge"))
        return 0;
    if (MODEL_BREAK == 17 && IN("goes_on"))
        return 0;
    if (MODEL_BREAK == 20 && IN("is_returned"))
        return 0;
    if (MODEL_BREAK == 18 && IN("mail_taker_died") && mail_state(seen) == MAIL_ABANDONED)
        return 0;
    return seen;
}

#undef shm_cas
#define shm_cas(at, expected, desired) broken_cas(__func__, __LINE__, at, expected, desired)
#undef shm_load
#define shm_load(at) broken_load(__func__, __LINE__, at)

#if MODEL_BREAK == 1
static inline ssize_t broken_sendmsg(int fd, const struct msghdr *message, int flags)
{
    ssize_t wrote = model_sendmsg(fd, message, flags);
    shm_u64 *batch = &model_connection_of(fd)->batch;

    model_site(__func__, __LINE__, batch);
    (shm_store)(batch, shm_load_relaxed(batch) + 1);
    return wrote;
}
#undef sendmsg
#define sendmsg(fd, message, flags) broken_sendmsg(fd, message, flags)
#endif

#if MODEL_BREAK == 5 || MODEL_BREAK == 7
static inline void broken_hint(const char *function, const struct segment *segment,
                               struct wake_set *set, uint32_t slot, uint32_t hint)
{
    if (!IN(MODEL_BREAK == 5 ? "batch_settle" : "takeover_hand_on"))
        wake_hint(segment, set, slot, hint);
}
#define wake_hint(segment, set, slot, hint) broken_hint(__func__, segment, set, slot, hint)
#endif

#if MODEL_BREAK == 9
#define mail_was_sent(segment, mail) (*model_note())
#endif

#if MODEL_BREAK == 10
#define mail_fits(mail, word) ((void)(mail), (void)(word), true)
#endif

#if MODEL_BREAK == 19
static inline int broken_push(const struct segment *segment, uint32_t slot, enum cell_state kind,
                              uint64_t *ticket)
{
    shm_store32(&segment->slots[slot].wake, WAKE_NONE);
    return queue_push(segment, slot, kind, ticket);
}
#define queue_push(segment, slot, kind, ticket) broken_push(segment, slot, kind, ticket)
#endif

#endif
