/* SPDX-License-Identifier: MIT */
/*
 * What has to hold of the shared memory: looks at the live state, changes nothing in it but the
 * notes of an observer. (What Redis executes and what callers get is checked in redis.c.)
 *
 * Checked after every move:
 *   I1  a connection's word moved as word.h allows to whoever moved it;
 *   I2  no two living processes hold one generation of a connection, and a lease's word stays as it
 *       is until its holder gives it back or the broker takes it; a mail word moved as mailbox.h
 *       allows to whoever moved it: a command is taken and ended only by who holds the connection
 *       that it is taken for;
 *   I4  who writes into a slot or a chunk may do so at that moment: its owner while the mailbox is
 *       free, else the combiner that has the command; the ring: a slot has one place at most; laps,
 *       head and tail never go back.
 * Checked when nothing has to happen any more: nobody waits; every mailbox is free, every chunk and
 * further slot too; no place in the queue is left behind;
 *   I7  all connections are idle, unless there is no broker to bring back those of the dead.
 */
#include <string.h>
#include "lendis/mailbox.h"
#include "world.h"

static uint64_t before_of(const struct memory *before, const shm_u64 *at)
{
    uint64_t value;

    memcpy(&value, memory_then(before, at), sizeof value);
    return value;
}

/* ---- connections ---- */

static bool broker_may_move(uint64_t from, uint64_t to)
{
    enum word_state was = word_state(from), is = word_state(to);

    if (is == WORD_EMPTY)
        return word_generation(to) == ((word_generation(from) + 1) & WORD_GENERATION_MAX) &&
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
    case WORD_TRANSFERRED:
        return is == WORD_RECLAIMED;
    default:
        return false;
    }
}

static bool worker_may_move(uint32_t process, uint64_t from, uint64_t to)
{
    enum word_state was = word_state(from), is = word_state(to);
    uint32_t worker = model_place(process);

    if (word_generation(to) != word_generation(from))
        return false;
    if (was == WORD_IDLE)
        return is == WORD_LEASED && word_owner(to) == worker;
    if (was == WORD_PASSED || was == WORD_TRANSFERRED)
        return is == WORD_LEASED && word_owner(to) == worker; /* its own, or taken back */
    return was == WORD_LEASED && word_owner(from) == worker &&
           (is == WORD_IDLE || is == WORD_PASSED || is == WORD_TRANSFERRED ||
            (is == WORD_RETURNED && word_owner(to) == worker));
}

/* `worker` got or gave back a lease. */
static void note_lease(uint32_t worker, uint32_t index, uint64_t from, uint64_t to)
{
    struct process *process = &world.processes[worker];

    if (word_state(to) == WORD_LEASED) {
        for (uint32_t i = 0; i < MODEL_WORKERS; i++)
            if (i != worker && world.processes[i].held == to && !world.processes[i].revoked)
                violate("I2: workers %llu and %llu hold the same connection", i, worker);
        process->held = to;
        process->index = (uint8_t)index;
        process->revoked = 0;
    } else if (process->held == from) {
        process->held = 0;
    }
}

static void note_taken(uint32_t index, uint64_t from)
{
    for (uint32_t i = 0; i < MODEL_WORKERS; i++) {
        struct process *process = &world.processes[i];

        if (process->held == 0 || process->index != index || process->held != from)
            continue;
        if (alive(i) && world.event != EVENT_REVOKE && world.event != EVENT_LOST &&
            world.event != EVENT_SWEEP && world.event != EVENT_DOORBELL &&
            world.event != EVENT_STALL && world.event != EVENT_EXPEL &&
            world.event != EVENT_GIVE_AWAY)
            violate("the broker took the lease of living worker %llu", i, 0);
        process->revoked = 1;
    }
}

static void check_word(uint32_t actor, uint32_t index, uint64_t from, uint64_t to)
{
    bool may = actor == MODEL_BROKER ? broker_may_move(from, to) : worker_may_move(actor, from, to);

    if (!may)
        violate("I1: connection %llu was moved as process %llu may not", index, actor);
    if (actor != MODEL_BROKER)
        note_lease(actor, index, from, to);
    else if (word_state(to) == WORD_RECLAIMED || word_state(to) == WORD_EMPTY)
        note_taken(index, from);
    if ((word_state(to) == WORD_PASSED || word_state(to) == WORD_TRANSFERRED) &&
        word_owner(to) >= model_segment.slot_max)
        violate("connection %llu was handed to no slot", index, 0);
    if ((word_state(to) == WORD_IDLE || word_state(to) == WORD_PASSED) &&
        stream_at(index, word_generation(to))->count > 0)
        violate("I3: connection %llu is lent on with replies unread", index, 0);
}

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

/* ---- mail ---- */

/* `process` has the connection, in the generation, that the command was taken for, even if it was
 * revoked since. */
static bool combines(uint32_t process, uint64_t mail)
{
    const struct process *it = &world.processes[process];

    return process < MODEL_WORKERS && it->held != 0 && it->index == mail_connection(mail) &&
           (word_generation(it->held) & 8191) == mail_generation(mail);
}

/* `process` took the mailbox for its command, and has not let go of it. */
static bool owns_mail(uint32_t process, uint32_t slot)
{
    return process < MODEL_WORKERS && world.processes[process].slot == 1 + slot;
}

static bool may_move_mail(uint32_t actor, uint32_t slot, uint64_t from, uint64_t to)
{
    enum mail_state was = mail_state(from), is = mail_state(to);
    uint32_t worker = model_worker_of(slot);
    bool own = owns_mail(actor, slot);
    bool orphan = actor == MODEL_BROKER &&
                  (worker == MODEL_PROCESSES || !alive(worker) || world.event == EVENT_GIVE_AWAY);

    if (was == MAIL_FREE)
        return is == MAIL_OWNED && actor < MODEL_WORKERS && model_place(actor) == worker &&
               to == mail_next(from);
    if (was == MAIL_QUEUED && is == MAIL_TAKEN)
        return combines(actor, to) && mail_sequence(to) == mail_sequence(from);
    if (to != mail_with(from, is))
        return false;
    switch (was) {
    case MAIL_OWNED:
        return (is == MAIL_QUEUED && own) || (is == MAIL_FREE && (own || orphan));
    case MAIL_TAKEN:
        if (is == MAIL_ABANDONED)
            return own || orphan;
        if (is == MAIL_RETRY || is == MAIL_FAILED)
            return combines(actor, from) || actor == MODEL_BROKER;
        return (is == MAIL_DONE || is == MAIL_TAKEOVER) && combines(actor, from);
    case MAIL_ABANDONED:
        return is == MAIL_FREE && (combines(actor, from) || actor == MODEL_BROKER);
    case MAIL_QUEUED:
    case MAIL_DONE:
    case MAIL_TAKEOVER:
    case MAIL_RETRY:
    case MAIL_FAILED:
        return (is == MAIL_FREE || is == MAIL_OWNED) && (own || orphan);
    default:
        return false;
    }
}

static void check_mail(uint32_t actor, uint32_t slot, uint64_t from, uint64_t to)
{
    if (!may_move_mail(actor, slot, from, to))
        violate("the mail word of slot %llu was moved as process %llu may not", slot, actor);
    if (mail_state(from) == MAIL_FREE && actor < MODEL_WORKERS) {
        world.processes[actor].slot = (uint8_t)(1 + slot);
        world.processes[actor].held = 0; /* what it may have had was revoked */
        return;
    }
    for (uint32_t i = 0; i < MODEL_WORKERS; i++)
        if (owns_mail(i, slot) && (mail_state(to) == MAIL_FREE || mail_state(to) == MAIL_ABANDONED))
            world.processes[i].slot = 0;
}

/* The slot that `at` is in, or whose chunk it is in; slot_max: none. */
static uint32_t slot_of(const volatile void *at)
{
    const struct segment *segment = &model_segment;
    const volatile char *byte = at;

    for (uint32_t i = 0; i < segment->slot_max; i++)
        if (byte >= (const char *)&segment->slots[i] && byte < (const char *)&segment->slots[i + 1])
            return i;
    for (uint32_t i = 0; i < CHUNKS; i++)
        if (byte >= segment->all_chunks[i].bytes &&
            byte < segment->all_chunks[i].bytes + CHUNK_SIZE)
            return atomic_load_explicit(&segment->chunk_owners[i].slot, memory_order_relaxed) - 1;
    return segment->slot_max;
}

void check_write(uint32_t process, const volatile void *at, size_t size)
{
    uint32_t slot = slot_of(at);
    uint64_t mail;

    (void)size;
    if (slot >= model_segment.slot_max) {
        violate("I4: process %llu writes into a chunk that is nobody's", process, 0);
        return;
    }
    mail = shm_load_relaxed(&model_segment.slots[slot].mail);
    if (mail_state(mail) == MAIL_OWNED
            ? !owns_mail(process, slot)
            : (mail_state(mail) != MAIL_TAKEN && mail_state(mail) != MAIL_ABANDONED) ||
                  !combines(process, mail))
        violate("I4: process %llu writes into the mailbox of slot %llu, which it has not", process,
                slot);
}

/* ---- the ring ---- */

static void check_ring(const struct memory *before)
{
    const struct segment_queue *queue = model_segment.queue;
    uint64_t head = before_of(before, &queue->head), tail = before_of(before, &queue->tail);
    uint32_t places = 0;

    for (uint32_t i = 0; i < scenario->cells; i++) {
        uint64_t cell = shm_load_relaxed(&model_segment.cells[i]);

        if (cell_state(cell) > CELL_COMMAND ||
            ((cell_lap(cell) - cell_lap(before_of(before, &model_segment.cells[i]))) &
             WORD_GENERATION_MAX) > 1)
            violate("cell %llu is invalid or went back a lap", i, 0);
        if (cell_state(cell) == CELL_FREE)
            continue;
        if (places & 1u << cell_slot(cell) && !scenario->twins)
            violate("slot %llu waits twice", cell_slot(cell), 0);
        places |= 1u << cell_slot(cell);
    }
    if (shm_load_relaxed(&queue->head) - head > 1 || shm_load_relaxed(&queue->tail) - tail > 1)
        violate("head or tail jumped", 0, 0);
}

void check_move(uint32_t actor, const struct memory *before)
{
    const struct segment *segment = &model_segment;
    bool changed = false;

    for (uint32_t i = 0; i < scenario->connections; i++) {
        uint64_t was = before_of(before, &segment->connections[i].word);
        uint64_t is = shm_load_relaxed(&segment->connections[i].word);

        if (was == is)
            continue;
        check_word(actor, i, was, is);
        changed = true;
    }
    for (uint32_t i = 0; i < segment->slot_max; i++) {
        uint64_t was = before_of(before, &segment->slots[i].mail);
        uint64_t is = shm_load_relaxed(&segment->slots[i].mail);

        if (was == is)
            continue;
        check_mail(actor, i, was, is);
        changed = true;
    }
    if (memcmp(memory_then(before, segment->cells), segment->cells,
               scenario->cells * sizeof *segment->cells) != 0)
        changed = true;
    check_ring(before);
    for (uint32_t i = 0; changed && i < MODEL_WORKERS; i++)
        world.processes[i].looked = 0;
    check_leases();
}

/* ---- the end ---- */

static bool anybody(enum status status)
{
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++)
        if (world.processes[i].status == status)
            return true;
    return false;
}

/* The command of `worker`, which sleeps, is still in the queue. */
static bool is_queued(uint32_t worker)
{
    uint32_t slot = world.processes[worker].slot;

    return slot != 0 &&
           mail_state(shm_load_relaxed(&model_segment.slots[slot - 1].mail)) == MAIL_QUEUED;
}

/* Nothing has to happen any more, and `worker` sleeps. It may if there is nobody to repair what the
 * dead left, and if it is behind one who was stopped with a connection and has taken nothing of
 * others'. */
static void check_sleeper(uint32_t worker, bool repaired, bool stopped)
{
    if (repaired && !(stopped && is_queued(worker)))
        violate("worker %llu waits for ever", worker, 0);
    /* Who was stopped before it rang is no excuse: others ring for it. */
    for (uint32_t i = 0; i < scenario->connections && repaired; i++)
        if (word_state(shm_load_relaxed(&model_segment.connections[i].word)) == WORD_RETURNED &&
            is_queued(worker))
            violate("worker %llu waits while connection %llu was given back", worker, i);
    for (uint32_t i = 0; i < scenario->connections; i++)
        if (word_state(shm_load_relaxed(&model_segment.connections[i].word)) == WORD_IDLE &&
            is_queued(worker))
            violate("I7: worker %llu waits while connection %llu is idle", worker, i);
}

/* Nobody is left who could have anything. */
static void check_left(void)
{
    const struct segment *segment = &model_segment;

    for (uint32_t i = 0; i < scenario->connections; i++)
        if (word_state(shm_load_relaxed(&segment->connections[i].word)) != WORD_IDLE)
            violate("connection %llu is lost", i, 0);
    for (uint32_t i = 0; i < segment->slot_max; i++) {
        if (mail_state(shm_load_relaxed(&segment->slots[i].mail)) != MAIL_FREE)
            violate("the mailbox of slot %llu is not free", i, 0);
        if (i >= segment->worker_max &&
            atomic_load_explicit(&segment->slots[i].owner, memory_order_relaxed) != 0)
            violate("slot %llu is nobody's and not free", i, 0);
    }
    for (uint32_t i = scenario->chunks_taken; i < CHUNKS; i++)
        if (atomic_load_explicit(&segment->chunk_owners[i].slot, memory_order_relaxed) != 0)
            violate("chunk %llu is nobody's and not free", i, 0);
    for (uint32_t i = 0; i < scenario->cells; i++)
        if (cell_state(shm_load_relaxed(&segment->cells[i])) != CELL_FREE)
            violate("slot %llu left its place in the queue behind",
                    cell_slot(shm_load_relaxed(&segment->cells[i])), 0);
}

void check_end(void)
{
    bool broker = scenario->broker && alive(MODEL_BROKER);
    bool repaired = broker || !anybody(DEAD);

    for (uint32_t i = 0; i < MODEL_WORKERS; i++)
        if (world.processes[i].status == ASLEEP)
            check_sleeper(i, repaired && (broker || !anybody(STOPPED)), anybody(STOPPED));
    if (repaired && !anybody(STOPPED))
        check_left();
}
