/* SPDX-License-Identifier: MIT */
/*
 * A pool's TLS: the context that its dials share (broker/tls/tls.h). Files that were renewed are
 * noticed at each dial, and each quarter of an hour where nobody dials; from then on dials use
 * them, and connections that are open go on until they are replaced anyway. What cannot be used, a
 * file that is half written say, leaves those from before in use, with one warning.
 *
 * The catalog says when the client's certificate expires; the log says it too, once a day, when
 * that is soon.
 */
#ifndef LENDIS_BROKER_POOL_ENCRYPTION_H
#define LENDIS_BROKER_POOL_ENCRYPTION_H

#include <stdint.h>
#include <systemd/sd-event.h>
#include "broker/base/log.h"
#include "broker/redis/dialler.h"

struct broker_pool;

/* Of a pool; all zero at first. */
struct encryption {
    const struct tls_functions *tls; /* NULL: the pool has none */
    struct tls_context *context;
    sd_event_source *timer;
    uint64_t warned_ms; /* of the certificate's end, last; 0: not yet */
    struct log_limit limit;
};

/* Results: 0, encryption_stop() must follow; -errno, which was logged. */
int encryption_start(struct broker_pool *pool);
void encryption_stop(struct broker_pool *pool);

/* The configuration is another one. */
void encryption_renew(struct broker_pool *pool);

/* A connection is open: what it was learned from is reported. */
void encryption_opened(struct broker_pool *pool);

/* Completes whom to dial. False: the pool is to have TLS, and has it not. */
bool encryption_complete(struct broker_pool *pool, struct dial_target *target);

#endif
