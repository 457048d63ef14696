/* SPDX-License-Identifier: MIT */
/* How many connections this process' user holds: see uid_limit.h. */
#include "libclient/membership/uid_limit.h"

#include <time.h>
#include "libclient/membership/attachment.h"
#include "libclient/clock.h"
#include "libclient/result.h"
#include "libclient/handover/wait_slot.h"

#define CHECK_LEAST_NS 250000
#define CHECK_MOST_NS  2000000

static uint32_t limit_of(const struct attachment *attachment)
{
    return shm_load32(&attachment->catalog.pools[attachment->pool_index].per_uid_leases);
}

/* Without the table of workers it is not known: then nothing counts. */
static uint32_t held_by_user(const struct attachment *attachment)
{
    const struct segment *segment = &attachment->segment;
    const struct catalog_worker *workers = catalog_workers(&attachment->catalog);
    uint32_t uid, count = 0;

    if (!workers)
        return 0;
    uid = workers[attachment->worker].uid;
    for (uint32_t i = 0; i < segment_places(segment); i++) {
        uint64_t word = shm_load(&segment->connections[i].word);
        uint32_t holder = word_is_out(word) ? word_holder(segment, word) : WORD_NOBODY;

        count += holder != WORD_NOBODY && workers[holder].uid == uid;
    }
    return count;
}

bool uid_limit_is_reached(const struct attachment *attachment)
{
    uint32_t limit = limit_of(attachment);

    return limit > 0 && held_by_user(attachment) >= limit;
}

bool uid_limit_is_exceeded(const struct attachment *attachment)
{
    uint32_t limit = limit_of(attachment);

    return limit > 0 && held_by_user(attachment) > limit;
}

int uid_limit_wait(struct attachment *attachment, int64_t deadline_ns)
{
    int64_t start_ns = clock_now_ns();
    struct timespec pause = {.tv_nsec = CHECK_MOST_NS};
    int result = RESULT_OVER_LIMIT;

    if (deadline_ns == 0)
        return LENDIS_E_BUSY;
    /* Once in any case: several that came at the same time have all stepped back. Whoever has
     * waited for longer checks more often, so that newcomers do not get it all. */
    do {
        if (clock_now_ns() >= deadline_ns)
            result = LENDIS_E_TIMEOUT;
        else
            nanosleep(&pause, NULL);
        if (pause.tv_nsec > CHECK_LEAST_NS)
            pause.tv_nsec /= 2;
    } while (result == RESULT_OVER_LIMIT && uid_limit_is_reached(attachment) &&
             !attachment_is_orphan(attachment));
    wait_slot_count(attachment, HISTOGRAM_wait, start_ns, result);
    return result;
}
