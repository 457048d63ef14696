/* SPDX-License-Identifier: MIT */
/*
 * Reports in the log who has held a connection for too long: pid, user, and the command line from
 * /proc/PID/cmdline (proc(5)).
 *
 * To read that file the kernel reads the process' memory, under a lock that the process' own
 * threads can hold for long. The broker waits on no worker (I5), so it is read by a short-lived
 * thread, one at a time; what comes up meanwhile is reported without it.
 */
#ifndef LENDIS_BROKER_LEAK_REPORT_H
#define LENDIS_BROKER_LEAK_REPORT_H

#include <stdint.h>
#include "lendis/catalog.h"

struct leak {
    struct leak *next;
    char pool[CATALOG_NAME_SIZE];
    uint32_t connection;
    uint32_t pid; /* 0: not visible from our PID namespace */
    uint32_t uid;
    uint32_t kept_back; /* reports that were not made before this one */
    uint64_t age_ms;
};

/* Reports the whole list, whose elements came from malloc(3), and frees it. */
void leak_report(struct leak *list);

#endif
