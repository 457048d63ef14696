/* SPDX-License-Identifier: MIT */
/* The wait queue: see lendis/queue.h for the protocol. Used by workers and by the broker alike. */
#include "lendis/queue.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "lendis/poll_wakeup.h"

#ifdef LENDIS_MODEL
void lendis_model_wake(shm_u32 *at, uint32_t bits); /* the explorer's scheduler, not the kernel's */
#define futex_wake(at, bits) lendis_model_wake(at, bits)
#else
static void futex_wake(shm_u32 *at, uint32_t bits)
{
    LENDIS_STEP("futex wake");
    /* Shared between processes, so without FUTEX_PRIVATE_FLAG: futex(2). */
    syscall(SYS_futex, at, FUTEX_WAKE_BITSET, INT_MAX, NULL, NULL, bits);
}
#endif

void wake_hint(const struct segment *segment, struct wake_set *set, uint32_t slot, uint32_t hint)
{
    struct wait_slot *shared = &segment->slots[slot];
    uint32_t ticket, group;

    /* Not only over ASLEEP: a process that was stopped on its way here may have put the hint of an
     * earlier wait over it, without a wake-up that reached the owner. */
    if (shm_exchange32(&shared->wake, hint) == WAKE_NONE)
        return;
    /* Its owner wrote it before it put ASLEEP there. */
    ticket = shm_load32(&shared->ticket);
    group = wake_group(ticket);
    if (!(set->groups >> group & 1))
        set->bits[group] = 0;
    set->groups |= UINT64_C(1) << group;
    set->bits[group] |= wake_bit(ticket);
}

void wake_flush(const struct segment *segment, struct wake_set *set)
{
    while (set->groups) {
        uint32_t group = (uint32_t)__builtin_ctzll(set->groups);
        shm_u32 *changes = &segment->groups[group].changes;

        /* First the value: one that is on its way to sleep with the old one does not fall
         * asleep. */
        shm_add32(changes, 1);
        futex_wake(changes, set->bits[group]);
        set->groups &= set->groups - 1;
    }
}

/* a is a later lap than b; laps have 40 bits and wrap. */
static bool lap_after(uint64_t a, uint64_t b)
{
    uint64_t distance = (a - b) & WORD_GENERATION_MAX;

    return distance != 0 && distance < (WORD_GENERATION_MAX + 1) / 2;
}

int queue_push(const struct segment *segment, uint32_t slot, enum cell_state kind, uint64_t *ticket)
{
    /* Each failed round means that another waiter got a place or that tail lagged by one. */
    for (uint64_t rounds = 0; rounds < UINT64_C(64) * segment->cell_count; rounds++) {
        uint64_t tail = shm_load(&segment->queue->tail);
        uint64_t lap = queue_lap(segment, tail);
        uint64_t cell = shm_load(queue_cell(segment, tail));

        if (cell == cell_make(CELL_FREE, 0, lap)) {
            if (!shm_cas(queue_cell(segment, tail), cell, cell_make(kind, slot, lap)))
                continue;
            shm_cas(&segment->queue->tail, tail, tail + 1);
            *ticket = tail;
            return 0;
        }
        if (cell_lap(cell) != lap && !lap_after(cell_lap(cell), lap)) {
            /* Still in use since the lap before: full, unless we read an old tail. */
            if (shm_load(&segment->queue->tail) == tail)
                return -ENOBUFS;
            continue;
        }
        /* Taken by one who has not moved tail on, or done already: help. */
        shm_cas(&segment->queue->tail, tail, tail + 1);
    }
    return -ENOBUFS;
}

/* The cell is that of `slot` waiting with `ticket`, in whichever way. */
static bool cell_is(const struct segment *segment, uint64_t cell, uint32_t slot, uint64_t ticket)
{
    return cell_state(cell) != CELL_FREE && cell_slot(cell) == slot &&
           cell_lap(cell) == queue_lap(segment, ticket);
}

bool queue_waits(const struct segment *segment, uint32_t slot, uint64_t ticket)
{
    return cell_is(segment, shm_load(queue_cell(segment, ticket)), slot, ticket);
}

bool queue_leave(const struct segment *segment, uint32_t slot, uint64_t ticket)
{
    uint64_t lap = queue_lap(segment, ticket);
    uint64_t cell = shm_load(queue_cell(segment, ticket));

    return cell_is(segment, cell, slot, ticket) &&
           shm_cas(queue_cell(segment, ticket), cell,
                   cell_make(CELL_FREE, 0, (lap + 1) & WORD_GENERATION_MAX));
}

/* A round of a loop, of those that its caller has left for all of them. False: there are none. */
#ifdef LENDIS_MODEL
#define spend(rounds)                                                                              \
    ((void)(rounds), true) /* nobody corrupts it there: it would only be more states */
#else
static bool spend(uint64_t *rounds)
{
    *rounds -= *rounds > 0;
    return *rounds > 0;
}
#endif

/* queue_head() in at most *rounds. */
static enum cell_state head_within(const struct segment *segment, uint64_t *ticket, uint32_t *slot,
                                   uint64_t *rounds)
{
    /* Here alone: so nobody is passed a connection, and no combiner takes a command. */
    if (segment_is_closed(segment))
        return CELL_FREE;
    /* A step moves head by one or finds the end; others may move it meanwhile. */
    while (spend(rounds)) {
        uint64_t head = shm_load(&segment->queue->head);
        uint64_t lap = queue_lap(segment, head);
        uint64_t cell = shm_load(queue_cell(segment, head));

        if (cell_lap(cell) == lap) {
            *ticket = head;
            *slot = cell_slot(cell);
            if (*slot >= segment->slot_max)
                return CELL_FREE;
            return cell_state(cell) == CELL_WAITING || cell_state(cell) == CELL_COMMAND
                       ? cell_state(cell)
                       : CELL_FREE;
        }
        if (!lap_after(cell_lap(cell), lap) && shm_load(&segment->queue->head) == head)
            return CELL_FREE; /* corrupted: head is a lap ahead of its cell */
        shm_cas(&segment->queue->head, head, head + 1);
    }
    return CELL_FREE;
}

enum cell_state queue_head(const struct segment *segment, uint64_t *ticket, uint32_t *slot)
{
    uint64_t rounds = UINT64_C(2) * segment->cell_count;

    return head_within(segment, ticket, slot, &rounds);
}

uint32_t queue_length(const struct segment *segment)
{
    uint64_t head = shm_load_relaxed(&segment->queue->head);
    uint64_t tail = shm_load_relaxed(&segment->queue->tail);

    if (tail - head > segment->cell_count)
        return 0;
    return (uint32_t)(tail - head);
}

/* Leaves the owner of `slot` a hint that connection `index` was passed to it for `ticket`. */
static void slot_hint(const struct segment *segment, uint32_t slot, uint64_t ticket, uint32_t index)
{
    struct wait_slot *shared = &segment->slots[slot];
    struct wake_set set = {0};

    /* Written before the slot was put into the queue, where we found it. */
    if (atomic_load_explicit(&shared->polls, memory_order_relaxed) != 0) {
        shm_exchange32(&shared->wake, wake_make(index, ticket));
        if (segment->wake_pollers)
            segment->wake_pollers(segment->wake_context, 1u << poll_wakeup_group(slot));
        return;
    }
    wake_hint(segment, &set, slot, wake_make(index, ticket));
    wake_flush(segment, &set);
}

/* queue_pass_on() in at most *rounds; past them it is idle, and waiters scan by themselves. */
static bool pass_on_within(const struct segment *segment, uint32_t index, uint64_t held,
                           uint64_t *rounds)
{
    shm_u64 *word = &segment->connections[index].word;
    uint64_t idle = word_with(held, WORD_IDLE, 0);

    /* A further round means that a waiter came or left meanwhile; past the bound (a corrupted
     * segment, or all workers giving up at once) IDLE is still right: waiters scan by themselves.
     */
    while (spend(rounds)) {
        uint64_t ticket;
        uint32_t slot;

        if (!head_within(segment, &ticket, &slot, rounds)) {
            if (!shm_cas(word, held, idle))
                return false;
            /* Pairs with push-then-match in the waiter: one of us sees the other. */
            if (!head_within(segment, &ticket, &slot, rounds))
                return true;
            if (!shm_cas(word, idle, held))
                return true; /* whoever has it now passes it on */
            continue;
        }
        if (!shm_cas(word, held, word_with(held, WORD_PASSED, slot)))
            return false;
        if (queue_leave(segment, slot, ticket)) {
            slot_hint(segment, slot, ticket, index);
            return true;
        }
        /* The waiter gave up, or another connection reached it first. */
        if (!shm_cas(word, word_with(held, WORD_PASSED, slot), held))
            return true; /* it helped itself */
    }
    return shm_cas(word, held, idle);
}

bool queue_pass_on(const struct segment *segment, uint32_t index, uint64_t held)
{
    uint64_t rounds = UINT64_C(4) * segment->cell_count;

    return queue_put_idle(segment, index, held) || pass_on_within(segment, index, held, &rounds);
}

void queue_match(const struct segment *segment, uint32_t worker)
{
    uint32_t places = segment_places(segment);
    uint64_t rounds = UINT64_C(4) * (segment->cell_count + places);

    for (uint32_t index = 0; index < places; index++) {
        shm_u64 *word = &segment->connections[index].word;
        uint64_t ticket, held;
        uint32_t slot;

        if (!head_within(segment, &ticket, &slot, &rounds))
            return;
        if (worker == LENDIS_BROKER ? word_check(word, &held) : word_lease(word, worker, &held))
            pass_on_within(segment, index, held, &rounds);
    }
}

void queue_evict(const struct segment *segment, bool (*owned)(uint32_t slot, void *context),
                 void *context)
{
    for (uint32_t i = 0; i < segment->cell_count; i++) {
        uint64_t cell = shm_load(&segment->cells[i]);

        if (cell_state(cell) != CELL_FREE && owned(cell_slot(cell), context))
            shm_cas(&segment->cells[i], cell,
                    cell_make(CELL_FREE, 0, (cell_lap(cell) + 1) & WORD_GENERATION_MAX));
    }
}
