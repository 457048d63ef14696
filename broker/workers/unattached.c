/* SPDX-License-Identifier: MIT */
/* Those without HELLO: see unattached.h. */
#include "broker/workers/unattached.h"

#include <poll.h>
#include "broker/base/timer.h"
#include "broker/workers/internal.h"

void unattached_pause(struct workers *workers, uint64_t usec)
{
    if (timer_set(workers->resume, usec) != 0)
        return; /* rather busy than deaf */
    sd_event_source_set_enabled(workers->listener, SD_EVENT_OFF);
}

void unattached_listen(struct workers *workers)
{
    if (!workers->listener || workers->stopping)
        return;
    timer_stop(workers->resume);
    sd_event_source_set_enabled(workers->listener, SD_EVENT_ON);
}

void unattached_add(struct worker *worker)
{
    struct workers *all = worker->all;

    worker->older = all->newest;
    *(all->newest ? &all->newest->newer : &all->oldest) = worker;
    all->newest = worker;
    all->unattached++;
}

void unattached_remove(struct worker *worker)
{
    struct workers *all = worker->all;

    *(worker->older ? &worker->older->newer : &all->oldest) = worker->newer;
    *(worker->newer ? &worker->newer->older : &all->newest) = worker->older;
    worker->older = worker->newer = NULL;
    all->unattached--;
    unattached_listen(all);
}

static bool is_silent(const struct worker *worker)
{
    struct pollfd poll_fd = {.fd = worker->socket, .events = POLLIN};

    return poll(&poll_fd, 1, 0) == 0;
}

struct worker *unattached_find_silent(const struct workers *workers)
{
    uint32_t votes = 0, count = 0;
    uid_t uid = 0;

    /* Whoever has the majority is left over: Boyer and Moore, 1981. */
    for (const struct worker *each = workers->oldest; each; each = each->newer) {
        if (votes == 0)
            uid = each->peer.uid;
        votes = each->peer.uid == uid ? votes + 1 : votes - 1;
    }
    for (const struct worker *each = workers->oldest; each; each = each->newer)
        count += each->peer.uid == uid;
    if (count <= WORKERS_UNATTACHED / 2)
        return NULL;
    for (struct worker *each = workers->oldest; each; each = each->newer)
        if (each->peer.uid == uid && is_silent(each))
            return each;
    return NULL;
}
