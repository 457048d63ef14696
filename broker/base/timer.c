/* SPDX-License-Identifier: MIT */
/* Timers of an event loop: see timer.h. */
#include "broker/base/timer.h"

#include <string.h>
#include "broker/base/clock.h"
#include "broker/base/log.h"

#define ACCURACY_US 1000u

int timer_new(sd_event *event, sd_event_source **timer, sd_event_time_handler_t handler,
              void *context)
{
    int result = sd_event_add_time(event, timer, CLOCK_MONOTONIC, 0, ACCURACY_US, handler, context);

    if (result >= 0)
        result = sd_event_source_set_enabled(*timer, SD_EVENT_OFF);
    return result < 0 ? result : 0;
}

int timer_set_at(sd_event_source *timer, uint64_t at_us)
{
    int result = sd_event_source_set_time(timer, at_us);

    if (result >= 0)
        result = sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
    if (result >= 0)
        return 0;
    /* unprovoked: only for want of memory */
    log_line(LOG_LEVEL_ERR, "cannot set a timer: %s", strerror(-result));
    return result;
}

int timer_set(sd_event_source *timer, uint64_t usec)
{
    return timer_set_at(timer, clock_us() + usec);
}

void timer_ensure(sd_event_source *timer, uint64_t usec)
{
    if (!timer_is_on(timer))
        timer_set(timer, usec);
}

void timer_ensure_at(sd_event_source *timer, uint64_t at_us)
{
    uint64_t set_us;

    if (!timer_is_on(timer) || sd_event_source_get_time(timer, &set_us) < 0 || set_us > at_us)
        timer_set_at(timer, at_us);
}

bool timer_is_on(sd_event_source *timer)
{
    int enabled;

    return sd_event_source_get_enabled(timer, &enabled) >= 0 && enabled != SD_EVENT_OFF;
}

void timer_stop(sd_event_source *timer)
{
    sd_event_source_set_enabled(timer, SD_EVENT_OFF);
}
