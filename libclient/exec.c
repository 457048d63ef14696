/* SPDX-License-Identifier: MIT */
/*
 * Commands on connections: send, receive, find the end of the reply. Never touches a descriptor's
 * flags, which belong to all holders (MSG_DONTWAIT and poll(2) instead), and takes any read error
 * but EAGAIN and EINTR for a lost connection, as kernel TLS needs. Upholds I4: a connection whose
 * stream is not at a command's boundary is broken and never lent again.
 */
#include "libclient/exec.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "libclient/cancel.h"
#include "libclient/doorbell.h"
#include "libclient/fallback.h"
#include "libclient/submit.h"
#include "libclient/lease.h"
#include "lendis/mailbox.h"
#include "libclient/notice.h"
#include "libclient/lending_policy.h"
#include "libclient/resp.h"
#include "libclient/service.h"
#include "libclient/uid_limit.h"

/* One read: what Redis' own clients read at once (hiredis, redis-py); a small reply fits, a large
 * one takes few reads. */
#define RECEIVE_SIZE (16 * 1024)
/* A connection can be dead at most as often as there are ones that died since they were last used.
 */
#define ATTEMPTS_MAX 8
/* A read that was on a connection when it ended is sent again so often at most. */
#define RESENDS_MAX 2
/* Redis' errors are shorter. */
#define LAST_WORDS_SIZE 512

/* Waits for `events`. Results: 0; LENDIS_E_TIMEOUT; -errno. */
static int wait_ready(int fd, short events, int64_t deadline_ns)
{
    struct pollfd waited = {.fd = fd, .events = events};

    for (;;) {
        int timeout_ms = -1, ready;

        if (deadline_ns != INT64_MAX) {
            int64_t left_ns = deadline_ns - clock_now_ns();

            if (left_ns <= 0)
                return LENDIS_E_TIMEOUT;
            timeout_ms = left_ns > INT64_C(1000000) * 3600000 ? 3600000
                                                              : (int)((left_ns + 999999) / 1000000);
        }
        ready = poll(&waited, 1, timeout_ms);
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return -errno;
    }
}

bool exec_is_silent(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}

#define SLICE_NS (CONNECTION_RECEIVE_MS * INT64_C(1000000))

void exec_beat(shm_u64 *beat, int64_t now_ns)
{
    /* In a forked child the parent's, until it has threads of its own: with one thread nobody asks which. */
    static _Thread_local uint32_t thread;

    if (thread == 0)
        thread = (uint32_t)gettid();
    shm_store_relaxed(beat, beat_make((uint64_t)(now_ns / 1000000), thread));
}

int exec_wait_to_send(int fd, int64_t deadline_ns, shm_u64 *beat)
{
    for (;;) {
        int64_t now_ns = clock_now_ns(), slice_ns = now_ns + SLICE_NS;
        int result;

        exec_beat(beat, now_ns);
        result = wait_ready(fd, POLLOUT, slice_ns < deadline_ns ? slice_ns : deadline_ns);
        if (result != LENDIS_E_TIMEOUT || slice_ns >= deadline_ns)
            return result;
    }
}

ssize_t exec_receive(int fd, void *buffer, size_t size, int64_t deadline_ns, shm_u64 *beat)
{
    int64_t now_ns = clock_coarse_ns();
    /* With time enough the socket's own limit does; once it did not, by poll(2). (The clock lags by a tick.) */
    int flags = deadline_ns - now_ns > 2 * SLICE_NS ? 0 : MSG_DONTWAIT;

    for (;;) {
        ssize_t got;

        if (beat)
            exec_beat(beat, now_ns);
        if (flags == MSG_DONTWAIT) {
            int64_t slice_ns = clock_now_ns() + SLICE_NS;
            int result = wait_ready(fd, POLLIN, slice_ns < deadline_ns ? slice_ns : deadline_ns);

            if (result == LENDIS_E_TIMEOUT && clock_now_ns() >= deadline_ns)
                return -ETIMEDOUT;
        }
        LENDIS_STEP("receive");
        got = recv(fd, buffer, size, flags);
        if (got > 0)
            return got;
        if (got == 0)
            errno = 0;
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            return 0;
        flags = MSG_DONTWAIT;
        now_ns = clock_coarse_ns();
    }
}

/* Sends all. Results: 0; LENDIS_E_TIMEOUT; -errno, the connection is lost. *sent tells how much
 * went out in any case. */
static int send_all(int fd, const char *request, size_t size, int64_t deadline_ns, size_t *sent)
{
    *sent = 0;
    while (*sent < size) {
        ssize_t wrote;

        LENDIS_STEP("send command");
        wrote = send(fd, request + *sent, size - *sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (wrote >= 0) {
            *sent += (size_t)wrote;
        } else if (errno == EAGAIN) {
            int result = wait_ready(fd, POLLOUT, deadline_ns);

            if (result != 0)
                return result;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

enum receive_result {
    RECEIVED,
    RECEIVED_TOO_MUCH, /* whole, but bytes followed it */
    RECEIVE_TIMEOUT,
    RECEIVE_LOST, /* the connection ended, or what came was not RESP */
    RECEIVE_SINK, /* the sink failed */
};

/* The replies to a call, as far as they have come. */
struct receiving {
    const struct lendis_lease *lease;
    const struct call *call;
    struct resp_scan scan;
    uint32_t replies; /* still to come */
    bool pushes;      /* what is pushed (RESP3) may come between them; it is dropped */
    bool any;         /* a byte came */
    bool error;       /* the last reply was an error reply */
    int end_error;    /* how the connection ended: errno, 0 in good order; -1: it has not */
};

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

/* Gives the replies among what was received to the sink. Results: RECEIVED and RECEIVED_TOO_MUCH;
 * RECEIVE_TIMEOUT for "more must come". */
static enum receive_result take_received(struct receiving *receiving, const char *data, size_t size)
{
    size_t at = 0;

    while (at < size && (receiving->replies > 0 || in_push(receiving, data[at]))) {
        ssize_t used = take_value(receiving, data + at, size - at);

        if (used < 0)
            return used == -ENOMEM ? RECEIVE_SINK : RECEIVE_LOST;
        at += (size_t)used;
    }
    if (receiving->replies > 0 || !resp_is_between(&receiving->scan))
        return RECEIVE_TIMEOUT;
    return at == size ? RECEIVED : RECEIVED_TOO_MUCH;
}

/* Receives the replies. */
static enum receive_result receive_replies(int fd, char *buffer, struct receiving *receiving)
{
    int64_t deadline_ns = receiving->call->deadline_ns;

    for (;;) {
        enum receive_result received;
        ssize_t got = exec_receive(fd, buffer, RECEIVE_SIZE, deadline_ns, NULL);

        receiving->end_error = got == 0 ? errno : -1;
        if (got <= 0)
            return got == 0 ? RECEIVE_LOST : RECEIVE_TIMEOUT;
        receiving->any = true;
        received = take_received(receiving, buffer, (size_t)got);
        if (received == RECEIVE_TIMEOUT)
            continue;
        /* Replies that just fill the buffer can hide what follows them. */
        if (received == RECEIVED && got == RECEIVE_SIZE && !exec_is_silent(fd))
            return RECEIVED_TOO_MUCH;
        return received;
    }
}

/* The process' spare receive buffer, or a new one. */
static char *buffer_take(struct local *local)
{
    char *buffer = atomic_exchange_explicit(&local->spare, NULL, memory_order_acquire);

    return buffer ? buffer : malloc(RECEIVE_SIZE);
}

static void buffer_give(struct local *local, char *buffer)
{
    /* Release: whoever takes it finds our use of it done; acquire: so do we with what we free. */
    free(atomic_exchange_explicit(&local->spare, buffer, memory_order_acq_rel));
}

void exec_forget(struct local *local)
{
    free(atomic_exchange_explicit(&local->spare, NULL, memory_order_relaxed));
}

int64_t exec_reply_deadline(const struct attachment *attachment, const struct command *command,
                            int64_t now_ns)
{
    uint32_t limit_ms = shm_load32_relaxed(&attachment_settings(attachment)->command_timeout_ms);

    if (limit_ms == 0 || (command->flags & COMMAND_BLOCKING))
        return INT64_MAX;
    return now_ns + limit_ms * INT64_C(1000000);
}

/* What a command that was not answered comes to. */
int exec_failure(struct attachment *attachment, const struct call *call, bool sent, enum loss loss)
{
    /* A read that was being answered may be what cost the connection: it is not sent again. One whose
     * time is up did no harm. */
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

int exec_no_memory(struct attachment *attachment, const struct command *command)
{
    if (command->flags & COMMAND_READ_ONLY)
        return -ENOMEM;
    attachment_count(attachment, COUNTER_uncertain, 1);
    return LENDIS_E_UNCERTAIN;
}

bool exec_take_last_words(int fd, const struct call *call)
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

/* What is left of a call whose request could not be sent whole. */
static int not_sent(struct lendis_lease *lease, const struct call *call, size_t sent, bool lost)
{
    lease->broken = sent > 0 || lost;
    if (lost && sent > 0 && exec_take_last_words(lease->fd, call))
        return 0;
    /* Part of a command cannot have been executed; part of a pipeline can. */
    if (lost && sent > 0 && call->losses)
        ++*call->losses;
    return exec_failure(lease->attachment, call, call->replies > 1 && sent > 0,
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
    return exec_failure(lease->attachment, call, true, loss);
}

int exec_on_lease(struct lendis_lease *lease, const struct call *call)
{
    struct local *local = lease->attachment->pool->local;
    enum receive_result received = RECEIVED;
    struct receiving receiving = {.lease = lease, .call = call, .replies = call->replies};
    bool strange = session_is_strange(&lease->session);
    char *buffer;
    size_t sent;
    int result;

    buffer = buffer_take(local);
    if (!buffer)
        return -ENOMEM;
    lease->used = true;
    attachment_count(lease->attachment, COUNTER_commands, call->replies);
    /* A subscriber may be sent something at any time; nobody else has this connection after it. */
    if (!strange && !exec_is_silent(lease->fd)) {
        buffer_give(local, buffer);
        return not_sent(lease, call, 0, true);
    }
    result = send_all(lease->fd, call->request, call->size, call->deadline_ns, &sent);
    if (result != 0) {
        buffer_give(local, buffer);
        return not_sent(lease, call, sent, result != LENDIS_E_TIMEOUT);
    }
    /* SUBSCRIBE and its kind are answered by a push themselves. */
    receiving.pushes = (strange || (call->command.flags & COMMAND_SESSION)) &&
                       !(call->command.flags & COMMAND_LEASE);
    received = receive_replies(lease->fd, buffer, &receiving);
    buffer_give(local, buffer);
    lease->broken = lease->broken || received != RECEIVED;
    if (received == RECEIVE_SINK)
        return exec_no_memory(lease->attachment, &call->command);
    /* More than one reply: which of them is ours? SUBSCRIBE and its kind are answered so. */
    if (received == RECEIVED_TOO_MUCH && !strange && !(call->command.flags & COMMAND_SESSION))
        received = RECEIVE_LOST;
    if (received != RECEIVED && received != RECEIVED_TOO_MUCH)
        return not_answered(lease, &receiving, received == RECEIVE_LOST);
    session_follow_request(&lease->session, call->request, call->size, receiving.error);
    if (call->command.flags & COMMAND_SUSPECT)
        session_suspect(&lease->session);
    return 0;
}

/* One attempt on a connection of its own. */
static int exec_alone(struct attachment *attachment, const struct call *call,
                      int64_t wait_deadline_ns)
{
    struct lendis_lease *lease;
    int result = lease_acquire_on(attachment, wait_deadline_ns, &lease);

    if (result != 0)
        return result;
    atomic_fetch_add_explicit(&attachment->users, 1, memory_order_seq_cst);
    lease->exclusive = true;
    result = exec_on_lease(lease, call);
    lendis_release(lease);
    return result;
}

/* One attempt: on an idle connection, else handed over. */
static int exec_shared(struct attachment *attachment, const struct call *call,
                       int64_t wait_deadline_ns)
{
    struct lendis_lease *lease;
    int result = lease_try(attachment, &lease);

    if (result == 0) {
        atomic_fetch_add_explicit(&attachment->users, 1, memory_order_seq_cst);
        return combine(lease, call);
    }
    if (result == LENDIS_E_BUSY && (wait_deadline_ns == 0 || policy_fails_fast(attachment))) {
        lease_ask_for_more(attachment);
        doorbell_ring_for_others(attachment, NULL);
        return lease_why_none(attachment, LENDIS_E_BUSY);
    }
    if (result == LENDIS_E_BUSY)
        result = hand_over(attachment, call, wait_deadline_ns);
    return result == LEASE_OVER_SHARE ? share_wait(attachment, wait_deadline_ns) : result;
}

/* The limits of lendis_exec(): of the whole call, and of the wait for a connection (0: none is waited for). */
static void set_deadlines(const struct attachment *attachment, struct call *call, int timeout_ms,
                          int64_t *wait_deadline_ns)
{
    int64_t now_ns = clock_now_ns();

    if (timeout_ms > 0) {
        call->deadline_ns = *wait_deadline_ns = now_ns + timeout_ms * INT64_C(1000000);
        return;
    }
    call->deadline_ns = exec_reply_deadline(attachment, &call->command, now_ns);
    if (timeout_ms < 0)
        *wait_deadline_ns =
            now_ns + attachment_settings(attachment)->wait_timeout_ms * INT64_C(1000000);
}

/* It has been on so many connections that ended that it may be the reason. */
static bool is_lost_too_often(const struct call *call)
{
    return call->losses && *call->losses > RESENDS_MAX;
}

/* The call on a connection of the process' own, because of `why`: see fallback_acquire(). */
static int exec_direct(struct lendis_pool *pool, int why, const struct attachment *attachment,
                       const struct call *call, int64_t wait_deadline_ns)
{
    int result = LENDIS_E_DOWN;

    for (int attempt = 0;
         attempt < ATTEMPTS_MAX && result == LENDIS_E_DOWN && !is_lost_too_often(call); attempt++) {
        struct lendis_lease *lease;

        if (attempt > 0)
            call->sink->restart(call->sink->context);
        result = fallback_acquire(pool, why, attachment, wait_deadline_ns, &lease);
        if (result != 0)
            return result;
        result = exec_on_lease(lease, call);
        fallback_release(lease, false);
    }
    return result;
}

/* Without an attachment: there is no broker, because of `why`. */
static int exec_without(struct lendis_pool *pool, int why, struct call *call, int timeout_ms,
                        bool first, int64_t wait_deadline_ns)
{
    const struct attachment *limits;

    if (!fallback_applies(pool, why))
        return lease_attach_result(pool, why);
    limits = fallback_attachment(pool);
    if (!limits)
        return -ENOMEM;
    if (first) {
        attachment_classify(limits, call->request, call->size, &call->command);
        set_deadlines(limits, call, timeout_ms, &wait_deadline_ns);
    } else {
        call->sink->restart(call->sink->context);
    }
    return exec_direct(pool, why, NULL, call, wait_deadline_ns);
}

int exec_command(struct lendis_pool *pool, const char *request, size_t size, int timeout_ms,
                 const struct reply_sink *sink)
{
    return exec_command_within(pool, request, size, timeout_ms, 0, sink);
}

int exec_command_within(struct lendis_pool *pool, const char *request, size_t size, int timeout_ms,
                        int wait_ms, const struct reply_sink *sink)
{
    int64_t wait_deadline_ns = 0;
    struct call call;
    bool first = true, share = false;
    uint32_t losses = 0;
    int dead = 0, result;

    if (call_init(&call, request, size, sink) != 0)
        return -EINVAL;
    if (command_needs_lease(&call.command, call.replies))
        return -EOPNOTSUPP;
    call.losses = &losses;
    /* A connection that cannot be had is waited for up to the limit; dead ones are counted. */
    do {
        struct attachment *attachment;

        result = pool_enter(pool, &attachment);
        if (result != 0)
            return exec_without(pool, result, &call, timeout_ms, first, wait_deadline_ns);
        if (first) {
            attachment_classify(attachment, request, size, &call.command);
            share = command_may_share(&call.command);
            set_deadlines(attachment, &call, timeout_ms, &wait_deadline_ns);
            if (wait_ms > 0 && wait_deadline_ns > clock_deadline_ns(wait_ms))
                wait_deadline_ns = clock_deadline_ns(wait_ms);
        } else {
            sink->restart(sink->context);
        }
        first = false;
        result = share ? exec_shared(attachment, &call, wait_deadline_ns)
                       : exec_alone(attachment, &call, wait_deadline_ns);
        if (result == LEASE_SERVICE) {
            result = service_exec(pool, attachment, &call, timeout_ms);
            pool_leave(attachment);
            return result;
        }
        if (result == LENDIS_E_DISABLED) {
            result = exec_direct(pool, result, attachment, &call, wait_deadline_ns);
            dead += result == LENDIS_E_DOWN ? ATTEMPTS_MAX : 0;
        }
        pool_leave(attachment);
        dead += result == LENDIS_E_DOWN;
        /* One that was lost with others is sent again alone: if it was the reason, that is seen. */
        share = share && result != HAND_OVER_NOT && losses == 0;
    } while (result == HAND_OVER_NOT || (dead < ATTEMPTS_MAX && !is_lost_too_often(&call) &&
                                         lease_again(result, wait_deadline_ns)));
    return lease_final(result == HAND_OVER_NOT ? LEASE_TRY_AGAIN : result, wait_deadline_ns);
}

/* ---- lendis_exec(): the reply's bytes as they came ---- */

struct bytes {
    char *data;
    size_t size;
    size_t room;
};

static int bytes_take(void *context, const char *data, size_t size)
{
    struct bytes *bytes = context;

    if (size == 0)
        return 0; /* a take-over begins with what has come so far: nothing, perhaps */
    if (size > bytes->room - bytes->size) {
        size_t room = (bytes->size + size) * 2;
        char *grown = realloc(bytes->data, room);

        if (!grown)
            return -ENOMEM;
        bytes->data = grown;
        bytes->room = room;
    }
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
    return 0;
}

static void bytes_restart(void *context)
{
    ((struct bytes *)context)->size = 0;
}

static bool bytes_whole(void *context, uint32_t replies)
{
    const struct bytes *bytes = context;
    struct resp_scan scan = {0};
    size_t at = 0, used;

    for (; replies > 0 && at < bytes->size; replies--, at += used)
        if (resp_scan(&scan, bytes->data + at, bytes->size - at, &used) != 1)
            return false;
    return replies == 0 && at == bytes->size;
}

LENDIS_PUBLIC int lendis_exec(struct lendis_pool *pool, const void *request, size_t request_size,
                              int timeout_ms, void **reply, size_t *reply_size)
{
    int before CANCEL_RESTORED = cancel_off();
    struct bytes bytes = {0};
    struct reply_sink sink = {bytes_take, bytes_restart, &bytes, bytes_whole};
    int result;

    if (!pool || !request || !reply || !reply_size || timeout_ms < -1)
        return -EINVAL;
    result = exec_command(pool, request, request_size, timeout_ms, &sink);
    if (result != 0) {
        free(bytes.data);
        return result;
    }
    *reply = bytes.data;
    *reply_size = bytes.size;
    return 0;
}

LENDIS_PUBLIC void lendis_free(void *reply)
{
    free(reply);
}
