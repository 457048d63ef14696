/* SPDX-License-Identifier: MIT */
/*
 * Notifying the service manager without waiting for it for long: sd_notify(3) itself blocks as long
 * as nobody reads the manager's socket.
 */
#ifndef LENDIS_BROKER_MANAGER_H
#define LENDIS_BROKER_MANAGER_H

#include <stdbool.h>
#include <systemd/sd-event.h>

/* There is one, and it has room for a message. One that does not read for a second is waited for no
 * more until it does. */
bool manager_listens(void);

/* Sends it a notification, in sd_notify(3)'s format; what it has no room for is lost. */
void manager_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Shows it that the loop runs, if it wants to see that (sd_watchdog_enabled(3)). In place of
 * sd_event_set_watchdog(3), which waits for a manager that does not read: one that is stopped would
 * stop us. Results: 0; -errno. */
int manager_watch(sd_event *event);

#endif
