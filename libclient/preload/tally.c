/* SPDX-License-Identifier: MIT */
/* Counting for the operator: see tally.h. */
#include "libclient/preload/tally.h"

#include "libclient/membership/membership.h"

/* False: this process is no worker of the pool. */
static bool count(struct lendis_pool *pool, enum counter counter)
{
    struct local *local = pool->local;
    /* Both loads: as in membership_enter(). */
    struct attachment *current = atomic_load_explicit(&local->current, memory_order_acquire);
    bool counted;

    if (!current)
        return false;
    membership_use(current);
    counted = atomic_load_explicit(&local->current, memory_order_seq_cst) == current;
    if (counted)
        attachment_count(current, counter, 1);
    membership_leave(current);
    return counted;
}

void tally_pool(struct lendis_pool *pool, enum counter counter)
{
    if (pool)
        count(pool, counter);
}

void tally(const struct virtual *virtual, enum counter counter)
{
    tally_pool(virtual->pool, counter);
}

void tally_opened(struct virtual *virtual)
{
    if (virtual->pool && !virtual->counted)
        virtual->counted = count(virtual->pool, COUNTER_virtual_opened);
}

void tally_closed(struct virtual *virtual)
{
    if (virtual->counted)
        tally(virtual, COUNTER_virtual_closed);
    virtual->counted = false;
}
