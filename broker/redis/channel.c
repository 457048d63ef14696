/* SPDX-License-Identifier: MIT */
/* What a dial speaks on: see channel.h. */
#include "broker/redis/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "broker/tls/library.h"

bool channel_begin(struct channel *channel)
{
    return !channel->tls ||
           channel->tls->open(channel->context, channel->fd, &channel->connection) == 0;
}

/* What of TLS is no failure. */
static bool note_wait(struct channel *channel, enum tls_result result)
{
    channel->wants_write = result == TLS_WAIT_WRITE;
    return result == TLS_WAIT_READ || result == TLS_WAIT_WRITE;
}

enum channel_state channel_open(struct channel *channel)
{
    enum tls_result result = channel->tls ? channel->tls->handshake(channel->connection) : TLS_DONE;

    if (note_wait(channel, result))
        return CHANNEL_WAITING;
    return result == TLS_DONE ? CHANNEL_OPEN : CHANNEL_BROKEN;
}

/* As errno. What the network does is told apart from what the peer does. */
static int error_of(struct channel *channel, enum tls_result result)
{
    if (note_wait(channel, result))
        return EAGAIN;
    return strncmp(channel_error(channel), TLS_FAULT, strlen(TLS_FAULT)) == 0 ? EPROTO : ECONNRESET;
}

ssize_t channel_send(struct channel *channel, const void *data, size_t size)
{
    enum tls_result result;
    size_t done = 0;

    if (!channel->tls)
        return send(channel->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    result = channel->tls->write(channel->connection, data, size, &done);
    if (result == TLS_DONE)
        return (ssize_t)done;
    errno = result == TLS_ENDED ? EPIPE : error_of(channel, result);
    return -1;
}

ssize_t channel_receive(struct channel *channel, void *data, size_t size)
{
    enum tls_result result;
    size_t done = 0;

    if (!channel->tls)
        return recv(channel->fd, data, size, MSG_DONTWAIT);
    result = channel->tls->read(channel->connection, data, size, &done);
    if (result == TLS_DONE || result == TLS_ENDED)
        return (ssize_t)done;
    errno = error_of(channel, result);
    return -1;
}

const char *channel_error(const struct channel *channel)
{
    return channel->tls->error(channel->connection);
}

int channel_lend(struct channel *channel, char why[TLS_TEXT_SIZE])
{
    int fd = channel->fd, result = 0;

    if (channel->connection)
        result = channel->tls->lend(channel->connection, &fd, why);
    if (result != 0)
        return result;
    channel->connection = NULL;
    channel->fd = -1;
    return fd;
}

void channel_close(struct channel *channel)
{
    if (channel->connection)
        channel->tls->close(channel->connection);
    channel->connection = NULL;
    if (channel->fd >= 0)
        close(channel->fd);
    channel->fd = -1;
}

void channel_stop(void)
{
    const struct tls_functions *tls = tls_library();

    if (tls)
        tls->stop();
}
