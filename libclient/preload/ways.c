/* SPDX-License-Identifier: MIT */
/* Which way a request goes: see ways.h. */
#include "libclient/preload/ways.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "libclient/membership/attachment.h"
#include "libclient/membership/membership.h"
#include "libclient/preload/answers.h"
#include "libclient/preload/copying.h"
#include "libclient/preload/counts.h"
#include "libclient/preload/map.h"
#include "libclient/preload/plan.h"
#include "libclient/preload/private.h"
#include "libclient/preload/settings.h"
#include "libclient/preload/swap.h"
#include "libclient/preload/tally.h"
#include "libclient/preload/traffic.h"

/* HELLO 2 AUTH by the pool's own login: what is left of it. */
#define HELLO "*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n"

/* ---- classes ---- */

void way_classify(void *context, const char *request, size_t size, struct command *command)
{
    const struct lendis_lease *lease = context;

    attachment_classify(lease->attachment, request, size, command);
}

/* The same before there is a lease. */
static void classify_for_pool(void *context, const char *request, size_t size,
                              struct command *command)
{
    struct attachment *attachment;

    if (membership_enter(context, &attachment) != 0)
        return;
    attachment_classify(attachment, request, size, command);
    membership_leave(attachment);
}

/* Whether the pool's server has commands that are not as the built-in table says. */
static bool differs(struct lendis_pool *pool)
{
    struct attachment *attachment;
    bool result;

    if (membership_enter(pool, &attachment) != 0)
        return true;
    result = shm_load32_relaxed(&attachment_settings(attachment)->commands_size) != 0;
    membership_leave(attachment);
    return result;
}

/* ---- leases ---- */

/* Whether the pool has a connection left besides the one that would be kept for long. */
static bool can_spare(const struct lendis_lease *lease)
{
    const struct segment *segment = &lease->attachment->segment;
    uint32_t places;

    if (lease->private)
        return true;
    places = segment_places(segment);
    for (uint32_t i = 0; i < places; i++) {
        enum word_state state = word_state(shm_load_relaxed(&segment->connections[i].word));

        if (i != lease->index && (state == WORD_IDLE || state == WORD_EMPTY))
            return true;
    }
    return false;
}

/* Leases a connection of `pool`, which has `db`. Results as lendis_acquire(); -EBADF, the number is
 * not ours. */
static int take_lease(struct virtual *virtual, struct lendis_pool *pool, uint32_t db, int wait_ms)
{
    int before = errno, result = lendis_acquire(pool, wait_ms, &virtual->lease);

    errno = before;
    if (result != 0) {
        virtual->lease = NULL;
        return result;
    }
    stream_begin(&virtual->stream, db);
    if (__builtin_expect(!virtual->counted, 0))
        tally_opened(virtual); /* inherited: this process was no worker then */
    return 0;
}

static int lease_behind_number(struct virtual *virtual, struct lendis_pool *pool, uint32_t db,
                               int wait_ms, bool for_long)
{
    int result = take_lease(virtual, pool, db, wait_ms);

    if (result != 0)
        return result;
    if (for_long && !can_spare(virtual->lease)) {
        swap_release(virtual, false);
        return LENDIS_E_BUSY;
    }
    if (!swap_lease(virtual)) {
        swap_release(virtual, true);
        return -EBADF;
    }
    count_up(PRELOAD_swaps);
    tally_lease(virtual, COUNTER_virtual_requests);
    return 0;
}

/* ---- ways ---- */

/* No way is left. The program finds the end of the stream behind what it sends. */
static enum way lose(struct virtual *virtual, const char *why)
{
    count_reason("ended", why);
    traffic_lost(virtual, true);
    return WAY_LOST;
}

/* A real connection if there can be one, else a lease for as long as it takes. */
static enum way go_alone(struct virtual *virtual, struct lendis_pool *pool, uint32_t db,
                         const char *why, enum counter counter)
{
    if (private_become(virtual, why, counter) == 0)
        return WAY_REAL;
    count_reason("no real connection", why);
    if (pool && lease_behind_number(virtual, pool, db, settings.wait_ms, false) == 0) {
        tally_lease(virtual, COUNTER_pinned_other);
        return WAY_LEASED;
    }
    return lose(virtual, why);
}

static enum counter pinned_by(const struct plan *plan)
{
    if (plan->blocks)
        return COUNTER_pinned_blocking;
    return strcmp(plan->why, "MULTI") == 0 || strcmp(plan->why, "WATCH") == 0
               ? COUNTER_pinned_transaction
               : COUNTER_pinned_session;
}

/* A request that needs its connection for longer than a command takes. */
static enum way go_tied(struct virtual *virtual, struct lendis_pool *pool, uint32_t db,
                        const struct plan *plan, bool waits)
{
    int result = lease_behind_number(virtual, pool, db, 0, plan->blocks);

    if (result == LENDIS_E_BUSY && waits && !plan->blocks)
        result = lease_behind_number(virtual, pool, db, settings.wait_ms, false);
    if (result == 0) {
        count_reason("tied", plan->why);
        tally_lease(virtual, pinned_by(plan));
        return WAY_LEASED;
    }
    return go_alone(virtual, pool, db, plan->why, COUNTER_real_busy);
}

/* The rule. */
static enum way go(struct virtual *virtual, struct lendis_pool *pool, uint32_t db,
                   const struct plan *plan, const char *request, size_t size, bool waits)
{
    int result = lease_behind_number(virtual, pool, db, 0, false);

    if (result == 0) {
        virtual->stream.planned = plan->shares && !plan->partial ? plan->commands : 0;
        return WAY_LEASED;
    }
    if (result == LENDIS_E_BUSY && waits && plan->shares && !plan->partial && size <= COPYING_MAX) {
        result = copy_handed_over(virtual, pool, request, size);
        if (result == 0)
            return WAY_DONE;
        if (result == LENDIS_E_UNCERTAIN)
            return lose(virtual, "no reply came");
    } else if (result == LENDIS_E_BUSY && waits) {
        result = lease_behind_number(virtual, pool, db, settings.wait_ms, false);
        if (result == 0)
            return WAY_LEASED;
    }
    if (result == LENDIS_E_BUSY || result == LENDIS_E_TIMEOUT)
        return go_alone(virtual, pool, db, "pool busy", COUNTER_real_busy);
    return go_alone(virtual, pool, db, result == LENDIS_E_DOWN ? "redis down" : "no lease",
                    COUNTER_real_down);
}

/* AUTH, or HELLO 2 AUTH, as the only command, which was not answered here. */
static enum way go_login(struct virtual *virtual, struct lendis_pool *pool, const char *request,
                         size_t size, bool waits, const char **instead)
{
    struct plan hello;
    enum way way;

    plan_make(&hello, HELLO, sizeof HELLO - 1, NULL, NULL);
    if (!answer_is_own_login(virtual, request, size))
        return go_alone(virtual, pool, virtual->db, "another login", COUNTER_real_login);
    virtual->logged_in = true;
    way = go(virtual, pool, virtual->db, &hello, HELLO, sizeof HELLO - 1, waits);
    if (way == WAY_LEASED)
        *instead = HELLO;
    return way;
}

/* One command of those that may be answered here. */
static enum way find_own_way(struct virtual *virtual, const struct plan *plan, const char *request,
                             size_t size, bool waits, const char **instead)
{
    struct lendis_pool *pool = route_pool(virtual->route, virtual->db);

    if (answer_request(virtual, request, size, &plan->first))
        return WAY_DONE;
    if (plan->first.meaning == MEANS_LOGIN && strcmp(plan->first.verb, "HELLO") == 0)
        return go_login(virtual, pool, request, size, waits, instead);
    if (plan->first.meaning == MEANS_NAME && pool)
        return go(virtual, pool, virtual->db, plan, request, size, waits);
    return go_alone(virtual, pool, virtual->db, plan->why,
                    plan->first.meaning == MEANS_LOGIN ? COUNTER_real_login
                                                       : COUNTER_real_database);
}

/* `request` is on a command's boundary, and nothing is unread. */
static enum way find_way(struct virtual *virtual, const char *request, size_t size, bool waits,
                         const char **instead)
{
    struct lendis_pool *pool = route_pool(virtual->route, virtual->db);
    uint32_t db = virtual->db;
    struct plan plan;

    if (!pool || differs(pool) || !plan_known(&plan, request, size))
        plan_make(&plan, request, size, pool ? classify_for_pool : NULL, pool);
    if (plan.foreign)
        return go_alone(virtual, pool, db, "inline commands", COUNTER_real_lasting);
    if (plan.own && plan.commands == 1 && !plan.partial)
        return find_own_way(virtual, &plan, request, size, waits, instead);
    if (plan.lasting)
        return go_alone(virtual, pool, db, plan.why, COUNTER_real_lasting);
    if (plan.own) {
        if (answer_can_serve(virtual, request, size))
            return copy_one_by_one(virtual, request, size) == 0 ? WAY_DONE
                                                                : lose(virtual, "no reply came");
        if (plan.select < 0 || !route_pool(virtual->route, (uint32_t)plan.select))
            return go_alone(virtual, pool, db, plan.why, COUNTER_real_database);
        db = (uint32_t)plan.select;
        pool = route_pool(virtual->route, db);
    }
    if (!pool)
        return go_alone(virtual, pool, db, "no pool has the database", COUNTER_real_database);
    if (plan.ties || plan.blocks || plan.own)
        return go_tied(virtual, pool, db, &plan, waits);
    return go(virtual, pool, db, &plan, request, size, waits);
}

/* Behind answers that are not read yet nothing can be sent: it is served by copying, once it is
 * whole. */
static enum way queue_up(struct virtual *virtual, const char *request, size_t size)
{
    int result = copy_gather(virtual, request, size);

    if (result == 0)
        result = copy_gathered(virtual);
    return result == 0 ? WAY_DONE : lose(virtual, "a pipeline that cannot be copied");
}

enum way way_find(struct virtual *virtual, const char *request, size_t size, bool waits,
                  const char **instead)
{
    *instead = NULL;
    if (virtual->unread > 0 || virtual->gathered_size > 0)
        return queue_up(virtual, request, size);
    if (!swap_check(virtual)) {
        traffic_forget(virtual);
        return WAY_REAL;
    }
    return find_way(virtual, request, size, waits, instead);
}
