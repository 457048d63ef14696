/* SPDX-License-Identifier: MIT */
/*
 * The listener for those who collect metrics: HTTP, GET /metrics. Runs libmicrohttpd inside the
 * event loop, without threads: its epoll descriptor is a source like any other.
 *
 * Clients can have no more of the broker than EXPORTER_CONNECTIONS connections, EXPORTER_SECONDS
 * each, and the text anew ten times a second; nothing that one does or leaves undone is waited for.
 * When all connections are taken and another client comes, the oldest one that has not asked yet
 * has to go, or, if all have, the oldest one that is slow to read: nobody starves another.
 */
#ifndef LENDIS_BROKER_EXPORTER_H
#define LENDIS_BROKER_EXPORTER_H

#include <systemd/sd-event.h>
#include "broker/metrics/statistics.h"

#define EXPORTER_CONNECTIONS 8u
#define EXPORTER_SECONDS     10u

struct exporter;

/* Sets where the statistics are now. */
typedef void exporter_source(void *context, struct statistics_source *source);

/* Listens at `address` (listen.h). Results: 0 and *exporter is the caller's; -errno, which was
 * logged. */
int exporter_start(sd_event *event, const char *address, exporter_source *source, void *context,
                   struct exporter **exporter);

/* Closes everything. NULL does nothing. */
void exporter_stop(struct exporter *exporter);

#endif
