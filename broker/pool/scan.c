/* SPDX-License-Identifier: MIT */
/* Inspecting all words: see scan.h. */
#include "broker/pool/scan.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>
#include "broker/pool/casualty.h"
#include "broker/pool/internal.h"

/*
 * Most rings that are answered: 2,000 a second. One answer serves all that rang before it, so this
 * costs an honest worker at most the interval, and a hostile one cannot keep the broker busy (I5).
 */
#define DOORBELL_INTERVAL_US 5000u
#define DOORBELL_BURST       10u

/* ---- one word ---- */

static bool is_attached(const struct broker_pool *pool, uint32_t worker)
{
    return worker_set_has(&pool->parts->members.attached, worker);
}

static bool is_expelled(const struct broker_pool *pool, uint32_t worker)
{
    return worker_set_has(&pool->parts->members.expelled, worker);
}

/* It was given back to be replaced. That may be because Redis closed it, and which of the two is
 * heard of first is chance: it was lost. */
static void take_returned(struct broker_connection *connection)
{
    if (connection->replacement == REPLACEMENT_RETIRING)
        connection_close(connection, (enum close_reason)connection->replacement_reason);
    else if (connection_has_ended(connection))
        connection->owner->lost(connection);
    else
        connection_close(connection, CLOSE_returned);
}

static void inspect(struct broker_pool *pool, struct broker_connection *connection)
{
    uint64_t word;

    casualty_inspect(pool, connection);
    notice_inspect(pool, connection);
    switch (connection_inspect(connection, &word)) {
    case FOUND_CORRUPTED:
        corruption_found(connection);
        return;
    case FOUND_UNCLEAN:
        if (is_attached(pool, word_owner(word)) && connection->replacement != REPLACEMENT_NONE &&
            connection->replacement_reason == CLOSE_reconnected)
            connection_close(connection, CLOSE_reconnected); /* it may be to log in elsewhere */
        else if (is_attached(pool, word_owner(word)))
            cleaning_take(pool, connection, word);
        else if (is_expelled(pool, word_owner(word)))
            connection_close(connection, CLOSE_returned);
        else
            corruption_found(connection);
        return;
    case FOUND_RETURNED:
        if (!is_attached(pool, word_owner(word)) && !is_expelled(pool, word_owner(word))) {
            corruption_found(connection);
            return;
        }
        take_returned(connection);
        return;
    case FOUND_FINE:
        break;
    }
    if (word_state(word) == WORD_LEASED && is_expelled(pool, word_owner(word)))
        revocation_take(pool, connection, word, REVOKE_died); /* it had not seen it yet */
    else if (word_state(word) == WORD_LEASED && !is_attached(pool, word_owner(word)))
        corruption_found(connection);
    else if (word_is_passed(word) && word_owner(word) >= pool->owner.segment.slot_max)
        corruption_found(connection);
    else if (!passing_inspect(pool, connection, word) &&
             (word_state(word) == WORD_LEASED || word_state(word) == WORD_TRANSFERRED))
        stalled_inspect(pool, connection, word);
}

/* ---- all of them ---- */

static void inspect_all(struct broker_pool *pool)
{
    for (uint32_t i = 0; i < pool->places && !pool->parts->corruption.paused; i++)
        inspect(pool, &pool->connections[i]);
    sizing_call_reserve(pool);
    if (pool->config->max_uses > 0)
        maintenance_inspect(pool);
    if (pool->parts->pause.state != PAUSE_NONE)
        pause_step(pool);
}

static void serve(struct broker_pool *pool)
{
    revocation_report(pool);
    health_update(pool);
    if (!pool->draining)
        queue_match(&pool->owner.segment, LENDIS_BROKER);
    dialling_refill(pool);
}

static void run(struct broker_pool *pool, uint32_t work)
{
    if ((work & DEFERRED_INSPECT) && !pool->draining)
        inspect_all(pool);
    if (work & DEFERRED_MAINTAIN)
        maintenance_inspect(pool);
    serve(pool);
}

/* ---- the doorbell ---- */

/*
 * Empties the doorbell. Its O_NONBLOCK is shared with all workers, and one of them can take it
 * away, and the ring too, before we read: RWF_NOWAIT is ours alone (preadv2(2); eventfd(2) has it
 * since Linux 5.8). False: it did not ring.
 */
static bool take_ring(int doorbell)
{
    uint64_t rings;
    struct iovec part = {.iov_base = &rings, .iov_len = sizeof rings};
    ssize_t got = preadv2(doorbell, &part, 1, -1, RWF_NOWAIT);

    if (got < 0 && errno == EOPNOTSUPP)
        got = read(doorbell, &rings, sizeof rings);
    return got > 0;
}

static int on_doorbell(sd_event_source *source, int fd, uint32_t events, void *context)
{
    struct broker_pool *pool = context;

    (void)source;
    (void)events;
    /* Emptied before the inspection, so that whoever rings during it is not missed. */
    if (!take_ring(fd))
        return 0;
    sizing_note_request(pool, true);
    poll_wakeups_send_due(&pool->parts->poll_wakeups, &pool->owner.segment);
    if (pool->draining)
        pause_close_returned(pool, CLOSE_drained);
    else if (!pool->parts->corruption.paused)
        run(pool, DEFERRED_INSPECT);
    return 0;
}

int scan_start(struct broker_pool *pool)
{
    int result = deferred_start(pool, run);

    if (result == 0)
        result = sd_event_add_io(pool->owner.event, &pool->parts->scan.doorbell, pool->doorbell,
                                 EPOLLIN, on_doorbell, pool);
    if (result >= 0)
        result = sd_event_source_set_ratelimit(pool->parts->scan.doorbell, DOORBELL_INTERVAL_US,
                                               DOORBELL_BURST);
    return result < 0 ? result : 0;
}

void scan_stop(struct broker_pool *pool)
{
    deferred_stop(pool);
    pool->parts->scan.doorbell = sd_event_source_disable_unref(pool->parts->scan.doorbell);
}
