/* SPDX-License-Identifier: MIT */
/* Load with a data-identity oracle: see load.h. */
#include "tests/crash/storm/load.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "libclient/pool.h"
#include "libclient/exec.h"
#include "lendis_hiredis.h"

/* Steps of a forked child. */
#define CHILD_STEPS 20u
/* The limit of a call that has one, at most. */
#define LIMIT_MS 40u
/* A command of this size or less, and a reply, are begun anew only when their connection was lost,
 * not for want of room. */
#define SMALL_SIZE 2048u
#define LARGE_SIZE (64u * 1024)

uint64_t load_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static unsigned below(struct load *load, unsigned limit)
{
    return (unsigned)((load_random(&load->random) >> 32) % limit);
}

static void name_key(const struct load *load, struct load_key *key)
{
    unsigned number = (unsigned)(key - load->keys);

    if (key == &load->counter)
        snprintf(key->name, sizeof key->name, "%s:count.%u", load->owner, key->incarnation);
    else
        snprintf(key->name, sizeof key->name, "%s:%u.%u", load->owner, number, key->incarnation);
}

void load_init(struct load *load, struct lendis_pool *pool, struct load_report *report,
               pid_t nursery, uint64_t seed, const char *owner)
{
    *load = (struct load){.pool = pool, .report = report, .nursery = nursery};
    load->random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    snprintf(load->owner, sizeof load->owner, "%s", owner);
    for (unsigned i = 0; i < LOAD_OWN_KEYS; i++)
        name_key(load, &load->keys[i]);
    name_key(load, &load->counter);
}

/* ---- verdicts ---- */

static void __attribute__((format(printf, 3, 4)))
record(struct load *load, atomic_ullong *counter, const char *format, ...)
{
    va_list arguments;

    /* A wrong reply is recorded before anything else. */
    if (atomic_fetch_add(counter, 1) > 0 || counter != &load->report->wrong)
        if (atomic_exchange(&load->report->recorded, true))
            return;
    va_start(arguments, format);
    vsnprintf(load->report->text, sizeof load->report->text, format, arguments);
    va_end(arguments);
}

static void failed(struct load *load, const char *what, int result)
{
    record(load, &load->report->failed, "%s: %s: %s (%d), %lld ms after its last reply",
           load->owner, what, lendis_strerror(result), result,
           (long long)(now_ms() - atomic_load(&load->report->progress_ms)));
}

static void got_on(struct load *load)
{
    atomic_store(&load->report->progress_ms, now_ms());
}

/* `count` replies were checked. */
static void counted(struct load *load, unsigned count)
{
    atomic_fetch_add(&load->report->commands, count);
    got_on(load);
}

static bool is_text(const redisReply *reply, const char *text, size_t size)
{
    if (!text)
        return reply->type == REDIS_REPLY_NIL;
    return (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS) &&
           reply->len == size && memcmp(reply->str, text, size) == 0;
}

/* `reply` to `what` is not what it has to be: this text, NULL for a nil. */
static void wrong(struct load *load, const char *what, const redisReply *reply, const char *text)
{
    record(load, &load->report->wrong,
           "%s: %s: got type %d, %lld, %zu bytes, \"%.80s\", not \"%.80s\"", load->owner, what,
           reply->type, reply->integer, reply->len, reply->str ? reply->str : "",
           text ? text : "nil");
}

/* Checks `reply` to `what`. True if it is this text; NULL, a nil. */
static bool check(struct load *load, const char *what, const redisReply *reply, const char *text,
                  size_t size)
{
    bool right = is_text(reply, text, size);

    if (!right)
        wrong(load, what, reply, text);
    counted(load, 1);
    return right;
}

/* Likewise, and takes the reply, which must be there. */
static bool expect(struct load *load, const char *what, redisReply *reply, const char *text,
                   size_t size)
{
    bool right;

    if (!reply) {
        failed(load, what, lendis_pool_error(load->pool, NULL));
        return false;
    }
    right = check(load, what, reply, text, size);
    freeReplyObject(reply);
    return right;
}

/* ---- calls ---- */

enum outcome {
    ANSWERED,
    UNSENT,    /* it passed its limit: if it is a write, nothing of it happens */
    UNCERTAIN, /* a write that happens, or does not */
    BROKEN,    /* the call failed; that was recorded */
};

/* One command, or a pipeline. */
struct request {
    const char *what;
    char *bytes;
    size_t size;
    size_t reply_size; /* about so much */
    bool writes;
};

/* A sink as lendis_command() has one, which counts how often it begins anew. */
struct answer {
    redisReader *reader;
    unsigned restarts;
};

static int answer_take(void *context, const char *data, size_t size)
{
    struct answer *answer = context;

    return redisReaderFeed(answer->reader, data, size) == REDIS_OK ? 0 : -ENOMEM;
}

static void answer_restart(void *context)
{
    struct answer *answer = context;

    redisReaderFree(answer->reader);
    answer->reader = redisReaderCreate();
    answer->restarts++;
}

/* What became of a call without a reply. */
static enum outcome missed(struct load *load, const struct request *request, int limit_ms,
                           int result)
{
    struct load_report *report = load->report;

    if (result == LENDIS_E_UNCERTAIN && request->writes) {
        got_on(load);
        atomic_fetch_add(limit_ms < 0 ? &report->uncertain : &report->late, 1);
        return UNCERTAIN;
    }
    /* A combiner that was stopped, for its own command: it is not sent again. */
    if (result == LENDIS_E_UNCERTAIN) {
        got_on(load);
        atomic_fetch_add(&report->cut, 1);
        return UNSENT;
    }
    /* Down: its connection died, and there was no time for another. */
    if (limit_ms > 0 && (result == LENDIS_E_TIMEOUT || result == LENDIS_E_DOWN)) {
        got_on(load);
        atomic_fetch_add(&report->timeouts, 1);
        return UNSENT;
    }
    failed(load, request->what, result);
    return BROKEN;
}

/* Runs `request`, now and then with a limit. Results: ANSWERED, and the replies in replies[]. */
static enum outcome run(struct load *load, const struct request *request, redisReply **replies,
                        unsigned count)
{
    struct answer answer = {.reader = redisReaderCreate()};
    struct reply_sink sink = {answer_take, answer_restart, &answer, NULL};
    int limit_ms = below(load, 2) ? -1 : (int)(1 + below(load, LIMIT_MS));
    int result = exec_command(load->pool, request->bytes, request->size, limit_ms, &sink);
    size_t most = request->size > request->reply_size ? request->size : request->reply_size;
    enum outcome outcome = ANSWERED;

    if (request->size + request->reply_size <= SMALL_SIZE)
        atomic_fetch_add(&load->report->retries, answer.restarts);
    if (result != 0)
        outcome = missed(load, request, limit_ms, result);
    for (unsigned i = 0; i < count && outcome == ANSWERED; i++) {
        void *reply = NULL;

        if (redisReaderGetReply(answer.reader, &reply) != REDIS_OK || !reply) {
            record(load, &load->report->wrong, "%s: %s: reply %u of %u is none: %s", load->owner,
                   request->what, i + 1, count, answer.reader->errstr);
            outcome = BROKEN;
            while (i > 0)
                freeReplyObject(replies[--i]);
            break;
        }
        replies[i] = reply;
    }
    redisReaderFree(answer.reader);
    if (outcome != ANSWERED)
        return outcome;
    atomic_fetch_add(count == 1 ? &load->report->single : &load->report->pipelines, 1);
    atomic_fetch_add(&load->report->large, most > LARGE_SIZE);
    return ANSWERED;
}

/* One command, in the format of redisCommand(). */
static enum outcome call(struct load *load, struct request request, redisReply **reply,
                         const char *format, ...)
{
    enum outcome outcome;
    va_list arguments;
    int size;

    va_start(arguments, format);
    size = redisvFormatCommand(&request.bytes, format, arguments);
    va_end(arguments);
    if (size < 0)
        give_up("no memory");
    request.size = (size_t)size;
    outcome = run(load, &request, reply, 1);
    redisFreeCommand(request.bytes);
    return outcome;
}

/* ---- shared keys: whoever reads them knows what is in them ---- */

void load_prepare(const struct redis_server *redis)
{
    redisContext *context = redis_open(redis);

    values_prepare();
    for (unsigned i = 0; i < VALUES_SHARED; i++) {
        redisReply *reply =
            redisCommand(context, "SET shared:%u %b", i, shared_value(i), shared_size(i));

        if (!reply || reply->type != REDIS_REPLY_STATUS)
            give_up("SET shared:%u fails", i);
        freeReplyObject(reply);
    }
    redisFree(context);
}

/* 1 B to 4 KiB; 8 to 64 KiB; 128 to 512 KiB; 1 to 4 MiB: small ones far more often than large
 * ones. */
static unsigned pick_shared(struct load *load)
{
    unsigned dice = below(load, 10000);

    if (dice < 9300)
        return below(load, 13);
    if (dice < 9950)
        return 13 + below(load, 4);
    return dice < 9990 ? 17 + below(load, 3) : 20 + below(load, 3);
}

static void get_shared(struct load *load)
{
    unsigned number = pick_shared(load);
    struct request request = {.what = "GET of a shared key", .reply_size = shared_size(number)};
    redisReply *reply;

    if (call(load, request, &reply, "GET shared:%u", number) != ANSWERED)
        return;
    check(load, request.what, reply, shared_value(number), shared_size(number));
    freeReplyObject(reply);
}

/* By lendis_exec(), as bytes: $16\r\n...\r\n */
static void get_shared_raw(struct load *load)
{
    unsigned number = pick_shared(load);
    size_t size = shared_size(number), reply_size, head;
    char *request, header[32];
    void *reply = NULL;
    int length, result;

    length = redisFormatCommand(&request, "GET shared:%u", number);
    head = (size_t)snprintf(header, sizeof header, "$%zu\r\n", size);
    result = lendis_exec(load->pool, request, (size_t)length, -1, &reply, &reply_size);
    if (result == LENDIS_E_UNCERTAIN) {
        got_on(load);
        atomic_fetch_add(&load->report->cut, 1); /* as in missed() */
    } else if (result != 0) {
        failed(load, "lendis_exec", result);
    } else {
        const char *bytes = reply;

        if (reply_size != head + size + 2 || memcmp(bytes, header, head) != 0 ||
            memcmp(bytes + head, shared_value(number), size) != 0)
            record(load, &load->report->wrong, "%s: lendis_exec: %zu bytes, \"%.*s\"", load->owner,
                   reply_size, reply_size > 80 ? 80 : (int)reply_size, bytes);
        atomic_fetch_add(&load->report->single, 1);
        counted(load, 1);
    }
    lendis_free(reply);
    redisFreeCommand(request);
}

/* ---- own keys ---- */

static struct load_key *pick_own(struct load *load)
{
    return &load->keys[below(load, LOAD_OWN_KEYS)];
}

static bool is_own(const struct load_key *key, unsigned long long serial, const redisReply *reply)
{
    if (serial == 0)
        return reply->type == REDIS_REPLY_NIL;
    return reply->type == REDIS_REPLY_STRING &&
           own_value_is(key->name, serial, reply->str, reply->len);
}

static void check_own(struct load *load, const char *what, const struct load_key *key,
                      const redisReply *reply)
{
    char expected[VALUE_KEY_MAX + 32];

    snprintf(expected, sizeof expected, "%s number %llu", key->name, key->serial);
    if (!is_own(key, key->serial, reply))
        wrong(load, what, reply, expected);
    counted(load, 1);
}

static size_t size_of(const struct load_key *key)
{
    return key->serial ? own_size(key->name, key->serial) : 0;
}

static void get_own(struct load *load)
{
    struct load_key *key = pick_own(load);
    struct request request = {.what = "GET of an own key", .reply_size = size_of(key)};
    redisReply *reply;

    if (call(load, request, &reply, "GET %s", key->name) != ANSWERED)
        return;
    check_own(load, request.what, key, reply);
    freeReplyObject(reply);
}

/* Nobody knows whether `key` became `serial` (of a counter: up to that): it is noted, and inspected
 * for a first time. The next write is to a key of another name. */
static void retire(struct load *load, struct load_key *key, unsigned long long serial)
{
    struct ledger_entry entry = {
        .counter = key == &load->counter, .least = key->serial, .most = serial};
    redisReply *reply = lendis_command(load->pool, "GET %s", key->name);

    snprintf(entry.key, sizeof entry.key, "%s", key->name);
    if (!reply) {
        failed(load, "GET after an uncertain write", lendis_pool_error(load->pool, NULL));
    } else if (!entry.counter) {
        entry.executed = is_own(key, serial, reply);
        if (!entry.executed && !is_own(key, key->serial, reply))
            wrong(load, "GET after an uncertain write", reply, key->name);
        counted(load, 1);
    }
    if (reply)
        freeReplyObject(reply);
    ledger_note(&load->report->ledger, &entry);
    key->incarnation++;
    key->serial = 0;
    name_key(load, key);
}

static void set_own(struct load *load)
{
    struct load_key *key = pick_own(load);
    unsigned long long serial = ++load->serial;
    size_t size = own_size(key->name, serial);
    char *value = own_value(key->name, serial);
    struct request request = {.what = "SET of an own key", .writes = true};
    redisReply *reply;

    switch (
        call(load, request, &reply, "SET %s %b EX %d", key->name, value, size, LOAD_KEEP_SECONDS)) {
    case ANSWERED:
        if (check(load, request.what, reply, "OK", 2))
            key->serial = serial;
        freeReplyObject(reply);
        break;
    case UNCERTAIN:
        retire(load, key, serial);
        break;
    default:
        break;
    }
    free(value);
}

static void check_count(struct load *load, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_INTEGER ||
        (unsigned long long)reply->integer != load->counter.serial + 1)
        record(load, &load->report->wrong, "%s: INCR: got type %d, %lld, not %llu",
               load->counter.name, reply->type, reply->integer, load->counter.serial + 1);
    load->counter.serial++;
    counted(load, 1);
}

static void count(struct load *load)
{
    struct request request = {.what = "INCR", .writes = true};
    redisReply *reply;

    switch (call(load, request, &reply, "INCR %s", load->counter.name)) {
    case ANSWERED:
        check_count(load, reply);
        freeReplyObject(reply);
        break;
    case UNCERTAIN:
        retire(load, &load->counter, load->counter.serial + 1);
        break;
    default:
        break;
    }
}

/* ---- pipelines ---- */

#define PIPELINE_MAX 48u

struct pipeline {
    struct request request;
    unsigned length;
    redisReply *replies[PIPELINE_MAX];
};

/* Short ones more often than long ones. */
static void pipeline_begin(struct load *load, struct pipeline *pipeline, const char *what)
{
    pipeline->request = (struct request){.what = what};
    pipeline->length = 2 + below(load, below(load, 3) ? 6 : PIPELINE_MAX - 2);
}

static void pipeline_add(struct pipeline *pipeline, const char *format, ...)
{
    struct request *request = &pipeline->request;
    va_list arguments;
    char *bytes;
    int size;

    va_start(arguments, format);
    size = redisvFormatCommand(&bytes, format, arguments);
    va_end(arguments);
    request->bytes = size < 0 ? NULL : realloc(request->bytes, request->size + (size_t)size);
    if (!request->bytes)
        give_up("no memory");
    memcpy(request->bytes + request->size, bytes, (size_t)size);
    request->size += (size_t)size;
    redisFreeCommand(bytes);
}

static enum outcome pipeline_run(struct load *load, struct pipeline *pipeline)
{
    enum outcome outcome = run(load, &pipeline->request, pipeline->replies, pipeline->length);

    free(pipeline->request.bytes);
    return outcome;
}

/* Own and shared keys by turns. */
static void pipeline_of_reads(struct load *load)
{
    unsigned numbers[PIPELINE_MAX];
    struct pipeline pipeline;

    pipeline_begin(load, &pipeline, "pipeline of reads");
    for (unsigned i = 0; i < pipeline.length; i++) {
        numbers[i] = i % 2 ? below(load, LOAD_OWN_KEYS) : pick_shared(load);
        pipeline.request.reply_size +=
            i % 2 ? size_of(&load->keys[numbers[i]]) : shared_size(numbers[i]);
        if (i % 2)
            pipeline_add(&pipeline, "GET %s", load->keys[numbers[i]].name);
        else
            pipeline_add(&pipeline, "GET shared:%u", numbers[i]);
    }
    if (pipeline_run(load, &pipeline) != ANSWERED)
        return;
    for (unsigned i = 0; i < pipeline.length; i++) {
        redisReply *reply = pipeline.replies[i];

        if (i % 2)
            check_own(load, "GET in a pipeline", &load->keys[numbers[i]], reply);
        else
            check(load, "shared GET in a pipeline", reply, shared_value(numbers[i]),
                  shared_size(numbers[i]));
        freeReplyObject(reply);
    }
}

/* All, some or none of an uncertain one were executed. */
static void pipeline_of_writes(struct load *load)
{
    struct pipeline pipeline;

    pipeline_begin(load, &pipeline, "pipeline of writes");
    pipeline.request.writes = true;
    for (unsigned i = 0; i < pipeline.length; i++)
        pipeline_add(&pipeline, "INCR %s", load->counter.name);
    switch (pipeline_run(load, &pipeline)) {
    case ANSWERED:
        for (unsigned i = 0; i < pipeline.length; i++) {
            check_count(load, pipeline.replies[i]);
            freeReplyObject(pipeline.replies[i]);
        }
        break;
    case UNCERTAIN:
        retire(load, &load->counter, load->counter.serial + pipeline.length);
        break;
    default:
        break;
    }
}

/* Checks MULTI's reply, QUEUED, QUEUED and EXEC's. True: `serial` is the key's value. */
static bool check_transaction(struct load *load, const struct load_key *key,
                              unsigned long long serial, redisReply *const replies[4])
{
    const redisReply *exec = replies[3];
    bool right = check(load, "MULTI", replies[0], "OK", 2);

    right = check(load, "SET in MULTI", replies[1], "QUEUED", 6) && right;
    right = check(load, "GET in MULTI", replies[2], "QUEUED", 6) && right;
    counted(load, 1);
    if (exec->type != REDIS_REPLY_ARRAY || exec->elements != 2 ||
        !is_own(key, serial, exec->element[1])) {
        wrong(load, "EXEC", exec, key->name);
        return false;
    }
    return right;
}

/* What needs a connection for itself, in one call. */
static void transaction_in_one_call(struct load *load)
{
    struct load_key *key = pick_own(load);
    unsigned long long serial = ++load->serial;
    char *value = own_value(key->name, serial);
    struct pipeline pipeline = {.request = {.what = "transaction in one call", .writes = true},
                                .length = 4};

    pipeline_add(&pipeline, "MULTI");
    pipeline_add(&pipeline, "SET %s %b EX %d", key->name, value, own_size(key->name, serial),
                 LOAD_KEEP_SECONDS);
    pipeline_add(&pipeline, "GET %s", key->name);
    pipeline_add(&pipeline, "EXEC");
    free(value);
    switch (pipeline_run(load, &pipeline)) {
    case ANSWERED:
        if (check_transaction(load, key, serial, pipeline.replies))
            key->serial = serial;
        for (unsigned i = 0; i < pipeline.length; i++)
            freeReplyObject(pipeline.replies[i]);
        atomic_fetch_add(&load->report->alone, 1);
        break;
    case UNCERTAIN:
        retire(load, key, serial);
        break;
    default:
        break;
    }
}

static void block_in_one_call(struct load *load)
{
    struct request request = {.what = "BLPOP", .writes = true};
    redisReply *reply;

    /* Nobody pushes: a nil after a millisecond, and nothing that could be executed late. */
    if (call(load, request, &reply, "BLPOP %s:nothing 0.001", load->owner) != ANSWERED)
        return;
    check(load, request.what, reply, NULL, 0);
    freeReplyObject(reply);
    atomic_fetch_add(&load->report->alone, 1);
}

/* ---- leases ---- */

/* Results: NULL, there was none in time. */
static struct lendis_lease *lease(struct load *load, int timeout_ms)
{
    struct lendis_lease *got;
    int result = lendis_acquire(load->pool, timeout_ms, &got);

    if (result == 0) {
        atomic_fetch_add(&load->report->leases, 1);
        return got;
    }
    if ((timeout_ms > 0 && result == LENDIS_E_TIMEOUT) ||
        (timeout_ms == 0 && result == LENDIS_E_BUSY))
        atomic_fetch_add(&load->report->unleased, 1);
    else
        failed(load, "lendis_acquire", result);
    got_on(load);
    return NULL;
}

static void release(struct load *load, struct lendis_lease *lease_of_ours)
{
    int result = lendis_release(lease_of_ours);

    if (result != 0)
        failed(load, "lendis_release", result);
}

static bool echo(struct load *load, struct lendis_lease *on)
{
    char token[80];
    int size = snprintf(token, sizeof token, "%s says %llu", load->owner,
                        (unsigned long long)++load->serial);

    return expect(load, "ECHO", lendis_lease_command(on, "ECHO %s", token), token, (size_t)size);
}

static void lease_shortly(struct load *load)
{
    struct lendis_lease *got = lease(load, (int)below(load, 4));

    if (!got)
        return;
    echo(load, got);
    release(load, got);
}

/* A reply is there, or what it takes to see that it is not. */
static redisReply *on_lease(struct load *load, const char *what, redisReply *reply)
{
    if (!reply)
        failed(load, what, lendis_pool_error(load->pool, NULL));
    return reply;
}

static void transaction(struct load *load)
{
    struct load_key *key = pick_own(load);
    struct lendis_lease *got = lease(load, -1);
    unsigned long long serial = ++load->serial;
    redisReply *replies[4] = {0};
    bool whole = true;
    char *value;

    if (!got)
        return;
    value = own_value(key->name, serial);
    replies[0] = on_lease(load, "MULTI", lendis_lease_command(got, "MULTI"));
    replies[1] = on_lease(load, "SET in MULTI",
                          lendis_lease_command(got, "SET %s %b EX %d", key->name, value,
                                               own_size(key->name, serial), LOAD_KEEP_SECONDS));
    replies[2] = on_lease(load, "GET in MULTI", lendis_lease_command(got, "GET %s", key->name));
    replies[3] = on_lease(load, "EXEC", lendis_lease_command(got, "EXEC"));
    free(value);
    for (unsigned i = 0; i < 4; i++)
        whole = whole && replies[i];
    if (whole && check_transaction(load, key, serial, replies))
        key->serial = serial;
    for (unsigned i = 0; i < 4; i++)
        if (replies[i])
            freeReplyObject(replies[i]);
    release(load, got);
}

/* In another database, and back: nobody else sees it. */
static void visit(struct load *load)
{
    struct lendis_lease *got = lease(load, -1);

    if (!got)
        return;
    expect(load, "SELECT", lendis_lease_command(got, "SELECT 1"), "OK", 2);
    expect(load, "GET in another database", lendis_lease_command(got, "GET shared:3"), NULL, 0);
    expect(load, "SELECT", lendis_lease_command(got, "SELECT 0"), "OK", 2);
    release(load, got);
}

/* Pipelined, on hiredis' own context; lendis replaces the connection. */
static void on_context(struct load *load)
{
    struct lendis_lease *got = lease(load, -1);
    redisContext *context = got ? lendis_lease_context(got) : NULL;
    char token[96];

    if (!got)
        return;
    for (int i = 0; i < 3; i++)
        redisAppendCommand(context, "ECHO %s.%llu.%d", load->owner, load->serial, i);
    for (int i = 0; i < 3; i++) {
        redisReply *reply = NULL;
        int size = snprintf(token, sizeof token, "%s.%llu.%d", load->owner, load->serial, i);

        if (redisGetReply(context, (void **)&reply) != REDIS_OK)
            record(load, &load->report->failed, "%s: context: %s", load->owner, context->errstr);
        else
            expect(load, "ECHO on a context", reply, token, (size_t)size);
    }
    load->serial++;
    atomic_fetch_add(&load->report->replaced, 1);
    release(load, got);
}

/* Gives it back in a state that nobody else must meet: I3. */
static void leave_unclean(struct load *load)
{
    static const char unread[] = "*2\r\n$3\r\nGET\r\n$9\r\nshared:15\r\n";
    struct lendis_lease *got = lease(load, -1);
    redisReply *reply = NULL;

    if (!got)
        return;
    atomic_fetch_add(&load->report->replaced, 1);
    switch (below(load, 4)) {
    case 0: /* with replies on their way */
        if (send(lendis_lease_fd(got), unread, sizeof unread - 1, MSG_NOSIGNAL) < 0)
            record(load, &load->report->failed, "%s: send: %m", load->owner);
        break;
    case 1:
        reply = lendis_lease_command(got, "MULTI");
        break;
    case 2:
        reply = lendis_lease_command(got, "SELECT 1");
        break;
    default:
        echo(load, got);
        if (lendis_discard(got) != 0)
            record(load, &load->report->failed, "%s: lendis_discard fails", load->owner);
        return;
    }
    if (reply)
        freeReplyObject(reply);
    release(load, got);
}

/* ---- forked children ---- */

_Noreturn static void be_child(struct load *load)
{
    struct load mine;
    char owner[40];
    unsigned kind = below(load, 4);

    setpgid(0, load->nursery);
    if (kind < 2)
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* the others outlive a parent that is killed */
    snprintf(owner, sizeof owner, "child-%d", (int)getpid());
    load_init(&mine, load->pool, load->report, 0, load_random(&load->random) + (uint64_t)getpid(),
              owner);
    if (kind == 3)
        sleep_us(20000); /* with all descriptors of the parent's, the handle unused */
    else
        for (unsigned i = 0; i < CHILD_STEPS; i++)
            load_step(&mine);
    if (kind == 1)
        lendis_detach(load->pool);
    _exit(0);
}

static void have_child(struct load *load)
{
    int status;
    pid_t pid;

    if (load->nursery == 0)
        return;
    atomic_fetch_add(&load->report->children, 1);
    pid = fork();
    if (pid == 0)
        be_child(load);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        record(load, &load->report->failed, "%s: fork or waitpid: %m", load->owner);
    else if (status != 0)
        record(load, &load->report->failed, "%s: a child ended with status %#x", load->owner,
               (unsigned)status);
}

/* ---- */

/*
 * Its socket to the broker ends, as by a closefrom(3) of the program's: the broker takes it for
 * gone. Not beside other threads, whose leases would be revoked.
 */
static void lose_place(struct load *load)
{
    struct attachment *attachment = atomic_load(&load->pool->local->current);
    const shm_u32 *tenant;

    if (!load->alone || !attachment || attachment->socket < 0)
        return;
    atomic_fetch_add(&load->report->expelled, 1);
    shutdown(attachment->socket, SHUT_RDWR);
    /* A lease that it got before the broker knows would be revoked. */
    tenant = &attachment->segment.slots[attachment->worker].tenant;
    for (int i = 0; i < 20000 && atomic_load(tenant) == attachment->tenant; i++)
        sleep_us(100);
}

/* Of 1000 steps, the last ones are for forked children. */
static const struct {
    unsigned weight;
    void (*step)(struct load *load);
} steps[] = {
    {249, get_shared},       {195, set_own},
    {200, get_own},          {90, count},
    {60, pipeline_of_reads}, {50, pipeline_of_writes},
    {20, get_shared_raw},    {60, transaction},
    {50, lease_shortly},     {8, transaction_in_one_call},
    {4, block_in_one_call},  {3, visit},
    {3, on_context},         {5, leave_unclean},
    {1, lose_place},         {2, have_child},
};

void load_step(struct load *load)
{
    unsigned dice = below(load, 1000), i = 0;

    while (dice >= steps[i].weight && i + 1 < sizeof steps / sizeof *steps)
        dice -= steps[i++].weight;
    steps[i].step(load);
}
