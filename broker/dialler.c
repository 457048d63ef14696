/* SPDX-License-Identifier: MIT */
/*
 * Dialling with hiredis on sd-event: see dialler.h.
 *
 * hiredis frees its context by itself in the middle of a call when a connection fails, and tells of
 * it by the `cleanup` hook. So a dial only notes what happened while hiredis is on the stack, and
 * is concluded by the event handler afterwards: one place where a dial ends and where its owner is
 * called.
 *
 * hiredis asserts that no reply comes without a command. It never sees one: the first error reply
 * and the last expected reply both free the context from inside the callback, before the next reply
 * is looked at.
 *
 * The reply to COMMAND is a hundred kilobytes and some ten thousand values. It is not made into
 * objects: from when COMMAND is sent, hiredis' reader hands its values to functions of ours, and
 * one object that is never freed stands for all of them.
 */
#include "broker/dialler.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "lendis/segment.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* <asm-generic/socket.h>, Linux 5.14 */
#endif

/* The replies of a handshake are a few dozen bytes. A server that sends more than this is not
 * Redis. */
#define REPLIES_MAX 65536u
/* More than hiredis needs for a dial: its buffers, callbacks and replies. */
#define DIAL_MEMORY 65536u
/* Of TCP: so often after a silence a peer is asked, this part of the silence apart. */
#define KEEPALIVE_TRY 4

struct dial {
    struct dialler *dialler;
    redisAsyncContext *context; /* NULL once hiredis has freed it */
    sd_event_source *io;
    sd_event_source *timer;
    uint32_t events;
    uint32_t replies; /* still to come */
    int fd;           /* the result, or -1 */
    bool over;        /* fd or error says how */
    uint32_t keepalive_ms;
    struct survey *survey;
    bool surveying; /* COMMAND is under way */
    dial_done *done;
    void *owner;
    char error[DIAL_ERROR_SIZE];
};

/* ---- turns ---- */

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int on_pace(sd_event_source *source, uint64_t usec, void *data)
{
    (void)source;
    (void)usec;
    dialler_give_turns(data);
    return 0;
}

int dialler_init(struct dialler *dialler, sd_event *event, uint32_t limit, uint32_t rate)
{
    int result;

    *dialler = (struct dialler){.event = event, .limit = limit, .rate = rate};
    dialler->last = &dialler->first;
    result = sd_event_add_time(event, &dialler->pace, CLOCK_MONOTONIC, 0, 1000, on_pace, dialler);
    if (result >= 0)
        result = sd_event_source_set_enabled(dialler->pace, SD_EVENT_OFF);
    return result < 0 ? result : 0;
}

void dialler_free(struct dialler *dialler)
{
    dialler->pace = sd_event_source_disable_unref(dialler->pace);
}

/*
 * A leaky bucket with nothing but a time in it: each dial moves due_us on by its share of a second,
 * and due_us may be ahead of the clock by a burst (Turner's algorithm, as in ATM's GCRA). False: too
 * many for now; the timer is set.
 */
static bool keeps_pace(struct dialler *dialler)
{
    uint64_t share_us, ahead_us, now = now_us();

    if (dialler->rate == 0)
        return true;
    share_us = 1000000 / dialler->rate;
    ahead_us = share_us * ((dialler->limit < dialler->rate ? dialler->limit : dialler->rate) - 1);
    if (dialler->due_us <= now + ahead_us)
        return true;
    if (sd_event_source_set_time(dialler->pace, dialler->due_us - ahead_us) < 0 ||
        sd_event_source_set_enabled(dialler->pace, SD_EVENT_ONESHOT) < 0)
        return true; /* faster than told is better than never */
    return false;
}

static void count_dial(struct dialler *dialler)
{
    uint64_t now = now_us();

    if (dialler->rate == 0)
        return;
    if (dialler->due_us < now)
        dialler->due_us = now;
    dialler->due_us += 1000000 / dialler->rate;
}

/* A turn may ask again or withdraw others; it makes one dial at most, so this ends. */
void dialler_give_turns(struct dialler *dialler)
{
    if (dialler->running)
        return;
    dialler->running = true;
    while (dialler->first && dialler->active < dialler->limit && keeps_pace(dialler)) {
        struct dial_turn *turn = dialler->first;

        dialler_withdraw(dialler, turn);
        turn->run(turn);
    }
    dialler->running = false;
}

void dialler_ask(struct dialler *dialler, struct dial_turn *turn)
{
    if (!turn->queued) {
        turn->queued = true;
        turn->next = NULL;
        *dialler->last = turn;
        dialler->last = &turn->next;
    }
    dialler_give_turns(dialler);
}

void dialler_withdraw(struct dialler *dialler, struct dial_turn *turn)
{
    struct dial_turn **at = &dialler->first;

    while (*at && *at != turn)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = turn->next;
    if (dialler->last == &turn->next)
        dialler->last = at;
    turn->queued = false;
}

/* ---- hiredis' hooks ---- */

static void set_events(struct dial *dial, uint32_t events)
{
    if (dial->io && events != dial->events && sd_event_source_set_io_events(dial->io, events) >= 0)
        dial->events = events;
}

static void add_read(void *data)
{
    struct dial *dial = data;

    set_events(dial, dial->events | EPOLLIN);
}

static void del_read(void *data)
{
    struct dial *dial = data;

    set_events(dial, dial->events & ~(uint32_t)EPOLLIN);
}

static void add_write(void *data)
{
    struct dial *dial = data;

    set_events(dial, dial->events | EPOLLOUT);
}

static void del_write(void *data)
{
    struct dial *dial = data;

    set_events(dial, dial->events & ~(uint32_t)EPOLLOUT);
}

/* The context is about to go, and its descriptor with it. epoll must forget it first: the copy that
 * we keep of it keeps the open file description alive, so closing alone would not do that
 * (epoll(7)). */
static void cleanup(void *data)
{
    struct dial *dial = data;

    dial->io = sd_event_source_disable_unref(dial->io);
    dial->context = NULL;
}

/* ---- the course of a dial ---- */

static void note_failure(struct dial *dial, const char *error)
{
    if (dial->over)
        return;
    dial->over = true;
    snprintf(dial->error, sizeof dial->error, "%s", error);
}

/* Takes a copy of the descriptor: hiredis closes its own, the connection lives on in the copy. */
static void note_success(struct dial *dial, const redisContext *redis)
{
    if (redis->reader->pos < redis->reader->len) {
        note_failure(dial, "the server sent more than it was asked for");
        return;
    }
    dial->fd = fcntl(redis->fd, F_DUPFD_CLOEXEC, 3);
    if (dial->fd < 0)
        note_failure(dial, strerror(errno));
    dial->over = true;
}

/*
 * Without memory for the callback, hiredis before 1.0 says that all is well, and asserts when the
 * reply comes. So we look whether it is on its list.
 */
static int send_command(struct dial *dial, redisCallbackFn *callback, int count, const char **words,
                        const size_t *sizes)
{
    const redisCallback *last = dial->context->replies.tail;

    if (redisAsyncCommandArgv(dial->context, callback, NULL, count, words, sizes) != REDIS_OK ||
        !dial->context->replies.tail || dial->context->replies.tail == last)
        return -ENOMEM;
    return 0;
}

/* ---- COMMAND ---- */

/* What stands for every value of its reply. */
static redisReply surveyed = {.type = REDIS_REPLY_NIL};

static void *survey_text(const redisReadTask *task, char *text, size_t size)
{
    struct survey *survey = task->privdata;
    uint32_t path[SURVEY_DEPTH], depth = 0;

    if (!task->parent && task->type == REDIS_REPLY_ERROR)
        survey_refuse(survey);
    for (const redisReadTask *each = task; each->parent; each = each->parent)
        depth++;
    if (depth > SURVEY_DEPTH)
        return &surveyed;
    for (uint32_t i = depth; i-- > 0; task = task->parent)
        path[i] = (uint32_t)task->idx;
    survey_string(survey, path, depth, text, size);
    return &surveyed;
}

#if HIREDIS_MAJOR >= 1
static void *survey_array(const redisReadTask *task, size_t count)
#else
static void *survey_array(const redisReadTask *task, int count)
#endif
{
    (void)task;
    (void)count;
    return &surveyed;
}

static void *survey_number(const redisReadTask *task, long long number)
{
    (void)task;
    (void)number;
    return &surveyed;
}

static void *survey_nothing(const redisReadTask *task)
{
    (void)task;
    return &surveyed;
}

/* Also for the reply that was under way when these functions were put in. */
static void survey_free(void *value)
{
    if (value != &surveyed)
        freeReplyObject(value);
}

static redisReplyObjectFunctions survey_functions = {
    .createString = survey_text,
    .createArray = survey_array,
    .createInteger = survey_number,
    .createNil = survey_nothing,
    .freeObject = survey_free,
};

static void on_survey(redisAsyncContext *context, void *data, void *unused)
{
    struct dial *dial = context->data;

    (void)unused;
    if (dial->over)
        return;
    if (!data) {
        note_failure(dial, context->c.errstr[0] ? context->c.errstr
                                                : "the server closed the connection at COMMAND");
        return; /* hiredis is freeing the context already */
    }
    dial->surveying = false;
    survey_end(dial->survey);
    note_success(dial, &context->c);
    redisAsyncFree(context);
}

/* True: COMMAND was sent, and the dial goes on, or it has failed. */
static bool begin_survey(struct dial *dial)
{
    redisReader *reader = dial->context->c.reader;
    const char *words[] = {"COMMAND"};

    if (!dial->survey || reader->pos < reader->len || !survey_begin(dial->survey))
        return false;
    dial->surveying = true;
    reader->fn = &survey_functions;
    reader->privdata = dial->survey;
    if (send_command(dial, on_survey, 1, words, NULL) != 0)
        note_failure(dial, strerror(ENOMEM));
    return true;
}

/* ---- the handshake ---- */

static void on_reply(redisAsyncContext *context, void *data, void *unused)
{
    struct dial *dial = context->data;
    const redisReply *reply = data;

    (void)unused;
    if (dial->over)
        return;
    if (!reply) {
        note_failure(dial,
                     context->c.errstr[0] ? context->c.errstr : "the server closed the connection");
        return; /* hiredis is freeing the context already */
    }
    if (reply->type == REDIS_REPLY_ERROR)
        note_failure(dial, reply->str);
    else if (reply->type != REDIS_REPLY_STATUS)
        note_failure(dial, "the server's reply is not one that Redis gives");
    else if (--dial->replies == 0 && !begin_survey(dial))
        note_success(dial, &context->c);
    if (dial->over)
        redisAsyncFree(context);
}

/* ---- the end ---- */

static bool set_option(int fd, int level, int option, const void *value, socklen_t size)
{
    return setsockopt(fd, level, option, value, size) == 0;
}

/* What only TCP has: no delay, and a dead peer is noticed. */
static bool finish_tcp(int fd, uint32_t keepalive_ms)
{
    const int yes = 1, no = 0, on = keepalive_ms > 0, attempts = KEEPALIVE_TRY;
    const int idle = (int)((keepalive_ms + 999) / 1000);
    const int gap = idle > KEEPALIVE_TRY ? idle / KEEPALIVE_TRY : 1;

    return set_option(fd, IPPROTO_TCP, TCP_CORK, &no, sizeof no) &&
           set_option(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) &&
           set_option(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) &&
           (!on || (set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle) &&
                    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, &gap, sizeof gap) &&
                    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, &attempts, sizeof attempts)));
}

int dial_finish_socket(int fd, uint32_t keepalive_ms)
{
    static const struct timeval receive = {.tv_usec = CONNECTION_RECEIVE_MS * 1000}, none;
    static const struct linger no_linger;
    static const int least = 1;
    int domain = 0;
    socklen_t size = sizeof domain;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~(O_NONBLOCK | O_ASYNC)) < 0 ||
        !set_option(fd, SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof receive) ||
        !set_option(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none) ||
        !set_option(fd, SOL_SOCKET, SO_LINGER, &no_linger, sizeof no_linger) ||
        !set_option(fd, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least) ||
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
        return -errno;
    return domain == AF_UNIX || finish_tcp(fd, keepalive_ms) ? 0 : -errno;
}

bool dial_is_resized(int fd)
{
    int locks = 0;
    socklen_t size = sizeof locks;

    return getsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &locks, &size) == 0 && locks != 0;
}

/* Ends the dial without telling anyone. */
static void dispose(struct dial *dial)
{
    struct dialler *dialler = dial->dialler;

    dial->over = true;
    if (dial->context)
        redisAsyncFree(dial->context);
    if (dial->surveying)
        survey_fail(dial->survey);
    sd_event_source_disable_unref(dial->timer);
    if (dial->fd >= 0)
        close(dial->fd);
    free(dial);
    dialler->active--;
}

static void conclude(struct dial *dial)
{
    struct dialler *dialler = dial->dialler;
    dial_done *done = dial->done;
    void *owner = dial->owner;
    char error[DIAL_ERROR_SIZE];
    int fd, result;

    if (!dial->over)
        note_failure(dial, "the server closed the connection");
    if (dial->context)
        redisAsyncFree(dial->context);
    if (dial->fd >= 0) {
        result = dial_finish_socket(dial->fd, dial->keepalive_ms);
        if (result != 0) {
            snprintf(dial->error, sizeof dial->error, "%s", strerror(-result));
            close(dial->fd);
            dial->fd = -1;
        }
    }
    fd = dial->fd;
    dial->fd = -1;
    memcpy(error, dial->error, sizeof error);
    dispose(dial);
    done(owner, fd, fd < 0 ? error : NULL);
    dialler_give_turns(dialler);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *data)
{
    struct dial *dial = data;

    (void)source;
    (void)fd;
    /* Reading comes first: a server that refuses us says why and closes, and writing to it would
     * fail. */
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        if (dial->context->c.reader->len > REPLIES_MAX)
            note_failure(dial, "the server's reply is not one that Redis gives");
        else
            redisAsyncHandleRead(dial->context);
    }
    if (dial->context && !dial->over && (events & EPOLLOUT))
        redisAsyncHandleWrite(dial->context);
    if (dial->over || !dial->context)
        conclude(dial);
    return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *data)
{
    struct dial *dial = data;

    (void)source;
    (void)usec;
    if (dial->surveying)
        note_failure(dial, "no answer to COMMAND within connect_timeout");
    note_failure(dial, dial->events & EPOLLOUT ? "connecting took longer than connect_timeout"
                                               : "no answer within connect_timeout");
    conclude(dial);
    return 0;
}

/* A command of the handshake. */
static int send_part(struct dial *dial, int count, const char **words, const size_t *sizes)
{
    int result = send_command(dial, on_reply, count, words, sizes);

    dial->replies += result == 0;
    return result;
}

/* All commands at once: one round trip. hiredis writes them when the connection is there. */
static int send_handshake(struct dial *dial, const struct dial_target *target)
{
    char db[16];
    const char *login[] = {"AUTH", target->username, target->password};
    const size_t login_sizes[] = {4, target->username ? strlen(target->username) : 0,
                                  target->password_size};
    const char *short_login[] = {"AUTH", target->password};
    const size_t short_login_sizes[] = {4, target->password_size};
    const char *select[] = {"SELECT", db};
    const char *name[] = {"CLIENT", "SETNAME", target->client_name};
    const char *ping[] = {"PING"};
    int result = 0;

    snprintf(db, sizeof db, "%u", target->db);
    if (target->password && target->username)
        result = send_part(dial, 3, login, login_sizes);
    else if (target->password)
        result = send_part(dial, 2, short_login, short_login_sizes);
    if (result == 0 && target->db != 0)
        result = send_part(dial, 2, select, NULL);
    if (result == 0)
        result = send_part(dial, 3, name, NULL);
    if (result == 0)
        result = send_part(dial, 1, ping, NULL);
    return result;
}

static int attach_hooks(struct dial *dial)
{
    redisAsyncContext *context = dial->context;
    int result;

    /* hiredis asks for no CLOEXEC of its own. The broker never runs another program; this is for
     * order. */
    if (fcntl(context->c.fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    dial->events = EPOLLIN | EPOLLOUT;
    result =
        sd_event_add_io(dial->dialler->event, &dial->io, context->c.fd, dial->events, on_io, dial);
    if (result < 0)
        return result;
    context->data = dial;
    context->ev.data = dial;
    context->ev.addRead = add_read;
    context->ev.delRead = del_read;
    context->ev.addWrite = add_write;
    context->ev.delWrite = del_write;
    context->ev.cleanup = cleanup;
    return 0;
}

static int begin(struct dial *dial, const struct dial_target *target)
{
    int result;

    dial->context = target->host ? redisAsyncConnect(target->host, target->port)
                                 : redisAsyncConnectUnix(target->path);
    if (!dial->context)
        return -ENOMEM;
    if (dial->context->err) {
        snprintf(dial->error, sizeof dial->error, "%s", dial->context->errstr);
        return -ECONNREFUSED;
    }
    result = attach_hooks(dial);
    if (result == 0)
        result = send_handshake(dial, target);
    if (result == 0)
        result = sd_event_add_time_relative(dial->dialler->event, &dial->timer, CLOCK_MONOTONIC,
                                            (uint64_t)target->timeout_ms * 1000, 10000, on_timeout,
                                            dial);
    return result < 0 ? result : 0;
}

/* hiredis 0.14 aborts when it gets no memory. So none is asked for where there is none. */
static bool memory_is_short(void)
{
    void *probe = malloc(DIAL_MEMORY);
    bool is_short = !probe;

    /* Its contents do not matter, but the compiler must not do without it. */
    __asm__ volatile("" : : "r"(probe) : "memory");
    free(probe);
    return is_short;
}

int dial_start(struct dialler *dialler, const struct dial_target *target, dial_done *done,
               void *context, struct dial **dial, char error[DIAL_ERROR_SIZE])
{
    struct dial *made = memory_is_short() ? NULL : calloc(1, sizeof *made);
    int result;

    if (!made) {
        snprintf(error, DIAL_ERROR_SIZE, "%s", strerror(ENOMEM));
        return -ENOMEM;
    }
    made->dialler = dialler;
    made->fd = -1;
    made->keepalive_ms = target->keepalive_ms;
    made->survey = target->survey;
    made->done = done;
    made->owner = context;
    dialler->active++;
    count_dial(dialler);
    result = begin(made, target);
    if (result != 0) {
        snprintf(error, DIAL_ERROR_SIZE, "%s", made->error[0] ? made->error : strerror(-result));
        dispose(made);
        return result;
    }
    *dial = made;
    return 0;
}

void dial_cancel(struct dial *dial)
{
    if (dial)
        dispose(dial);
}
