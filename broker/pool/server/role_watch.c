/* SPDX-License-Identifier: MIT */
/* Asking a service's members what they are: see role_watch.h. */
#include "broker/pool/server/role_watch.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "broker/base/timer.h"
#include "broker/pool/internal.h"
#include "broker/redis/dial_error.h"
#include "libclient/shared/server_error.h"

/* Between two questions: to a member that is well, and to one that is not. */
#define WELL_MS 1000u
#define ILL_MS  250u
/* A server that cannot be reached is dialled again, and one that does not answer the question is
 * asked again, after this time. */
#define AWAY_MS   1000u
#define UNABLE_MS 60000u

static const char unknown[] = "what it is is not known yet";

static bool is_watched(const struct broker_pool *pool)
{
    return !pool->leaving && (pool->config->role == ROLE_REPLICA || pool->config->is_member);
}

static bool is_resting(const struct broker_pool *pool)
{
    return pool->parts->pause.state != PAUSE_NONE || pool->draining;
}

static void arm(struct broker_pool *pool, uint32_t ms)
{
    timer_set(pool->parts->role_watch.timer, (uint64_t)ms * 1000);
}

static void hang_up(struct broker_pool *pool)
{
    struct role_watch *watch = &pool->parts->role_watch;

    dialler_withdraw(pool->owner.dialler, &watch->turn);
    dial_cancel(watch->dial);
    watch->dial = NULL;
    watch->io = sd_event_source_disable_unref(watch->io);
    if (watch->fd > 0)
        close(watch->fd);
    watch->fd = 0;
    watch->asked = false;
}

/* ---- answers ---- */

/* The question is not answered, to this user or by this server. */
static void note_refusal(struct broker_pool *pool)
{
    struct role_watch *watch = &pool->parts->role_watch;

    if (!watch->by_info) {
        watch->by_info = true;
        arm(pool, 0);
        return;
    }
    watch->unable = true;
    rights_refuse(&pool->parts->server.rights, RIGHT_BIT(role));
    server_dialled(pool);
    hang_up(pool);
    unwell_set_role(pool, NULL);
    arm(pool, UNABLE_MS);
}

static const char *judge(const struct broker_pool *pool, enum replication found)
{
    bool replica = pool->config->role == ROLE_REPLICA;

    switch (found) {
    case REPLICATION_PRIMARY:
        return replica ? "it is a primary now" : NULL;
    case REPLICATION_LINKED:
        return replica ? NULL : "it is a replica now";
    case REPLICATION_UNLINKED:
        return replica ? "it has no link to its primary" : "it is a replica now";
    default:
        return "it answers with an error about itself";
    }
}

static void take_answer(struct broker_pool *pool, enum replication found)
{
    pool->parts->role_watch.asked = false;
    if (found == REPLICATION_REFUSED) {
        note_refusal(pool);
        return;
    }
    unwell_set_role(pool, judge(pool, found));
    arm(pool, pool->parts->unwell.ill ? ILL_MS : WELL_MS);
}

/* The server or the network ended it. A proxy may do so at a command that it does not know. */
static void take_end(struct broker_pool *pool)
{
    bool at_question =
        pool->parts->role_watch.asked && pool->parts->role_watch.answer.walk.bytes == 0;

    hang_up(pool);
    if (at_question)
        note_refusal(pool);
    else
        arm(pool, 0);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *context)
{
    struct broker_pool *pool = context;
    struct role_watch *watch = &pool->parts->role_watch;
    enum replication found;
    char data[4096];
    ssize_t got = recv(fd, data, sizeof data, MSG_DONTWAIT);

    (void)source;
    (void)events;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0 || !watch->asked) {
        take_end(pool);
        return 0;
    }
    found = replication_take(&watch->answer, data, (size_t)got);
    if (found != REPLICATION_WAITING)
        take_answer(pool, found);
    return 0;
}

/* ---- questions ---- */

static void ask(struct broker_pool *pool)
{
    struct role_watch *watch = &pool->parts->role_watch;
    const char *question = replication_ask(&watch->answer, watch->by_info);

    watch->asked = true;
    /* What does not go out has no answer, and that is noticed. */
    (void)!send(watch->fd, question, strlen(question), MSG_DONTWAIT | MSG_NOSIGNAL);
    arm(pool, pool->config->check_timeout_ms);
}

/* A server that has too many clients serves those that it has. */
static bool says_nothing(const char *error)
{
    return server_error_find(error) == SERVER_ERROR_full || dial_reason(error) == DIAL_local;
}

static void note_failure(struct broker_pool *pool, const char *error)
{
    health_count_failure(pool, dial_reason(error), error);
    target_pass(pool, pool->parts->target.current);
    if (!says_nothing(error))
        unwell_set_role(pool, "it cannot be reached");
    arm(pool, AWAY_MS);
}

static void on_dialled(void *context, int fd, const struct socket_ends *ends, const char *error)
{
    struct broker_pool *pool = context;
    struct role_watch *watch = &pool->parts->role_watch;

    watch->dial = NULL;
    if (fd < 0 && error == dial_again) {
        arm(pool, 0);
        return;
    }
    if (fd < 0) {
        note_failure(pool, error);
        return;
    }
    watch->fd = fd;
    watch->ends = *ends;
    if (sd_event_add_io(pool->owner.event, &watch->io, fd, EPOLLIN, on_io, pool) < 0) {
        hang_up(pool);
        arm(pool, AWAY_MS);
        return;
    }
    ask(pool);
}

static void dial(struct dial_turn *turn)
{
    struct role_watch *watch =
        (struct role_watch *)((char *)turn - offsetof(struct role_watch, turn));
    struct broker_pool *pool = watch->pool;
    struct dial_target target;
    char error[DIAL_ERROR_SIZE];

    /* What is missing is got now; role_watch_settled() follows. */
    watch->waits = !target_get(pool, &target);
    if (watch->waits) {
        arm(pool, AWAY_MS);
        return;
    }
    if (dial_start(pool->owner.dialler, &target, on_dialled, pool, &pool->parts->role_watch.dial,
                   error) != 0)
        note_failure(pool, error);
}

static void ask_for_turn(struct broker_pool *pool)
{
    struct role_watch *watch = &pool->parts->role_watch;

    watch->pool = pool;
    watch->turn.run = dial;
    watch->turn.node = pool->parts->target.node;
    arm(pool, ILL_MS);
    dialler_ask(pool->owner.dialler, &watch->turn);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;
    struct role_watch *watch = &pool->parts->role_watch;

    (void)source;
    (void)usec;
    if (!is_watched(pool) || is_resting(pool)) {
        hang_up(pool);
        return 0;
    }
    if (watch->unable)
        watch->unable = watch->by_info = false;
    if (watch->asked) {
        hang_up(pool);
        unwell_set_role(pool, "it does not answer");
    }
    if (watch->fd > 0)
        ask(pool);
    else if (watch->dial || watch->turn.queued)
        arm(pool, ILL_MS); /* the dial has a limit of its own */
    else
        ask_for_turn(pool);
    return 0;
}

/* ---- the beginning and the end ---- */

void role_watch_hurry(struct broker_pool *pool)
{
    if (pool->parts->role_watch.timer && is_watched(pool) && !is_resting(pool) &&
        !pool->parts->role_watch.asked)
        arm(pool, 0);
}

void role_watch_settled(struct broker_pool *pool)
{
    if (pool->parts->role_watch.waits)
        role_watch_hurry(pool);
    pool->parts->role_watch.waits = false;
}

void role_watch_renew(struct broker_pool *pool)
{
    struct role_watch *watch = &pool->parts->role_watch;

    if (!watch->timer)
        return;
    hang_up(pool);
    watch->by_info = watch->unable = false;
    if (!is_watched(pool) && pool->parts->unwell.ill)
        unwell_set_role(pool, NULL);
    role_watch_hurry(pool);
}

int role_watch_start(struct broker_pool *pool)
{
    struct role_watch *watch = &pool->parts->role_watch;
    int result = timer_new(pool->owner.event, &watch->timer, on_timer, pool);

    if (result < 0 || !is_watched(pool))
        return result;
    unwell_assume(pool, unknown);
    role_watch_hurry(pool);
    return 0;
}

void role_watch_stop(struct broker_pool *pool)
{
    if (!pool->parts->role_watch.timer)
        return;
    hang_up(pool);
    pool->parts->role_watch.timer = sd_event_source_disable_unref(pool->parts->role_watch.timer);
}
