/* SPDX-License-Identifier: MIT */
/*
 * One-shot timers of an event loop, by CLOCK_MONOTONIC (sd_event_add_time(3)), accurate to a
 * millisecond: left to itself, sd-event may be 250 ms late. Whoever made one frees it by
 * sd_event_source_disable_unref().
 *
 * Setting a timer fails for want of memory alone. That is logged here; a caller that can do without
 * the timer checks the result.
 */
#ifndef LENDIS_BROKER_TIMER_H
#define LENDIS_BROKER_TIMER_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* Makes a timer, which is off. Results: 0; -errno. */
int timer_new(sd_event *event, sd_event_source **timer, sd_event_time_handler_t handler,
              void *context);

/* Sets it to `usec` from now, whatever it was set to. Results: 0; -errno. */
int timer_set(sd_event_source *timer, uint64_t usec);

/* Likewise to the moment at_us of clock_us(). */
int timer_set_at(sd_event_source *timer, uint64_t at_us);

/* The same unless it is on: one that many set in turn would else never come to its end. */
void timer_ensure(sd_event_source *timer, uint64_t usec);

/* The same unless it is on and comes no later than that. */
void timer_ensure_at(sd_event_source *timer, uint64_t at_us);

bool timer_is_on(sd_event_source *timer);

void timer_stop(sd_event_source *timer);

#endif
