/* SPDX-License-Identifier: MIT */
/*
 * Combiners that stopped: see stall.h. A connection's `stalled` says in which generation its combiner
 * is to be looked at: set by owners of commands who find that it does not move, or who leave their
 * command to it (their deadline passed), and by the broker for owners who died. As long as there are
 * commands without an owner, a timer looks again: nobody else will.
 *
 * A lease whose holder serves nobody does not show that it runs and must not be taken for stopped:
 * what counts is a command that was taken with this very lease and not let go of.
 */
#include "broker/stall.h"

#include <string.h>
#include "broker/log.h"
#include "lendis/mailbox.h"

/* Commands that were taken for `connection` as it is now; whether owners still wait for them. */
struct taken {
    bool waited_for;
    bool abandoned;
};

static struct taken look_for_taken(const struct segment *segment, uint32_t index, uint64_t word)
{
    struct taken taken = {0};

    for (uint32_t slot = 0; slot < segment->slot_max; slot++) {
        uint64_t mail = shm_load(&segment->slots[slot].mail);

        if (mail_connection(mail) != index || !mail_fits(mail, word))
            continue;
        taken.waited_for =
            taken.waited_for || mail_state(mail) == MAIL_TAKEN || mail_state(mail) == MAIL_TAKEOVER;
        taken.abandoned = taken.abandoned || mail_state(mail) == MAIL_ABANDONED;
    }
    return taken;
}

/* Looks again in time, unless a look is due before that. */
static void look_later(struct broker_pool *pool)
{
    int armed, result;

    if (sd_event_source_get_enabled(pool->stall, &armed) >= 0 && armed != SD_EVENT_OFF)
        return;
    result = sd_event_source_set_time_relative(pool->stall,
                                               UINT64_C(1000) * pool->config->stall_timeout_ms);
    if (result >= 0)
        result = sd_event_source_set_enabled(pool->stall, SD_EVENT_ONESHOT);
    if (result < 0)
        /* unprovoked: only for want of memory */
        log_line(LOG_LEVEL_ERR, "cannot set a timer: %s", strerror(-result));
}

void stall_look(struct broker_pool *pool, struct broker_connection *connection, uint64_t word)
{
    const struct segment *segment = &pool->owner.segment;
    struct connection *shared = &segment->connections[connection->index];
    uint64_t now_ms = clock_ms(), beat_ms = shm_load_relaxed(&shared->beat_ms);
    struct taken taken;

    if (shm_load(&shared->stalled) != 1 + word_generation(word))
        return;
    /* Before the look at the mailboxes: who abandons a command afterwards says so again. */
    shm_store(&shared->stalled, 0);
    taken = look_for_taken(segment, connection->index, word);
    if (beat_ms <= now_ms && now_ms - beat_ms < pool->config->stall_timeout_ms) {
        if (!taken.abandoned)
            return; /* owners that wait look for themselves */
        shm_store(&shared->stalled, 1 + word_generation(word));
        look_later(pool);
    } else if (taken.abandoned || taken.waited_for) {
        broker_pool_revoke(pool, connection, word, REVOKE_stalled);
    }
}

void stall_owner_died(struct broker_pool *pool, uint32_t slot)
{
    const struct segment *segment = &pool->owner.segment;
    uint64_t mail = shm_load(&segment->slots[slot].mail), word;
    struct connection *connection;

    if (mail_state(mail) != MAIL_ABANDONED || mail_connection(mail) >= pool->places)
        return;
    connection = &segment->connections[mail_connection(mail)];
    word = shm_load(&connection->word);
    if (!mail_fits(mail, word))
        return;
    shm_store(&connection->stalled, 1 + word_generation(word));
    look_later(pool);
}

static int on_stall(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;

    (void)source;
    (void)usec;
    if (!pool->draining && !pool->paused)
        broker_pool_look_over(pool);
    return 0;
}

int stall_start(struct broker_pool *pool)
{
    int result = sd_event_add_time(pool->owner.event, &pool->stall, CLOCK_MONOTONIC, 0, 1000,
                                   on_stall, pool);

    return result < 0 ? result : sd_event_source_set_enabled(pool->stall, SD_EVENT_OFF);
}

void stall_stop(struct broker_pool *pool)
{
    pool->stall = sd_event_source_disable_unref(pool->stall);
}
