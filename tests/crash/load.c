/* SPDX-License-Identifier: MIT */
/* Load with a data-identity oracle: see load.h. */
#include "tests/crash/load.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis_hiredis.h"

/* Own keys outlive every worker of a storm, and do not fill Redis in a long one. */
#define KEEP_SECONDS 600
/* Shared values are of 16 bytes to 64 KiB: some come in one read, some do not. */
#define SHARED_LEAST 16u
/* Steps of a forked child. */
#define CHILD_STEPS 20u

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

void load_init(struct load *load, struct lendis_pool *pool, struct load_report *report,
               pid_t nursery, uint64_t seed, const char *owner)
{
    *load = (struct load){.pool = pool, .report = report, .nursery = nursery};
    load->random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    snprintf(load->owner, sizeof load->owner, "%s", owner);
}

/* ---- verdicts ---- */

static void __attribute__((format(printf, 3, 4)))
tell(struct load *load, atomic_ullong *counter, const char *format, ...)
{
    va_list arguments;

    atomic_fetch_add(counter, 1);
    if (atomic_exchange(&load->report->told, true))
        return;
    va_start(arguments, format);
    vsnprintf(load->report->text, sizeof load->report->text, format, arguments);
    va_end(arguments);
}

static void failed(struct load *load, const char *what, int result)
{
    tell(load, &load->report->failed, "%s: %s: %s (%d)", load->owner, what, lendis_strerror(result),
         result);
}

/* A reply was checked. */
static void counted(struct load *load)
{
    atomic_fetch_add(&load->report->commands, 1);
    atomic_store(&load->report->progress_ms, now_ms());
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
    tell(load, &load->report->wrong,
         "%s: %s: got type %d, %lld, %zu bytes, \"%.80s\", not \"%.80s\"", load->owner, what,
         reply->type, reply->integer, reply->len, reply->str ? reply->str : "",
         text ? text : "nil");
}

/* Takes the reply to `what`. True if it is this text; NULL, a nil. */
static bool expect(struct load *load, const char *what, redisReply *reply, const char *text,
                   size_t size)
{
    bool right;

    if (!reply) {
        failed(load, what, lendis_pool_error(load->pool, NULL));
        return false;
    }
    right = is_text(reply, text, size);
    if (!right)
        wrong(load, what, reply, text);
    freeReplyObject(reply);
    counted(load);
    return right;
}

/* No reply to a write that was handed over: fails unless it is uncertain. True: it is. */
static bool is_uncertain(struct load *load, const char *what)
{
    int result = lendis_pool_error(load->pool, NULL);

    atomic_store(&load->report->progress_ms, now_ms());
    if (result != LENDIS_E_UNCERTAIN) {
        failed(load, what, result);
        return false;
    }
    atomic_fetch_add(&load->report->uncertain, 1);
    return true;
}

/* ---- shared keys: whoever reads them knows what is in them ---- */

static size_t shared_size(unsigned number)
{
    return (size_t)SHARED_LEAST << (number * 12 / (LOAD_SHARED_KEYS - 1));
}

/* "shared:5 shared:5 shared:5 ..." */
static void shared_value(unsigned number, char *value)
{
    char key[32];
    size_t size = shared_size(number);
    size_t length = (size_t)snprintf(key, sizeof key, "shared:%u ", number);

    for (size_t i = 0; i < size; i++)
        value[i] = key[i % length];
}

static char *shared_buffer(void)
{
    char *buffer = malloc(shared_size(LOAD_SHARED_KEYS - 1));

    if (!buffer)
        give_up("no memory");
    return buffer;
}

void load_prepare(const struct redis_server *redis)
{
    redisContext *context = redis_open(redis);
    char *value = shared_buffer();

    for (unsigned i = 0; i < LOAD_SHARED_KEYS; i++) {
        redisReply *reply;

        shared_value(i, value);
        reply = redisCommand(context, "SET shared:%u %b", i, value, shared_size(i));
        if (!reply || reply->type != REDIS_REPLY_STATUS)
            give_up("SET shared:%u fails", i);
        freeReplyObject(reply);
    }
    free(value);
    redisFree(context);
}

/* Small ones far more often than large ones. */
static unsigned pick_shared(struct load *load)
{
    unsigned most = 1 + below(load, LOAD_SHARED_KEYS);

    return below(load, most);
}

static void get_shared(struct load *load)
{
    unsigned number = pick_shared(load);
    char *value = shared_buffer();

    shared_value(number, value);
    expect(load, "GET of a shared key", lendis_command(load->pool, "GET shared:%u", number), value,
           shared_size(number));
    free(value);
}

/* As bytes: $16\r\n...\r\n */
static void get_shared_raw(struct load *load)
{
    unsigned number = pick_shared(load);
    size_t size = shared_size(number), reply_size, head;
    char *request, *value = shared_buffer();
    char header[32];
    void *reply = NULL;
    int length, result;

    shared_value(number, value);
    length = redisFormatCommand(&request, "GET shared:%u", number);
    head = (size_t)snprintf(header, sizeof header, "$%zu\r\n", size);
    result = lendis_exec(load->pool, request, (size_t)length, -1, &reply, &reply_size);
    if (result != 0) {
        failed(load, "lendis_exec", result);
    } else {
        const char *bytes = reply;

        if (reply_size != head + size + 2 || memcmp(bytes, header, head) != 0 ||
            memcmp(bytes + head, value, size) != 0)
            tell(load, &load->report->wrong, "%s: lendis_exec: %zu bytes, \"%.*s\"", load->owner,
                 reply_size, reply_size > 80 ? 80 : (int)reply_size, bytes);
        counted(load);
    }
    lendis_free(reply);
    redisFreeCommand(request);
    free(value);
}

/* ---- own keys ---- */

static int own_value(const struct load *load, unsigned key, unsigned long long serial, char *value,
                     size_t size)
{
    return snprintf(value, size, "%s:%u is %llu", load->owner, key, serial);
}

static void is_now(struct load_key *key, unsigned long long serial)
{
    key->serial = serial;
    key->maybes = 0;
}

/* Checks a value of an own key, and learns from it. */
static void check_own(struct load *load, const char *what, unsigned number, const redisReply *reply)
{
    struct load_key *key = &load->keys[number];
    char value[96];

    counted(load);
    for (unsigned i = 0; i <= key->maybes; i++) {
        unsigned long long serial = i < key->maybes ? key->maybe[i] : key->serial;
        int size = own_value(load, number, serial, value, sizeof value);

        if (is_text(reply, serial ? value : NULL, (size_t)size)) {
            is_now(key, serial);
            return;
        }
    }
    wrong(load, what, reply, value);
}

static void get_own(struct load *load, unsigned number)
{
    redisReply *reply = lendis_command(load->pool, "GET %s:%u", load->owner, number);

    if (!reply) {
        failed(load, "GET of an own key", lendis_pool_error(load->pool, NULL));
        return;
    }
    check_own(load, "GET of an own key", number, reply);
    freeReplyObject(reply);
}

static void set_own(struct load *load)
{
    unsigned number = below(load, LOAD_OWN_KEYS);
    struct load_key *key = &load->keys[number];
    redisReply *reply;
    char value[96];

    if (key->maybes == LOAD_MAYBE_MAX)
        get_own(load, number);
    own_value(load, number, ++load->serial, value, sizeof value);
    reply =
        lendis_command(load->pool, "SET %s:%u %s EX %d", load->owner, number, value, KEEP_SECONDS);
    if (reply) {
        if (expect(load, "SET of an own key", reply, "OK", 2))
            is_now(key, load->serial);
    } else if (is_uncertain(load, "SET of an own key") && key->maybes < LOAD_MAYBE_MAX) {
        key->maybe[key->maybes++] = load->serial;
    }
}

/* Checks what an INCR said, and learns from it. */
static void check_count(struct load *load, const redisReply *reply)
{
    unsigned long long got = (unsigned long long)reply->integer;

    counted(load);
    if (reply->type == REDIS_REPLY_INTEGER && got > load->counter &&
        got <= load->counter + 1 + load->counter_maybe)
        load->counter = got;
    else
        tell(load, &load->report->wrong,
             "%s: INCR: got type %d, %lld, expected %llu and up to %u more", load->owner,
             reply->type, reply->integer, load->counter + 1, load->counter_maybe);
    load->counter_maybe = 0;
}

static void count(struct load *load)
{
    redisReply *reply = lendis_command(load->pool, "INCR %s:count", load->owner);

    if (reply)
        check_count(load, reply);
    else
        load->counter_maybe += is_uncertain(load, "INCR") ? 1 : 0;
    if (reply)
        freeReplyObject(reply);
    if (load->own_counter_expires)
        return;
    reply = lendis_command(load->pool, "EXPIRE %s:count %d", load->owner, KEEP_SECONDS);
    load->own_counter_expires = true;
    if (reply)
        freeReplyObject(reply);
    else
        is_uncertain(load, "EXPIRE");
}

/* ---- pipelines ---- */

#define PIPELINE_MAX 6u

static struct lendis_pipeline *pipeline_new(struct load *load)
{
    struct lendis_pipeline *made = lendis_pipeline_new(load->pool);

    if (!made)
        give_up("no memory");
    return made;
}

/* True if it has `count` replies. */
static bool is_array(struct load *load, const redisReply *reply, unsigned length)
{
    bool right = reply->type == REDIS_REPLY_ARRAY && reply->elements == length;

    if (!right)
        tell(load, &load->report->wrong, "%s: pipeline: got type %d, %zu elements, \"%.80s\"",
             load->owner, reply->type, reply->elements, reply->str ? reply->str : "");
    return right;
}

/* Reads: they succeed. */
static void pipeline_of_reads(struct load *load)
{
    unsigned length = 1 + below(load, PIPELINE_MAX), numbers[PIPELINE_MAX];
    struct lendis_pipeline *pipeline = pipeline_new(load);
    char *value = shared_buffer();
    redisReply *reply;

    for (unsigned i = 0; i < length; i++) {
        numbers[i] = i % 2 ? below(load, LOAD_OWN_KEYS) : pick_shared(load);
        if (i % 2)
            lendis_pipeline_append(pipeline, "GET %s:%u", load->owner, numbers[i]);
        else
            lendis_pipeline_append(pipeline, "GET shared:%u", numbers[i]);
    }
    reply = lendis_pipeline_exec(pipeline);
    if (!reply)
        failed(load, "pipeline of reads", lendis_pool_error(load->pool, NULL));
    for (unsigned i = 0; reply && is_array(load, reply, length) && i < length; i++) {
        const redisReply *each = reply->element[i];

        shared_value(numbers[i], value);
        if (i % 2)
            check_own(load, "GET in a pipeline", numbers[i], each);
        else if (!is_text(each, value, shared_size(numbers[i])))
            wrong(load, "shared GET in a pipeline", each, "its value");
        counted(load);
    }
    if (reply)
        freeReplyObject(reply);
    lendis_pipeline_free(pipeline);
    free(value);
}

/* Writes: all, some or none of an uncertain one were executed. */
static void pipeline_of_writes(struct load *load)
{
    unsigned length = 1 + below(load, PIPELINE_MAX);
    struct lendis_pipeline *pipeline = pipeline_new(load);
    redisReply *reply;

    for (unsigned i = 0; i < length; i++)
        lendis_pipeline_append(pipeline, "INCR %s:count", load->owner);
    reply = lendis_pipeline_exec(pipeline);
    if (!reply)
        load->counter_maybe += is_uncertain(load, "pipeline of writes") ? length : 0;
    for (unsigned i = 0; reply && is_array(load, reply, length) && i < length; i++)
        check_count(load, reply->element[i]);
    if (reply)
        freeReplyObject(reply);
    lendis_pipeline_free(pipeline);
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
        atomic_fetch_add(&load->report->timeouts, 1);
    else
        failed(load, "lendis_acquire", result);
    atomic_store(&load->report->progress_ms, now_ms());
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

static void transaction(struct load *load)
{
    unsigned key = below(load, LOAD_OWN_KEYS);
    struct lendis_lease *got = lease(load, -1);
    redisReply *reply;
    char value[96];
    int size;

    if (!got)
        return;
    size = own_value(load, key, ++load->serial, value, sizeof value);
    expect(load, "MULTI", lendis_lease_command(got, "MULTI"), "OK", 2);
    expect(load, "SET in MULTI",
           lendis_lease_command(got, "SET %s:%u %s EX %d", load->owner, key, value, KEEP_SECONDS),
           "QUEUED", 6);
    expect(load, "GET in MULTI", lendis_lease_command(got, "GET %s:%u", load->owner, key), "QUEUED",
           6);
    reply = lendis_lease_command(got, "EXEC");
    if (!reply) {
        failed(load, "EXEC", lendis_pool_error(load->pool, NULL));
    } else if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
        tell(load, &load->report->wrong, "%s: EXEC: type %d, \"%.80s\"", load->owner, reply->type,
             reply->str ? reply->str : "");
    } else {
        redisReply *inner = reply->element[1];

        reply->element[1] = NULL;
        reply->elements = 1;
        if (expect(load, "GET in EXEC", inner, value, (size_t)size))
            is_now(&load->keys[key], load->serial);
    }
    if (reply)
        freeReplyObject(reply);
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
            tell(load, &load->report->failed, "%s: context: %s", load->owner, context->errstr);
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
            tell(load, &load->report->failed, "%s: send: %m", load->owner);
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
            tell(load, &load->report->failed, "%s: lendis_discard fails", load->owner);
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
        tell(load, &load->report->failed, "%s: fork or waitpid: %m", load->owner);
    else if (status != 0)
        tell(load, &load->report->failed, "%s: a child ended with status %#x", load->owner,
             (unsigned)status);
}

/* ---- */

void load_step(struct load *load)
{
    unsigned dice = below(load, 1000);

    if (dice < 280)
        get_shared(load);
    else if (dice < 480)
        set_own(load);
    else if (dice < 680)
        get_own(load, below(load, LOAD_OWN_KEYS));
    else if (dice < 770)
        count(load);
    else if (dice < 800)
        pipeline_of_reads(load);
    else if (dice < 820)
        pipeline_of_writes(load);
    else if (dice < 840)
        get_shared_raw(load);
    else if (dice < 920)
        transaction(load);
    else if (dice < 990)
        lease_shortly(load);
    else if (dice < 993)
        on_context(load);
    else if (dice < 998)
        leave_unclean(load);
    else
        have_child(load);
}
