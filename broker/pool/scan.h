/* SPDX-License-Identifier: MIT */
/*
 * Inspecting all words of a pool, for which workers ring the doorbell, and what follows from
 * whatever was found, here or elsewhere (deferred.h): waiters get what is idle, and what is missing
 * is dialled. Upholds I1, I5 and I7 as far as they are the broker's.
 */
#ifndef LENDIS_BROKER_SCAN_H
#define LENDIS_BROKER_SCAN_H

#include <systemd/sd-event.h>

struct broker_pool;

struct scan {
    sd_event_source *doorbell;
};

/* Listens to the doorbell. Results: 0, scan_stop() must follow; -errno. */
int scan_start(struct broker_pool *pool);
void scan_stop(struct broker_pool *pool);

#endif
