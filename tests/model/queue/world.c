/* SPDX-License-Identifier: MIT */
/*
 * The live state of the model and its moves: see world.h. Plays scheduler, futex(2) and clock for
 * the processes, and notes what they do for the checks (check.c).
 */
#include "world.h"

#include <string.h>

/* waiter.c's and queue.c's declarations of what the explorer does for them. */
void lendis_model_wake(shm_u32 *at, uint32_t bits);
bool lendis_model_sleep(shm_u32 *at, uint32_t expected, uint32_t bits);

const struct scenario *scenario;
struct segment model_segment;
struct world world;

static struct segment_queue queue;
static struct connection connections[MODEL_CONNECTIONS];
static shm_u64 cells[MODEL_CELLS];
static struct wait_slot slots[MODEL_PROCESSES];
static struct wake_group groups[WAKE_GROUPS];

/* ---- the processes' side ---- */

uint32_t model_slot_of(uint32_t process)
{
    return process;
}

uint32_t model_worker_of(uint32_t process)
{
    return scenario->threads ? 0 : process;
}

static struct process *self(void)
{
    return &world.processes[model_self()];
}

bool alive(uint32_t process)
{
    return world.processes[process].status != DEAD && world.processes[process].status != ABSENT;
}

/* The words of struct shared, and no others, are part of the state. */
static bool is_explored(const volatile void *at)
{
    for (uint32_t i = 0; i < MODEL_CONNECTIONS; i++)
        if (at == &connections[i].word)
            return true;
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++)
        if (at == &slots[i].wake || at == &slots[i].ticket)
            return true;
    return (at >= (const volatile void *)cells &&
            at < (const volatile void *)(cells + MODEL_CELLS)) ||
           at == &queue.head || at == &queue.tail || at == &groups[0].changes;
}

void model_site(const char *function, int line, const volatile void *at)
{
    if (!is_explored(at))
        violate("model: line %llu touches a word that is no part of the state", (uint64_t)line, 0);
    sites[model_self()] = (struct site){.function = function, .line = line, .at = at};
}

void lendis_model_wake(shm_u32 *at, uint32_t bits)
{
    model_site(__func__, __LINE__, at);
    lendis_step("futex wake");
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++) {
        struct process *process = &world.processes[i];

        if (process->status == ASLEEP && process->bits & bits) {
            process->status = READY;
            process->unsettled = 1;
        }
    }
}

bool lendis_model_sleep(shm_u32 *at, uint32_t expected, uint32_t bits)
{
    struct process *me = self();
    bool timed_out;

    if (at != &groups[0].changes)
        violate("model: worker %llu sleeps on another group", model_self(), 0);
    model_site(__func__, __LINE__, at);
    lendis_step("futex wait");
    if (atomic_load_explicit(at, memory_order_relaxed) != expected)
        return false;
    me->status = ASLEEP;
    me->bits = bits;
    stage_rest((struct site){.function = __func__, .what = "asleep", .at = at});
    timed_out = me->timed_out;
    me->timed_out = 0;
    me->bits = 0;
    return timed_out;
}

static void pass_deadline(struct process *process)
{
    process->passed = 1;
    process->give_ups--;
}

bool model_deadline_passed(void)
{
    struct process *me = self();

    if (!me->passed && me->give_ups > 0) {
        me->options = 2;
        lendis_step("look at the clock");
        me->options = 0;
        if (me->chosen)
            pass_deadline(me);
        me->chosen = 0;
    }
    return me->passed;
}

void model_acquire_begins(void)
{
    self()->acquiring = 1;
    self()->beginning = 1;
}

void model_acquire_ends(void)
{
    self()->acquiring = 0;
    self()->beginning = 0;
    self()->before = 0;
    self()->granted = 0;
    self()->passed = 0;
    for (uint32_t i = 0; i < MODEL_WORKERS; i++)
        world.processes[i].before &= (uint8_t) ~(1u << model_self());
}

void model_acquired(uint32_t index, uint64_t word)
{
    struct process *me = self();

    if (word_state(word) != WORD_LEASED || word_owner(word) != model_worker_of(model_self()))
        violate("worker %llu leased what is not its own", model_self(), 0);
    if (word_generation(word) < world.tainted[index])
        violate("I3: worker %llu leased a connection that was not proven clean", model_self(), 0);
    for (uint32_t i = 0; i < MODEL_WORKERS; i++) {
        struct process *other = &world.processes[i];

        if (i != model_self() && other->held != 0 && other->index == index &&
            word_generation(other->held) == word_generation(word))
            violate("I2: workers %llu and %llu hold the same connection", i, model_self());
    }
    check_turn(model_self());
    me->held = word;
    me->index = (uint8_t)index;
    if (shm_load_relaxed(&connections[index].word) == word)
        me->revoked = 0;
    else if (!me->revoked)
        violate("worker %llu leased what it does not have", model_self(), 0);
    model_acquire_ends();
}

void model_no_place(void)
{
    violate("worker %llu finds no place in the queue", model_self(), 0);
}

static void taint(const struct process *process)
{
    if (process->held != 0 && world.tainted[process->index] <= word_generation(process->held))
        world.tainted[process->index] = word_generation(process->held) + 1;
}

void model_release_begins(bool clean)
{
    if (!clean)
        taint(self());
    self()->held = 0;
}

void model_released(bool ours)
{
    if (!ours && !self()->revoked)
        violate("worker %llu lost a lease that nobody revoked", model_self(), 0);
    self()->revoked = 0;
}

void model_doorbell(void)
{
    lendis_step("doorbell");
    world.doorbell = 1;
}

struct event model_wait_event(void)
{
    self()->status = WAITING;
    world.event = world.argument = 0;
    stage_rest((struct site){.what = "wait for an event"});
    return (struct event){.kind = (enum event_kind)world.event, .argument = world.argument};
}

void model_dialling(uint32_t index)
{
    world.dialling |= (uint8_t)(1u << index);
}

void model_sweep_later(void)
{
    world.sweep = 1;
}

void model_reaped(uint32_t worker)
{
    for (uint32_t i = 0; i < MODEL_WORKERS; i++)
        if (world.processes[i].status == DEAD && model_worker_of(i) == worker)
            world.processes[i].reaped = 1;
}

static void entry(void)
{
    struct task task = {
        .clean = !(scenario->unclean & 1u << model_self()),
        .keep = scenario->keepers & 1u << model_self(),
        .index = self()->index,
        .held = self()->held,
    };

    if (model_self() == MODEL_BROKER)
        broker_run();
    task.rounds = scenario->rounds[model_self()];
    worker_run(&task);
    self()->status = DONE;
    for (;;)
        stage_rest((struct site){0});
}

/* ---- the shared words ---- */

void shared_read(struct shared *shared)
{
    memset(shared, 0, sizeof *shared);
    for (uint32_t i = 0; i < MODEL_CONNECTIONS; i++)
        shared->words[i] = shm_load_relaxed(&connections[i].word);
    for (uint32_t i = 0; i < MODEL_CELLS; i++)
        shared->cells[i] = shm_load_relaxed(&cells[i]);
    shared->head = shm_load_relaxed(&queue.head);
    shared->tail = shm_load_relaxed(&queue.tail);
    shared->changes = atomic_load_explicit(&groups[0].changes, memory_order_relaxed);
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++) {
        shared->wakes[i] = atomic_load_explicit(&slots[i].wake, memory_order_relaxed);
        shared->tickets[i] = atomic_load_explicit(&slots[i].ticket, memory_order_relaxed);
    }
}

static void shared_write(const struct shared *shared)
{
    for (uint32_t i = 0; i < MODEL_CONNECTIONS; i++)
        shm_store_relaxed(&connections[i].word, shared->words[i]);
    for (uint32_t i = 0; i < MODEL_CELLS; i++)
        shm_store_relaxed(&cells[i], shared->cells[i]);
    shm_store_relaxed(&queue.head, shared->head);
    shm_store_relaxed(&queue.tail, shared->tail);
    atomic_store_explicit(&groups[0].changes, (uint32_t)shared->changes, memory_order_relaxed);
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++) {
        atomic_store_explicit(&slots[i].wake, shared->wakes[i], memory_order_relaxed);
        atomic_store_explicit(&slots[i].ticket, shared->tickets[i], memory_order_relaxed);
    }
}

/* ---- moves ---- */

static void run(uint32_t process)
{
    stage_run(process);
    if (world.processes[process].status == DONE)
        stage_end(process);
}

static void born(uint32_t process)
{
    world.processes[process] = (struct process){
        .status = READY,
        .unsettled = 1,
        .early_looks = process == MODEL_BROKER ? 0 : scenario->early_looks,
        .give_ups = scenario->impatient & 1u << process ? scenario->give_ups : 0,
    };
    stage_begin(process, entry);
}

/* Woken and born processes run on to their next step: that touches nothing shared. */
static void settle(void)
{
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++)
        if (world.processes[i].unsettled) {
            world.processes[i].unsettled = 0;
            run(i);
        }
}

void world_start(void)
{
    memset(&world, 0, sizeof world);
    memset(&queue, 0, sizeof queue);
    memset(connections, 0, sizeof connections);
    memset(cells, 0, sizeof cells);
    memset(slots, 0, sizeof slots);
    memset(groups, 0, sizeof groups);
    stage_clear();
    model_segment = (struct segment){
        .connection_max = scenario->connections,
        .worker_max = MODEL_PROCESSES,
        .slot_max = MODEL_PROCESSES,
        .cell_count = scenario->cells,
        .cell_shift = (uint32_t)__builtin_ctz(scenario->cells),
        .queue = &queue,
        .connections = connections,
        .cells = cells,
        .slots = slots,
        .groups = groups,
    };
    for (uint32_t i = 0; i < scenario->connections; i++)
        shm_store_relaxed(&connections[i].word, word_make(WORD_IDLE, 0, MODEL_GENERATION));
    world.crashes = scenario->crashes;
    world.births = scenario->births;
    world.losses = scenario->losses;
    world.revokes = scenario->revokes;
    world.checks = scenario->checks;
    for (uint32_t i = 0; i < scenario->workers; i++) {
        born(i);
        if (scenario->holders & 1u << i) {
            world.processes[i].held = word_make(WORD_LEASED, model_worker_of(i), MODEL_GENERATION);
            world.processes[i].index = (uint8_t)i;
            shm_store_relaxed(&connections[i].word, world.processes[i].held);
        }
    }
    if (scenario->broker)
        born(MODEL_BROKER);
    settle();
}

static void add(struct move moves[MOVES_MAX], uint32_t *count, enum move_kind kind,
                uint32_t process, uint32_t argument)
{
    if (*count == MOVES_MAX) {
        violate("model: more than %llu moves", MOVES_MAX, 0);
        return;
    }
    moves[(*count)++] = (struct move){(uint8_t)kind, (uint8_t)process, (uint8_t)argument};
}

/* What the broker could be told now. Returns true if any of it has to happen. */
static bool add_events(struct move moves[MOVES_MAX], uint32_t *count)
{
    uint32_t start = *count;

    for (uint32_t i = 0; i < MODEL_WORKERS; i++)
        if (world.deaths & 1u << i)
            add(moves, count, MOVE_EVENT, EVENT_DEATH, i);
    if (world.doorbell)
        add(moves, count, MOVE_EVENT, EVENT_DOORBELL, 0);
    for (uint32_t i = 0; i < scenario->connections; i++)
        if (world.dialling & 1u << i)
            add(moves, count, MOVE_EVENT, EVENT_DIALLED, i);
    if (world.sweep)
        add(moves, count, MOVE_EVENT, EVENT_SWEEP, 0);
    return *count > start;
}

static void add_operations(struct move moves[MOVES_MAX], uint32_t *count)
{
    for (uint32_t i = 0; i < scenario->connections; i++) {
        enum word_state state = word_state(shm_load_relaxed(&connections[i].word));

        if (world.losses > 0 && (state == WORD_IDLE || state == WORD_LEASED ||
                                 state == WORD_PASSED || state == WORD_RETURNED))
            add(moves, count, MOVE_EVENT, EVENT_LOST, i);
        if (world.revokes > 0 && state == WORD_LEASED)
            add(moves, count, MOVE_EVENT, EVENT_REVOKE, i);
        if (world.checks > 0 && state == WORD_IDLE)
            add(moves, count, MOVE_EVENT, EVENT_CHECK, i);
    }
}

static bool may_crash(uint32_t process)
{
    const struct process *it = &world.processes[process];

    if (world.crashes == 0 || !alive(process) || it->status == DONE)
        return false;
    if (process == MODEL_BROKER)
        return scenario->broker_mortal;
    return scenario->mortal == 0 || scenario->mortal & 1u << process;
}

static void add_steps(struct move moves[MOVES_MAX], uint32_t *count, uint32_t process)
{
    uint32_t options = world.processes[process].options;

    for (uint32_t choice = 0; choice < (options ? options : 1); choice++)
        add(moves, count, MOVE_STEP, process, choice);
}

uint32_t world_moves(struct move moves[MOVES_MAX], bool *ended)
{
    uint32_t count = 0;
    bool busy = false;

    for (uint32_t i = 0; i < MODEL_PROCESSES; i++)
        if (world.processes[i].status == READY) {
            add_steps(moves, &count, i);
            busy = true;
        }
    if (world.processes[MODEL_BROKER].status == WAITING) {
        busy |= add_events(moves, &count);
        add_operations(moves, &count);
    }
    *ended = !busy;
    for (uint32_t i = 0; i < MODEL_WORKERS; i++) {
        const struct process *process = &world.processes[i];

        if (process->status == DEAD && process->reaped && world.births > 0)
            add(moves, &count, MOVE_BIRTH, i, 0);
        if (process->status != ASLEEP)
            continue;
        if (busy ? process->early_looks > 0 : scenario->timed_looks && !process->looked) {
            add(moves, &count, MOVE_LOOK, i, !busy);
            *ended = *ended && busy;
        }
        if (process->give_ups > 0 && !process->passed)
            add(moves, &count, MOVE_DEADLINE, i, 0);
    }
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++)
        if (may_crash(i))
            add(moves, &count, MOVE_CRASH, i, 0);
    return count;
}

/* SIGKILL: all threads of a process go, between two steps. */
static void crash(uint32_t process)
{
    world.crashes--;
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++) {
        struct process *it = &world.processes[i];
        bool with =
            i == process || (process != MODEL_BROKER && i != MODEL_BROKER && scenario->threads);

        if (!with || !alive(i))
            continue;
        taint(it);
        *it = (struct process){.status = DEAD};
        for (uint32_t other = 0; other < MODEL_WORKERS; other++)
            world.processes[other].before &= (uint8_t) ~(1u << i);
        stage_end(i);
    }
    if (process == MODEL_BROKER)
        world.deaths = world.dialling = world.doorbell = world.sweep = 0;
    else if (scenario->broker && alive(MODEL_BROKER))
        world.deaths |= (uint8_t)(1u << model_worker_of(process));
}

static void tell_broker(enum event_kind kind, uint32_t argument)
{
    switch (kind) {
    case EVENT_NONE:
        break;
    case EVENT_DEATH:
        world.deaths &= (uint8_t) ~(1u << argument);
        break;
    case EVENT_DOORBELL:
        world.doorbell = 0;
        break;
    case EVENT_DIALLED:
        world.dialling &= (uint8_t) ~(1u << argument);
        break;
    case EVENT_SWEEP:
        world.sweep = 0;
        break;
    case EVENT_LOST:
        world.losses--;
        break;
    case EVENT_REVOKE:
        world.revokes--;
        break;
    case EVENT_CHECK:
        world.checks--;
        break;
    }
    world.event = (uint8_t)kind;
    world.argument = (uint8_t)argument;
    world.processes[MODEL_BROKER].status = READY;
    run(MODEL_BROKER);
}

static void wake_by_time(uint32_t process, bool deadline, bool quiet)
{
    struct process *it = &world.processes[process];

    it->status = READY;
    it->timed_out = 1;
    if (deadline)
        pass_deadline(it);
    else if (quiet)
        it->looked = 1;
    else
        it->early_looks--;
    run(process);
}

void world_make(struct move move)
{
    struct process *process = &world.processes[move.process];
    uint32_t actor = move.kind == MOVE_EVENT ? MODEL_BROKER : move.process;
    struct shared before;

    shared_read(&before);
    switch ((enum move_kind)move.kind) {
    case MOVE_STEP:
        if (process->beginning)
            check_begin(move.process);
        process->chosen = move.argument;
        run(move.process);
        break;
    case MOVE_LOOK:
    case MOVE_DEADLINE:
        wake_by_time(move.process, move.kind == MOVE_DEADLINE, move.argument);
        break;
    case MOVE_EVENT:
        tell_broker((enum event_kind)move.process, move.argument);
        break;
    case MOVE_BIRTH:
        world.births--;
        born(move.process);
        break;
    case MOVE_CRASH:
        crash(move.process);
        break;
    }
    settle();
    check_move(actor, &before);
}

/* ---- snapshots ---- */

void world_save(struct snapshot *snapshot)
{
    shared_read(&snapshot->shared);
    memcpy(&snapshot->world, &world, sizeof world);
    stage_save(&snapshot->stage);
}

void world_restore(const struct snapshot *snapshot)
{
    shared_write(&snapshot->shared);
    memcpy(&world, &snapshot->world, sizeof world);
    stage_restore(&snapshot->stage);
}

_Static_assert(sizeof(struct shared) % 8 == 0 && sizeof(struct world) % 8 == 0, "hashed by words");
_Static_assert(sizeof(struct process) == 32, "no padding that would be hashed");

struct hash snapshot_hash(const struct snapshot *snapshot)
{
    uint64_t hash[2] = {1, 2};

    hash_bytes(&snapshot->shared, sizeof snapshot->shared, hash);
    hash_bytes(&snapshot->world, sizeof snapshot->world, hash);
    hash_bytes(snapshot->stage.stack_hash, sizeof snapshot->stage.stack_hash, hash);
    return hash_end(hash);
}
