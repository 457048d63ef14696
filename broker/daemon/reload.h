/* SPDX-License-Identifier: MIT */
/*
 * The configuration in force, and how it becomes another one while the broker runs: by reading it
 * anew (SIGHUP, lendisctl reload), or key by key (lendisctl set).
 *
 * A configuration with an error changes nothing. One without changes everything at once: pools
 * come, change (reconfigure.h), and go. A pool that goes is drained; it is freed when the last
 * worker has left it, so that nothing that a worker may still have mapped means anything else.
 */
#ifndef LENDIS_BROKER_RELOAD_H
#define LENDIS_BROKER_RELOAD_H

#include "broker/pool/pool.h"

struct reload {
    struct config *config;     /* in force; its contents are ours */
    struct broker_pool *pools; /* CATALOG_MAX_POOLS; config NULL: none */
    struct pool_environment *environment;
    void (*published)(void *context); /* the configuration is another one */
    void *context;
};

/* Gets a line for whoever asked; it has been logged. */
typedef void reload_report(void *context, const char *text);

/* Starts the pools of the configuration. Results: 0; -errno, which was logged. */
int reload_start(struct reload *reload);

/* Reads the configuration anew. Results: 0; -EINVAL, the old one stays in force, and why was
 * reported; -errno. *count: pools that came, changed or went. */
int reload_read(struct reload *reload, reload_report *report, void *context, uint32_t *count);

/* Sets a key in the pools whose bit is set, or in [broker] if `pools` is 0. Results likewise; an
 * error in one pool leaves all as they were. */
int reload_set(struct reload *reload, uint64_t pools, const char *key, const char *value,
               reload_report *report, void *context);

/* Frees pools that have gone. True: others are still going, call again before long. */
bool reload_sweep(struct reload *reload);

/* Stops all pools, and frees the configuration. */
void reload_stop(struct reload *reload);

#endif
