/* SPDX-License-Identifier: MIT */
/*
 * What has to hold: looks at the live state, changes nothing in it but the notes of an observer.
 *
 * Checked after every move:
 *   I1  a word is in a known state, and moved as word.h allows to whoever moved it;
 *   I2  no two processes hold one generation of a connection, and a lease's word stays as it is
 *       until its holder gives it back or the broker takes it;
 *   I3  a generation that was held by one who died, or returned unclean, is never lent again;
 *       the ring: a slot has one place at most; laps, head and tail never go back;
 *       order, where the scenario says so: who was in the queue before another began is served
 *       before it.
 * Checked when nothing has to happen any more:
 *   I7  no idle connection besides a waiter, and nobody waits while a connection could be had;
 *       no connection is with a dead process, on its way to nobody, or lost in any other way; no
 *       place in the queue is left behind.
 */
#include <string.h>
#include "world.h"

/* The ticket of `slot`'s place in the queue. False: it has none. */
static bool place_of(uint32_t slot, uint64_t *ticket)
{
    for (uint32_t i = 0; i < scenario->cells; i++) {
        uint64_t cell = shm_load_relaxed(&model_segment.cells[i]);

        if (cell_state(cell) == CELL_WAITING && cell_slot(cell) == slot) {
            *ticket = cell_lap(cell) * scenario->cells + i;
            return true;
        }
    }
    return false;
}

/* A connection is this waiter's or on its way to it. */
static bool is_granted(uint32_t process)
{
    uint64_t ticket;
    bool waits = place_of(model_slot_of(process), &ticket);

    for (uint32_t i = 0; i < scenario->connections; i++) {
        uint64_t word = shm_load_relaxed(&model_segment.connections[i].word);

        if (word_state(word) == WORD_PASSED && word_owner(word) == model_slot_of(process))
            return true;
        if (word_state(word) == WORD_LEASED && word_owner(word) == process && !waits)
            return true;
    }
    return false;
}

void check_turn(uint32_t process)
{
    for (uint32_t other = 0; scenario->in_order && other < MODEL_WORKERS; other++)
        if (world.processes[process].before & 1u << other && !is_granted(other))
            violate("order: worker %llu was served before worker %llu, which was there first",
                    process, other);
}

static bool broker_may_move(uint64_t from, uint64_t to)
{
    enum word_state was = word_state(from), is = word_state(to);

    if (is == WORD_EMPTY)
        return word_generation(to) == word_generation(from) + 1 &&
               (was == WORD_RECLAIMED || was == WORD_RETURNED || was == WORD_CHECKING ||
                world.event == EVENT_LOST);
    if (word_generation(to) != word_generation(from))
        return false;
    switch (was) {
    case WORD_EMPTY:
        return is == WORD_OPENING;
    case WORD_OPENING:
        return is == WORD_CHECKING;
    case WORD_CHECKING:
        return is == WORD_IDLE || is == WORD_PASSED;
    case WORD_IDLE:
        return is == WORD_CHECKING;
    case WORD_PASSED:
        return is == WORD_CHECKING || is == WORD_RECLAIMED;
    case WORD_LEASED:
    case WORD_RETURNED:
        return is == WORD_RECLAIMED;
    default:
        return false;
    }
}

static bool worker_may_move(uint32_t worker, uint64_t from, uint64_t to)
{
    enum word_state was = word_state(from), is = word_state(to);

    if (word_generation(to) != word_generation(from))
        return false;
    if (was == WORD_IDLE || was == WORD_PASSED)
        return is == WORD_LEASED && word_owner(to) == worker;
    return was == WORD_LEASED && word_owner(from) == worker &&
           (is == WORD_IDLE || is == WORD_PASSED ||
            (is == WORD_RETURNED && word_owner(to) == worker));
}

/* The broker takes `from`: from the dead, or because the connection is lost or its time is up. */
static void check_taken(uint64_t from)
{
    for (uint32_t i = 0; i < MODEL_WORKERS; i++) {
        if (word_state(from) != WORD_LEASED || model_worker_of(i) != word_owner(from) || !alive(i))
            continue;
        if (world.event != EVENT_REVOKE && world.event != EVENT_LOST)
            violate("the broker took the lease of living worker %llu", i, 0);
        world.processes[i].revoked = 1;
    }
}

static void check_word(uint32_t actor, uint32_t index, uint64_t from, uint64_t to)
{
    bool may = actor == MODEL_BROKER ? broker_may_move(from, to)
                                     : worker_may_move(model_worker_of(actor), from, to);

    if (!may)
        violate("I1: connection %llu was moved as process %llu may not", index, actor);
    if (word_state(to) == WORD_RECLAIMED || word_state(to) == WORD_EMPTY)
        check_taken(from);
    if ((word_state(to) == WORD_IDLE || word_state(to) == WORD_PASSED) &&
        word_generation(to) < world.tainted[index])
        violate("I3: connection %llu is free again and was not proven clean", index, 0);
    if (word_state(to) == WORD_PASSED && word_owner(to) >= MODEL_PROCESSES)
        violate("connection %llu was handed to no slot", index, 0);
}

/* Every holder's word is as it got it. */
static void check_leases(void)
{
    for (uint32_t i = 0; i < MODEL_WORKERS; i++) {
        const struct process *process = &world.processes[i];

        if (process->held != 0 && process->status != DEAD && !process->revoked &&
            shm_load_relaxed(&model_segment.connections[process->index].word) != process->held)
            violate("I2: the word of worker %llu's lease of connection %llu changed", i,
                    process->index);
    }
}

static void check_ring(const struct shared *before, const struct shared *after)
{
    uint32_t places = 0;

    for (uint32_t i = 0; i < scenario->cells; i++) {
        uint64_t cell = after->cells[i];

        if (cell_state(cell) > CELL_WAITING || cell_lap(cell) < cell_lap(before->cells[i]))
            violate("cell %llu is invalid or went back a lap", i, 0);
        if (cell_state(cell) != CELL_WAITING)
            continue;
        if (places & 1u << cell_slot(cell))
            violate("slot %llu waits twice", cell_slot(cell), 0);
        places |= 1u << cell_slot(cell);
    }
    if (after->head < before->head || after->head > before->head + 1 ||
        after->tail < before->tail || after->tail > before->tail + 1)
        violate("head or tail jumped", 0, 0);
}

void check_begin(uint32_t process)
{
    struct process *me = &world.processes[process];
    uint64_t ticket;

    me->beginning = 0;
    me->before = 0;
    for (uint32_t i = 0; i < MODEL_WORKERS; i++)
        if (i != process && alive(i) && world.processes[i].acquiring &&
            place_of(model_slot_of(i), &ticket) &&
            ticket < shm_load_relaxed(&model_segment.queue->tail))
            me->before |= (uint8_t)(1u << i);
}

static void check_order(void)
{
    for (uint32_t i = 0; i < MODEL_WORKERS; i++) {
        struct process *process = &world.processes[i];
        bool granted;

        if (!process->acquiring || process->status == DEAD)
            continue;
        granted = is_granted(i);
        if (granted && !process->granted)
            check_turn(i);
        process->granted = granted;
    }
}

void check_move(uint32_t actor, const struct shared *before)
{
    struct shared after;

    shared_read(&after);
    if (memcmp(before, &after, sizeof after) != 0) {
        bool changed = false;

        for (uint32_t i = 0; i < scenario->connections; i++)
            if (before->words[i] != after.words[i]) {
                check_word(actor, i, before->words[i], after.words[i]);
                changed = true;
            }
        if (memcmp(before->cells, after.cells, sizeof after.cells) != 0)
            changed = true;
        check_ring(before, &after);
        for (uint32_t i = 0; changed && i < MODEL_WORKERS; i++)
            world.processes[i].looked = 0;
    }
    check_leases();
    if (scenario->in_order)
        check_order();
}

static bool anybody_died(void)
{
    return world.crashes != scenario->crashes;
}

/* A living worker that came to its end has it. */
static bool is_kept(uint32_t index, uint64_t word)
{
    for (uint32_t i = 0; i < MODEL_WORKERS; i++)
        if (world.processes[i].status == DONE && world.processes[i].index == index &&
            world.processes[i].held == word)
            return true;
    return false;
}

/* Nothing has to happen any more, and `process` sleeps. Is that right? */
static void check_sleeper(uint32_t process, bool repaired)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < scenario->connections; i++) {
        uint64_t word = shm_load_relaxed(&model_segment.connections[i].word);

        if (word_state(word) == WORD_IDLE)
            violate("I7: worker %llu waits while connection %llu is idle", process, i);
        if (word_state(word) == WORD_PASSED && word_owner(word) == model_slot_of(process))
            violate("I7: worker %llu sleeps while connection %llu was handed to it", process, i);
        kept += is_kept(i, word);
    }
    if (repaired && kept < scenario->connections)
        violate("worker %llu waits for ever", process, 0);
}

static void check_connection(uint32_t index, bool repaired, uint32_t *lost)
{
    uint64_t word = shm_load_relaxed(&model_segment.connections[index].word);

    if (word_state(word) == WORD_IDLE || is_kept(index, word))
        return;
    if (word_state(word) == WORD_RETURNED && !scenario->broker)
        return;
    ++*lost;
    if (repaired)
        violate("connection %llu is lost", index, 0);
    if (word_state(word) == WORD_LEASED && alive(word_owner(word)))
        violate("connection %llu is leased by worker %llu, which is through", index,
                word_owner(word));
}

void check_end(void)
{
    bool broker = scenario->broker && alive(MODEL_BROKER);
    bool repaired = broker || !anybody_died();
    uint32_t lost = 0, died = (uint32_t)(scenario->crashes - world.crashes);
    uint64_t ticket;

    for (uint32_t i = 0; i < MODEL_WORKERS; i++) {
        if (world.processes[i].status == ASLEEP)
            check_sleeper(i, repaired);
        else if (place_of(model_slot_of(i), &ticket) && (repaired || alive(i)))
            violate("worker %llu left its place in the queue behind", i, 0);
    }
    for (uint32_t i = 0; i < scenario->connections; i++)
        check_connection(i, repaired, &lost);
    /* Who died in the queue may have held one and be handed another. */
    if (lost > 2 * died)
        violate("%llu connections are lost to %llu dead", lost, died);
}
