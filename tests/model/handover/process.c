/* SPDX-License-Identifier: MIT */
/*
 * The processes of the hand-over's model. A worker calls the shipped exec_command(), with all that
 * this runs of libclient: attempt.c, call.c, lending.c, lease.c, combiner.c, submit.c,
 * shared/mailbox.c, queue.c, waiter.c, and what they parse with. Only what attaches and fetches
 * descriptors (membership.c, attachment.c) is the model's. All of its private memory is on its
 * stack.
 *
 * The broker is made of the shipped functions in the order of broker/pool/pool.c, connection.c and
 * stalled.c:
 *   death of w   out of the queue; its words RECLAIMED and closed; mail_owner_died() for each of
 * its slots; mail_taker_died(); note hand-overs under way, to sweep later; queue_match().
 *   sweep        hand-overs that stand as noted: RECLAIMED, closed, mail_revoked(), but a
 *                transferred connection whose successor lives is watched; queue_match().
 *   doorbell     what is RETURNED is closed, hand-overs to the dead are noted, a combiner that may
 *                have stopped is watched; queue_match().
 *   stall        later: a combiner that is watched and has not gone on loses its connection:
 *                RECLAIMED, closed, mail_revoked(); queue_match().
 *   close        IDLE -> CHECKING; shutdown(2); EMPTY(g+1). It is dialled again at once: OPENING.
 *   dialled      CHECKING; queue_pass_on().
 *   lost         LEASED, PASSED or TRANSFERRED: RECLAIMED; close; mail_revoked().
 *   revoke       as a combiner that has stopped, without asking whether it has.
 *   expel w      as at its death, but what it combines is left to it, and its slots too; when it
 * dies later, the rest.
 *   give away    both, one after the other, of one who lives.
 */
#include <errno.h>
#include <string.h>
#include "libclient/membership/attachment.h"
#include "libclient/membership/membership.h"
#include "lendis/mailbox.h"
#include "lendis/waiter.h"
#include "model.h"
#include "world.h"

#ifndef MODEL_BREAK
#define MODEL_BREAK 0
#endif

/* ---- a worker's private memory, in place of what attach.c makes ---- */

struct private
{
    struct lendis_pool pool;
    struct local local;
    struct attachment attachment;
    struct lendis_lease leases[MODEL_CONNECTIONS];
    _Atomic(struct lendis_lease *) places[MODEL_CONNECTIONS];
    struct cached_descriptor cached[MODEL_CONNECTIONS];
};

/* What call_on_lease() receives into; nothing of it outlasts a step. */
static char scratch[16 * 1024];

static void private_init(struct private *own, uint32_t worker)
{
    *own = (struct private){.pool = {.local = &own->local, .buffer = scratch},
                            .local = {.current = &own->attachment},
                            .attachment = {.pool = &own->pool,
                                           .catalog = model_catalog,
                                           .segment = model_segment,
                                           .worker = worker,
                                           .tenant = 1 + (worker != model_self()),
                                           .cached = own->cached,
                                           .descriptors = UINT32_MAX,
                                           .leases = own->places}};
    for (uint32_t i = 0; i < MODEL_CONNECTIONS; i++) {
        own->leases[i].attachment = &own->attachment;
        own->leases[i].index = i;
        own->places[i] = &own->leases[i];
        own->cached[i].fd = stream_fd(i, model_generation());
        own->cached[i].generation = 1 + model_generation();
    }
}

int membership_enter(struct lendis_pool *pool, struct attachment **attachment)
{
    *attachment = atomic_load_explicit(&pool->local->current, memory_order_relaxed);
    if (attachment_is_expelled(*attachment) && !model_readmit(*attachment))
        return LENDIS_E_DOWN;
    atomic_fetch_add_explicit(&(*attachment)->users, 1, memory_order_relaxed);
    return 0;
}

void membership_leave(struct attachment *attachment)
{
    atomic_fetch_sub_explicit(&attachment->users, 1, memory_order_relaxed);
}

void membership_empty(struct attachment *attachment)
{
    (void)attachment; /* it is always the current one */
}

bool membership_must_restart(struct attachment *attachment)
{
    return attachment_is_expelled(attachment);
}

void attachment_classify(const struct attachment *attachment, const char *request, size_t size,
                         struct command *command)
{
    (void)request;
    (void)size;
    if (scenario->alone & 1u << attachment->worker)
        command->flags |= COMMAND_EXCLUSIVE;
}

/* ---- workers ---- */

struct answer {
    char bytes[REPLY_MAX];
    uint32_t size;
};

static int answer_take(void *context, const char *data, size_t size)
{
    struct answer *answer = context;

    if (size > sizeof answer->bytes - answer->size) {
        violate("I4: worker %llu gets more than its reply", model_self(), 0);
        return -ENOMEM;
    }
    model_copy(__func__, __LINE__, answer->bytes + answer->size, data, size);
    answer->size += (uint32_t)size;
    return 0;
}

static void answer_restart(void *context)
{
    memset(context, 0, sizeof(struct answer));
}

void worker_run(uint32_t worker, uint32_t commands)
{
    struct private own;

    private_init(&own, model_place(worker));
    for (uint32_t i = 0; i < commands; i++) {
        uint32_t command = worker * COMMANDS_EACH + i;
        struct answer answer = {.size = 0};
        struct reply_sink sink = {answer_take, answer_restart, &answer, NULL};
        char request[REQUEST_SIZE];
        int timeout_ms = model_command_begins(command), result;

        model_request(command, request);
        result = exec_command(&own.pool, request, sizeof request, timeout_ms, &sink);
        model_command_ends(command, result, answer.bytes, answer.size);
    }
}

/* ---- the broker ---- */

/* What showed that a combiner goes on, when it was found so first; word 0: it is not watched. */
struct watched {
    uint64_t word;
    uint64_t beat;
    uint64_t batch;
};

/* What the broker knows in private. */
struct broker {
    uint64_t generations[MODEL_CONNECTIONS];
    uint64_t handed[MODEL_CONNECTIONS]; /* words of hand-overs that were noted, 0 for none */
    struct watched watched[MODEL_CONNECTIONS];
    uint64_t lost[MODEL_WORKERS][MODEL_CONNECTIONS]; /* of expelled workers: what they held */
    bool open[MODEL_CONNECTIONS];
};

static shm_u64 *word_at(uint32_t index)
{
    return &model_segment.connections[index].word;
}

static void close_connection(struct broker *broker, uint32_t index)
{
    uint64_t word;

    word_check(word_at(index), &word);
    model_shutdown(index, broker->generations[index]);
    broker->generations[index] = (broker->generations[index] + 1) & WORD_GENERATION_MAX;
    broker->handed[index] = 0;
    broker->watched[index] = (struct watched){0};
    broker->open[index] = false;
    shm_store(word_at(index), word_make(WORD_EMPTY, 0, broker->generations[index]));
    shm_store(word_at(index), word_make(WORD_OPENING, 0, broker->generations[index]));
    model_dialling(index);
}

static bool owns_slot(uint32_t slot, uint32_t worker)
{
    if (slot < model_segment.worker_max)
        return slot == worker;
    return slot < model_segment.slot_max &&
           shm_load32(&model_segment.slots[slot].owner) == 1 + worker;
}

static bool slot_lives(uint32_t slot)
{
    if (slot < model_segment.worker_max)
        return model_is_attached(slot);
    return slot < model_segment.slot_max &&
           model_is_attached(shm_load32(&model_segment.slots[slot].owner) - 1);
}

static bool departed_has(uint32_t slot, void *context)
{
    return owns_slot(slot, *(const uint32_t *)context);
}

static void note_handed(struct broker *broker, uint32_t index, uint64_t word)
{
    if (word_state(word) != WORD_PASSED && word_state(word) != WORD_TRANSFERRED)
        return;
    broker->handed[index] = word;
    model_sweep_later();
}

/* The word by which `worker` had it; 0: it had not. */
static uint64_t take_back(struct broker *broker, uint32_t index, uint32_t worker)
{
    for (int looks = 0; looks < 4; looks++) {
        uint64_t word = shm_load(word_at(index));

        switch (word_state(word)) {
        case WORD_RETURNED:
        case WORD_LEASED:
            if (word_owner(word) != worker)
                return 0;
            break;
        case WORD_PASSED:
        case WORD_TRANSFERRED:
            if (!owns_slot(word_owner(word), worker))
                return 0;
            break;
        default:
            return 0;
        }
        if (word_reclaim(word_at(index), word)) {
            close_connection(broker, index);
            return word;
        }
    }
    return 0;
}

/* Watches a combiner from now on: a look later shows whether it goes on. */
static void stall_watch(struct broker *broker, uint32_t index, uint64_t word)
{
    const struct connection *shared = &model_segment.connections[index];

    shm_store(&model_segment.connections[index].stalled, 1 + word_generation(word));
    broker->watched[index] = (struct watched){.word = word,
                                              .beat = shm_load_relaxed(&shared->beat),
                                              .batch = shm_load_relaxed(&shared->batch)};
    model_look_later();
}

static void stall_owner_died(struct broker *broker, uint32_t slot)
{
    uint64_t mail = shm_load(&model_segment.slots[slot].mail), word;
    uint32_t index = mail_connection(mail);

    if (mail_state(mail) != MAIL_ABANDONED || index >= model_segment.connection_max)
        return;
    word = shm_load(word_at(index));
    if (mail_fits(mail, word))
        stall_watch(broker, index, word);
}

static void free_slots(struct broker *broker, uint32_t worker)
{
    const struct segment *segment = &model_segment;

    mail_owner_died(segment, worker);
    stall_owner_died(broker, worker);
    shm_store32(&segment->slots[worker].wake, WAKE_NONE);
    for (uint32_t slot = segment->worker_max; slot < segment->slot_max; slot++)
        if (owns_slot(slot, worker)) {
            mail_owner_died(segment, slot);
            stall_owner_died(broker, slot);
            shm_store32(&segment->slots[slot].wake, WAKE_NONE);
            shm_store32(&segment->slots[slot].owner, 0);
        }
}

static void on_death(struct broker *broker, uint32_t worker)
{
    uint64_t lost[MODEL_CONNECTIONS];

    memcpy(lost, broker->lost[worker], sizeof lost);
    queue_evict(&model_segment, departed_has, &worker);
    for (uint32_t i = 0; i < model_segment.connection_max; i++) {
        uint64_t word = word_make(WORD_LEASED, worker, broker->generations[i]);

        if (broker->open[i] && take_back(broker, i, worker))
            lost[i] = word;
    }
    free_slots(broker, worker);
    mail_taker_died(&model_segment, worker, lost);
    model_reaped(worker);
    for (uint32_t i = 0; i < model_segment.connection_max; i++)
        if (broker->open[i])
            note_handed(broker, i, shm_load(word_at(i)));
    queue_match(&model_segment, LENDIS_BROKER);
}

static void on_expel(struct broker *broker, uint32_t worker)
{
    uint64_t revoked[MODEL_CONNECTIONS] = {0};

    shm_store32(&model_segment.slots[worker].tenant, 0);
    model_expelled(worker);
    queue_evict(&model_segment, departed_has, &worker);
    for (uint32_t i = 0; i < model_segment.connection_max; i++) {
        uint64_t word = word_make(WORD_LEASED, worker, broker->generations[i]);

        if (broker->open[i])
            revoked[i] = take_back(broker, i, worker);
        if (revoked[i] != 0)
            broker->lost[worker][i] = word;
    }
    mail_revoked(&model_segment, revoked, true);
    for (uint32_t i = 0; i < model_segment.connection_max; i++)
        if (broker->open[i])
            note_handed(broker, i, shm_load(word_at(i)));
    queue_match(&model_segment, LENDIS_BROKER);
}

static void tell_of(uint32_t index, uint64_t word, bool wake)
{
    uint64_t lost[MODEL_CONNECTIONS] = {0};

    lost[index] = word;
    mail_revoked(&model_segment, lost, wake);
}

static void revoke(struct broker *broker, uint32_t index, uint64_t word)
{
    if (!word_reclaim(word_at(index), word))
        return;
    close_connection(broker, index);
    tell_of(index, word, true);
}

/* The owner of the slot that it is transferred to lives, and is still to come for it. */
static bool is_expected(uint32_t index, uint64_t word)
{
    uint64_t mail;

    if (word_state(word) != WORD_TRANSFERRED || !slot_lives(word_owner(word)))
        return false;
    mail = shm_load(&model_segment.slots[word_owner(word)].mail);
    return mail_state(mail) == MAIL_TAKEOVER && mail_connection(mail) == index &&
           mail_fits(mail, word);
}

static void on_sweep(struct broker *broker)
{
    for (uint32_t i = 0; i < model_segment.connection_max; i++) {
        uint64_t word = broker->handed[i];

        broker->handed[i] = 0;
        if (word != 0 && is_expected(i, word) && shm_load(word_at(i)) == word)
            stall_watch(broker, i, word);
        else if (word != 0)
            revoke(broker, i, word);
    }
    queue_match(&model_segment, LENDIS_BROKER);
}

static void look_at_stalled(struct broker *broker, uint32_t index, uint64_t word)
{
    if (shm_load(&model_segment.connections[index].stalled) == 1 + word_generation(word))
        stall_watch(broker, index, word);
}

/* Time has passed since combiners were watched, more than any limit: who has not gone on has
 * stopped. */
static void on_stall(struct broker *broker)
{
    bool waited_for[MODEL_CONNECTIONS] = {false}, abandoned[MODEL_CONNECTIONS] = {false};

    for (uint32_t i = 0; i < model_segment.connection_max; i++)
        if (broker->watched[i].word != 0)
            shm_store(&model_segment.connections[i].stalled, 0);
    for (uint32_t slot = 0; slot < model_segment.slot_max; slot++) {
        uint64_t mail = shm_load(&model_segment.slots[slot].mail);
        uint32_t index = mail_connection(mail);

        if (index >= model_segment.connection_max || broker->watched[index].word == 0 ||
            !mail_fits(mail, broker->watched[index].word))
            continue;
        if (mail_state(mail) == MAIL_TAKEN || mail_state(mail) == MAIL_TAKEOVER)
            waited_for[index] = true;
        else if (mail_state(mail) == MAIL_ABANDONED)
            abandoned[index] = true;
    }
    for (uint32_t i = 0; i < model_segment.connection_max; i++) {
        struct watched seen = broker->watched[i], now = {.word = shm_load(word_at(i))};
        const struct connection *shared = &model_segment.connections[i];
        bool goes_on;

        now.beat = shm_load_relaxed(&shared->beat);
        now.batch = shm_load_relaxed(&shared->batch);
        goes_on = now.word != seen.word || now.beat != seen.beat || now.batch != seen.batch;
        broker->watched[i].word = 0;
        if (seen.word == 0 || !broker->open[i] ||
            (word_state(now.word) != WORD_LEASED && word_state(now.word) != WORD_TRANSFERRED) ||
            (!abandoned[i] && (!waited_for[i] || goes_on)))
            continue;
        if (goes_on)
            stall_watch(broker, i, now.word);
        else
            revoke(broker, i, now.word);
    }
    queue_match(&model_segment, LENDIS_BROKER);
}

static void look_at(struct broker *broker, uint32_t index)
{
    uint64_t word = shm_load(word_at(index));

    switch (word_state(word)) {
    case WORD_RETURNED:
        close_connection(broker, index);
        break;
    case WORD_PASSED:
    case WORD_TRANSFERRED:
        if (!slot_lives(word_owner(word))) {
            note_handed(broker, index, word);
            break;
        }
        if (word_state(word) == WORD_PASSED)
            break;
        look_at_stalled(broker, index, word);
        break;
    case WORD_LEASED:
        if (model_is_expelled(word_owner(word)))
            revoke(broker, index, word);
        else
            look_at_stalled(broker, index, word);
        break;
    default:
        break;
    }
}

static void on_doorbell(struct broker *broker)
{
    for (uint32_t i = 0; i < model_segment.connection_max; i++)
        if (broker->open[i])
            look_at(broker, i);
    queue_match(&model_segment, LENDIS_BROKER);
}

static void on_dialled(struct broker *broker, uint32_t index)
{
    uint64_t opening = word_make(WORD_OPENING, 0, broker->generations[index]);
    uint64_t checking = word_with(opening, WORD_CHECKING, 0);

    broker->open[index] = true;
    if (shm_cas(word_at(index), opening, checking))
        queue_pass_on(&model_segment, index, checking);
}

static uint64_t take_lost(uint32_t index)
{
    for (int looks = 0; looks < 4; looks++) {
        uint64_t word = shm_load(word_at(index));

        if (word_state(word) != WORD_LEASED && word_state(word) != WORD_PASSED &&
            word_state(word) != WORD_TRANSFERRED)
            return 0;
        if (word_reclaim(word_at(index), word))
            return word;
    }
    return 0;
}

static void on_lost(struct broker *broker, uint32_t index)
{
    uint64_t word = take_lost(index);

    close_connection(broker, index);
    tell_of(index, word, false);
}

static void on_revoke(struct broker *broker, uint32_t index)
{
    uint64_t word = shm_load(word_at(index));

    if (word_state(word) == WORD_LEASED || word_state(word) == WORD_TRANSFERRED)
        revoke(broker, index, word);
}

void broker_run(void)
{
    struct broker broker = {.open = {false}};

    for (uint32_t i = 0; i < MODEL_CONNECTIONS; i++) {
        broker.generations[i] = model_generation();
        broker.open[i] = i < model_segment.connection_max;
    }
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
        case EVENT_STALL:
            on_stall(&broker);
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
        case EVENT_EXPEL:
            on_expel(&broker, event.argument);
            break;
        case EVENT_GIVE_AWAY:
            on_expel(&broker, 0);
            on_death(&broker, 0);
            shm_store32(&model_segment.slots[0].tenant, 2);
            model_given_away();
            break;
        }
    }
}
