/* SPDX-License-Identifier: MIT */
/*
 * Combiners that stopped: see stalled.h. A connection's `stalled` says in which generation its
 * combiner is to be inspected: set by owners of commands who find that it does not move, or who
 * leave their command to it (their deadline passed), and by the broker for owners who died. From
 * then on it is watched, by a timer, until it goes on and there are no commands without an owner:
 * of those nobody else would say anything. The mark stays while it is watched, so that 200 owners
 * do not ring 200 times.
 *
 * A lease whose holder serves nobody does not show that it runs and must not be taken for stopped:
 * what counts is a command that was taken with this very lease and not let go of.
 */
#include "broker/pool/stalled.h"

#include <string.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "broker/pool/internal.h"
#include "lendis/mailbox.h"

#define TICK_MOST_MS  1000u
#define TICK_LEAST_MS 10u

/* By connection, a bit each: commands that were taken for it, whose owners wait, or do not. */
struct taken {
    uint64_t waited_for[LENDIS_MAX_CONNECTIONS / 64];
    uint64_t abandoned[LENDIS_MAX_CONNECTIONS / 64];
};

static void set_bit(uint64_t *bits, uint32_t index)
{
    bits[index / 64] |= UINT64_C(1) << (index % 64);
}

static bool has_bit(const uint64_t *bits, uint32_t index)
{
    return bits[index / 64] >> (index % 64) & 1;
}

/* What was taken for the connections that are watched. */
static void find_taken(const struct broker_pool *pool, struct taken *taken)
{
    const struct segment *segment = &pool->owner.segment;

    *taken = (struct taken){0};
    for (uint32_t slot = 0; slot < segment->slot_max; slot++) {
        uint64_t mail = shm_load(&segment->slots[slot].mail);
        uint32_t index = mail_connection(mail);

        if (index >= pool->places || pool->connections[index].stall.word == 0 ||
            !mail_fits(mail, pool->connections[index].stall.word))
            continue;
        if (mail_state(mail) == MAIL_TAKEN || mail_state(mail) == MAIL_TAKEOVER)
            set_bit(taken->waited_for, index);
        else if (mail_state(mail) == MAIL_ABANDONED)
            set_bit(taken->abandoned, index);
    }
}

/* Scans again in time, unless a scan is due before that. */
static void inspect_in(struct broker_pool *pool, uint64_t ms)
{
    timer_ensure(pool->parts->stalled.timer, UINT64_C(1000) * ms);
}

static uint32_t tick_ms(const struct broker_pool *pool)
{
    uint32_t tick = pool->config->stall_timeout_ms / 4;

    return tick < TICK_MOST_MS ? tick : TICK_MOST_MS;
}

static shm_u64 *mark_of(const struct broker_pool *pool, const struct broker_connection *connection)
{
    return &pool->owner.segment.connections[connection->index].stalled;
}

/* What shows that the combiner goes on, now. */
static struct stalled_watch observe(const struct broker_pool *pool,
                                    const struct broker_connection *connection)
{
    const struct connection *shared = &pool->owner.segment.connections[connection->index];

    return (struct stalled_watch){
        .word = shm_load(&shared->word),
        .beat = shm_load_relaxed(&shared->beat),
        .batch = shm_load(&shared->batch),
        .since_ms = clock_ms(),
    };
}

static bool same(const struct stalled_watch *one, const struct stalled_watch *other)
{
    return one->word == other->word && one->beat == other->beat && one->batch == other->batch;
}

static bool is_out(const struct broker_connection *connection, uint64_t word)
{
    return connection->state == CONNECTION_OPEN &&
           word_generation(word) == connection->generation &&
           (word_state(word) == WORD_LEASED || word_state(word) == WORD_TRANSFERRED);
}

void stalled_watch(struct broker_pool *pool, struct broker_connection *connection, uint64_t word)
{
    struct stalled_watch now;

    if (!is_out(connection, word))
        return;
    shm_store(mark_of(pool, connection), 1 + word_generation(word));
    now = observe(pool, connection);
    if (connection->stall.word == 0 || !same(&now, &connection->stall))
        connection->stall = now;
    inspect_in(pool, tick_ms(pool));
}

void stalled_inspect(struct broker_pool *pool, struct broker_connection *connection, uint64_t word)
{
    if (shm_load(mark_of(pool, connection)) == 1 + word_generation(word))
        stalled_watch(pool, connection, word);
}

void stalled_owner_died(struct broker_pool *pool, uint32_t slot)
{
    const struct segment *segment = &pool->owner.segment;
    uint64_t mail = shm_load(&segment->slots[slot].mail), word;
    uint32_t index = mail_connection(mail);

    if (mail_state(mail) != MAIL_ABANDONED || index >= pool->places)
        return;
    word = shm_load(&segment->connections[index].word);
    if (mail_fits(mail, word))
        stalled_watch(pool, &pool->connections[index], word);
}

/* ---- what its process is doing ---- */

struct verdict {
    uint64_t limit_ms; /* it is taken for stopped when it has not gone on for so long */
    const char *text;
};

static struct verdict judge(const struct broker_pool *pool, enum process_state state)
{
    uint64_t limit_ms = pool->config->stall_timeout_ms;

    switch (state) {
    case PROCESS_STOPPED:
        return (struct verdict){limit_ms, "is stopped"};
    case PROCESS_RUNNABLE:
        return (struct verdict){UINT64_MAX, "waits for a processor"};
    case PROCESS_ASLEEP:
        return (struct verdict){2 * limit_ms, "sleeps"};
    case PROCESS_BLOCKED:
        return (struct verdict){4 * limit_ms, "waits for a disk"};
    default:
        return (struct verdict){4 * limit_ms, "cannot be seen"};
    }
}

static void take(struct broker_pool *pool, struct broker_connection *connection, pid_t pid,
                 uint64_t age_ms, const char *why)
{
    if (revocation_take(pool, connection, connection->stall.word, REVOKE_stalled))
        log_limited(&pool->parts->stalled.limit, LOG_LEVEL_INFO,
                    "pool %s: connection %u, with commands of others, is taken from process %d, "
                    "which has not gone on for %ju ms and %s",
                    pool->config->name, connection->index, (int)pid, (uintmax_t)age_ms, why);
    connection->stall.word = 0;
}

/* It has not gone on for age_ms: is it slow, or stopped? */
static void inspect_process(struct broker_pool *pool, struct broker_connection *connection,
                            uint64_t age_ms)
{
    struct stalled_watch *watch = &connection->stall;
    uint32_t worker = word_holder(&pool->owner.segment, watch->word);
    pid_t pid = worker < pool->environment->worker_max
                    ? (pid_t)pool->environment->catalog->workers[worker].pid
                    : 0;
    struct process_view view;
    struct verdict verdict;

    pool->environment->inspect(pool->environment->workers, worker, beat_thread(watch->beat), &view);
    /*
     * Twice at least: if it was the broker that did not run for long, both have to have had a
     * chance since.
     */
    if (!watch->inspected || view.ran_ns != watch->ran_ns) {
        if (watch->inspected)
            watch->since_ms = clock_ms();
        watch->inspected = true;
        watch->ran_ns = view.ran_ns;
        return;
    }
    verdict = judge(pool, view.state);
    if (age_ms < pool->config->stall_timeout_ms)
        return;
    if (age_ms < verdict.limit_ms && process_is_frozen(pid))
        verdict = (struct verdict){0, "is frozen"};
    if (age_ms >= verdict.limit_ms)
        take(pool, connection, pid, age_ms, verdict.text);
}

/* ---- inspecting ---- */

/* Returns when `connection` is to be inspected next, in ms; 0: it is no longer watched. */
static uint64_t inspect_one(struct broker_pool *pool, struct broker_connection *connection,
                            const struct taken *taken, uint32_t *inspections)
{
    struct stalled_watch *watch = &connection->stall, now = observe(pool, connection);
    bool abandoned = has_bit(taken->abandoned, connection->index);
    uint64_t age_ms = now.since_ms - watch->since_ms, limit_ms = pool->config->stall_timeout_ms;

    if (!is_out(connection, now.word) ||
        (!abandoned && (!has_bit(taken->waited_for, connection->index) || !same(&now, watch)))) {
        watch->word = 0; /* owners that wait find out by themselves */
        return 0;
    }
    shm_store(mark_of(pool, connection), 1 + word_generation(now.word));
    if (!same(&now, watch)) {
        *watch = now;
        return tick_ms(pool);
    }
    if (age_ms >= limit_ms / 2) {
        if (*inspections == 0)
            return TICK_LEAST_MS;
        --*inspections;
        inspect_process(pool, connection, age_ms);
    }
    if (watch->word == 0)
        return 0;
    return age_ms < limit_ms && limit_ms - age_ms < tick_ms(pool) ? limit_ms - age_ms
                                                                  : tick_ms(pool);
}

/* Inspects all that are watched. Returns when to scan again, in ms; 0: not at all. */
static uint64_t inspect_all(struct broker_pool *pool)
{
    uint32_t inspections = STALL_INSPECT_MOST, first = pool->parts->stalled.next;
    uint64_t next_ms = 0;
    struct taken taken;

    /* Before the scan of the mailboxes: who abandons a command afterwards says so again. */
    for (uint32_t i = 0; i < pool->places; i++)
        if (pool->connections[i].stall.word != 0)
            shm_store(mark_of(pool, &pool->connections[i]), 0);
    find_taken(pool, &taken);
    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[(first + i) % pool->places];
        uint64_t ms;

        if (connection->stall.word == 0)
            continue;
        if (inspections > 0)
            pool->parts->stalled.next = connection->index + 1;
        ms = inspect_one(pool, connection, &taken, &inspections);
        if (ms > 0 && (next_ms == 0 || ms < next_ms))
            next_ms = ms;
    }
    return next_ms;
}

static int on_time(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;
    uint64_t next_ms = tick_ms(pool);

    (void)source;
    (void)usec;
    if (pool->draining)
        return 0;
    if (!pool->parts->corruption.paused)
        next_ms = inspect_all(pool);
    if (next_ms > 0)
        inspect_in(pool, next_ms);
    if (!pool->parts->revocation.pending)
        return 0;
    revocation_report(pool);
    deferred_want(pool, DEFERRED_SERVE);
    return 0;
}

int stalled_start(struct broker_pool *pool)
{
    return timer_new(pool->owner.event, &pool->parts->stalled.timer, on_time, pool);
}

void stalled_stop(struct broker_pool *pool)
{
    pool->parts->stalled.timer = sd_event_source_disable_unref(pool->parts->stalled.timer);
}
