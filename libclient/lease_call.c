/* SPDX-License-Identifier: MIT */
/*
 * A command on a lease in steps that do not wait, for event loops: lendis_call_begin() and what
 * follows it. Upholds I4: until its replies are whole, the lease counts as broken, so a call that
 * is given up in the middle costs the connection, never somebody else's reply.
 *
 * What is polled is the connection's descriptor, which the caller does not get to use: what goes
 * over it is seen here, and a session that is left clean needs no reset. A call belongs to one
 * thread at a time, as its lease does.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "libclient/call.h"
#include "libclient/cancel.h"
#include "libclient/clock.h"
#include "libclient/lease.h"
#include "libclient/membership/attachment.h"
#include "libclient/reply_bytes.h"

struct lendis_call {
    struct lendis_lease *lease;
    uint64_t word; /* of the lease when it began: another one's lease is not touched */
    struct call call;
    struct reply_sink sink;
    struct reply_bytes bytes;
    struct receiving receiving;
    size_t sent;
    char request[]; /* a copy */
};

static bool is_under_way(const struct lendis_call *call)
{
    return call && lease_is_mine(call->lease) && call->lease->word == call->word;
}

static void call_free(struct lendis_call *call)
{
    free(call->bytes.data);
    free(call);
}

/* Sends what the socket takes now. Results: 0; -errno, the connection is lost. */
static int send_on(struct lendis_call *call)
{
    while (call->sent < call->call.size) {
        ssize_t wrote = send(call->lease->fd, call->request + call->sent,
                             call->call.size - call->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (wrote >= 0)
            call->sent += (size_t)wrote;
        else if (errno == EAGAIN)
            return 0;
        else if (errno != EINTR)
            return -errno;
    }
    return 0;
}

/* Takes what has come. Results: LENDIS_E_AGAIN; as call_on_lease(). */
static int receive_on(struct lendis_call *call)
{
    enum replies_state received = REPLIES_PARTLY;
    char buffer[CALL_RECEIVE_SIZE];

    while (received == REPLIES_PARTLY) {
        ssize_t got = recv(call->lease->fd, buffer, sizeof buffer, MSG_DONTWAIT);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN) {
            if (clock_now_ns() < call->call.deadline_ns)
                return LENDIS_E_AGAIN;
            got = -1;
        } else if (got <= 0) {
            errno = got == 0 ? 0 : errno;
            got = 0;
        }
        received = call_take(&call->receiving, buffer, got);
    }
    if (received == REPLIES_WHOLE)
        call->lease->broken = false; /* it was only as long as the call went on */
    return call_close(call->lease, &call->receiving, received);
}

/* Results: LENDIS_E_AGAIN; as call_on_lease(). */
static int advance(struct lendis_call *call)
{
    int result = send_on(call);
    bool lost = result != 0;

    if (!lost && call->sent == call->call.size)
        return receive_on(call);
    if (!lost && clock_now_ns() < call->call.deadline_ns)
        return LENDIS_E_AGAIN;
    return call_not_sent(call->lease, &call->call, call->sent, lost);
}

/* A command cannot be begun on a lease as it is. */
static int why_not(const struct lendis_lease *lease)
{
    return lease_is_revoked(lease) ? LENDIS_E_REVOKED : LENDIS_E_DOWN;
}

static int call_start(struct lendis_call *call, const void *request, size_t size, int timeout_ms)
{
    struct lendis_lease *lease = call->lease;
    int result;

    memcpy(call->request, request, size);
    call->sink = reply_bytes_sink(&call->bytes);
    if (call_init(&call->call, call->request, size, &call->sink) != 0)
        return -EINVAL;
    attachment_classify(lease->attachment, call->request, size, &call->call.command);
    call->call.deadline_ns =
        timeout_ms > 0
            ? clock_deadline_ns(timeout_ms)
            : call_reply_deadline(lease->attachment, &call->call.command, clock_now_ns());
    result = call_open(lease, &call->call, &call->receiving);
    if (result != 0)
        return result == LENDIS_E_DOWN ? why_not(lease) : result;
    lease->broken = true;
    if (send_on(call) == 0)
        return 0;
    result = call_not_sent(lease, &call->call, call->sent, true);
    return result == LENDIS_E_DOWN ? why_not(lease) : result;
}

/* ---- the calls ---- */

LENDIS_PUBLIC int lendis_classify(const struct lendis_lease *lease, const void *request,
                                  size_t request_size)
{
    int before CANCEL_RESTORED = cancel_off();
    struct call call;
    unsigned kind = 0;

    if (!lease_is_mine(lease) || !request || call_init(&call, request, request_size, NULL) != 0)
        return -EINVAL;
    attachment_classify(lease->attachment, request, request_size, &call.command);
    if (call.command.flags & COMMAND_READ_ONLY)
        kind |= LENDIS_REQUEST_READS;
    if (!command_may_share(&call.command))
        kind |= LENDIS_REQUEST_ALONE;
    if (command_needs_lease(&call.command, call.replies))
        kind |= LENDIS_REQUEST_LEASE;
    return (int)kind;
}

LENDIS_PUBLIC int lendis_call_begin(struct lendis_lease *lease, const void *request,
                                    size_t request_size, int timeout_ms, struct lendis_call **call)
{
    int before CANCEL_RESTORED = cancel_off();
    struct lendis_call *made;
    int result;

    if (!lease_is_mine(lease) || !request || !call || timeout_ms < -1)
        return -EINVAL;
    if (lease->broken)
        return why_not(lease);
    made = calloc(1, sizeof *made + request_size);
    if (!made)
        return -ENOMEM;
    made->lease = lease;
    made->word = lease->word;
    result = call_start(made, request, request_size, timeout_ms);
    if (result != 0) {
        call_free(made);
        return result;
    }
    *call = made;
    return 0;
}

LENDIS_PUBLIC int lendis_call_poll(const struct lendis_call *call, short *events, int *timeout_ms)
{
    int before CANCEL_RESTORED = cancel_off();

    if (!is_under_way(call) || !events || !timeout_ms)
        return -EINVAL;
    *events = call->sent < call->call.size ? POLLIN | POLLOUT : POLLIN;
    *timeout_ms = clock_left_ms(call->call.deadline_ns);
    return call->lease->fd;
}

LENDIS_PUBLIC int lendis_call_finish(struct lendis_call *call, void **reply, size_t *reply_size)
{
    int before CANCEL_RESTORED = cancel_off();
    int result;

    if (!is_under_way(call) || !reply || !reply_size)
        return -EINVAL;
    result = advance(call);
    if (result == LENDIS_E_AGAIN)
        return result;
    if (result == LENDIS_E_DOWN)
        result = why_not(call->lease);
    if (result == 0) {
        *reply = call->bytes.data;
        *reply_size = call->bytes.size;
        call->bytes.data = NULL;
    }
    call_free(call);
    return result;
}

LENDIS_PUBLIC void lendis_call_cancel(struct lendis_call *call)
{
    int before CANCEL_RESTORED = cancel_off();

    if (call)
        call_free(call);
}
