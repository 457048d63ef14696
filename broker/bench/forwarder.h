/* SPDX-License-Identifier: MIT */
/*
 * A way to Redis that takes as long as one to another host: a process of its own that passes on
 * what comes over TCP, each direction half of the round trip later. It works on the same processors
 * as all that is measured, and reports how much of them it used.
 */
#ifndef LENDIS_BENCH_FORWARDER_H
#define LENDIS_BENCH_FORWARDER_H

#include <sys/types.h>

struct forwarder {
    pid_t pid; /* 0: none runs */
    int port;
    char url[64];
};

/* Starts one to a Redis on loopback. It ends with this process. */
void forwarder_start(struct forwarder *forwarder, int redis_port, double rtt_us);
void forwarder_stop(struct forwarder *forwarder);

#endif
