/* SPDX-License-Identifier: MIT */
/*
 * The live state of the hand-over's model and its moves: see world.h. Plays scheduler, futex(2),
 * clock and the broker's socket for the processes.
 */
#include "world.h"

#include <errno.h>
#include <string.h>
#include "lendis/mailbox.h"
#include "libclient/membership/attachment.h"
#include "libclient/clock.h"

/* waiter.c's and queue.c's declarations of what the explorer does for them. */
void lendis_model_wake(shm_u32 *at, uint32_t bits);
bool lendis_model_sleep(shm_u32 *at, uint32_t expected, uint32_t bits);

const struct scenario *scenario;
struct segment model_segment;
struct catalog model_catalog;
struct world world;

static struct segment_queue queue;
static struct connection connections[MODEL_CONNECTIONS];
static shm_u64 cells[MODEL_CELLS];
static struct wait_slot slots[MODEL_SLOTS];
static struct wake_group groups[WAKE_GROUPS];
static struct chunk_owner chunk_owners[CHUNKS];
static struct chunk chunks[CHUNKS];
static struct mailbox mailboxes[MODEL_SLOTS];
static struct worker_block blocks[MODEL_WORKERS];
static struct histogram_shard shards[HISTOGRAM_SHARDS];
static struct catalog_header header;
static struct catalog_pool pools[1];

/* ---- the explored parts of shared memory ---- */

/* Of a slot: its words, and as much of its room as requests and replies take. */
#define SLOT_EXPLORED ((offsetof(struct wait_slot, small) + 32 + 7) & ~(size_t)7)
/* Of a connection: all but the unused end. */
#define CONNECTION_EXPLORED offsetof(struct connection, lost)

struct region {
    void *at;
    size_t size;
};

static struct region regions[2 + MODEL_CONNECTIONS + MODEL_SLOTS + 2 + CHUNKS];
static uint32_t region_count;
static size_t region_bytes;

static void region_add(void *at, size_t size)
{
    regions[region_count++] = (struct region){at, size};
    region_bytes += size;
}

static void regions_make(void)
{
    region_count = 0;
    region_bytes = 0;
    region_add(&queue, offsetof(struct segment_queue, reserved));
    region_add(cells, scenario->cells * sizeof *cells);
    for (uint32_t i = 0; i < scenario->connections; i++)
        region_add(&connections[i], CONNECTION_EXPLORED);
    for (uint32_t i = 0; i < model_segment.slot_max; i++)
        region_add(&slots[i], SLOT_EXPLORED);
    region_add(groups, 8);
    region_add(chunk_owners, sizeof chunk_owners);
    for (uint32_t i = 0; i < CHUNKS; i++)
        region_add(chunks[i].bytes, CHUNK_SIZE);
}

void memory_read(struct memory *memory)
{
    unsigned char *to = memory->bytes;

    for (uint32_t i = 0; i < scenario->connections; i++)
        shm_store_relaxed(&connections[i].uses, 0); /* a statistic */
    for (uint32_t i = 0; i < region_count; i++) {
        memcpy(to, regions[i].at, regions[i].size);
        to += regions[i].size;
    }
}

static void memory_write(const struct memory *memory)
{
    const unsigned char *from = memory->bytes;

    for (uint32_t i = 0; i < region_count; i++) {
        memcpy(regions[i].at, from, regions[i].size);
        from += regions[i].size;
    }
}

const void *memory_then(const struct memory *memory, const volatile void *at)
{
    const unsigned char *then = memory->bytes;

    for (uint32_t i = 0; i < region_count; i++) {
        size_t offset = (size_t)((const volatile char *)at - (const char *)regions[i].at);

        if (offset < regions[i].size)
            return then + offset;
        then += regions[i].size;
    }
    return NULL;
}

/* Results: 1, all of it is part of the state; 0, none is; -1, it is shared memory and not
 * explored. */
static int is_explored(const volatile void *at, size_t size)
{
    const volatile char *byte = at;

    for (uint32_t i = 0; i < region_count; i++) {
        const char *start = regions[i].at;

        if (byte >= start && byte + size <= start + regions[i].size)
            return 1;
    }
    if ((byte >= (const char *)slots && byte < (const char *)(slots + MODEL_SLOTS)) ||
        (byte >= chunks[0].bytes && byte < (const char *)(chunks + CHUNKS)) ||
        (byte >= mailboxes[0].bytes && byte < (const char *)(mailboxes + MODEL_SLOTS)))
        return -1;
    return 0;
}

/* ---- the processes' side ---- */

static struct process *self(void)
{
    return &world.processes[model_self()];
}

bool alive(uint32_t process)
{
    return world.processes[process].status != DEAD && world.processes[process].status != ABSENT;
}

uint32_t model_worker_of(uint32_t slot)
{
    uint32_t owner = slot < model_segment.worker_max
                         ? 1 + slot
                         : atomic_load_explicit(&slots[slot].owner, memory_order_relaxed);

    return owner >= 1 && owner <= model_segment.worker_max ? owner - 1 : MODEL_PROCESSES;
}

void model_site(const char *function, int line, const volatile void *at)
{
    if (is_explored(at, 4) != 1 && at != &pools[0].backend)
        violate("model: line %llu touches a word that is no part of the state", (uint64_t)line, 0);
    sites[model_self()] = (struct site){.function = function, .line = line, .at = at};
}

void *model_copy(const char *function, int line, void *to, const void *from, size_t size)
{
    int into = is_explored(to, size), outof = is_explored(from, size);

    if (size > 0 && (into != 0 || outof != 0)) {
        if (into < 0 || outof < 0)
            violate("model: line %llu copies what is no part of the state", (uint64_t)line, 0);
        sites[model_self()] =
            (struct site){.function = function, .line = line, .at = into ? to : from};
        lendis_step(into ? "copy to" : "copy from");
        if (into)
            check_write(model_self(), to, size);
    }
    return memcpy(to, from, size);
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

/* ---- time ---- */

#define START_NS INT64_C(1000000000)
/* Longer than a combiner may be silent. */
#define LATER_NS INT64_C(5000000000)

int64_t clock_coarse_ns(void)
{
    return START_NS + (world.later ? LATER_NS : 0);
}

static void pass_deadline(struct process *process)
{
    process->now_ns = process->deadline_ns;
    process->give_ups--;
}

static bool may_give_up(const struct process *process)
{
    return process->deadline_ns != 0 && process->now_ns < process->deadline_ns &&
           process->give_ups > 0;
}

int64_t clock_now_ns(void)
{
    struct process *me = self();

    /* Whether it is late by now is up to the explorer as long as its command is with others: before
     * it makes no difference, and who has a connection looks at the clock with poll(2). */
    if (me->slot != 0 && me->held == 0 && may_give_up(me)) {
        me->options = 2;
        lendis_step("look at the clock");
        if (me->chosen)
            pass_deadline(me);
        me->options = me->chosen = 0;
    }
    return clock_coarse_ns() + me->now_ns;
}

int64_t clock_deadline_ns(int64_t timeout_ms)
{
    return timeout_ms < 0 ? INT64_MAX : clock_now_ns() + timeout_ms * 1000000;
}

int model_pause(const struct timespec *time, struct timespec *rest)
{
    (void)time;
    (void)rest;
    lendis_step("pause");
    return 0;
}

/* ---- for broken variants ---- */

struct connection *model_connection_of(int fd);
uint8_t *model_note(void);

struct connection *model_connection_of(int fd)
{
    return &connections[stream_index(fd)];
}

uint8_t *model_note(void)
{
    return &self()->note;
}

/* ---- what workers have of the broker ---- */

void attachment_ring(const struct attachment *attachment)
{
    (void)attachment;
    lendis_step("doorbell");
    if (alive(MODEL_BROKER))
        world.doorbell = 1;
}

int attachment_descriptor(struct attachment *attachment, uint32_t index, uint64_t generation,
                          int *fd)
{
    struct cached_descriptor *cached = &attachment->cached[index];

    if (cached->generation != 1 + generation) {
        self()->fetching = 1;
        lendis_step("fetch");
        self()->fetching = 0;
        if (!alive(MODEL_BROKER))
            return LENDIS_E_DOWN;
        if (stream_at(index, generation)->closed == CLOSED_BY_BROKER)
            return -ESTALE;
        cached->fd = stream_fd(index, generation);
        cached->generation = 1 + generation;
    }
    *fd = cached->fd;
    return 0;
}

/* ---- what the broker tells ---- */

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

void model_look_later(void)
{
    world.stall = 1;
}

void model_reaped(uint32_t worker)
{
    world.processes[worker].reaped = 1;
}

void model_expelled(uint32_t worker)
{
    world.processes[worker].expelled = 1;
}

bool model_is_expelled(uint32_t worker)
{
    return worker < model_segment.worker_max && world.processes[worker].expelled;
}

void model_given_away(void)
{
    world.processes[0].expelled = world.processes[0].reaped = 0;
    world.twin_comes = 1;
}

bool model_readmit(struct attachment *attachment)
{
    shm_u32 *tenant = &slots[attachment->worker].tenant;

    if (scenario->twins)
        return false;
    self()->fetching = 1;
    lendis_step("hello");
    self()->fetching = 0;
    if (!alive(MODEL_BROKER))
        return false;
    self()->expelled = 0;
    attachment->tenant++;
    atomic_store_explicit(tenant, attachment->tenant, memory_order_relaxed);
    return true;
}

bool model_is_attached(uint32_t worker)
{
    return worker < model_segment.worker_max && !world.processes[worker].reaped &&
           !world.processes[worker].expelled;
}

static void entry(void)
{
    if (model_self() == MODEL_BROKER)
        broker_run();
    worker_run(model_self(), scenario->rounds[model_self()]);
    self()->status = DONE;
    for (;;)
        stage_rest((struct site){0});
}

/* ---- the beginning ---- */

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

/* Puts all counters close to where they wrap: the tickets of the queue, the laps of its cells, the
 * numbers of batches and of commands. (The generations: model_generation().) */
static void wind_up(void)
{
    uint64_t ticket = UINT64_MAX;

    atomic_store_explicit(&queue.head, ticket, memory_order_relaxed);
    atomic_store_explicit(&queue.tail, ticket, memory_order_relaxed);
    for (uint32_t i = 0; i < scenario->cells; i++, ticket++)
        shm_store_relaxed(queue_cell(&model_segment, ticket),
                          cell_make(CELL_FREE, 0, queue_lap(&model_segment, ticket)));
    for (uint32_t i = 0; i < scenario->connections; i++)
        shm_store_relaxed(&connections[i].batch, UINT64_MAX);
    for (uint32_t i = 0; i < model_segment.slot_max; i++)
        shm_store_relaxed(&slots[i].mail, mail_with(UINT64_MAX, MAIL_FREE));
}

static void segment_make(void)
{
    memset(&queue, 0, sizeof queue);
    memset(connections, 0, sizeof connections);
    memset(cells, 0, sizeof cells);
    memset(slots, 0, sizeof slots);
    memset(groups, 0, sizeof groups);
    memset(chunk_owners, 0, sizeof chunk_owners);
    for (uint32_t i = 0; i < CHUNKS; i++)
        memset(chunks[i].bytes, 0, CHUNK_SIZE);
    model_segment = (struct segment){
        .connection_max = scenario->connections,
        .worker_max = scenario->workers,
        .slot_max = scenario->workers + scenario->further,
        .cell_count = scenario->cells,
        .cell_shift = (uint32_t)__builtin_ctz(scenario->cells),
        .queue = &queue,
        .connections = connections,
        .cells = cells,
        .slots = slots,
        .workers = blocks,
        .shards = shards,
        .groups = groups,
        .chunk_owners = chunk_owners,
        .all_mailboxes = mailboxes,
        .all_chunks = chunks,
    };
    model_catalog = (struct catalog){.header = &header, .pool_max = 1, .pools = pools};
    atomic_store_explicit(&header.broker, 0, memory_order_relaxed);
    atomic_store_explicit(&pools[0].backend, BACKEND_UP, memory_order_relaxed);
    pools[0].size = scenario->connections;
    atomic_store_explicit(&pools[0].wait_timeout_ms, 3600000, memory_order_relaxed);
    atomic_store_explicit(&pools[0].stall_timeout_ms, 1000, memory_order_relaxed);
    for (uint32_t i = 0; i < scenario->connections; i++) {
        shm_store_relaxed(&connections[i].word, word_make(WORD_IDLE, 0, model_generation()));
        shm_store_relaxed(&connections[i].leased_ms,
                          scenario->rested ? 0 : (uint64_t)(START_NS / 1000000));
    }
    for (uint32_t i = 0; i < scenario->workers; i++) {
        atomic_store_explicit(&slots[i].owner, 1 + i, memory_order_relaxed);
        atomic_store_explicit(&slots[i].tenant, 1, memory_order_relaxed);
    }
    if (scenario->wraps)
        wind_up();
    for (uint32_t i = 0; i < scenario->chunks_taken; i++)
        atomic_store_explicit(&chunk_owners[i].slot, UINT32_MAX, memory_order_relaxed);
    regions_make();
}

static bool has_come(const struct prelude *prelude)
{
    const struct process *process = &world.processes[prelude->worker];
    const char *what = sites[prelude->worker].what;

    switch ((enum until)prelude->until) {
    case UNTIL_ASLEEP:
        return process->status == ASLEEP;
    case UNTIL_SEND:
        return what && strcmp(what, "send batch") == 0;
    case UNTIL_RECEIVE:
        return what && strcmp(what, "receive") == 0;
    case UNTIL_LEASED:
        return process->held != 0;
    default:
        return true;
    }
}

void world_start(void)
{
    memset(&world, 0, sizeof world);
    stage_clear();
    segment_make();
    world.crashes = scenario->crashes;
    world.stops = scenario->stops;
    world.losses = scenario->losses;
    world.revokes = scenario->revokes;
    world.expulsions = scenario->expulsions;
    for (uint32_t i = 0; i < scenario->workers; i++)
        if (model_place(i) == i)
            born(i);
    if (scenario->broker)
        born(MODEL_BROKER);
    settle();
    for (uint32_t i = 0; i < PRELUDES && scenario->preludes[i].until != UNTIL_NOTHING; i++)
        while (!has_come(&scenario->preludes[i]) && !violation.text)
            world_make((struct move){.kind = MOVE_STEP, .process = scenario->preludes[i].worker});
    world.slow = scenario->slow;
    world.pieces = scenario->pieces;
    world.torn = scenario->torn;
}

/* ---- moves ---- */

struct moves {
    struct move *list;
    uint32_t count;
};

static void add(struct moves *moves, enum move_kind kind, uint32_t process, uint32_t argument)
{
    if (moves->count == MOVES_MAX) {
        violate("model: more than %llu moves", MOVES_MAX, 0);
        return;
    }
    moves->list[moves->count++] = (struct move){(uint8_t)kind, (uint8_t)process, (uint8_t)argument};
}

static enum word_state state_of(uint32_t index)
{
    return word_state(shm_load_relaxed(&connections[index].word));
}

/* What the broker could be told now. Returns true if any of it has to happen. */
static bool add_events(struct moves *moves)
{
    uint32_t start = moves->count;

    for (uint32_t i = 0; i < MODEL_WORKERS; i++)
        if (world.deaths & 1u << i)
            add(moves, MOVE_EVENT, EVENT_DEATH, i);
    if (world.doorbell)
        add(moves, MOVE_EVENT, EVENT_DOORBELL, 0);
    for (uint32_t i = 0; i < scenario->connections; i++) {
        if (world.dialling & 1u << i)
            add(moves, MOVE_EVENT, EVENT_DIALLED, i);
        if (world.lost & 1u << i)
            add(moves, MOVE_EVENT, EVENT_LOST, i);
    }
    if (world.sweep)
        add(moves, MOVE_EVENT, EVENT_SWEEP, 0);
    return moves->count > start;
}

static bool may_crash(uint32_t process)
{
    const struct process *it = &world.processes[process];

    if (world.crashes == 0 || !alive(process) || (it->status == DONE && !scenario->idle_deaths))
        return false;
    if (process == MODEL_BROKER)
        return scenario->broker_mortal;
    return scenario->mortal == 0 || scenario->mortal & 1u << process;
}

/* It writes into a mailbox, or has a connection with commands of others. */
static bool is_in_a_copy(uint32_t process)
{
    const struct process *it = &world.processes[process];

    return it->held != 0 ||
           (it->slot != 0 && mail_state(shm_load_relaxed(&slots[it->slot - 1].mail)) == MAIL_OWNED);
}

static void add_adversary(struct moves *moves)
{
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++)
        if (may_crash(i))
            add(moves, MOVE_CRASH, i, 0);
    for (uint32_t i = 0; i < MODEL_WORKERS && world.stops > 0; i++)
        if (world.processes[i].status == READY)
            add(moves, MOVE_STOP, i, 0);
    for (uint32_t i = 0; i < MODEL_WORKERS && world.expulsions > 0; i++)
        if (alive(i) && world.processes[i].status != DONE && !world.processes[i].expelled &&
            world.processes[MODEL_BROKER].status == WAITING)
            add(moves, MOVE_EVENT, EVENT_EXPEL, i);
    if (scenario->twins && world.processes[1].status == ABSENT && !is_in_a_copy(0) &&
        world.processes[MODEL_BROKER].status == WAITING)
        add(moves, MOVE_EVENT, EVENT_GIVE_AWAY, 0);
    for (uint32_t i = 0; i < scenario->connections; i++) {
        enum word_state state = state_of(i);

        if (world.losses > 0 && state != WORD_EMPTY && state != WORD_OPENING &&
            !(world.lost & 1u << i))
            add(moves, MOVE_LOSS, 0, i);
        if (world.revokes > 0 && world.processes[MODEL_BROKER].status == WAITING &&
            (state == WORD_LEASED || state == WORD_TRANSFERRED))
            add(moves, MOVE_EVENT, EVENT_REVOKE, i);
    }
}

static void add_steps(struct moves *moves, uint32_t process)
{
    uint32_t options = world.processes[process].options;

    for (uint32_t choice = 0; choice < (options ? options : 1); choice++)
        add(moves, MOVE_STEP, process, choice);
}

/* The broker is giving the place of 0 away, which has been stopped for longer than it rests. */
static bool place_goes(void)
{
    return world.event == EVENT_GIVE_AWAY && world.processes[MODEL_BROKER].status == READY;
}

/* So many timed looks show all that there is to see, as long as nothing changes: one, but where
 * somebody else can have taken away what tells a sleeper that its time passed. */
#define LOOKS (scenario->twins ? 2 : 1)

/* Time passes for those who sleep. Returns true if any of it has to. */
static bool add_times(struct moves *moves, bool busy)
{
    bool more = false;

    for (uint32_t i = 0; i < MODEL_WORKERS; i++) {
        const struct process *process = &world.processes[i];

        if (process->status != ASLEEP || (i == 0 && place_goes()))
            continue;
        if (busy ? process->early_looks > 0 : scenario->timed_looks && process->looked < LOOKS) {
            add(moves, MOVE_LOOK, i, !busy);
            more = more || !busy;
        }
        if (may_give_up(process)) {
            add(moves, MOVE_DEADLINE, i, 0);
            more = more || !busy;
        }
    }
    return more;
}

uint32_t world_moves(struct move list[MOVES_MAX], bool *ended)
{
    struct moves moves = {.list = list};
    bool busy = false;

    for (uint32_t i = 0; i < MODEL_PROCESSES; i++)
        if (world.processes[i].status == READY) {
            if (i == 0 && place_goes())
                continue;
            if (!world.processes[i].fetching || world.processes[MODEL_BROKER].status != READY)
                add_steps(&moves, i);
            busy = true;
        }
    if (world.processes[MODEL_BROKER].status == WAITING)
        busy |= add_events(&moves);
    *ended = !add_times(&moves, busy) && !busy;
    if (*ended && world.stall) {
        add(&moves, MOVE_EVENT, EVENT_STALL, 0);
        *ended = false;
    }
    for (uint32_t i = 0; i < MODEL_WORKERS && *ended; i++)
        if (world.processes[i].status == STOPPED)
            add(&moves, MOVE_CONTINUE, i, 0);
    add_adversary(&moves);
    return moves.count;
}

/* SIGKILL, between two steps. */
static void crash(uint32_t process)
{
    world.crashes--;
    world.processes[process] = (struct process){.status = DEAD};
    stage_end(process);
    if (process == MODEL_BROKER) {
        world.deaths = world.dialling = world.doorbell = world.sweep = world.lost = world.stall = 0;
        world.event = world.argument = 0;
    } else if (alive(MODEL_BROKER)) {
        world.deaths |= (uint8_t)(1u << process);
    }
}

static void tell_broker(enum event_kind kind, uint32_t argument)
{
    uint8_t bit = (uint8_t)(1u << argument);

    switch (kind) {
    case EVENT_NONE:
        break;
    case EVENT_DEATH:
        world.deaths &= (uint8_t)~bit;
        break;
    case EVENT_DOORBELL:
        world.doorbell = 0;
        break;
    case EVENT_DIALLED:
        world.dialling &= (uint8_t)~bit;
        break;
    case EVENT_SWEEP:
        world.sweep = 0;
        break;
    case EVENT_LOST:
        world.lost &= (uint8_t)~bit;
        break;
    case EVENT_REVOKE:
        world.revokes--;
        break;
    case EVENT_EXPEL:
        world.expulsions--;
        break;
    case EVENT_GIVE_AWAY:
        break;
    case EVENT_STALL:
        world.stall = 0;
        world.later = 1;
        break;
    }
    world.event = (uint8_t)kind;
    world.argument = (uint8_t)argument;
    world.processes[MODEL_BROKER].status = READY;
    run(MODEL_BROKER);
}

static bool anybody_stopped(void)
{
    for (uint32_t i = 0; i < MODEL_WORKERS; i++)
        if (world.processes[i].status == STOPPED)
            return true;
    return false;
}

static void wake_by_time(uint32_t process, bool deadline, bool quiet)
{
    struct process *it = &world.processes[process];

    it->status = READY;
    it->timed_out = 1;
    if (deadline)
        pass_deadline(it);
    else if (quiet)
        it->looked++;
    else
        it->early_looks--;
    if (quiet && anybody_stopped())
        world.later = 1;
    run(process);
}

static void lose(uint32_t index)
{
    uint64_t generation = word_generation(shm_load_relaxed(&connections[index].word));

    world.losses--;
    stream_at(index, generation)->closed = CLOSED_BY_REDIS;
    if (alive(MODEL_BROKER))
        world.lost |= (uint8_t)(1u << index);
}

void world_make(struct move move)
{
    static struct memory before;
    struct process *process = &world.processes[move.process];
    uint32_t actor = move.kind == MOVE_EVENT ? MODEL_BROKER : move.process;

    memory_read(&before);
    switch ((enum move_kind)move.kind) {
    case MOVE_STEP:
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
    case MOVE_LOSS:
        lose(move.argument);
        break;
    case MOVE_STOP:
        world.stops--;
        process->status = STOPPED;
        break;
    case MOVE_CONTINUE:
        process->status = READY;
        break;
    case MOVE_CRASH:
        crash(move.process);
        break;
    }
    if (world.twin_comes) {
        world.twin_comes = 0;
        born(1);
    }
    settle();
    check_move(actor, &before);
}

/* ---- snapshots ---- */

void world_save(struct snapshot *snapshot)
{
    memory_read(&snapshot->memory);
    memcpy(&snapshot->world, &world, sizeof world);
    stage_save(&snapshot->stage);
}

void world_restore(const struct snapshot *snapshot)
{
    memory_write(&snapshot->memory);
    memcpy(&world, &snapshot->world, sizeof world);
    atomic_store_explicit(&header.broker,
                          world.processes[MODEL_BROKER].status == DEAD ? CATALOG_OWNER_DIED : 0,
                          memory_order_relaxed);
    stage_restore(&snapshot->stage);
}

_Static_assert(sizeof(struct world) % 8 == 0, "hashed by words");
_Static_assert(sizeof(struct process) == 48, "no padding that would be hashed");

struct hash snapshot_hash(const struct snapshot *snapshot)
{
    uint64_t hash[2] = {1, 2};

    hash_bytes(&snapshot->memory, region_bytes, hash);
    hash_bytes(&snapshot->world, sizeof snapshot->world, hash);
    hash_bytes(snapshot->stage.stack_hash, sizeof snapshot->stage.stack_hash, hash);
    return hash_end(hash);
}
