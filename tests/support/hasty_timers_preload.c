/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a broker: its long timers, of half a minute and more, come HASTE times as soon.
 * For tests of what the broker does after minutes in which nothing happens.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#define LONG_US UINT64_C(30000000)
#define HASTE   30u

typedef int add_relative(sd_event *event, sd_event_source **source, clockid_t clock, uint64_t usec,
                         uint64_t accuracy, sd_event_time_handler_t handler, void *context);

/* Hides the one of libsystemd: sd_event_add_time(3). */
__attribute__((visibility("default"))) int
sd_event_add_time_relative(sd_event *event, sd_event_source **source, clockid_t clock,
                           uint64_t usec, uint64_t accuracy, sd_event_time_handler_t handler,
                           void *context)
{
    add_relative *real = (add_relative *)dlsym(RTLD_NEXT, "sd_event_add_time_relative");

    return real(event, source, clock, usec >= LONG_US ? usec / HASTE : usec, accuracy, handler,
                context);
}
