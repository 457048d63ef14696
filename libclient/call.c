/* SPDX-License-Identifier: MIT */
/*
 * A call on a lease: send, receive, find the end of the reply. Upholds I4: a connection whose
 * stream is not at a command's boundary is broken and never lent again.
 */
#include "libclient/call.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include "libclient/membership/attachment.h"
#include "libclient/lending_policy.h"
#include "libclient/notice.h"
#include "libclient/connection/resp.h"
#include "libclient/connection/socket_io.h"

/* Redis' errors are shorter. */
#define LAST_WORDS_SIZE 512

/* Goes on with a reply or a push at `data`. Results: bytes; -EPROTO; -ENOMEM, the sink failed. */
static ssize_t take_value(struct receiving *receiving, const char *data, size_t size)
{
    const struct reply_sink *sink = receiving->call->sink;
    size_t used;
    int result = resp_scan(&receiving->scan, data, size, &used);
    char first = receiving->scan.first;

    if (result < 0)
        return -EPROTO;
    if (first == '>' && receiving->pushes)
        return (ssize_t)used;
    if (sink->take(sink->context, data, used) != 0)
        return -ENOMEM;
    if (result == 1 && *data == '-')
        notice_error(receiving->lease, data, used);
    receiving->replies -= result == 1;
    receiving->error = first == '-' || first == '!';
    return (ssize_t)used;
}

/* Whether a push is under way, or begins with `byte`. */
static bool in_push(const struct receiving *receiving, char byte)
{
    return receiving->pushes && (!resp_is_between(&receiving->scan) || byte == '>');
}

/* Gives the replies among what was received to the sink. Results: any but REPLIES_TIMEOUT. */
static enum replies_state take_received(struct receiving *receiving, const char *data, size_t size)
{
    size_t at = 0;

    receiving->any = true;
    while (at < size && (receiving->replies > 0 || in_push(receiving, data[at]))) {
        ssize_t used = take_value(receiving, data + at, size - at);

        if (used < 0)
            return used == -ENOMEM ? REPLIES_SINK : REPLIES_LOST;
        at += (size_t)used;
    }
    if (receiving->replies > 0 || !resp_is_between(&receiving->scan))
        return REPLIES_PARTLY;
    return at == size ? REPLIES_WHOLE : REPLIES_AND_MORE;
}

enum replies_state call_take(struct receiving *receiving, const char *data, ssize_t got)
{
    enum replies_state received;

    receiving->end_error = got == 0 ? errno : -1;
    if (got <= 0)
        return got == 0 ? REPLIES_LOST : REPLIES_TIMEOUT;
    received = take_received(receiving, data, (size_t)got);
    /* Replies that just fill the buffer can hide what follows them. */
    if (received == REPLIES_WHOLE && got == CALL_RECEIVE_SIZE &&
        !socket_is_silent(receiving->lease->fd))
        return REPLIES_AND_MORE;
    return received;
}

/* Receives the replies. */
static enum replies_state receive_replies(char *buffer, struct receiving *receiving)
{
    enum replies_state received;

    do
        received = call_take(receiving, buffer,
                             socket_receive(receiving->lease->fd, buffer, CALL_RECEIVE_SIZE,
                                            receiving->call->deadline_ns, NULL));
    while (received == REPLIES_PARTLY);
    return received;
}

/* The receive buffer of the handle, or where another thread has it one of its own; NULL: no
 * memory. */
static char *buffer_take(struct lendis_pool *pool)
{
    /* Acquire: whoever gave it back is done with it. */
    if (pool->buffer &&
        !atomic_exchange_explicit(&pool->local->buffer_taken, true, memory_order_acquire))
        return pool->buffer;
    return malloc(CALL_RECEIVE_SIZE);
}

static void buffer_give(struct lendis_pool *pool, char *buffer)
{
    if (buffer == pool->buffer)
        atomic_store_explicit(&pool->local->buffer_taken, false, memory_order_release);
    else
        free(buffer);
}

int64_t call_reply_deadline(const struct attachment *attachment, const struct command *command,
                            int64_t now_ns)
{
    uint32_t limit_ms = shm_load32_relaxed(&attachment_settings(attachment)->command_timeout_ms);

    if (limit_ms == 0 || (command->flags & COMMAND_BLOCKING))
        return INT64_MAX;
    return now_ns + limit_ms * INT64_C(1000000);
}

/* What a command that was not answered comes to. */
int call_failure(struct attachment *attachment, const struct call *call, bool sent, enum loss loss)
{
    /* A read that was being answered may be what cost the connection: it is not sent again. One
     * whose time is up did no harm. */
    bool harmless = !sent || ((call->command.flags & COMMAND_READ_ONLY) && loss != LOSS_ANSWERING);

    if (loss != LOSS_NONE) {
        attachment_count(attachment, COUNTER_lost, 1);
        policy_note_outage(NULL); /* one connection is */
    }
    if (harmless) {
        if (sent && loss == LOSS_MEANWHILE && call->losses)
            ++*call->losses;
        return loss != LOSS_NONE ? LENDIS_E_DOWN : LENDIS_E_TIMEOUT;
    }
    attachment_count(attachment, COUNTER_uncertain, 1);
    return LENDIS_E_UNCERTAIN;
}

int call_no_memory(struct attachment *attachment, const struct command *command)
{
    if (command->flags & COMMAND_READ_ONLY)
        return -ENOMEM;
    attachment_count(attachment, COUNTER_uncertain, 1);
    return LENDIS_E_UNCERTAIN;
}

bool call_take_last_words(int fd, const struct call *call)
{
    char words[LAST_WORDS_SIZE];
    struct resp_scan scan = {0};
    ssize_t got = recv(fd, words, sizeof words, MSG_DONTWAIT);
    size_t used;

    if (got <= 0 || call->replies != 1 || *words != '-' ||
        resp_scan(&scan, words, (size_t)got, &used) != 1 || used != (size_t)got)
        return false;
    return call->sink->take(call->sink->context, words, used) == 0;
}

int call_init(struct call *call, const char *request, size_t size, const struct reply_sink *sink)
{
    *call = (struct call){.request = request, .size = size, .sink = sink};
    return command_parse(request, size, NULL, &call->command, &call->replies);
}

int call_not_sent(struct lendis_lease *lease, const struct call *call, size_t sent, bool lost)
{
    lease->broken = sent > 0 || lost;
    if (lost && sent > 0 && call_take_last_words(lease->fd, call))
        return 0;
    /* Part of a command cannot have been executed; part of a pipeline can. */
    if (lost && sent > 0 && call->losses)
        ++*call->losses;
    return call_failure(lease->attachment, call, call->replies > 1 && sent > 0,
                        lost ? LOSS_BEFORE : LOSS_NONE);
}

/* The request was sent; not all replies came. */
static int not_answered(struct lendis_lease *lease, const struct receiving *receiving, bool lost)
{
    const struct call *call = receiving->call;
    enum loss loss = lost ? loss_judge(lease, receiving->end_error, receiving->any) : LOSS_NONE;

    if (loss == LOSS_ANSWERING && receiving->end_error >= 0)
        loss_report(lease, lease->attachment->worker, call->request, call->size,
                    call->replies - receiving->replies);
    return call_failure(lease->attachment, call, true, loss);
}

int call_open(struct lendis_lease *lease, const struct call *call, struct receiving *receiving)
{
    bool strange = session_is_strange(&lease->session);

    *receiving = (struct receiving){.lease = lease, .call = call, .replies = call->replies};
    receiving->strange = strange;
    /* SUBSCRIBE and its kind are answered by a push themselves. */
    receiving->pushes = (strange || (call->command.flags & COMMAND_SESSION)) &&
                        !(call->command.flags & COMMAND_LEASE);
    lease->used = true;
    attachment_count(lease->attachment, COUNTER_commands, call->replies);
    /* A subscriber may be sent something at any time; nobody else has this connection after it. */
    if (!strange && !socket_is_silent(lease->fd))
        return call_not_sent(lease, call, 0, true);
    return 0;
}

int call_close(struct lendis_lease *lease, const struct receiving *receiving,
               enum replies_state received)
{
    const struct call *call = receiving->call;

    lease->broken = lease->broken || received != REPLIES_WHOLE;
    if (received == REPLIES_SINK)
        return call_no_memory(lease->attachment, &call->command);
    /* More than one reply: which of them is ours? SUBSCRIBE and its kind are answered so. */
    if (received == REPLIES_AND_MORE && !receiving->strange &&
        !(call->command.flags & COMMAND_SESSION))
        received = REPLIES_LOST;
    if (received != REPLIES_WHOLE && received != REPLIES_AND_MORE)
        return not_answered(lease, receiving, received == REPLIES_LOST);
    session_follow_request(&lease->session, call->request, call->size, receiving->error);
    if (call->command.flags & COMMAND_SUSPECT)
        session_suspect(&lease->session);
    return 0;
}

/* Sends and receives with `buffer`. Results as call_on_lease(). */
static int exchange(struct lendis_lease *lease, const struct call *call, char *buffer)
{
    struct receiving receiving;
    size_t sent;
    int result = call_open(lease, call, &receiving);

    if (result != 0)
        return result;
    result = socket_send_all(lease->fd, call->request, call->size, call->deadline_ns, &sent);
    if (result != 0)
        return call_not_sent(lease, call, sent, result != LENDIS_E_TIMEOUT);
    return call_close(lease, &receiving, receive_replies(buffer, &receiving));
}

int call_on_lease(struct lendis_lease *lease, const struct call *call)
{
    struct lendis_pool *pool = lease->attachment->pool;
    char *buffer = buffer_take(pool);
    int result;

    if (!buffer)
        return -ENOMEM;
    result = exchange(lease, call, buffer);
    buffer_give(pool, buffer);
    return result;
}
