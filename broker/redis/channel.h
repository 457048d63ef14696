/* SPDX-License-Identifier: MIT */
/*
 * What a dial speaks on: a connected socket, plain or with TLS (broker/tls/tls.h). Never waits. As
 * long as the handshake of TLS is not over, nothing is sent.
 */
#ifndef LENDIS_BROKER_CHANNEL_H
#define LENDIS_BROKER_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "broker/tls/tls.h"

struct channel {
    int fd;                          /* -1: there is none (any more) */
    const struct tls_functions *tls; /* NULL: it is plain */
    struct tls_context *context;
    struct tls_connection *connection;
    bool wants_write; /* TLS itself has something to send that there was no room for */
};

/* Begins the handshake, if it is to have TLS; on a socket that is connected. False: there is no
 * memory. */
bool channel_begin(struct channel *channel);

enum channel_state { CHANNEL_OPEN, CHANNEL_WAITING, CHANNEL_BROKEN };

/* Goes on with the handshake. CHANNEL_BROKEN: see channel_error(). */
enum channel_state channel_open(struct channel *channel);

/*
 * As send(2) and recv(2) without waiting. EPROTO: TLS failed, and channel_error() says why.
 */
ssize_t channel_send(struct channel *channel, const void *data, size_t size);
ssize_t channel_receive(struct channel *channel, void *data, size_t size);

/* Of TLS, after CHANNEL_BROKEN or EPROTO. */
const char *channel_error(const struct channel *channel);

/* Gives up the descriptor that is to be lent, which is the caller's. Results: it; -errno, and
 * `why`. */
int channel_lend(struct channel *channel, char why[TLS_TEXT_SIZE]);

void channel_close(struct channel *channel);

/* Ends the relays: the broker ends. */
void channel_stop(void);

#endif
