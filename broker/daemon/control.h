/* SPDX-License-Identifier: MIT */
/*
 * The control channel: what lendisctl(1) asks of the broker (WIRE_CONTROL in lendis/wire.h).
 *
 * A request is checked, begun, and answered when what it asks for is so, or when its limit has
 * passed. Only root and the broker's own user may ask (SO_PEERCRED, unix(7)). The broker waits for
 * nobody: what a tool does not read is dropped, and at most CONTROL_REQUESTS are under way.
 */
#ifndef LENDIS_BROKER_CONTROL_H
#define LENDIS_BROKER_CONTROL_H

#include <sys/socket.h>
#include "broker/daemon/reload.h"
#include "lendis/wire.h"

#define CONTROL_REQUESTS 16u

struct request;

struct control {
    sd_event *event;
    struct broker_pool *pools;
    uint32_t pool_count;
    struct reload *reload; /* NULL: the configuration stays as it is */
    bool stopping;         /* the broker was told to stop */
    int catalog_fd;        /* borrowed; -1: there is none */
    struct request *first;
    uint32_t count;
    struct log_limit denied_limit;
    sd_event_source *tick; /* checks whether it is so */
};

/* Results: 0, control_free() must follow; -errno. The pools are borrowed. */
int control_init(struct control *control, sd_event *event, struct broker_pool *pools,
                 uint32_t pool_count);

/* Reads the configuration anew, and says so to the service manager and in the log. Results as
 * reload_read(). */
int control_reload(struct control *control, reload_report *report, void *context, uint32_t *count);

/* Answers what is under way: the broker stops. */
void control_stop(struct control *control);
void control_free(struct control *control);

/* A worker_control (worker.h): a tool's request, and its socket, which is ours from now on. */
void control_take(void *context, int socket, const struct ucred *peer, const void *message,
                  size_t size);

#endif
