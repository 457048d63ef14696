/* SPDX-License-Identifier: MIT */
/* All workers: see worker.h. */
#include "broker/workers/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "broker/workers/accept.h"
#include "broker/workers/internal.h"
#include "broker/workers/places.h"

uint32_t workers_count(const struct workers *workers)
{
    return workers->catalog->worker_max - workers->free_count;
}

void workers_inspect(void *context, uint32_t index, uint32_t thread, struct process_view *view)
{
    const struct workers *workers = context;
    const struct worker *worker =
        index < workers->catalog->worker_max ? workers->attached[index] : NULL;

    *view = (struct process_view){.state = PROCESS_UNSEEN};
    if (worker)
        process_inspect(worker->process, worker->peer.pid, (pid_t)thread, view);
}

void workers_stop(struct workers *workers)
{
    workers->stopping = true;
    sd_event_source_set_enabled(workers->listener, SD_EVENT_OFF);
    timer_stop(workers->resume);
}

int workers_init(struct workers *workers, sd_event *event, struct catalog *catalog, int catalog_fd,
                 struct broker_pool *pools, uint32_t pool_count)
{
    struct rlimit limit;
    int result;

    *workers = (struct workers){
        .event = event,
        .catalog = catalog,
        .catalog_fd = catalog_fd,
        .pools = pools,
        .pool_count = pool_count,
        .free_count = catalog->worker_max,
        .descriptors = UINT32_MAX,
        .spare = accept_spare(),
    };
    if (getrandom(&workers->tenant, sizeof workers->tenant, 0) < 0)
        workers->tenant = (uint32_t)clock_realtime_ms();
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < UINT32_MAX)
        workers->descriptors = (uint32_t)limit.rlim_cur;
    workers->attached = calloc(catalog->worker_max, sizeof *workers->attached);
    workers->free = calloc(catalog->worker_max, sizeof *workers->free);
    if (!workers->attached || !workers->free || workers->spare < 0) {
        result = workers->spare < 0 ? -errno : -ENOMEM;
        workers_free(workers);
        return result;
    }
    for (uint32_t i = 0; i < catalog->worker_max; i++)
        workers->free[i] = i;
    result = timer_new(event, &workers->departures, places_on_dead, workers);
    if (result == 0) /* else a millisecond would pass before each */
        result = sd_event_source_set_time_accuracy(workers->departures, 1);
    if (result < 0)
        workers_free(workers);
    return result < 0 ? result : 0;
}

void workers_free(struct workers *workers)
{
    if (!workers->catalog)
        return;
    workers->stopping = true;
    while (workers->oldest)
        worker_leave(workers->oldest, false);
    for (uint32_t i = 0; workers->attached && i < workers->catalog->worker_max; i++)
        if (workers->attached[i])
            place_free(workers->attached[i]);
    workers->listener = sd_event_source_disable_unref(workers->listener);
    workers->resume = sd_event_source_disable_unref(workers->resume);
    workers->departures = sd_event_source_disable_unref(workers->departures);
    if (workers->spare >= 0)
        close(workers->spare);
    free(workers->attached);
    free(workers->free);
    *workers = (struct workers){.spare = -1};
}
