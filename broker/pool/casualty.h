/* SPDX-License-Identifier: MIT */
/*
 * Connections that ended while a command was being answered: workers report them in the segment
 * (struct connection.lost). The log says whose command it was, and such a loss is no evidence
 * against the server: one command may have cost its connection, others are served on.
 */
#ifndef LENDIS_BROKER_CASUALTY_H
#define LENDIS_BROKER_CASUALTY_H

struct broker_pool;
struct broker_connection;

/*
 * Notes what a worker reported of `connection`, if it is new. What it wrote is a hint (I5): it
 * costs a line of the log, within its limit, and one loss less that counts against the server.
 */
void casualty_inspect(struct broker_pool *pool, struct broker_connection *connection);

/* The same for all connections. */
void casualty_inspect_all(struct broker_pool *pool);

#endif
