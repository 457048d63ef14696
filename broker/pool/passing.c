/* SPDX-License-Identifier: MIT */
/* Connections on their way: see passing.h. */
#include "broker/pool/passing.h"

#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "broker/pool/internal.h"
#include "lendis/mailbox.h"

/*
 * A hand-over is two steps of the giver and one of the waiter. After a death, one that stands still
 * is finished by nobody if the waiter is gone, and perhaps by nobody if the giver is: then the
 * waiter, however busy the host, had ten times as long. Both within the 100 ms of I6.
 */
#define SWEEP_ORPHANED_MS 5u
#define SWEEP_STUCK_MS    50u

/* Whether an attached worker has it. */
static bool slot_lives(const struct broker_pool *pool, uint32_t slot)
{
    return worker_set_has(&pool->parts->members.attached, slot_worker(&pool->owner.segment, slot));
}

void passing_note(struct broker_pool *pool, struct broker_connection *connection, uint64_t word)
{
    if (!word_is_passed(word))
        return;
    if (connection->passed != word) {
        connection->passed = word;
        connection->passed_ms = clock_ms();
    }
    timer_ensure(pool->parts->passing.sweep, SWEEP_ORPHANED_MS * 1000);
}

bool passing_inspect(struct broker_pool *pool, struct broker_connection *connection, uint64_t word)
{
    if (!word_is_passed(word) || slot_lives(pool, word_owner(word)))
        return false;
    passing_note(pool, connection, word);
    return true;
}

/*
 * Whether the living owner of a transferred connection is still to come for it; it may be slow or
 * stopped like any combiner.
 */
static bool is_expected(const struct broker_pool *pool, uint32_t index, uint64_t word)
{
    uint64_t mail;

    if (word_state(word) != WORD_TRANSFERRED || !slot_lives(pool, word_owner(word)))
        return false;
    mail = shm_load(&pool->owner.segment.slots[word_owner(word)].mail);
    return mail_state(mail) == MAIL_TAKEOVER && mail_connection(mail) == index &&
           mail_fits(mail, word);
}

/* Whether a hand-over that was noted for `age_ms` is finished by nobody. */
static bool is_stuck(const struct broker_pool *pool, uint64_t word, uint64_t age_ms)
{
    if (!slot_lives(pool, word_owner(word)))
        return true;
    return age_ms >=
           (word_state(word) == WORD_TRANSFERRED ? pool->config->stall_timeout_ms : SWEEP_STUCK_MS);
}

static int on_sweep(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;
    uint64_t now = clock_ms();
    bool again = false;

    (void)source;
    (void)usec;
    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[i];
        uint64_t word = connection->passed;

        if (word == 0)
            continue;
        if (shm_load(connection_word(connection)) != word) {
            connection->passed = 0;
        } else if (is_expected(pool, i, word)) {
            connection->passed = 0;
            stalled_watch(pool, connection, word);
        } else if (!is_stuck(pool, word, now - connection->passed_ms)) {
            again = true;
        } else {
            revocation_take(pool, connection, word,
                            word_state(word) == WORD_TRANSFERRED &&
                                    slot_lives(pool, word_owner(word))
                                ? REVOKE_stalled
                                : REVOKE_died);
        }
    }
    if (again)
        timer_set(pool->parts->passing.sweep, SWEEP_ORPHANED_MS * 1000);
    revocation_report(pool);
    deferred_want(pool, DEFERRED_SERVE);
    return 0;
}

int passing_start(struct broker_pool *pool)
{
    return timer_new(pool->owner.event, &pool->parts->passing.sweep, on_sweep, pool);
}

void passing_stop(struct broker_pool *pool)
{
    pool->parts->passing.sweep = sd_event_source_disable_unref(pool->parts->passing.sweep);
}
