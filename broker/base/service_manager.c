/* SPDX-License-Identifier: MIT */
/* The service manager: see service_manager.h. One thread. */
#include "broker/base/service_manager.h"

#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>
#include "broker/base/timer.h"
#include "broker/base/log.h"

#define PATIENCE_MS 1000

/* A socket that is connected to the manager's, to see whether that has room: unix(7), poll(2). -1:
 * there is none. */
static int connect_manager(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *name = getenv("NOTIFY_SOCKET");
    size_t size = name ? strlen(name) : 0;
    int fd;

    if (size == 0 || size >= sizeof address.sun_path || (name[0] != '/' && name[0] != '@'))
        return -1;
    memcpy(address.sun_path, name, size);
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address,
                           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool has_room(int timeout_ms)
{
    static int fd = -1;
    static bool connected;
    struct pollfd room;

    if (!connected)
        fd = connect_manager();
    connected = true;
    room = (struct pollfd){.fd = fd, .events = POLLOUT};
    return fd >= 0 && poll(&room, 1, timeout_ms) == 1;
}

bool manager_listens(void)
{
    static int patience_ms = PATIENCE_MS;

    if (has_room(patience_ms)) {
        patience_ms = PATIENCE_MS;
        return true;
    }
    if (patience_ms > 0 && getenv("NOTIFY_SOCKET"))
        log_line(LOG_LEVEL_WARNING, "the service manager does not read its notifications");
    patience_ms = 0;
    return false;
}

void manager_notify(const char *format, ...)
{
    char text[512];
    va_list arguments;

    if (!manager_listens())
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    sd_notify(0, text);
}

/* ---- the watchdog ---- */

static uint64_t period_us;

static int on_period(sd_event_source *source, uint64_t usec, void *unused)
{
    (void)usec;
    (void)unused;
    if (has_room(0))
        sd_notify(0, "WATCHDOG=1");
    return timer_set(source, period_us);
}

int manager_watch(sd_event *event)
{
    uint64_t limit_us;
    int result = sd_watchdog_enabled(0, &limit_us);

    if (result <= 0)
        return result;
    /* Half of it is what it is to be (sd_watchdog_enabled(3)); less, for a loop that is late. */
    period_us = limit_us / 3;
    result = sd_event_add_time(event, NULL, CLOCK_MONOTONIC, 0, 1000, on_period, NULL);
    return result < 0 ? result : 0;
}
