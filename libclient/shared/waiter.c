/* SPDX-License-Identifier: MIT */
/* A waiting thread: see lendis/waiter.h. */
#include "lendis/waiter.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static shm_u32 *wake_word(const struct waiter *waiter)
{
    return &waiter->segment->slots[waiter->slot].wake;
}

static int join(struct waiter *waiter)
{
    const struct segment *segment = waiter->segment;
    int result = queue_push(segment, waiter->slot, waiter->kind, &waiter->ticket);

    if (result != 0)
        return result;
    shm_store32(&segment->slots[waiter->slot].ticket, (uint32_t)waiter->ticket);
    /* Pairs with queue_pass_on(): a connection that became idle before it could see us. */
    queue_match(segment, waiter->worker);
    return 0;
}

int waiter_join(struct waiter *waiter, const struct segment *segment, uint32_t worker,
                uint32_t slot, enum cell_state kind)
{
    *waiter = (struct waiter){.segment = segment, .worker = worker, .slot = slot, .kind = kind};
    /* Only the first time: one that queues up again may have been told already that its command was
     * answered, by a combiner that took it out of the queue before it took the command. */
    shm_store32(wake_word(waiter), WAKE_NONE);
    return join(waiter);
}

int waiter_join_polling(struct waiter *waiter, const struct segment *segment, uint32_t worker,
                        uint32_t slot)
{
    int result;

    /* Before anybody can find the slot in the queue: pairs with slot_hint(). */
    shm_store32(&segment->slots[slot].polls, 1);
    result = waiter_join(waiter, segment, worker, slot, CELL_WAITING);
    if (result != 0)
        shm_store32(&segment->slots[slot].polls, 0);
    return result;
}

void waiter_end_polling(const struct waiter *waiter)
{
    shm_store32(&waiter->segment->slots[waiter->slot].polls, 0);
}

/* The first connection at or after *index whose word says that it was passed to this waiter. */
static bool find_handed(struct waiter *waiter, uint32_t *index, uint64_t *word)
{
    for (; *index < segment_places(waiter->segment); ++*index)
        if (word_pick_up(&waiter->segment->connections[*index].word, waiter->slot, waiter->worker,
                         word))
            return true;
    return false;
}

/*
 * With the queue left, passes on what was handed to us beyond the one we keep: two who hand over
 * can both have moved their word before either frees our cell. (The second takes its word back by
 * itself unless it died.)
 */
static void pass_on_others(struct waiter *waiter)
{
    uint64_t word;

    for (uint32_t index = 0; find_handed(waiter, &index, &word); index++)
        queue_pass_on(waiter->segment, index, word);
}

static bool take_any(struct waiter *waiter, uint32_t *index, uint64_t *word)
{
    *index = 0;
    if (!find_handed(waiter, index, word))
        return false;
    queue_leave(waiter->segment, waiter->slot, waiter->ticket);
    pass_on_others(waiter);
    return true;
}

int waiter_take(struct waiter *waiter, bool thorough, uint32_t *index, uint64_t *word)
{
    const struct segment *segment = waiter->segment;
    uint32_t wake = shm_load32(wake_word(waiter));

    /* That the mailbox has something is not for us: submit.c looks there, and takes the hint
     * away. */
    if (wake == WAKE_MAIL && waiter->kind == CELL_COMMAND)
        return 0;
    if (wake != WAKE_NONE && wake != WAKE_ASLEEP) {
        *index = (wake & 2047) - 1;
        if (*index < segment->connection_max && wake == wake_make(*index, waiter->ticket) &&
            word_pick_up(&segment->connections[*index].word, waiter->slot, waiter->worker, word))
            return 1; /* whoever told us had freed our cell before */
        /* A stale hint, or what was passed to us was revoked. */
        shm_cas32(wake_word(waiter), wake, WAKE_NONE);
        thorough = true;
    }
    if (!thorough)
        return 0;
    /* The cell before the words: once it is gone, what was passed to us is in a word already. */
    if (queue_waits(segment, waiter->slot, waiter->ticket)) {
        if (take_any(waiter, index, word))
            return 1;
        queue_match(segment, waiter->worker);
        return 0;
    }
    if (take_any(waiter, index, word))
        return 1;
    waiter->rejoined = true;
    return join(waiter);
}

int waiter_leave(struct waiter *waiter, uint32_t *index, uint64_t *word)
{
    if (queue_leave(waiter->segment, waiter->slot, waiter->ticket))
        return 0;
    return take_any(waiter, index, word) ? 1 : 0;
}

bool waiter_hinted(struct waiter *waiter)
{
    uint32_t wake = shm_load32(wake_word(waiter));

    return wake != WAKE_NONE && wake != WAKE_ASLEEP &&
           shm_cas32(wake_word(waiter), wake, WAKE_NONE);
}

void waiter_finish(struct waiter *waiter)
{
    if (!waiter->rejoined)
        return;
    queue_leave(waiter->segment, waiter->slot, waiter->ticket);
    pass_on_others(waiter);
}

#ifdef LENDIS_MODEL
/* The explorer's scheduler: sleeps while the word is `expected`; true when time passed instead of a
 * wake-up. */
bool lendis_model_sleep(shm_u32 *at, uint32_t expected, uint32_t bits);
#define sleep_on(waiter, at, expected, bits, deadline_ns) lendis_model_sleep(at, expected, bits)
#else
static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int64_t waiter_patience_ns(const struct waiter *waiter)
{
    uint64_t before_us = waiter->ticket - shm_load(&waiter->segment->queue->head);

    if (waiter->served)
        return WAITER_SERVED_PATIENCE_NS;
    if (before_us > waiter->segment->cell_count)
        before_us = 0;
    return WAITER_PATIENCE_NS * (1 + (int64_t)before_us);
}

static bool sleep_on(const struct waiter *waiter, shm_u32 *at, uint32_t expected, uint32_t bits,
                     int64_t deadline_ns)
{
    int64_t until_ns = now_ns() + waiter_patience_ns(waiter);
    struct timespec until;

    if (until_ns > deadline_ns)
        until_ns = deadline_ns;
    until = (struct timespec){.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    LENDIS_STEP("futex wait");
    /* FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time: futex(2). Shared, so not PRIVATE.
     */
    return syscall(SYS_futex, at, FUTEX_WAIT_BITSET, expected, &until, NULL, bits) < 0 &&
           errno == ETIMEDOUT;
}
#endif

bool waiter_poll(struct waiter *waiter)
{
    shm_u32 *wake = wake_word(waiter);

    return shm_cas32(wake, WAKE_NONE, WAKE_ASLEEP) || shm_load32(wake) == WAKE_ASLEEP;
}

bool waiter_sleep(struct waiter *waiter, int64_t deadline_ns)
{
    shm_u32 *changes = &waiter->segment->groups[wake_group(waiter->ticket)].changes;
    shm_u32 *wake = wake_word(waiter);
    uint32_t seen = shm_load32(changes);
    bool timed_out;

    /* Pairs with slot_hint(): who tells us after this finds ASLEEP and changes the group after
     * `seen`. */
    if (!shm_cas32(wake, WAKE_NONE, WAKE_ASLEEP) && shm_load32(wake) != WAKE_ASLEEP)
        return false;
    timed_out = sleep_on(waiter, changes, seen, wake_bit(waiter->ticket), deadline_ns);
    (void)deadline_ns;
    return shm_cas32(wake, WAKE_ASLEEP, WAKE_NONE) && timed_out;
}
