/* SPDX-License-Identifier: MIT */
/* What one relay passes on: see pump.h. */
#include "broker/tls/pump.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Buffers in each direction before others have their turn. */
#define TURN 8

void pump_note(struct side *side, uint32_t events)
{
    side->readable = side->readable || (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR));
    side->writable = side->writable || (events & (EPOLLOUT | EPOLLHUP | EPOLLERR));
    side->hung = side->hung || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
    side->closed = side->closed || (events & (EPOLLHUP | EPOLLERR));
}

static void drop_rest(struct flow *flow)
{
    flow->size = 0;
    flow->ended = flow->finished = true;
}

/* ---- from the worker to the server ---- */

static bool take_from_worker(struct pump *pump)
{
    ssize_t got;

    do
        got = recv(pump->local, pump->up.bytes, sizeof pump->up.bytes, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) {
        pump->worker.readable = false;
        return false;
    }
    if (got <= 0) {
        pump->up.ended = true;
        return true;
    }
    pump->up.start = 0;
    pump->up.size = (size_t)got;
    /* Less than there was room for: there was no more, and what comes now is seen again. */
    if ((size_t)got < sizeof pump->up.bytes && !pump->worker.hung)
        pump->worker.readable = false;
    return true;
}

/* What OpenSSL waits for. False: for nothing, it has failed. */
static bool note_wait(struct pump *pump, enum tls_result result)
{
    if (result == TLS_WAIT_READ)
        pump->server.readable = false;
    else if (result == TLS_WAIT_WRITE)
        pump->server.writable = false;
    else
        return false;
    return true;
}

static bool give_to_server(struct pump *pump)
{
    size_t done;
    enum tls_result result =
        tls_connection_write(pump->tls, pump->up.bytes + pump->up.start, pump->up.size, &done);

    if (result == TLS_DONE) {
        pump->up.start += done;
        pump->up.size -= done;
        return true;
    }
    if (note_wait(pump, result))
        return false;
    /* What it has said before is still read. */
    pump->broken = true;
    drop_rest(&pump->up);
    return true;
}

/* The worker has sent all that it will: close_notify, then FIN. */
static bool end_server(struct pump *pump)
{
    int result;

    ERR_clear_error();
    result = pump->broken ? 0 : SSL_shutdown(pump->tls->ssl);
    if (result < 0 && SSL_get_error(pump->tls->ssl, result) == SSL_ERROR_WANT_WRITE) {
        pump->server.writable = false;
        return false;
    }
    ERR_clear_error();
    shutdown(pump->tls->socket.fd, SHUT_WR);
    pump->up.finished = true;
    return true;
}

static bool move_up(struct pump *pump)
{
    bool moved = false;

    if (pump->up.size == 0 && !pump->up.ended && pump->worker.readable)
        moved = take_from_worker(pump);
    if (pump->up.size > 0 && pump->server.writable)
        moved = give_to_server(pump) || moved;
    if (pump->up.size == 0 && pump->up.ended && !pump->up.finished && pump->server.writable)
        moved = end_server(pump) || moved;
    return moved;
}

/* ---- from the server to the worker ---- */

static bool take_from_server(struct pump *pump)
{
    struct tls_connection *tls = pump->tls;
    size_t done;
    enum tls_result result =
        tls_connection_read(tls, pump->down.bytes, sizeof pump->down.bytes, &done);

    if (result == TLS_DONE) {
        pump->down.start = 0;
        pump->down.size = done;
        if (tls->socket.drained && !SSL_has_pending(tls->ssl) && !pump->server.hung)
            pump->server.readable = false;
        return true;
    }
    if (note_wait(pump, result))
        return false;
    pump->broken = pump->broken || result == TLS_FAILED;
    pump->down.ended = true;
    return true;
}

static bool give_to_worker(struct pump *pump)
{
    ssize_t sent;

    do
        sent = send(pump->local, pump->down.bytes + pump->down.start, pump->down.size,
                    MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        pump->down.start += (size_t)sent;
        pump->down.size -= (size_t)sent;
        return true;
    }
    if (errno == EAGAIN) {
        pump->worker.writable = false;
        return false;
    }
    pump->worker_gone = true;
    drop_rest(&pump->down);
    return true;
}

static bool move_down(struct pump *pump)
{
    bool moved = false;

    if (pump->down.size == 0 && !pump->down.ended && pump->server.readable)
        moved = take_from_server(pump);
    if (pump->down.size > 0 && pump->worker.writable)
        moved = give_to_worker(pump) || moved;
    if (pump->down.size == 0 && pump->down.ended && !pump->down.finished) {
        shutdown(pump->local, SHUT_WR);
        pump->down.finished = true;
    }
    return moved;
}

/* ---- both ---- */

bool pump_is_leaving(const struct pump *pump)
{
    return pump->up.ended || pump->worker_gone;
}

/* The server's end is the end; the worker's is when all that it sent went out and nobody reads. */
static bool is_over(const struct pump *pump)
{
    return pump->down.finished && (!pump->worker_gone || pump->up.finished);
}

enum pump_result pump_run(struct pump *pump)
{
    bool moved = true;

    if (pump->worker.closed) {
        pump->worker_gone = true;
        drop_rest(&pump->down);
    }
    for (int i = 0; i < TURN && moved; i++) {
        /* The server's end first: what the worker has sent by then is not taken any more, by which
         * the worker can see that it was not executed (unix(7): ECONNRESET). */
        moved = move_down(pump);
        if (!pump->down.finished || pump->worker_gone)
            moved = move_up(pump) || moved;
    }
    if (is_over(pump))
        return PUMP_OVER;
    return moved ? PUMP_BUSY : PUMP_RESTING;
}
