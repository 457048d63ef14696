/* SPDX-License-Identifier: MIT */
/*
 * The processes of the model: what a worker does to acquire and release (the composition in
 * libclient/lease.c) and what the broker does (that in broker/pool/pool.c), made of the shipped
 * functions.
 *
 * The broker, event by event:
 *   death of w   take w's slots out of the queue, then look at each word: LEASED or RETURNED by w,
 *   or
 *                PASSED to a slot of w: RECLAIMED, and replace it. In this order: who hands over to
 *                a slot that has left the queue takes its word back, so after the eviction nothing
 *                comes to w any more. Reset w's wake word. Remember which words are PASSED now: w
 *                may have been handing them over. Serve waiters from idle connections, in case w
 *                died before it did.
 *   sweep        some time after a death: words that are still PASSED as remembered are RECLAIMED
 *                and replaced; serve waiters again. (The model does not wait for any length of
 *                time, so it also takes what a living worker is about to finish.)
 *   doorbell     replace what is RETURNED; serve waiters.
 *   replace      shut down and close; EMPTY(g+1); OPENING: dial.
 *   dialled      CHECKING; queue_pass_on().
 *   lost         Redis closed the connection: if IDLE, CHECKING; replace, whoever has it.
 *   revoke       a lease that ran out: RECLAIMED, replace.
 *   check        IDLE -> CHECKING, a PING, queue_pass_on().
 *
 * MODEL_BREAK leaves one thing out or turns it round, to see the explorer find it: see broken.c.
 */
#include "lendis/waiter.h"
#include "model.h"

#ifndef MODEL_BREAK
#define MODEL_BREAK 0
#endif

/* ---- workers ---- */

static bool lease_idle(const struct segment *segment, uint32_t last, uint32_t *index,
                       uint64_t *word)
{
    for (uint32_t i = 0; i < segment->connection_max; i++) {
        *index = (last + i) % segment->connection_max;
        if (word_lease(&segment->connections[*index].word, model_worker_of(model_self()), word))
            return true;
    }
    return false;
}

static bool wait_for(const struct segment *segment, uint32_t *index, uint64_t *word)
{
    struct waiter waiter;
    bool thorough = false;

    if (waiter_join(&waiter, segment, model_worker_of(model_self()), model_slot_of(model_self()),
                    CELL_WAITING)) {
        model_no_place();
        return false;
    }
    for (;;) {
        int result = waiter_take(&waiter, thorough, index, word);

        if (result == 1)
            return true;
        if (result < 0) {
            model_no_place();
            return false;
        }
        if (model_deadline_passed())
            return waiter_leave(&waiter, index, word) == 1;
        thorough = MODEL_BREAK == 17 ? true : waiter_sleep(&waiter, INT64_MAX);
    }
}

static bool acquire(uint32_t last, uint32_t *index, uint64_t *word)
{
    const struct segment *segment = &model_segment;
    uint64_t ticket;
    uint32_t slot;

    /* Nobody barges while somebody waits. */
    if ((MODEL_BREAK == 14 || !queue_maybe_waiting(segment) ||
         !queue_head(segment, &ticket, &slot)) &&
        lease_idle(segment, last, index, word))
        return true;
    return wait_for(segment, index, word);
}

static void release(uint32_t index, uint64_t word, bool clean)
{
    const struct segment *segment = &model_segment;
    bool ours;

    if (clean) {
        ours = queue_pass_on(segment, index, word);
    } else {
        ours = word_return(&segment->connections[index].word, word);
        model_doorbell();
    }
    model_released(ours);
}

static void use_and_release(uint32_t index, uint64_t word, bool clean)
{
    LENDIS_STEP("use");
    model_release_begins(clean);
    release(index, word, clean);
}

void worker_run(const struct task *task)
{
    uint32_t index = task->index;

    if (task->held != 0)
        use_and_release(index, task->held, task->clean);
    for (uint32_t left = task->rounds; left > 0; left--) {
        uint64_t word;

        model_acquire_begins();
        if (!acquire(index, &index, &word)) {
            model_acquire_ends();
            index = 0;
            continue;
        }
        model_acquired(index, word);
        if (left == 1 && task->keep)
            return;
        use_and_release(index, word, task->clean);
    }
}

/* ---- the broker ---- */

/* What the broker knows in private. */
struct broker {
    uint64_t generations[MODEL_CONNECTIONS];
    uint64_t handed[MODEL_CONNECTIONS]; /* words that were PASSED at the last death, 0 for none */
};

static shm_u64 *word_at(uint32_t index)
{
    return &model_segment.connections[index].word;
}

/* Replaces connection `index`, which is the broker's to change. */
static void replace(struct broker *broker, uint32_t index)
{
    if (MODEL_BREAK != 12)
        broker->generations[index]++;
    broker->handed[index] = 0;
    shm_store(word_at(index), word_make(WORD_EMPTY, 0, broker->generations[index]));
    shm_store(word_at(index), word_make(WORD_OPENING, 0, broker->generations[index]));
    model_dialling(index);
}

static void reclaim(struct broker *broker, uint32_t index, uint64_t seen)
{
    if (word_reclaim(word_at(index), seen))
        replace(broker, index);
}

static bool slot_is_of(uint32_t slot, void *context)
{
    const uint32_t *worker = context;

    return slot < model_segment.slot_max && model_worker_of(slot) == *worker;
}

/* The word belongs to dead worker `worker`. */
static bool word_is_of(uint64_t word, uint32_t worker)
{
    switch (word_state(word)) {
    case WORD_LEASED:
    case WORD_RETURNED:
        return word_owner(word) == worker;
    case WORD_PASSED:
        return slot_is_of(word_owner(word), &worker);
    default:
        return false;
    }
}

static void on_death(struct broker *broker, uint32_t worker)
{
    if (MODEL_BREAK != 10)
        queue_evict(&model_segment, slot_is_of, &worker);
    for (uint32_t i = 0; i < model_segment.connection_max; i++) {
        uint64_t word = shm_load(word_at(i));

        if (word_is_of(word, worker))
            reclaim(broker, i, word);
    }
    if (MODEL_BREAK == 10)
        queue_evict(&model_segment, slot_is_of, &worker);
    for (uint32_t i = 0; i < MODEL_WORKERS; i++)
        if (slot_is_of(i, &worker))
            shm_store32(&model_segment.slots[i].wake, WAKE_NONE);
    model_reaped(worker);
    for (uint32_t i = 0; i < model_segment.connection_max; i++) {
        uint64_t word = shm_load(word_at(i));

        if (word_state(word) == WORD_PASSED) {
            broker->handed[i] = word;
            model_sweep_later();
        }
    }
    queue_match(&model_segment, LENDIS_BROKER);
}

static void on_sweep(struct broker *broker)
{
    for (uint32_t i = 0; i < model_segment.connection_max; i++) {
        if (broker->handed[i] != 0 && MODEL_BREAK != 10 && MODEL_BREAK != 11)
            reclaim(broker, i, broker->handed[i]);
        broker->handed[i] = 0;
    }
    queue_match(&model_segment, LENDIS_BROKER);
}

static void on_doorbell(struct broker *broker)
{
    for (uint32_t i = 0; i < model_segment.connection_max; i++)
        if (word_state(shm_load(word_at(i))) == WORD_RETURNED)
            replace(broker, i);
    queue_match(&model_segment, LENDIS_BROKER);
}

static void on_dialled(struct broker *broker, uint32_t index)
{
    uint64_t opening = word_make(WORD_OPENING, 0, broker->generations[index]);
    uint64_t checking = word_with(opening, WORD_CHECKING, 0);

    if (shm_cas(word_at(index), opening, checking))
        queue_pass_on(&model_segment, index, checking);
}

static void on_lost(struct broker *broker, uint32_t index)
{
    uint64_t word;

    word_check(word_at(index), &word);
    replace(broker, index);
}

static void on_revoke(struct broker *broker, uint32_t index)
{
    uint64_t word = shm_load(word_at(index));

    if (word_state(word) == WORD_LEASED)
        reclaim(broker, index, word);
}

static void on_check(uint32_t index)
{
    uint64_t word;

    if (word_check(word_at(index), &word))
        queue_pass_on(&model_segment, index, word);
}

void broker_run(void)
{
    struct broker broker = {{0}, {0}};

    for (uint32_t i = 0; i < MODEL_CONNECTIONS; i++)
        broker.generations[i] = MODEL_GENERATION;
    for (;;) {
        struct event event = model_wait_event();

        switch (event.kind) {
        case EVENT_NONE:
            break;
        case EVENT_DEATH:
            on_death(&broker, event.argument);
            break;
        case EVENT_DOORBELL:
            on_doorbell(&broker);
            break;
        case EVENT_DIALLED:
            on_dialled(&broker, event.argument);
            break;
        case EVENT_SWEEP:
            on_sweep(&broker);
            break;
        case EVENT_LOST:
            on_lost(&broker, event.argument);
            break;
        case EVENT_REVOKE:
            on_revoke(&broker, event.argument);
            break;
        case EVENT_CHECK:
            on_check(event.argument);
            break;
        }
    }
}
