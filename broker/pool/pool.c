/* SPDX-License-Identifier: MIT */
/* A pool of connections and its upkeep: see pool.h. */
#include "broker/pool/pool.h"
#include "broker/pool/direct.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "broker/pool/restore.h"
#include "broker/pool/casualty.h"
#include "broker/pool/sizing.h"
#include "broker/redis/dial_error.h"
#include "broker/pool/pause.h"
#include "broker/pool/outage.h"
#include "broker/pool/reconfigure.h"
#include "broker/pool/refusal.h"
#include "broker/pool/stalled.h"
#include "broker/pool/maintenance.h"
#include "lendis/mailbox.h"
#include "libclient/shared/server_error.h"

/* No dial sooner than this after a failed one, however the dice fall. */
#define BACKOFF_FLOOR_MS 10u

/* A server that answers that it is not ready yet is no server that is away: it is waited for, and
 * asked as often as after so many failures. */
#define ANSWERS_ROUNDS 3u

/* A connection that lives shorter than this says nothing good about the server. */
#define CHURN_MS 1000u

/* A name is looked up again after this time; getaddrinfo(3) does not tell how long an answer is
 * good for. */
#define RESOLVED_MS 30000u

/*
 * A hand-over is two steps of the giver and one of the waiter. After a death, one that stands still
 * is finished by nobody if the waiter is gone, and perhaps by nobody if the giver is: then the
 * waiter, however busy the host, had ten times as long. Both within the 100 ms of I6.
 */
#define SWEEP_ORPHANED_MS 5u
#define SWEEP_STUCK_MS    50u

/*
 * Most rings that are answered: 2,000 a second. One answer serves all that rang before it, so this
 * costs an honest worker at most the interval, and a hostile one cannot keep the broker busy (I5).
 */
#define BELL_INTERVAL_US 5000u
#define BELL_BURST       10u

/* Scribbled words that are repaired at once, per connection and window; then the pool has to wait.
 */
#define SPOILED_PER_CONNECTION 4u
#define SPOILED_WINDOW_MS      10000u
#define SPOILED_PAUSE_US       1000000u

static struct broker_pool *pool_of(struct broker_connection *connection)
{
    return (struct broker_pool *)connection->owner;
}

static void refill(struct broker_pool *pool);

/* ---- health ---- */

enum backend_state broker_pool_backend(const struct broker_pool *pool)
{
    return (enum backend_state)shm_load32(&pool->owner.catalog->backend);
}

void broker_pool_renew(struct broker_pool *pool)
{
    survey_renew(&pool->survey);
    rights_renew(&pool->rights);
}

/* With a connection open Redis is up, even if another one cannot be had just now. */
static void update_backend(struct broker_pool *pool)
{
    enum backend_state before = broker_pool_backend(pool), now = before;

    if (pool->owner.open > 0)
        now = BACKEND_UP;
    else if (pool->failures > 0)
        now = BACKEND_DOWN;
    if (now == BACKEND_DOWN && before != BACKEND_DOWN)
        broker_pool_renew(pool);
    shm_store32(&pool->owner.catalog->backend, now);
    outage_look(pool);
    if (now != before)
        pool->site->changed(pool->site->context);
}

/* No dial for a random time of up to dial_backoff_min, doubled with each of `rounds` ("full jitter"), up to dial_backoff_max. */
static void hold(struct broker_pool *pool, uint32_t rounds)
{
    uint64_t most = pool->config->dial_backoff_min_ms;

    while (--rounds > 0 && most < pool->config->dial_backoff_max_ms)
        most *= 2;
    if (most > pool->config->dial_backoff_max_ms)
        most = pool->config->dial_backoff_max_ms;
    if (most < BACKOFF_FLOOR_MS)
        most = BACKOFF_FLOOR_MS;
    pool->holding = true;
    timer_set(pool->retry,
              (BACKOFF_FLOOR_MS + UINT64_C(1) * upkeep_random((uint32_t)most - BACKOFF_FLOOR_MS)) *
                  1000);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;

    (void)source;
    (void)usec;
    pool->holding = false;
    refill(pool);
    return 0;
}

/* A dial failed, perhaps at COMMAND. */
static void note_survey_failure(struct broker_pool *pool)
{
    if (!pool->survey.given_up)
        return;
    pool->survey.given_up = false;
    log_limited(&pool->survey_limit, LOG_LEVEL_WARNING,
                "pool %s: %s does not answer COMMAND; what it says of blocking commands stays "
                "unknown",
                pool->config->name, pool->config->redis.text);
    rights_refuse(&pool->rights, RIGHT_BIT(command));
    pool->rights.reported |= RIGHT_BIT(command);
    refusal_report(pool);
}

static void note_failure(struct broker_pool *pool, bool probe, enum dial_reason reason,
                         const char *error)
{
    struct catalog_pool *entry = pool->owner.catalog;
    bool answers = server_error_flags(server_error_find(error)) & ERROR_ALIVE;

    shm_add_relaxed(&entry->dial_errors[reason], 1);
    catalog_write_begin(entry);
    snprintf(entry->last_error, sizeof entry->last_error, "%s", error);
    catalog_write_end(entry);

    note_survey_failure(pool);
    if (pool->failures == 0)
        log_limited(&pool->health_limit, LOG_LEVEL_WARNING,
                    "pool %s: cannot open a connection to %s: %s (%u open); trying again",
                    pool->config->name, pool->config->redis.text, error, pool->owner.open);
    /* Of dials that were under way together only the first counts: they all met the same trouble.
     */
    if (pool->failures == 0 || probe) {
        if (answers)
            pool->failures = 1;
        else if (pool->failures < UINT32_MAX)
            pool->failures++;
        hold(pool, answers ? ANSWERS_ROUNDS : pool->failures);
    }
    update_backend(pool);
}

static void note_success(struct broker_pool *pool)
{
    if (pool->failures > 0)
        log_limited(&pool->health_limit, LOG_LEVEL_NOTICE, "pool %s: connected to %s again",
                    pool->config->name, pool->config->redis.text);
    else if (broker_pool_backend(pool) == BACKEND_UNKNOWN)
        log_limited(&pool->health_limit, LOG_LEVEL_INFO, "pool %s: connected to %s",
                    pool->config->name, pool->config->redis.text);
    pool->failures = 0;
    update_backend(pool);
}

/* ---- addresses ---- */

static void on_resolved(void *context, const struct addresses *addresses, const char *error)
{
    struct broker_pool *pool = context;

    pool->lookup = NULL;
    if (addresses) {
        pool->addresses = *addresses;
        pool->address = 0;
        pool->resolved = true;
        pool->resolved_ms = clock_ms();
    } else {
        note_failure(pool, pool->failures > 0, DIAL_lookup, error);
    }
    direct_resolved(pool, addresses != NULL);
    refill(pool);
}

/* True: there is an address to dial. False: one is being looked up, or that failed. */
static bool have_address(struct broker_pool *pool)
{
    int result;

    if (pool->numeric)
        return true;
    if (pool->resolved && clock_ms() - pool->resolved_ms < RESOLVED_MS)
        return true;
    if (pool->lookup)
        return false;
    result = resolver_lookup(pool->site->resolver, pool->config->redis.host, on_resolved, pool,
                             &pool->lookup);
    if (result != 0)
        note_failure(pool, pool->failures > 0, DIAL_local, strerror(-result));
    return false;
}

/* The address that `connection` was dialled at is no good: on to the next one, or to another
 * lookup. */
static void pass_address(struct broker_pool *pool, const struct broker_connection *connection)
{
    if (pool->numeric || !pool->resolved || connection->address != pool->address)
        return;
    pool->address++;
    if (pool->address >= pool->addresses.count)
        pool->resolved = false;
}

/* ---- dialling ---- */

static void refill(struct broker_pool *pool)
{
    reconfigure_settle(pool);
    if (demand_now(pool) != DEMAND_NONE && have_address(pool))
        dialler_ask(pool->owner.dialler, &pool->turn);
}

void broker_pool_refill(struct broker_pool *pool)
{
    update_backend(pool);
    refill(pool);
}

bool broker_pool_target(struct broker_pool *pool, struct dial_target *target)
{
    const struct pool_config *config = pool->config;

    if (!have_address(pool))
        return false;
    *target = (struct dial_target){
        .host = pool->numeric ? config->redis.host : pool->addresses.text[pool->address],
        .path = config->redis.path,
        .port = config->redis.port,
        .db = config->redis.db,
        .username = config->username,
        .password = config->password,
        .password_size = config->password_size,
        .client_name = pool->client_name,
        .timeout_ms = config->connect_timeout_ms,
        .keepalive_ms = config->tcp_keepalive_ms,
        .node = pool->turn.node,
        .rights = &pool->rights,
    };
    return true;
}

void broker_pool_dial_failed(struct broker_pool *pool, const char *error)
{
    struct catalog_pool *entry = pool->owner.catalog;

    shm_add_relaxed(&entry->dial_errors[dial_reason(error)], 1);
    catalog_write_begin(entry);
    snprintf(entry->last_error, sizeof entry->last_error, "%s", error);
    catalog_write_end(entry);
    if (!pool->numeric && pool->resolved && ++pool->address >= pool->addresses.count)
        pool->resolved = false;
}

static void dial_next(struct dial_turn *turn)
{
    struct broker_pool *pool =
        (struct broker_pool *)((char *)turn - offsetof(struct broker_pool, turn));
    struct dial_target target;
    struct broker_connection *connection;
    char error[DIAL_ERROR_SIZE];
    enum demand demand = demand_now(pool);

    /* Things may have changed while the turn was waited for. */
    if (demand == DEMAND_NONE || !broker_pool_target(pool, &target))
        return;
    target.survey = &pool->survey;
    connection = demand_place(pool);
    if (!connection)
        return;
    connection->address = (uint8_t)pool->address;
    connection->probe = pool->failures > 0;
    connection->successor = demand == DEMAND_SUCCESSOR;
    if (connection_dial(connection, &target, error) != 0) {
        pass_address(pool, connection);
        note_failure(pool, connection->probe, dial_reason(error), error);
    }
    refill(pool);
}

/* ---- commands ---- */

/* Tells workers which commands may not share a connection, as far as they do not know it by
 * themselves. */
static void publish_commands(struct broker_pool *pool)
{
    struct catalog_pool *entry = pool->owner.catalog;
    char text[CATALOG_COMMANDS_SIZE];
    size_t size;
    bool all;

    size = survey_publish(&pool->survey, pool->config->exclusive_commands, text, &all);
    if (!all)
        log_limited(&pool->survey_limit, LOG_LEVEL_WARNING,
                    "pool %s: more commands need a connection for themselves than there is room "
                    "for; list those that matter in exclusive_commands",
                    pool->config->name);
    if (memcmp(text, entry->commands, sizeof text) == 0)
        return;
    log_limited(&pool->survey_limit, LOG_LEVEL_INFO,
                "pool %s: commands other than in lendis' own table: %s", pool->config->name,
                size > 0 ? text : "none");
    catalog_write_begin(entry);
    memcpy(entry->commands, text, sizeof text);
    shm_store32(&entry->commands_size, (uint32_t)size);
    catalog_write_end(entry);
}

static void on_dialled(struct broker_connection *connection)
{
    struct broker_pool *pool = pool_of(connection);

    if (pool->survey.fresh && pool->survey.refused)
        rights_refuse(&pool->rights, RIGHT_BIT(command));
    refusal_report(pool);
    if (!pool->survey.fresh)
        return;
    pool->survey.fresh = false;
    publish_commands(pool);
}

static void on_opened(struct broker_connection *connection)
{
    struct broker_pool *pool = pool_of(connection);

    pool->asked = false;
    note_success(pool);
    if (connection->state == CONNECTION_OPEN)
        upkeep_opened(pool, connection);
    lease_watch_wake(pool);
    refill(pool);
}

static void on_failed(struct broker_connection *connection, const char *error)
{
    struct broker_pool *pool = pool_of(connection);

    if (error == dial_again) {
        note_survey_failure(pool);
    } else {
        pass_address(pool, connection);
        note_failure(pool, connection->probe, dial_reason(error), error);
    }
    refill(pool);
}

/*
 * Takes the word of a connection that ended from whoever has it. Closing it would do, but for a combiner that hands it on
 * at this very moment: either it sees that it failed, or we see that it did. Returns what was taken; 0: nothing.
 */
static uint64_t take_lost(struct broker_connection *connection)
{
    /* A few looks: others may move it meanwhile, and some of them may be hostile. */
    for (int looks = 0; looks < 4; looks++) {
        uint64_t word = shm_load(connection_word(connection));

        if (!word_is_out(word))
            return 0;
        if (word_reclaim(connection_word(connection), word))
            return word;
    }
    return 0;
}

/* What was under way on a connection that ended, taken as `word`; 0: nothing was. */
static void end_commands(struct broker_pool *pool, uint32_t index, uint64_t word)
{
    if (word_state(word) != WORD_LEASED && word_state(word) != WORD_CARRIED)
        return;
    broker_pool_report_revoked(pool);
    pool->revoked[index] = word;
    mail_revoked(&pool->owner.segment, pool->revoked, false);
    pool->revoked[index] = 0;
}

void broker_pool_report_redirection(struct broker_pool *pool,
                                    const struct broker_connection *connection)
{
    char who[128];

    socket_holders_text(&connection->holders, who, sizeof who);
    log_limited(&pool->redirected_limit, LOG_LEVEL_WARNING,
                "pool %s: connection %u was connected elsewhere by one of its holders, and is "
                "replaced; %s",
                pool->config->name, connection->index, who);
}

/* A holder has connected it elsewhere, which says nothing of the server. */
static void drop_redirected(struct broker_pool *pool, struct broker_connection *connection)
{
    uint64_t word = take_lost(connection);

    broker_pool_report_redirection(pool, connection);
    connection_close(connection, CLOSE_redirected);
    end_commands(pool, connection->index, word);
    broker_pool_refill(pool);
}

static void on_lost(struct broker_connection *connection)
{
    struct broker_pool *pool = pool_of(connection);
    uint64_t word;

    if (connection_is_redirected(connection)) {
        drop_redirected(pool, connection);
        return;
    }
    word = take_lost(connection);

    log_limited(&pool->lost_limit, LOG_LEVEL_DEBUG, "pool %s: Redis closed connection %u",
                pool->config->name, connection->index);
    pool->churn = clock_ms() - connection->opened_ms < CHURN_MS ? pool->churn + 1 : 0;
    connection_close(connection, CLOSE_lost);
    end_commands(pool, connection->index, word);
    /* The server may be restarting, with other modules. */
    if (pool->owner.open == 0) {
        broker_pool_renew(pool);
        hygiene_renew(pool);
    }
    pool->resolved = false; /* perhaps the name means another host by now */
    update_backend(pool);
    /* A server that lets us in and throws us out again, twice over: not as fast as we can. */
    if (pool->churn > 2 * pool->config->size)
        casualty_inspect_all(pool); /* those of which the bell was not heard yet */
    if (pool->churn > 2 * pool->config->size && !pool->holding)
        hold(pool, pool->churn / pool->config->size);
    refill(pool);
}

static void on_readable(struct broker_connection *connection)
{
    struct broker_pool *pool = pool_of(connection);

    if (!hygiene_go_on(pool, connection))
        on_lost(connection);
    else if (connection->state != CONNECTION_OPEN)
        broker_pool_refill(pool);
}

/* ---- looking after the words ---- */

void broker_pool_report_revoked(struct broker_pool *pool)
{
    if (!pool->has_revoked)
        return;
    pool->has_revoked = false;
    mail_revoked(&pool->owner.segment, pool->revoked, true);
    memset(pool->revoked, 0, pool->room * sizeof *pool->revoked);
}

void broker_pool_serve(struct broker_pool *pool)
{
    broker_pool_report_revoked(pool);
    update_backend(pool);
    queue_match(&pool->owner.segment, LENDIS_BROKER);
    refill(pool);
}

bool broker_pool_revoke(struct broker_pool *pool, struct broker_connection *connection,
                        uint64_t word, enum revoke_reason reason)
{
    if (!connection_revoke(connection, word, reason))
        return false;
    if (word_state(word) == WORD_LEASED || word_state(word) == WORD_CARRIED) {
        pool->revoked[connection->index] = word;
        pool->has_revoked = true;
    }
    return true;
}

static bool has_bit(const struct broker_pool *pool, const uint64_t *set, uint32_t worker)
{
    return worker < pool->site->worker_max && (set[worker / 64] >> (worker % 64) & 1);
}

static void set_bit(uint64_t *set, uint32_t worker, bool is)
{
    uint64_t bit = UINT64_C(1) << (worker % 64);

    set[worker / 64] = is ? set[worker / 64] | bit : set[worker / 64] & ~bit;
}

static bool is_attached(const struct broker_pool *pool, uint32_t worker)
{
    return has_bit(pool, pool->attached, worker);
}

static bool is_expelled(const struct broker_pool *pool, uint32_t worker)
{
    return has_bit(pool, pool->expelled, worker);
}

/* Whether an attached worker has it. */
static bool slot_lives(const struct broker_pool *pool, uint32_t slot)
{
    return is_attached(pool, slot_worker(&pool->owner.segment, slot));
}

/* Notes a hand-over, to see later whether it still stands as it does now. */
static void note_handed(struct broker_pool *pool, struct broker_connection *connection,
                        uint64_t word)
{
    if (!word_is_passed(word))
        return;
    if (connection->handed != word) {
        connection->handed = word;
        connection->handed_ms = clock_ms();
    }
    timer_ensure(pool->sweep, SWEEP_ORPHANED_MS * 1000);
}

/* Whether its living owner is still to come for a carried connection, and may be slow or stopped like any combiner. */
static bool is_expected(const struct broker_pool *pool, uint32_t index, uint64_t word)
{
    uint64_t mail;

    if (word_state(word) != WORD_CARRIED || !slot_lives(pool, word_owner(word)))
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
           (word_state(word) == WORD_CARRIED ? pool->config->stall_timeout_ms : SWEEP_STUCK_MS);
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
        uint64_t word = connection->handed;

        if (word == 0)
            continue;
        if (shm_load(connection_word(connection)) != word) {
            connection->handed = 0;
        } else if (is_expected(pool, i, word)) {
            connection->handed = 0;
            stall_watch(pool, connection, word);
        } else if (!is_stuck(pool, word, now - connection->handed_ms)) {
            again = true;
        } else {
            broker_pool_revoke(pool, connection, word,
                               word_state(word) == WORD_CARRIED &&
                                       slot_lives(pool, word_owner(word))
                                   ? REVOKE_stalled
                                   : REVOKE_died);
        }
    }
    if (again)
        timer_set(pool->sweep, SWEEP_ORPHANED_MS * 1000);
    broker_pool_serve(pool);
    return 0;
}

static void pause_repairs(struct broker_pool *pool)
{
    pool->paused = true;
    timer_set(pool->repair, SPOILED_PAUSE_US);
    log_limited(&pool->spoil_limit, LOG_LEVEL_WARNING,
                "pool %s: its shared memory is being overwritten by one of its workers; repairs "
                "are slowed down",
                pool->config->name);
}

static void on_spoiled(struct broker_connection *connection)
{
    struct broker_pool *pool = pool_of(connection);
    uint64_t now = clock_ms();

    pool->tainted = true;
    if (connection->state == CONNECTION_OPEN)
        connection_close(connection, CLOSE_spoiled);
    else
        connection_restore(connection);
    if (now - pool->spoiled_ms > SPOILED_WINDOW_MS) {
        pool->spoiled_ms = now;
        pool->spoiled = 0;
    }
    pool->spoiled++;
    if (pool->spoiled > SPOILED_PER_CONNECTION * pool->config->size && !pool->paused)
        pause_repairs(pool);
}

static void look_at(struct broker_pool *pool, struct broker_connection *connection)
{
    uint64_t word;

    casualty_inspect(pool, connection);
    notice_inspect(pool, connection);
    switch (connection_look(connection, &word)) {
    case LOOK_SPOILED:
        on_spoiled(connection);
        return;
    case LOOK_UNCLEAN:
        if (is_attached(pool, word_owner(word)) && connection->wear != WEAR_NONE &&
            connection->wear_reason == CLOSE_reconnected)
            connection_close(connection, CLOSE_reconnected); /* it may be to log in elsewhere */
        else if (is_attached(pool, word_owner(word)))
            hygiene_take(pool, connection, word);
        else if (is_expelled(pool, word_owner(word)))
            connection_close(connection, CLOSE_returned);
        else
            on_spoiled(connection);
        return;
    case LOOK_RETURNED:
        if (!is_attached(pool, word_owner(word)) && !is_expelled(pool, word_owner(word))) {
            on_spoiled(connection);
            return;
        }
        connection_close(connection, connection->wear == WEAR_RETIRING
                                         ? (enum close_reason)connection->wear_reason
                                         : CLOSE_returned);
        return;
    case LOOK_FINE:
        break;
    }
    if (word_state(word) == WORD_LEASED && is_expelled(pool, word_owner(word)))
        broker_pool_revoke(pool, connection, word, REVOKE_died); /* it had not seen it yet */
    else if (word_state(word) == WORD_LEASED && !is_attached(pool, word_owner(word)))
        on_spoiled(connection);
    else if (word_is_passed(word) && word_owner(word) >= pool->owner.segment.slot_max)
        on_spoiled(connection);
    else if (word_is_passed(word) && !slot_lives(pool, word_owner(word)))
        note_handed(pool, connection, word);
    else if (word_state(word) == WORD_LEASED || word_state(word) == WORD_CARRIED)
        stall_look(pool, connection, word);
}

void broker_pool_look_over(struct broker_pool *pool)
{
    for (uint32_t i = 0; i < pool->places && !pool->paused; i++)
        look_at(pool, &pool->connections[i]);
    upkeep_reserve(pool);
    if (pool->config->max_uses > 0)
        upkeep_look(pool);
    if (pool->gate != GATE_OPEN)
        gate_step(pool);
    broker_pool_serve(pool);
}

/*
 * Empties the doorbell. Its O_NONBLOCK is shared with all workers, and one of them can take it away,
 * and the ring too, before we read: RWF_NOWAIT is ours alone (preadv2(2); eventfd(2) has it since
 * Linux 5.8). False: it did not ring.
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

static int on_bell(sd_event_source *source, int fd, uint32_t events, void *context)
{
    struct broker_pool *pool = context;

    (void)source;
    (void)events;
    /* Emptied before the look, so that whoever rings during it is not missed. */
    if (!take_ring(fd))
        return 0;
    pool->asked = true;
    bells_ring_told(&pool->bells, &pool->owner.segment);
    if (pool->draining)
        broker_pool_close_returned(pool, CLOSE_drained);
    else if (!pool->paused)
        broker_pool_look_over(pool);
    return 0;
}

static int on_repair(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;

    (void)source;
    (void)usec;
    pool->paused = false;
    pool->spoiled = 0;
    pool->spoiled_ms = clock_ms();
    if (!pool->draining)
        broker_pool_look_over(pool);
    return 0;
}

static int on_upkeep(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;

    (void)source;
    (void)usec;
    upkeep_look(pool);
    update_backend(pool);
    refill(pool);
    return 0;
}

/* ---- workers ---- */

int broker_pool_descriptor(struct broker_pool *pool, uint32_t index, uint64_t generation,
                           const struct ucred *peer, int *fd)
{
    struct broker_connection *connection;

    if (index >= pool->places)
        return -EINVAL;
    connection = &pool->connections[index];
    if (connection->state != CONNECTION_OPEN || connection->generation != generation)
        return -ESTALE;
    if (connection_is_redirected(connection)) {
        drop_redirected(pool, connection);
        return -ESTALE;
    }
    connection->holders.count++;
    connection->holders.pid = (uint32_t)peer->pid;
    connection->holders.uid = peer->uid;
    *fd = connection->fd;
    return 0;
}

int broker_pool_bell(struct broker_pool *pool, uint32_t group, int *fd)
{
    return bells_find(&pool->bells, group, fd);
}

void broker_pool_attach(struct broker_pool *pool, uint32_t worker, uint32_t tenant)
{
    const struct segment *segment = &pool->owner.segment;

    for (uint32_t i = 0; i < COUNTER_COUNT; i++)
        shm_store_relaxed(&segment->workers[worker].counters[i], 0);
    shm_store32(&segment->slots[worker].wake, WAKE_NONE);
    shm_store32(&segment->slots[worker].polls, 0);
    shm_store32(&segment->slots[worker].owner, 1 + worker);
    shm_store32(&segment->slots[worker].tenant, tenant);
    /* Whoever maps the segment checks its header, which another worker may have overwritten. */
    if (memcmp(segment->base, &pool->header, sizeof pool->header) != 0)
        memcpy(segment->base, &pool->header, sizeof pool->header);
    set_bit(pool->attached, worker, true);
    pool->attached_count++;
    lease_watch_wake(pool);
    shm_add_relaxed(&pool->owner.catalog->counters[BROKER_COUNTER_attached], 1);
}

void broker_pool_adopt_worker(struct broker_pool *pool, uint32_t worker, uint32_t tenant)
{
    shm_store32(&pool->owner.segment.slots[worker].tenant, tenant);
    set_bit(tenant == 0 ? pool->expelled : pool->attached, worker, true);
    pool->attached_count += tenant != 0;
    pool->resting_count += tenant == 0;
}

void broker_pool_readmit(struct broker_pool *pool, uint32_t worker, uint32_t tenant)
{
    set_bit(pool->expelled, worker, false);
    set_bit(pool->attached, worker, true);
    pool->attached_count++;
    pool->resting_count--;
    shm_store32(&pool->owner.segment.slots[worker].tenant, tenant);
}

struct departure {
    const struct broker_pool *pool;
    uint32_t worker;
};

static bool departed_has(uint32_t slot, void *context)
{
    const struct departure *departure = context;

    return slot_worker(&departure->pool->owner.segment, slot) == departure->worker;
}

/* What became of a connection at the departure of a worker. */
enum taken { TAKEN_NOT, TAKEN_RETURNED, TAKEN_REVOKED };

/* Takes what worker `worker` has by `word`. A worker that may live ends its commands itself, or their
 * owners are told. */
static bool revoke_of(struct broker_pool *pool, struct broker_connection *connection, uint64_t word,
                      uint32_t worker)
{
    return is_expelled(pool, worker) ? broker_pool_revoke(pool, connection, word, REVOKE_died)
                                     : connection_revoke(connection, word, REVOKE_died);
}

/* Takes `connection` from `worker`, which is gone or expelled, if it has it. */
static enum taken take_back(struct broker_pool *pool, struct broker_connection *connection,
                            uint32_t worker)
{
    /* A live worker can be handing it to the dead one or taking it back: a few looks, not one for
     * each. */
    for (int looks = 0; looks < 4; looks++) {
        uint64_t word = shm_load(connection_word(connection));

        if (word_holder(&pool->owner.segment, word) != worker)
            return TAKEN_NOT;
        if (word_state(word) == WORD_UNCLEAN) {
            hygiene_take(pool, connection, word);
            return TAKEN_NOT;
        }
        /* What it gave back before it went is no lease any more. */
        if (word_state(word) == WORD_RETURNED && word_reclaim(connection_word(connection), word)) {
            connection_close(connection, CLOSE_returned);
            return TAKEN_RETURNED;
        }
        if (word_state(word) != WORD_RETURNED && revoke_of(pool, connection, word, worker))
            return TAKEN_REVOKED;
    }
    return TAKEN_NOT;
}

static void free_slots(struct broker_pool *pool, uint32_t worker)
{
    const struct segment *segment = &pool->owner.segment;

    mail_owner_died(segment, worker);
    stall_owner_died(pool, worker);
    shm_store32(&segment->slots[worker].wake, WAKE_NONE);
    shm_store32(&segment->slots[worker].polls, 0);
    for (uint32_t slot = segment->worker_max; slot < segment->slot_max; slot++)
        if (slot_worker(segment, slot) == worker) {
            mail_owner_died(segment, slot);
            stall_owner_died(pool, slot);
            shm_store32(&segment->slots[slot].wake, WAKE_NONE);
            shm_store32(&segment->slots[slot].polls, 0);
            shm_store32(&segment->slots[slot].owner, 0);
        }
    shm_store32(&segment->slots[worker].tenant, 0);
}

/* Whether somebody could queue up and be found, now that nobody waits. */
static bool queue_works(const struct segment *segment)
{
    uint64_t ticket, found;
    uint32_t slot;
    bool good;

    if (segment_is_closed(segment))
        return true; /* it serves nobody now; when the next one leaves it may */
    if (queue_push(segment, 0, CELL_WAITING, &ticket) != 0)
        return false;
    good = queue_head(segment, &found, &slot) != CELL_FREE && found == ticket && slot == 0;
    return queue_leave(segment, 0, ticket) && good;
}

/*
 * The last worker has left a segment that was scribbled: what it scribbled is put right. It is the
 * same memory, for a child of that worker may still have it mapped and attach later. What was open
 * is not to be trusted.
 */
static void renew(struct broker_pool *pool)
{
    const struct segment *segment = &pool->owner.segment;

    memcpy(segment->base, &pool->header, sizeof pool->header);
    shm_store(&segment->queue->head, 0);
    shm_store(&segment->queue->tail, 0);
    for (uint32_t i = 0; i < segment->cell_count; i++)
        shm_store(&segment->cells[i], cell_make(CELL_FREE, 0, 0));
    for (uint32_t i = 0; i < segment->slot_max; i++) {
        shm_store32(&segment->slots[i].wake, WAKE_NONE);
        shm_store32(&segment->slots[i].polls, 0);
        shm_store32(&segment->slots[i].owner, i < segment->worker_max ? 1 + i : 0);
        /* Its next sequence: who remembers an earlier one is not to find it again. */
        shm_store(&segment->slots[i].mail,
                  mail_with(mail_next(shm_load(&segment->slots[i].mail)), MAIL_FREE));
    }
    for (uint32_t i = 0; i < CHUNKS; i++)
        shm_store32(&segment->chunk_owners[i].slot, 0);
    memset(segment->shards, 0, sizeof *segment->shards * HISTOGRAM_SHARDS);
    for (uint32_t i = 0; i < pool->places; i++)
        if (pool->connections[i].state == CONNECTION_OPEN)
            connection_close(&pool->connections[i], CLOSE_spoiled);
        else
            connection_restore(&pool->connections[i]);
    pool->tainted = false;
    log_limited(
        &pool->spoil_limit, LOG_LEVEL_NOTICE,
        "pool %s: its shared memory was overwritten by a worker that has left; it is restored",
        pool->config->name);
}

/* Takes all that `worker` has; what it held is added to `lost` (may be NULL). Returns how many leases. */
static uint32_t take_all_back(struct broker_pool *pool, uint32_t worker, uint64_t *lost)
{
    struct departure departure = {.pool = pool, .worker = worker};
    uint32_t leases = 0;

    /* Out of the queue before its hand-overs are collected, so that no new one can be completed. */
    queue_evict(&pool->owner.segment, departed_has, &departure);
    for (uint32_t i = 0; i < pool->places; i++) {
        uint64_t word = word_make(WORD_LEASED, worker, pool->connections[i].generation);
        enum taken taken = TAKEN_NOT;

        if (pool->connections[i].state == CONNECTION_OPEN)
            taken = take_back(pool, &pool->connections[i], worker);
        if (taken != TAKEN_NOT && lost)
            lost[i] = word;
        leases += taken == TAKEN_REVOKED;
    }
    return leases;
}

/* A worker has left. It may have been in the middle of handing over, or a hand-over to it may be under way. */
static void serve_the_others(struct broker_pool *pool)
{
    for (uint32_t i = 0; i < pool->places; i++)
        if (pool->connections[i].state == CONNECTION_OPEN)
            note_handed(pool, &pool->connections[i],
                        shm_load(connection_word(&pool->connections[i])));
    update_backend(pool);
    if (!pool->draining)
        queue_match(&pool->owner.segment, LENDIS_BROKER);
    refill(pool);
}

uint32_t broker_pool_expel(struct broker_pool *pool, uint32_t worker, uint64_t *lost)
{
    uint32_t leases;

    /* First: what it begins from here on is taken from it when it is seen. */
    shm_store32(&pool->owner.segment.slots[worker].tenant, 0);
    set_bit(pool->attached, worker, false);
    set_bit(pool->expelled, worker, true);
    pool->attached_count--;
    pool->resting_count++;
    leases = take_all_back(pool, worker, lost);
    /* It ends its commands by itself, or their owners do without it: it may be stopped. */
    broker_pool_report_revoked(pool);
    serve_the_others(pool);
    return leases;
}

uint32_t broker_pool_reclaim(struct broker_pool *pool, uint32_t worker, const uint64_t *lost)
{
    const struct segment *segment = &pool->owner.segment;
    uint64_t all_lost[LENDIS_MAX_CONNECTIONS] = {0};
    uint32_t leases;

    if (lost)
        memcpy(all_lost, lost, pool->room * sizeof *lost);
    pool->attached_count -= is_attached(pool, worker);
    pool->resting_count -= is_expelled(pool, worker);
    set_bit(pool->attached, worker, false);
    set_bit(pool->expelled, worker, false);
    leases = take_all_back(pool, worker, all_lost);
    free_slots(pool, worker);
    mail_taker_died(segment, worker, all_lost);
    for (uint32_t i = 0; i < COUNTER_COUNT; i++)
        shm_add_relaxed(&pool->owner.catalog->departed[i],
                        shm_load_relaxed(&segment->workers[worker].counters[i]));
    if (pool->attached_count + pool->resting_count == 0 && !pool->draining &&
        (pool->tainted || !queue_works(segment)))
        renew(pool);
    serve_the_others(pool);
    return leases;
}

void broker_pool_resume(struct broker_pool *pool)
{
    if (!pool->adopted)
        return;
    /* Whoever handed over may have died meanwhile. */
    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[i];

        if (connection->state != CONNECTION_OPEN)
            continue;
        upkeep_begin(pool, connection);
        note_handed(pool, connection, shm_load(connection_word(connection)));
    }
    if (pool->former_gate != GATE_OPEN)
        gate_set(pool, pool->former_gate);
    upkeep_look(pool);
    broker_pool_look_over(pool);
    reconfigure_settle(pool);
}

/* ---- the end ---- */

void broker_pool_drain(struct broker_pool *pool)
{
    pool->draining = true;
    dialler_withdraw(pool->owner.dialler, &pool->turn);
    resolver_cancel(pool->lookup);
    pool->lookup = NULL;
    for (uint32_t i = 0; i < pool->places; i++)
        if (pool->connections[i].state == CONNECTION_DIALLING)
            connection_close(&pool->connections[i], CLOSE_drained);
    broker_pool_close_returned(pool, CLOSE_drained);
}

uint32_t broker_pool_close_returned(struct broker_pool *pool, enum close_reason reason)
{
    for (uint32_t i = 0; i < pool->places; i++) {
        struct broker_connection *connection = &pool->connections[i];
        uint64_t word;

        if (connection->state != CONNECTION_OPEN)
            continue;
        if (connection_look(connection, &word) != LOOK_FINE || connection->reset ||
            word_check(connection_word(connection), &word))
            connection_close(connection, reason);
    }
    return pool->owner.open;
}

/* Closes it, whoever has it. */
static void end_connection(struct broker_connection *connection)
{
    uint64_t word;

    if (connection->state == CONNECTION_OPEN && connection_look(connection, &word) == LOOK_FINE &&
        word_state(word) != WORD_IDLE && connection_revoke(connection, word, REVOKE_drained))
        return;
    connection_close(connection, CLOSE_drained);
}

void broker_pool_stop(struct broker_pool *pool)
{
    pool->draining = true;
    dialler_withdraw(pool->owner.dialler, &pool->turn);
    resolver_cancel(pool->lookup);
    for (uint32_t i = 0; pool->connections && i < pool->room; i++)
        if (pool->connections[i].state != CONNECTION_CLOSED)
            end_connection(&pool->connections[i]);
    sd_event_source_disable_unref(pool->bell);
    sd_event_source_disable_unref(pool->retry);
    sd_event_source_disable_unref(pool->sweep);
    stall_stop(pool);
    sd_event_source_disable_unref(pool->repair);
    sd_event_source_disable_unref(pool->upkeep);
    hygiene_stop(pool);
    notice_stop(pool);
    direct_stop(pool);
    private_forget(pool);
    bells_close(&pool->bells);
    lease_watch_stop(pool);
    if (pool->doorbell >= 0) {
        store_remove(pool->site->store, STORED_DOORBELL, pool->config->name);
        close(pool->doorbell);
    }
    if (pool->segment_fd >= 0) {
        store_remove(pool->site->store, STORED_SEGMENT, pool->config->name);
        close(pool->segment_fd);
    }
    segment_unmap(&pool->owner.segment);
    free(pool->connections);
    free(pool->attached);
    free(pool->expelled);
    free(pool->revoked);
}

/* ---- the beginning ---- */

void broker_pool_publish(struct broker_pool *pool)
{
    struct catalog_pool *entry = pool->owner.catalog;
    const struct pool_config *config = pool->config;

    if (config->client_name)
        snprintf(pool->client_name, sizeof pool->client_name, "%s", config->client_name);
    else
        snprintf(pool->client_name, sizeof pool->client_name, "lendis-%s", config->name);
    catalog_write_begin(entry);
    snprintf(entry->name, sizeof entry->name, "%s", config->name);
    snprintf(entry->address, sizeof entry->address, "%s",
             config->redis.text ? config->redis.text : "");
    snprintf(entry->primary, sizeof entry->primary, "%s", config->primary ? config->primary : "");
    snprintf(entry->replicas, sizeof entry->replicas, "%s",
             config->replicas ? config->replicas : "");
    entry->role = config->role;
    snprintf(entry->username, sizeof entry->username, "%s",
             config->username ? config->username : "");
    entry->size = config->size;
    entry->min_idle = config->min_idle;
    entry->db = config->redis.db;
    entry->connect_timeout_ms = config->connect_timeout_ms;
    shm_store32(&entry->wait_timeout_ms, config->wait_timeout_ms);
    shm_store32(&entry->command_timeout_ms, config->command_timeout_ms);
    shm_store32(&entry->stall_timeout_ms, config->stall_timeout_ms);
    shm_store32(&entry->reset, config->reset);
    shm_store32(&entry->per_uid_leases, config->per_uid_leases);
    shm_store32(&entry->fallback, config->enabled ? FALLBACK_ERROR : config->fallback);
    entry->segment_pool = pool->index;
    entry->segment_instance = pool->owner.segment.instance;
    shm_store32(&entry->max_uses, config->max_uses);
    shm_store32(&entry->order, config->order);
    shm_store32(&entry->check_on_lease, config->check_on_lease);
    shm_store32(&entry->wait_queue, config->wait_queue);
    shm_store32(&entry->reserve_after_ms, config->reserve_size ? config->reserve_after_ms : 0);
    catalog_write_end(entry);
    /* After an adoption what the server said stays known until it is asked again. */
    if (!pool->adopted)
        publish_commands(pool);
}

void broker_pool_set_places(struct broker_pool *pool, uint32_t places)
{
    /* Workers can have written there all the time. */
    for (uint32_t i = pool->places; i < places; i++)
        connection_restore(&pool->connections[i]);
    pool->places = places;
    shm_store32(&pool->owner.catalog->places, places);
}

static int make_sources(struct broker_pool *pool)
{
    int result;

    bells_init(&pool->bells, &pool->owner.segment);
    if (pool->doorbell < 0) {
        pool->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (pool->doorbell < 0)
            return -errno;
        store_put(pool->site->store, pool->doorbell, STORED_DOORBELL, pool->config->name);
    }
    result =
        sd_event_add_io(pool->owner.event, &pool->bell, pool->doorbell, EPOLLIN, on_bell, pool);
    if (result >= 0)
        result = sd_event_source_set_ratelimit(pool->bell, BELL_INTERVAL_US, BELL_BURST);
    if (result >= 0)
        result = timer_new(pool->owner.event, &pool->retry, on_retry, pool);
    if (result >= 0)
        result = timer_new(pool->owner.event, &pool->sweep, on_sweep, pool);
    if (result >= 0)
        result = timer_new(pool->owner.event, &pool->repair, on_repair, pool);
    if (result >= 0)
        result = timer_new(pool->owner.event, &pool->upkeep, on_upkeep, pool);
    if (result >= 0)
        result = hygiene_start(pool);
    if (result >= 0)
        result = notice_start(pool);
    if (result >= 0)
        result = stall_start(pool);
    if (result >= 0)
        result = lease_watch_start(pool);
    return result;
}

static int make_segment(struct broker_pool *pool)
{
    uint64_t instance;
    int result;

    if (getrandom(&instance, sizeof instance, 0) != (ssize_t)sizeof instance)
        return -errno;
    result = segment_new(pool->index, instance | 1, pool->room, pool->site->worker_max,
                         &pool->segment_fd, &pool->owner.segment);
    if (result == 0)
        store_put(pool->site->store, pool->segment_fd, STORED_SEGMENT, pool->config->name);
    return result;
}

static int make_tables(struct broker_pool *pool)
{
    int result = 0;

    pool->room = demand_room(pool->config);
    pool->connections = calloc(pool->room, sizeof *pool->connections);
    pool->attached = calloc((pool->site->worker_max + 63) / 64, sizeof *pool->attached);
    pool->expelled = calloc((pool->site->worker_max + 63) / 64, sizeof *pool->expelled);
    pool->revoked = calloc(pool->room, sizeof *pool->revoked);
    if (!pool->connections || !pool->attached || !pool->expelled || !pool->revoked)
        return -ENOMEM;
    for (uint32_t i = 0; i < pool->room; i++)
        connection_init(&pool->connections[i], &pool->owner, i);
    pool->adopted = adopt_pool(pool);
    if (!pool->adopted)
        result = make_segment(pool);
    if (result != 0)
        return result;
    memcpy(&pool->header, pool->owner.segment.base, sizeof pool->header);
    for (uint32_t i = 0; i < pool->room; i++) /* what the previous broker knew of is no news */
        pool->connections[i].lost_seen = shm_load(&pool->owner.segment.connections[i].lost);
    pool->owner.segment.gates = &pool->site->catalog->header->gates;
    pool->owner.segment.gate_bit = UINT64_C(1) << pool->index;
    pool->owner.segment.places = &pool->owner.catalog->places;
    if (!pool->adopted)
        broker_pool_set_places(pool, demand_places(pool->config));
    return 0;
}

void broker_pool_set_address(struct broker_pool *pool)
{
    const struct pool_config *config = pool->config;

    bool pending = pool->lookup != NULL;

    resolver_cancel(pool->lookup);
    pool->lookup = NULL;
    pool->resolved = false;
    pool->address = 0;
    if (pending)
        direct_resolved(pool, false); /* who waited for the old one may ask again */
    pool->numeric = !config->redis.host || resolver_is_numeric(config->redis.host);
    pool->turn.node = dial_node_key(config->redis.host, config->redis.port, config->redis.path);
    if (config->redis.host || config->redis.path)
        dialler_expect(pool->site->dialler, pool->turn.node);
}

int broker_pool_start(struct broker_pool *pool, const struct pool_config *config, uint32_t index,
                      const struct pool_site *site)
{
    static uint32_t serials;
    int result;

    *pool = (struct broker_pool){
        .owner = {.event = site->event,
                  .dialler = site->dialler,
                  .catalog = &site->catalog->pools[index],
                  .store = site->store,
                  .dialled = on_dialled,
                  .opened = on_opened,
                  .failed = on_failed,
                  .lost = on_lost,
                  .readable = on_readable,
                  .spoiled = on_spoiled},
        .config = config,
        .site = site,
        .index = index,
        .segment_fd = -1,
        .doorbell = -1,
        .turn.run = dial_next,
        .serial = ++serials,
    };
    broker_pool_set_address(pool);
    snprintf(pool->owner.pool, sizeof pool->owner.pool, "%s", config->name);
    result = make_tables(pool);
    if (result == 0)
        result = make_sources(pool);
    if (result < 0) {
        broker_pool_stop(pool);
        return result;
    }
    broker_pool_publish(pool);
    broker_pool_renew(pool);
    update_backend(pool);
    if (config->primary)
        gate_set(pool, GATE_SERVICE);
    else if (!config->enabled)
        gate_set(pool, GATE_DRAINED);
    refill(pool);
    return 0;
}
