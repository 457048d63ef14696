/* SPDX-License-Identifier: MIT */
/*
 * The wait queue of a pool: first come, first served, without a lock, across processes that may die
 * or stop between any two steps.
 *
 * A ring of 64-bit cells: state (4 bits) | wait slot (20 bits) | lap (40 bits). Ticket t uses cell
 * t mod capacity on lap t / capacity. A waiter's place is the one compare-and-swap that puts its
 * slot into a free cell; leaving, by either side, is the one that frees the cell for the next lap.
 * `head` and `tail` only say where to look; whoever finds them behind moves them on, so a process
 * that dies between two steps leaves nothing to repair. A slot waits at most once at a time and
 * there are at least as many cells as slots, so the ring is never full.
 *
 * queue_pass_on() and queue_match() bring connections and waiters together (I7). The connection
 * word is moved first, the waiter told afterwards: ownership never depends on the ring, which can
 * at worst cost a place in the order. What a killed or stopped process left undone is finished by
 * the waiter's own timed scan (waiter.c) or by the broker.
 *
 * Memory order: everything here is seq_cst. The pairs that need it: "word becomes IDLE, then scan
 * for waiters" in queue_pass_on() against "cell becomes WAITING, then scan for idle words" in the
 * waiter, which calls queue_push() and then queue_match().
 *
 * The loops are bounded by the capacity, whatever the cells contain (I5): each call has a number of
 * rounds for all of its loops together, a few times the capacity.
 */
#ifndef LENDIS_QUEUE_H
#define LENDIS_QUEUE_H

#include "lendis/segment.h"

enum cell_state {
    CELL_FREE = 0,    /* for the ticket of its lap */
    CELL_WAITING = 1, /* slot waits for a connection */
    CELL_COMMAND = 2, /* slot's mailbox has a command; a connection would do as well */
};

/*
 * What wait_slot.wake holds: nothing, that its owner sleeps, or a hint: 1 + the index of the
 * connection that was passed to it, or WAKE_MAIL, in the low 11 bits, the low bits of the ticket it
 * is for above. The ticket tells a fresh hint from one that a stopped process left for an earlier
 * wait.
 */
#define WAKE_NONE   0u
#define WAKE_ASLEEP UINT32_MAX
#define WAKE_MAIL   2046u
_Static_assert(LENDIS_MAX_CONNECTIONS < WAKE_MAIL,
               "an index must differ from WAKE_MAIL and WAKE_ASLEEP");

static inline uint32_t wake_make(uint32_t index, uint64_t ticket)
{
    return (1 + index) | (uint32_t)(ticket << 11);
}

/*
 * Waiters sleep on the futex of a group of 32 tickets, each with a bit of its own
 * (FUTEX_WAIT_BITSET, futex(2)), so that a combiner wakes exactly those whose replies it has
 * delivered with one call for 32, not one for each: woken one by one, the first of them would get
 * the processor before the others are runnable.
 */
static inline uint32_t wake_group(uint64_t ticket)
{
    return (uint32_t)(ticket / 32) % WAKE_GROUPS;
}

static inline uint32_t wake_bit(uint64_t ticket)
{
    return 1u << (ticket % 32);
}

/* Those who were told something and are still to be woken. */
struct wake_set {
    uint64_t groups;            /* a bit for each group that has some; 0: an empty set */
    uint32_t bits[WAKE_GROUPS]; /* of the groups that have */
};
_Static_assert(WAKE_GROUPS <= 64, "a set has 64 bits for groups");

/* Leaves `hint` to the owner of `slot`, and notes it in `set` unless it is awake. */
void wake_hint(const struct segment *segment, struct wake_set *set, uint32_t slot, uint32_t hint);

/* Wakes all who were noted, and empties the set. */
void wake_flush(const struct segment *segment, struct wake_set *set);

static inline uint64_t cell_make(enum cell_state state, uint32_t slot, uint64_t lap)
{
    return (uint64_t)state | (uint64_t)(slot & WORD_OWNER_MAX) << 4 | lap << 24;
}

static inline enum cell_state cell_state(uint64_t cell)
{
    return (enum cell_state)(cell & 15);
}

static inline uint32_t cell_slot(uint64_t cell)
{
    return (uint32_t)(cell >> 4) & WORD_OWNER_MAX;
}

static inline uint64_t cell_lap(uint64_t cell)
{
    return cell >> 24;
}

static inline shm_u64 *queue_cell(const struct segment *segment, uint64_t ticket)
{
    return &segment->cells[ticket & (segment->cell_count - 1)];
}

static inline uint64_t queue_lap(const struct segment *segment, uint64_t ticket)
{
    return (ticket >> segment->cell_shift) & WORD_GENERATION_MAX;
}

/*
 * Puts `slot` at the end, as CELL_WAITING or CELL_COMMAND. Results: 0 and the ticket; -ENOBUFS, no
 * free cell (only a corrupted segment has none).
 */
int queue_push(const struct segment *segment, uint32_t slot, enum cell_state kind,
               uint64_t *ticket);

/* True while `slot` still waits with `ticket`. */
bool queue_waits(const struct segment *segment, uint32_t slot, uint64_t ticket);

/* Leaves the queue. False: it had left before, so a connection was passed to the slot. */
bool queue_leave(const struct segment *segment, uint32_t slot, uint64_t ticket);

/* The oldest waiter. CELL_FREE: nobody waits, or the pool is closed and serves nobody. */
enum cell_state queue_head(const struct segment *segment, uint64_t *ticket, uint32_t *slot);

/* A cheap first check: false means that nobody waits. */
static inline bool queue_maybe_waiting(const struct segment *segment)
{
    return shm_load(&segment->queue->head) != shm_load(&segment->queue->tail);
}

/* How many tickets are between head and tail, at most the capacity: a figure for people and
 * heuristics. */
uint32_t queue_length(const struct segment *segment);

/*
 * The quick way of queue_pass_on() where nobody waits: connection `index`, which the caller holds
 * as `held`, becomes IDLE. False: the caller has it as before (it was revoked, or somebody may
 * wait), and queue_pass_on() sees to it.
 *
 * Pairs with push-then-match in the waiter: one of us sees the other. A waiter whose place is not
 * behind `tail` yet has its match before it.
 */
static inline bool queue_put_idle(const struct segment *segment, uint32_t index, uint64_t held)
{
    shm_u64 *word = &segment->connections[index].word;
    uint64_t idle = word_with(held, WORD_IDLE, 0);

    if (queue_maybe_waiting(segment) || !shm_cas(word, held, idle))
        return false;
    /* Whoever has it now passes it on. */
    return !queue_maybe_waiting(segment) || !shm_cas(word, idle, held);
}

/*
 * Passes connection `index`, which the caller holds as `held` (LEASED by it, or CHECKING), on: to
 * the oldest waiter, or to IDLE when nobody waits. The caller proved it clean. Results: true;
 * false, it was taken from the caller before (revoked).
 */
bool queue_pass_on(const struct segment *segment, uint32_t index, uint64_t held);

/*
 * Serves waiters from idle connections until one of the two runs out. `worker` is the caller's
 * worker index, or LENDIS_BROKER.
 */
void queue_match(const struct segment *segment, uint32_t worker);

/*
 * Takes the slots for which `owned` says true out of the queue (their owner died). `owned` gets the
 * slot and `context`.
 */
void queue_evict(const struct segment *segment, bool (*owned)(uint32_t slot, void *context),
                 void *context);

#endif
