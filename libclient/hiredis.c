/* SPDX-License-Identifier: MIT */
/*
 * The hiredis-flavoured part: formats and replies are hiredis' own, the connection is a lease. The
 * only file of the library that knows hiredis. redisReconnect() and redisFree() would close the
 * leased descriptor: neither is ever called on it, a context is freed with redisFreeKeepFd().
 */
#include "lendis_hiredis.h"

#include <errno.h>
#include <hiredis/sds.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "libclient/cancel.h"
#include "libclient/membership/attachment.h"
#include "libclient/clock.h"
#include "libclient/error.h"
#include "libclient/exec.h"
#include "libclient/lease.h"
#include "libclient/membership/socket_cookie.h"
#include "libclient/lending_policy.h"
#include "libclient/shared/descriptor.h"

/* ---- replies ---- */

struct reading {
    redisReader *reader;
    struct lendis_pool *pool;
    uint32_t replies;  /* of a pipeline, read as one array; 0: a single reply */
    redisReply *reply; /* what was read, once it is there */
    bool failed;       /* what came is no reply, or more than one */
};

/* The reader of struct local is a redisReader; the rest of the library does not know the type. */
static void reader_free(struct reply_reader *reader)
{
    if (reader)
        redisReaderFree((redisReader *)reader);
}

/* A buffer that had grown is not exchanged for a small one by hiredis itself: 0.14 asserts that
 * there is memory for it. */
static redisReader *reader_new(void)
{
    redisReader *reader = redisReaderCreate();

    if (reader)
        reader->maxbuf = 0;
    return reader;
}

static redisReader *reader_take(struct lendis_pool *pool)
{
    struct reply_reader *spare =
        atomic_exchange_explicit(&pool->local->reader, NULL, memory_order_acquire);

    return spare ? (redisReader *)spare : reader_new();
}

/* Keeps a reader that has nothing in it for the next call. */
static void reader_give(struct lendis_pool *pool, redisReader *reader)
{
    atomic_store_explicit(&pool->reader_free, reader_free, memory_order_relaxed);
    if (sdsalloc(reader->buf) > REDIS_READER_MAX_BUF) {
        redisReaderFree(reader);
        return;
    }
    /* Release: whoever takes it finds our use of it done; acquire: so do we with what we free. */
    reader_free(atomic_exchange_explicit(&pool->local->reader, (struct reply_reader *)reader,
                                         memory_order_acq_rel));
}

static int reading_take(void *context, const char *data, size_t size)
{
    struct reading *reading = context;

    if (!reading->reader)
        return -ENOMEM;
    return redisReaderFeed(reading->reader, data, size) == REDIS_OK ? 0 : -ENOMEM;
}

/* A pipeline's replies become an array's elements: its head is ours. */
static void reading_begin(struct reading *reading)
{
    char head[16];

    if (reading->reader && reading->replies > 0)
        redisReaderFeed(reading->reader, head,
                        (size_t)snprintf(head, sizeof head, "*%u\r\n", reading->replies));
}

/* The reader is where a new one would be: a value that it kept would be the next call's reply. */
static bool reader_is_empty(const redisReader *reader)
{
    return reader->err == 0 && reader->ridx == -1 && reader->pos >= reader->len;
}

/* Reads the reply, once. False: what was taken is not exactly one. */
static bool reading_read(struct reading *reading)
{
    void *reply = NULL;

    if (reading->reply || reading->failed)
        return !reading->failed;
    reading->failed = !reading->reader ||
                      redisReaderGetReply(reading->reader, &reply) != REDIS_OK || reply == NULL ||
                      !reader_is_empty(reading->reader);
    reading->reply = reply;
    return !reading->failed;
}

static bool reading_whole(void *context, uint32_t replies)
{
    (void)replies; /* of a pipeline: elements of the array */
    return reading_read(context);
}

static void reply_free(struct reading *reading)
{
    if (reading->reply)
        freeReplyObject(reading->reply);
    reading->reply = NULL;
}

static void reading_restart(void *context)
{
    struct reading *reading = context;

    reply_free(reading);
    reading->failed = false;
    redisReaderFree(reading->reader);
    reading->reader = reader_new();
    reading_begin(reading);
}

static bool lacks_memory(const struct reading *reading)
{
    return !reading->reader || reading->reader->err == REDIS_ERR_OOM;
}

/* hiredis reads so many levels and no more; the server did nothing wrong. */
static bool is_too_deep(const struct reading *reading)
{
    return reading->failed && reading->reader && reading->reader->err == REDIS_ERR_PROTOCOL &&
           strstr(reading->reader->errstr, "nested");
}

/* Runs `exchange`'s result through: the reply, or NULL and last_result. */
static redisReply *reading_finish(struct reading *reading, int result)
{
    if (result == 0 && !reading_read(reading))
        result = -EPROTO;
    /* Not for what may have changed something: LENDIS_E_UNCERTAIN. */
    if ((result == -EPROTO || result == LENDIS_E_DOWN) && reading->failed && lacks_memory(reading))
        result = -ENOMEM;
    if (result != 0 && is_too_deep(reading))
        error_note(result,
                   "the reply is nested deeper than hiredis reads; lendis_exec() reads any");
    last_result = result;
    if (result == 0) {
        reader_give(reading->pool, reading->reader);
        return reading->reply;
    }
    reply_free(reading);
    if (reading->reader)
        redisReaderFree(reading->reader);
    return NULL;
}

/* ---- commands ---- */

/* Runs `request` with `replies` of a pipeline, or 0 for a single command. */
static redisReply *command_on_pool(struct lendis_pool *pool, const char *request, size_t size,
                                   uint32_t replies)
{
    struct reading reading = {.pool = pool, .replies = replies};
    struct reply_sink sink = {reading_take, reading_restart, &reading, reading_whole};

    error_begin();
    if (!pool) {
        last_result = -EINVAL;
        return NULL;
    }
    reading.reader = reader_take(pool);
    if (!reading.reader)
        return reading_finish(&reading, -ENOMEM);
    reading_begin(&reading);
    return reading_finish(&reading, exec_command(pool, request, size, -1, &sink));
}

/* A length as redisFormatCommand() returns it: negative for a format that is wrong or no memory. */
static bool formatted(int length)
{
    error_begin();
    last_result = length == -1 ? -ENOMEM : length < 0 ? -EINVAL : 0;
    return length > 0;
}

LENDIS_PUBLIC redisReply *lendis_command(struct lendis_pool *pool, const char *format, ...)
{
    int before CANCEL_RESTORED = cancel_off();
    redisReply *reply;
    va_list arguments;
    char *request;
    int length;

    va_start(arguments, format);
    length = redisvFormatCommand(&request, format, arguments);
    va_end(arguments);
    if (!formatted(length))
        return NULL;
    reply = command_on_pool(pool, request, (size_t)length, 0);
    redisFreeCommand(request);
    return reply;
}

LENDIS_PUBLIC redisReply *lendis_command_argv(struct lendis_pool *pool, int argc, const char **argv,
                                              const size_t *argvlen)
{
    int before CANCEL_RESTORED = cancel_off();
    redisReply *reply;
    char *request;
    int length;

    length = redisFormatCommandArgv(&request, argc, argv, argvlen);
    if (!formatted(length))
        return NULL;
    reply = command_on_pool(pool, request, (size_t)length, 0);
    redisFreeCommand(request);
    return reply;
}

static redisReply *command_on_lease(struct lendis_lease *lease, const char *request, size_t size)
{
    struct lendis_pool *pool = lease->attachment->pool;
    struct reading reading = {.pool = pool};
    struct reply_sink sink = {reading_take, reading_restart, &reading, reading_whole};
    struct call call;
    int result;

    if (lease->broken || call_init(&call, request, size, &sink) != 0) {
        last_result = !lease->broken            ? -EINVAL
                      : lease_is_revoked(lease) ? LENDIS_E_REVOKED
                                                : LENDIS_E_DOWN;
        return NULL;
    }
    attachment_classify(lease->attachment, request, size, &call.command);
    call.deadline_ns = call_reply_deadline(lease->attachment, &call.command, clock_now_ns());
    reading.reader = reader_take(pool);
    result = reading.reader ? call_on_lease(lease, &call) : -ENOMEM;
    /* It was not executed, or only read; and here is why. */
    if (result == LENDIS_E_DOWN && lease_is_revoked(lease))
        result = LENDIS_E_REVOKED;
    return reading_finish(&reading, result);
}

LENDIS_PUBLIC redisReply *lendis_lease_command(struct lendis_lease *lease, const char *format, ...)
{
    int before CANCEL_RESTORED = cancel_off();
    redisReply *reply;
    va_list arguments;
    char *request;
    int length;

    if (!lease_is_mine(lease)) {
        last_result = -EINVAL;
        return NULL;
    }
    va_start(arguments, format);
    length = redisvFormatCommand(&request, format, arguments);
    va_end(arguments);
    if (!formatted(length))
        return NULL;
    reply = command_on_lease(lease, request, (size_t)length);
    redisFreeCommand(request);
    return reply;
}

/* ---- pipelines ---- */

struct lendis_pipeline {
    struct lendis_pool *pool;
    char *request;
    size_t size;
    size_t room;
    uint32_t count;
};

LENDIS_PUBLIC struct lendis_pipeline *lendis_pipeline_new(struct lendis_pool *pool)
{
    int before CANCEL_RESTORED = cancel_off();
    struct lendis_pipeline *pipeline = pool ? calloc(1, sizeof *pipeline) : NULL;

    if (pipeline)
        pipeline->pool = pool;
    return pipeline;
}

/* Appends what hiredis formatted; consumes `request`. */
static int pipeline_add(struct lendis_pipeline *pipeline, char *request, int length)
{
    size_t size;

    if (!formatted(length))
        return last_result;
    size = (size_t)length;
    if (size > pipeline->room - pipeline->size) {
        size_t room = 2 * (pipeline->size + size);
        char *grown = realloc(pipeline->request, room);

        if (!grown) {
            redisFreeCommand(request);
            return -ENOMEM;
        }
        pipeline->request = grown;
        pipeline->room = room;
    }
    memcpy(pipeline->request + pipeline->size, request, size);
    pipeline->size += size;
    pipeline->count++;
    redisFreeCommand(request);
    return 0;
}

LENDIS_PUBLIC int lendis_pipeline_append(struct lendis_pipeline *pipeline, const char *format, ...)
{
    int before CANCEL_RESTORED = cancel_off();
    va_list arguments;
    char *request;
    int length;

    if (!pipeline)
        return -EINVAL;
    va_start(arguments, format);
    length = redisvFormatCommand(&request, format, arguments);
    va_end(arguments);
    return pipeline_add(pipeline, request, length);
}

LENDIS_PUBLIC int lendis_pipeline_append_argv(struct lendis_pipeline *pipeline, int argc,
                                              const char **argv, const size_t *argvlen)
{
    int before CANCEL_RESTORED = cancel_off();
    char *request;
    int length;

    if (!pipeline || argc < 1)
        return -EINVAL;
    length = redisFormatCommandArgv(&request, argc, argv, argvlen);
    return pipeline_add(pipeline, request, length);
}

LENDIS_PUBLIC redisReply *lendis_pipeline_exec(struct lendis_pipeline *pipeline)
{
    int before CANCEL_RESTORED = cancel_off();
    redisReply *reply;

    if (!pipeline || pipeline->count == 0) {
        last_result = -EINVAL;
        return NULL;
    }
    reply = command_on_pool(pipeline->pool, pipeline->request, pipeline->size, pipeline->count);
    pipeline->size = 0;
    pipeline->count = 0;
    return reply;
}

LENDIS_PUBLIC void lendis_pipeline_free(struct lendis_pipeline *pipeline)
{
    int before CANCEL_RESTORED = cancel_off();

    if (!pipeline)
        return;
    free(pipeline->request);
    free(pipeline);
}

LENDIS_PUBLIC int lendis_pool_error(const struct lendis_pool *pool, const char **text)
{
    const char *noted = error_text(last_result);

    (void)pool;
    if (text && noted)
        *text = noted;
    else if (text)
        *text = last_result == LENDIS_E_DOWN && policy_outage()[0] ? policy_outage()
                                                                   : lendis_strerror(last_result);
    return last_result;
}

/* ---- contexts ---- */

/*
 * The context has a descriptor of its own, so that redisFree() by mistake closes that one alone;
 * and by it we know of the mistake, and do not free it again.
 */
static bool context_end(struct lendis_lease *lease)
{
    redisContext *context = lease->context;
    bool whole = false;

    lease->context = NULL;
    if (!socket_is(lease->context_fd, lease->cookie))
        return false;
    /* At rest: all that was to be sent was sent, and what was read was taken. */
    if (context->fd == lease->context_fd)
        whole = context->err == 0 && context->obuf && sdslen(context->obuf) == 0 &&
                context->reader->pos >= context->reader->len && context->reader->ridx == -1;
    redisFreeKeepFd(context);
    close(lease->context_fd);
    return whole;
}

LENDIS_PUBLIC redisContext *lendis_lease_context(struct lendis_lease *lease)
{
    int before CANCEL_RESTORED = cancel_off();

    if (!lease_is_mine(lease))
        return NULL;
    if (lease->context)
        return lease->context;
    lease_expose(lease);
    lease->context_fd = descriptor_copy(lease->fd, 0);
    if (lease->context_fd < 0)
        return NULL;
    lease->context = redisConnectFd(lease->context_fd);
    lease->context_end = context_end;
    if (!lease->context)
        close(lease->context_fd);
    return lease->context;
}
