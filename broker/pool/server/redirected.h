/* SPDX-License-Identifier: MIT */
/*
 * Connections whose socket a holder has connected elsewhere (redirection.h): no server of ours is
 * at the other end, which says nothing of the server. They are closed, and the log says who had
 * them.
 */
#ifndef LENDIS_BROKER_REDIRECTED_H
#define LENDIS_BROKER_REDIRECTED_H

#include <stdbool.h>
#include "broker/base/log.h"

struct broker_pool;
struct broker_connection;

struct redirected {
    struct log_limit limit;
};

/* Of one that the broker holds: closes it if it was redirected. True: it was. */
bool redirected_close(struct broker_pool *pool, struct broker_connection *connection);

/*
 * Likewise whoever holds it: what was under way on it ends, and another one is opened if there is
 * need.
 */
bool redirected_drop(struct broker_pool *pool, struct broker_connection *connection);

#endif
