/* SPDX-License-Identifier: MIT */
/* Tasks in threads of their own: see background.h. */
#include "broker/base/background.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/base/thread.h"

/* glibc's resolver and its modules keep buffers of a few 10 KiB on the stack; only touched pages
 * cost. */
#define STACK_SIZE (256u * 1024u)

static void *run(void *argument)
{
    struct background_task *task = argument;
    struct background *background = task->background;
    uint64_t one = 1;
    ssize_t written;

    task->run(task);
    pthread_mutex_lock(&background->lock);
    task->next = background->done;
    background->done = task;
    /* Under the lock, so that the descriptor is still ours; it fails only if one is pending anyway.
     */
    do
        written = background->wake >= 0 ? write(background->wake, &one, sizeof one) : 0;
    while (written < 0 && errno == EINTR);
    pthread_mutex_unlock(&background->lock);
    return NULL;
}

static struct background_task *take_done(struct background *background)
{
    struct background_task *list;
    uint64_t count;

    if (background->wake >= 0)
        (void)!read(background->wake, &count, sizeof count);
    pthread_mutex_lock(&background->lock);
    list = background->done;
    background->done = NULL;
    pthread_mutex_unlock(&background->lock);
    return list;
}

/* All of them, or `one` alone, are wanted. Results: whether `one` was there. */
static bool end_done(struct background *background, bool wanted, const struct background_task *one)
{
    struct background_task *list = take_done(background), *task;
    bool found = false;

    while ((task = list)) {
        list = task->next;
        found = found || task == one;
        task->end(task, wanted || task == one);
    }
    return found;
}

static int on_wake(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)fd;
    (void)events;
    end_done(context, true, NULL);
    return 0;
}

int background_start(struct background *background, sd_event *event)
{
    int result;

    *background = (struct background)BACKGROUND_NONE;
    background->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (background->wake < 0)
        return -errno;
    result =
        sd_event_add_io(event, &background->source, background->wake, EPOLLIN, on_wake, background);
    if (result >= 0)
        return 0;
    close(background->wake);
    background->wake = -1;
    return result;
}

void background_stop(struct background *background)
{
    if (background->wake < 0)
        return;
    background->source = sd_event_source_disable_unref(background->source);
    pthread_mutex_lock(&background->lock);
    close(background->wake);
    background->wake = -1;
    pthread_mutex_unlock(&background->lock);
    end_done(background, false, NULL);
}

int background_run(struct background *background, struct background_task *task)
{
    task->background = background;
    return thread_start(run, task, STACK_SIZE, NULL);
}

int background_run_within(uint32_t limit_ms, struct background_task *task)
{
    /* Static: a thread that hangs comes back to it, or never. */
    static struct background waited = BACKGROUND_NONE;
    uint64_t until_ms = clock_ms() + limit_ms, now_ms;
    int result;

    if (waited.wake < 0)
        waited.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (waited.wake < 0)
        return -errno;
    result = background_run(&waited, task);
    while (result == 0 && (now_ms = clock_ms()) < until_ms) {
        struct pollfd poll_fd = {.fd = waited.wake, .events = POLLIN};

        if (poll(&poll_fd, 1, (int)(until_ms - now_ms)) > 0 && end_done(&waited, false, task))
            return 0;
    }
    return result == 0 ? -ETIMEDOUT : result;
}
