/* SPDX-License-Identifier: MIT */
/* Connections for one process alone: see direct.h. */
#include "broker/pool/direct.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "broker/pool/internal.h"
#include "broker/redis/dial_error.h"
#include "lendis.h"

struct direct {
    struct direct *next, **link; /* of the pool's list */
    struct broker_pool *pool;
    struct dial_turn turn;
    struct dial *dial;
    direct_done *done; /* NULL: abandoned */
    void *context;
};

static void direct_free(struct direct *direct)
{
    dialler_withdraw(direct->pool->owner.dialler, &direct->turn);
    *direct->link = direct->next;
    if (direct->next)
        direct->next->link = direct->link;
    free(direct);
}

/* Consumes `fd`. */
static void conclude(struct direct *direct, int fd)
{
    direct_done *done = direct->done;
    void *context = direct->context;

    if (fd >= 0 && done)
        shm_add_relaxed(&direct->pool->owner.catalog->counters[BROKER_COUNTER_privates], 1);
    direct_free(direct);
    if (done)
        done(context, fd, fd >= 0 ? 0 : LENDIS_E_DOWN);
    if (fd >= 0)
        close(fd);
}

/* It is counted, and the next address tried next. */
static void count_failure(struct broker_pool *pool, const char *error)
{
    health_count_failure(pool, dial_reason(error), error);
    target_pass(pool, pool->parts->target.current);
}

static void on_dialled(void *context, int fd, const struct socket_ends *ends, const char *error)
{
    struct direct *direct = context;

    (void)ends;
    direct->dial = NULL;
    if (fd < 0 && error == dial_again && direct->done) {
        dialler_ask(direct->pool->owner.dialler, &direct->turn);
        return;
    }
    if (fd < 0)
        count_failure(direct->pool, error);
    conclude(direct, fd);
}

static void dial(struct dial_turn *turn)
{
    struct direct *direct = (struct direct *)((char *)turn - offsetof(struct direct, turn));
    struct broker_pool *pool = direct->pool;
    struct dial_target target;
    char error[DIAL_ERROR_SIZE];

    if (!target_get(pool, &target)) {
        if (!target_is_pending(pool))
            conclude(direct, -1);
        return; /* direct_resolved() goes on */
    }
    if (dial_start(pool->owner.dialler, &target, on_dialled, direct, &direct->dial, error) != 0) {
        count_failure(pool, error);
        conclude(direct, -1);
    }
}

int direct_offered(const struct broker_pool *pool)
{
    if (pool->parts->pause.state != PAUSE_DRAINED)
        return -ESTALE;
    if (pool->config->enabled || pool->config->fallback != FALLBACK_DIRECT)
        return LENDIS_E_DISABLED;
    return 0;
}

int direct_start(struct broker_pool *pool, direct_done *done, void *context, struct direct **direct)
{
    struct direct *made;
    int result = direct_offered(pool);

    if (result != 0)
        return result;
    made = calloc(1, sizeof *made);
    if (!made)
        return -ENOMEM;
    *made = (struct direct){
        .next = pool->parts->directs.first,
        .link = &pool->parts->directs.first,
        .pool = pool,
        .turn = {.run = dial, .node = pool->parts->target.node},
        .done = done,
        .context = context,
    };
    if (made->next)
        made->next->link = &made->next;
    pool->parts->directs.first = made;
    *direct = made; /* before it can be done */
    dialler_ask(pool->owner.dialler, &made->turn);
    return 0;
}

void direct_abandon(struct direct *direct)
{
    if (!direct)
        return;
    direct->done = NULL;
    if (!direct->dial)
        direct_free(direct);
}

/* One that waits for an address. */
static struct direct *find_resting(const struct broker_pool *pool)
{
    struct direct *each = pool->parts->directs.first;

    while (each && (each->dial || each->turn.queued))
        each = each->next;
    return each;
}

void direct_resolved(struct broker_pool *pool, bool found)
{
    struct dial_target target;
    struct direct *each;

    /* Any of them can go while another is served. */
    while ((!found || pool->parts->target.resolved || pool->parts->target.numeric) &&
           (each = find_resting(pool))) {
        if (found)
            dialler_ask(pool->owner.dialler, &each->turn);
        else
            conclude(each, -1);
    }
    /* The addresses are used up: another lookup. */
    if (find_resting(pool))
        target_get(pool, &target);
}

void direct_stop(struct broker_pool *pool)
{
    while (pool->parts->directs.first) {
        dial_cancel(pool->parts->directs.first->dial);
        conclude(pool->parts->directs.first, -1);
    }
}
