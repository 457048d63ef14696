/* SPDX-License-Identifier: MIT */
/*
 * The live state of the model and its moves: see world.h. Plays scheduler, futex(2) and clock for the
 * processes, and notes what they do for the checks (check.c).
 */
#include "world.h"

#include <string.h>

/* waiter.c's and queue.c's declarations of what the explorer does for them. */
void lendis_model_wake(shm_u32 *at, uint32_t bits);
bool lendis_model_sleep(shm_u32 *at, uint32_t expected, uint32_t bits);

const struct scenario *scenario;
struct segment model_segment;
struct world world;
struct site sites[MODEL_PROCESSES];
struct violation violation;

static struct segment_queue queue;
static struct connection connections[MODEL_CONNECTIONS];
static shm_u64 cells[MODEL_CELLS];
static struct wait_slot slots[MODEL_PROCESSES];
static struct wake_group groups[WAKE_GROUPS];

static struct coroutine coroutines[MODEL_PROCESSES];
static size_t live[MODEL_PROCESSES];
static uint64_t stack_hash[MODEL_PROCESSES][2];
static uint32_t running;

void violate(const char *text, uint64_t a, uint64_t b)
{
    if (!violation.text)
        violation = (struct violation){text, a, b};
}

/* ---- hashing: multiply and fold, two lanes ---- */

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* `bytes` is a multiple of 8. */
static void hash_bytes(const void *data, size_t bytes, uint64_t hash[2])
{
    const unsigned char *at = data;
    uint64_t a = hash[0], b = hash[1];

    for (; bytes > 0; bytes -= bytes < 16 ? 8 : 16, at += 16) {
        uint64_t first, second = 0;

        memcpy(&first, at, 8);
        if (bytes >= 16)
            memcpy(&second, at + 8, 8);
        a = fold(a ^ first, second ^ UINT64_C(0x9e3779b97f4a7c15)) + UINT64_C(0x2545f4914f6cdd1d);
        b = fold(b + second, first ^ UINT64_C(0xd6e8feb86659fd93)) ^ UINT64_C(0xa0761d6478bd642f);
    }
    hash[0] = a;
    hash[1] = b;
}

/* ---- the processes' side ---- */

uint32_t model_self(void)
{
    return running;
}

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
    return &world.processes[running];
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
    sites[running] = (struct site){.function = function, .line = line, .at = at};
}

void lendis_step(const char *where)
{
    sites[running].what = where;
    coroutine_yield();
    sites[running] = (struct site){0};
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
        violate("model: worker %llu sleeps on another group", running, 0);
    model_site(__func__, __LINE__, at);
    lendis_step("futex wait");
    if (atomic_load_explicit(at, memory_order_relaxed) != expected)
        return false;
    me->status = ASLEEP;
    me->bits = bits;
    sites[running] = (struct site){.function = __func__, .what = "asleep", .at = at};
    coroutine_yield();
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
        world.processes[i].before &= (uint8_t) ~(1u << running);
}

void model_acquired(uint32_t index, uint64_t word)
{
    struct process *me = self();

    if (word_state(word) != WORD_LEASED || word_owner(word) != model_worker_of(running))
        violate("worker %llu leased what is not its own", running, 0);
    if (word_generation(word) < world.tainted[index])
        violate("I3: worker %llu leased a connection that was not proven clean", running, 0);
    for (uint32_t i = 0; i < MODEL_WORKERS; i++) {
        struct process *other = &world.processes[i];

        if (i != running && other->held != 0 && other->index == index &&
            word_generation(other->held) == word_generation(word))
            violate("I2: workers %llu and %llu hold the same connection", i, running);
    }
    check_turn(running);
    me->held = word;
    me->index = (uint8_t)index;
    if (shm_load_relaxed(&connections[index].word) == word)
        me->revoked = 0;
    else if (!me->revoked)
        violate("worker %llu leased what it does not have", running, 0);
    model_acquire_ends();
}

void model_no_place(void)
{
    violate("worker %llu finds no place in the queue", running, 0);
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
        violate("worker %llu lost a lease that nobody revoked", running, 0);
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
    sites[running] = (struct site){.what = "wait for an event"};
    coroutine_yield();
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
        .clean = !(scenario->unclean & 1u << running),
        .keep = scenario->keepers & 1u << running,
        .index = self()->index,
        .held = self()->held,
    };

    if (running == MODEL_BROKER)
        broker_run();
    task.rounds = scenario->rounds[running];
    worker_run(&task);
    self()->status = DONE;
    for (;;)
        coroutine_yield();
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
    running = process;
    coroutine_run(&coroutines[process], &live[process]);
    if (world.processes[process].status == DONE) {
        live[process] = 0;
        sites[process] = (struct site){0};
    }
    stack_hash[process][0] = live[process];
    stack_hash[process][1] = process;
    hash_bytes(coroutines[process].stack + COROUTINE_STACK - live[process], live[process],
               stack_hash[process]);
}

static void born(uint32_t process)
{
    world.processes[process] = (struct process){
        .status = READY,
        .unsettled = 1,
        .early_looks = process == MODEL_BROKER ? 0 : scenario->early_looks,
        .give_ups = scenario->impatient & 1u << process ? scenario->give_ups : 0,
    };
    coroutine_start(&coroutines[process], entry, &live[process]);
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
    memset(sites, 0, sizeof sites);
    memset(live, 0, sizeof live);
    memset(stack_hash, 0, sizeof stack_hash);
    violation = (struct violation){0};
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
                                 state == WORD_HANDED || state == WORD_RETURNED))
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
        live[i] = 0;
        memset(stack_hash[i], 0, sizeof stack_hash[i]);
        sites[i] = (struct site){0};
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
    memcpy(snapshot->sites, sites, sizeof sites);
    memcpy(snapshot->live, live, sizeof live);
    memcpy(snapshot->stack_hash, stack_hash, sizeof stack_hash);
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++) {
        if (live[i] > STACK_SAVED) {
            violate("model: a stack of %llu bytes", live[i], 0);
            continue;
        }
        memcpy(snapshot->stacks[i], coroutines[i].stack + COROUTINE_STACK - live[i], live[i]);
    }
}

void world_restore(const struct snapshot *snapshot)
{
    shared_write(&snapshot->shared);
    memcpy(&world, &snapshot->world, sizeof world);
    memcpy(sites, snapshot->sites, sizeof sites);
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++)
        if (memcmp(stack_hash[i], snapshot->stack_hash[i], sizeof stack_hash[i]) != 0)
            memcpy(coroutines[i].stack + COROUTINE_STACK - snapshot->live[i], snapshot->stacks[i],
                   snapshot->live[i]);
    memcpy(live, snapshot->live, sizeof live);
    memcpy(stack_hash, snapshot->stack_hash, sizeof stack_hash);
    violation = (struct violation){0};
}

_Static_assert(sizeof(struct shared) % 8 == 0 && sizeof(struct world) % 8 == 0, "hashed by words");
_Static_assert(sizeof(struct process) == 32, "no padding that would be hashed");

struct hash snapshot_hash(const struct snapshot *snapshot)
{
    uint64_t hash[2] = {1, 2};

    hash_bytes(&snapshot->shared, sizeof snapshot->shared, hash);
    hash_bytes(&snapshot->world, sizeof snapshot->world, hash);
    hash_bytes(snapshot->stack_hash, sizeof snapshot->stack_hash, hash);
    return (struct hash){fold(hash[0], UINT64_C(0xe7037ed1a0b428db)) ^ hash[1],
                         fold(hash[1], UINT64_C(0x8ebc6af09c88c6e3)) + hash[0]};
}
