/* SPDX-License-Identifier: MIT */
/*
 * The shipped queue.c and waiter.c with one mistake in them, to see that the explorer finds it:
 * compiled once for each MODEL_BREAK, in place of the two files. A mistake is a copy of a function
 * with one thing left out, turned round or made less atomic. Those of the processes' side are in
 * process.c, those of single steps in broken.h.
 *
 *    1  queue_pass_on() does not look for waiters again after IDLE
 *    2  waiter_join() does not look for idle connections after its push
 *    3  queue_pass_on() tells the waiter before it frees its cell
 *    4  queue_pass_on() frees the cell before it moves the word
 *    5  word_lease() is not atomic
 *    6  the hint is not exchanged atomically
 *    7  waiter_sleep() overwrites a hint
 *    8  waiter_leave() does not take what was handed over before
 *    9  queue_leave() is not atomic
 *   10  the broker looks for a dead worker's words before it evicts it, and does not sweep
 *   11  the broker does not sweep
 *   12  the broker replaces a connection without a new generation
 *   13  queue_pass_on() does not take its word back when the waiter has left
 *   14  a worker leases though somebody waits
 *   15  a waiter does not pass on what it was handed besides
 *   16  waiter_take() does not queue up again when what it was handed is gone
 *   17  a worker spins instead of sleeping
 *   18  queue_push() does not help a tail that lags
 *   19  a hint wakes by its own ticket, and only over ASLEEP
 *   20  queue_put_idle() does not look for waiters again after IDLE
 */
#include "lendis/waiter.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#if MODEL_BREAK == 1 || MODEL_BREAK == 3 || MODEL_BREAK == 4 || MODEL_BREAK == 13 ||               \
    MODEL_BREAK == 19
#define queue_pass_on shipped_queue_pass_on
#elif MODEL_BREAK == 9
#define queue_leave shipped_queue_leave
#elif MODEL_BREAK == 18
#define queue_push shipped_queue_push
#endif
#if MODEL_BREAK == 20
static bool blind_put_idle(const struct segment *segment, uint32_t index, uint64_t held)
{
    return !queue_maybe_waiting(segment) &&
           shm_cas(&segment->connections[index].word, held, word_with(held, WORD_IDLE, 0));
}
#define queue_put_idle blind_put_idle
#endif
#include "libclient/shared/queue.c"
#undef queue_put_idle
#undef queue_pass_on
#undef queue_leave
#undef queue_push

#if MODEL_BREAK == 2
#define waiter_join shipped_waiter_join
#elif MODEL_BREAK == 7
#define waiter_sleep shipped_waiter_sleep
#elif MODEL_BREAK == 8
#define waiter_leave shipped_waiter_leave
#elif MODEL_BREAK == 15
#define queue_pass_on(segment, index, word) ((void)(word))
#elif MODEL_BREAK == 16
#define waiter_take shipped_waiter_take
#endif
#include "libclient/shared/waiter.c"
#undef waiter_join
#undef waiter_sleep
#undef waiter_leave
#undef queue_pass_on
#undef waiter_take

#if MODEL_BREAK == 1 || MODEL_BREAK == 3 || MODEL_BREAK == 4 || MODEL_BREAK == 13 ||               \
    MODEL_BREAK == 19

static void tell(const struct segment *segment, uint32_t slot, uint64_t ticket, uint32_t index)
{
    struct wake_set set = {0};

    if (MODEL_BREAK != 19) {
        slot_hint(segment, slot, ticket, index);
        return;
    }
    if (shm_exchange32(&segment->slots[slot].wake, wake_make(index, ticket)) != WAKE_ASLEEP)
        return;
    set.bits[wake_group(ticket)] = wake_bit(ticket);
    wake_flush(segment, &set);
}

static bool submit_call(const struct segment *segment, uint32_t index, uint64_t held, uint32_t slot,
                        uint64_t ticket)
{
    shm_u64 *word = &segment->connections[index].word;

    if (MODEL_BREAK == 4) {
        if (!queue_leave(segment, slot, ticket))
            return false;
        shm_cas(word, held, word_with(held, WORD_PASSED, slot));
        tell(segment, slot, ticket, index);
        return true;
    }
    shm_cas(word, held, word_with(held, WORD_PASSED, slot));
    if (MODEL_BREAK == 3)
        tell(segment, slot, ticket, index);
    if (queue_leave(segment, slot, ticket)) {
        if (MODEL_BREAK != 3)
            tell(segment, slot, ticket, index);
        return true;
    }
    return MODEL_BREAK == 13 || !shm_cas(word, word_with(held, WORD_PASSED, slot), held);
}

bool queue_pass_on(const struct segment *segment, uint32_t index, uint64_t held)
{
    shm_u64 *word = &segment->connections[index].word;
    uint64_t idle = word_with(held, WORD_IDLE, 0);

    for (uint32_t rounds = 0; rounds < 2 * segment->cell_count; rounds++) {
        uint64_t ticket;
        uint32_t slot;

        if (!queue_head(segment, &ticket, &slot)) {
            if (!shm_cas(word, held, idle))
                return false;
            if (MODEL_BREAK == 1 || !queue_head(segment, &ticket, &slot))
                return true;
            if (!shm_cas(word, idle, held))
                return true;
        } else if (submit_call(segment, index, held, slot, ticket)) {
            return true;
        }
    }
    return shm_cas(word, held, idle);
}

#elif MODEL_BREAK == 2

int waiter_join(struct waiter *waiter, const struct segment *segment, uint32_t worker,
                uint32_t slot, enum cell_state kind)
{
    *waiter = (struct waiter){.segment = segment, .worker = worker, .slot = slot, .kind = kind};
    shm_store32(wake_word(waiter), WAKE_NONE);
    return queue_push(segment, slot, kind, &waiter->ticket);
}

#elif MODEL_BREAK == 7

bool waiter_sleep(struct waiter *waiter, int64_t deadline_ns)
{
    shm_u32 *changes = &waiter->segment->groups[wake_group(waiter->ticket)].changes;
    shm_u32 *wake = wake_word(waiter);
    uint32_t seen = shm_load32(changes);
    bool timed_out;

    (void)deadline_ns;
    shm_store32(wake, WAKE_ASLEEP);
    timed_out = sleep_on(waiter, changes, seen, wake_bit(waiter->ticket), deadline_ns);
    return shm_cas32(wake, WAKE_ASLEEP, WAKE_NONE) && timed_out;
}

#elif MODEL_BREAK == 8

int waiter_leave(struct waiter *waiter, uint32_t *index, uint64_t *word)
{
    (void)index;
    (void)word;
    queue_leave(waiter->segment, waiter->slot, waiter->ticket);
    return 0;
}

#elif MODEL_BREAK == 9

bool queue_leave(const struct segment *segment, uint32_t slot, uint64_t ticket)
{
    uint64_t lap = queue_lap(segment, ticket);

    if (!queue_waits(segment, slot, ticket))
        return false;
    shm_store(queue_cell(segment, ticket), cell_make(CELL_FREE, 0, lap + 1));
    return true;
}

#elif MODEL_BREAK == 16

int waiter_take(struct waiter *waiter, bool thorough, uint32_t *index, uint64_t *word)
{
    uint32_t wake = shm_load32(wake_word(waiter));

    if (wake != WAKE_NONE && wake != WAKE_ASLEEP) {
        shm_cas32(wake_word(waiter), wake, WAKE_NONE);
        thorough = true;
    }
    if (thorough && take_any(waiter, index, word))
        return 1;
    if (thorough)
        queue_match(waiter->segment, waiter->worker);
    return 0;
}

#elif MODEL_BREAK == 18

int queue_push(const struct segment *segment, uint32_t slot, enum cell_state kind, uint64_t *ticket)
{
    for (uint64_t rounds = 0; rounds < UINT64_C(64) * segment->cell_count; rounds++) {
        uint64_t tail = shm_load(&segment->queue->tail);
        uint64_t lap = queue_lap(segment, tail);

        if (!shm_cas(queue_cell(segment, tail), cell_make(CELL_FREE, 0, lap),
                     cell_make(kind, slot, lap)))
            continue;
        shm_cas(&segment->queue->tail, tail, tail + 1);
        *ticket = tail;
        return 0;
    }
    return -ENOBUFS;
}

#endif
