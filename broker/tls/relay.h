/* SPDX-License-Identifier: MIT */
/*
 * Relays: a worker has one end of a socket pair, and a thread of this library pumps between the
 * other end and the TLS connection, for all connections together, so the broker's loop has no part
 * in it. It owns what it was given: the connection and both descriptors.
 *
 * Of each direction no more than RELAY_BUFFER bytes are in its hands; while they cannot be passed
 * on it reads no more there, so whoever is slow slows down the other side as on a plain connection.
 *
 * The end of one side is passed on when all that came before it is: the worker sees an end of file,
 * the server a close_notify and a FIN. A server's bare FIN, an alert and a broken record are ends
 * like any other to the worker: what came before is whole, or it can see that it is not.
 */
#ifndef LENDIS_BROKER_TLS_RELAY_H
#define LENDIS_BROKER_TLS_RELAY_H

#include "broker/tls/connection.h"

#define RELAY_BUFFER 16384u

/* Takes `connection`, which is established, and its descriptor; *fd, the worker's end, is the
 * caller's. Results: 0; -errno, and all stays the caller's. */
int relay_start(struct tls_connection *connection, int *fd);

/* Ends all and the thread. */
void relay_stop(void);

#endif
