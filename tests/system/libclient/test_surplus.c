/* SPDX-License-Identifier: MIT */
/*
 * I4: a delivered reply is exactly as many values as were asked for, and what is too much of one
 * call is nothing of the next. A peer that holds the pool's only connection takes a worker's
 * command out of the queue, as combiners do, and delivers what it likes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "libclient/pool.h"
#include "lendis/mailbox.h"
#include "tests/support/fixture.h"

#define LIMIT_MS 10000

static struct fixture fixture;
static struct lendis_pool *worker, *peer;

static int start(void **state)
{
    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = 1\nmin_idle = 1\n",
                  fixture.redis.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 1, LIMIT_MS));
    worker = pool_attach(&fixture.broker, "p");
    peer = pool_attach(&fixture.broker, "p");
    freeReplyObject(lendis_command(worker, "SET key value"));
    return 0;
}

static int end(void **state)
{
    (void)state;
    lendis_detach(worker);
    lendis_detach(peer);
    worker = peer = NULL;
    fixture_end(&fixture);
    return 0;
}

/* ---- the worker ---- */

enum way { BY_COMMAND, BY_EXEC, BY_PIPELINE };

struct caller {
    enum way way;
    const char *command; /* a word and an argument; a pipeline has it twice */
    pthread_t thread;
    int result;
    char text[64]; /* of the reply, or of the last one of a pipeline */
};

static void keep_text(struct caller *caller, const redisReply *reply)
{
    if (reply && reply->type == REDIS_REPLY_ARRAY)
        reply = reply->elements == 2 ? reply->element[1] : NULL;
    snprintf(caller->text, sizeof caller->text, "%s", reply && reply->str ? reply->str : "(none)");
}

static redisReply *call_by_hiredis(const struct caller *caller)
{
    struct lendis_pipeline *pipeline;
    redisReply *reply;

    if (caller->way == BY_COMMAND)
        return lendis_command(worker, caller->command);
    pipeline = lendis_pipeline_new(worker);
    lendis_pipeline_append(pipeline, caller->command);
    lendis_pipeline_append(pipeline, caller->command);
    reply = lendis_pipeline_exec(pipeline);
    lendis_pipeline_free(pipeline);
    return reply;
}

static void call_by_bytes(struct caller *caller)
{
    char *request;
    int size = redisFormatCommand(&request, caller->command);
    void *reply = NULL;
    size_t reply_size = 0;

    caller->result = lendis_exec(worker, request, (size_t)size, -1, &reply, &reply_size);
    if (caller->result == 0)
        snprintf(caller->text, sizeof caller->text, "%.*s", (int)reply_size, (char *)reply);
    lendis_free(reply);
    redisFreeCommand(request);
}

static void *call(void *context)
{
    struct caller *caller = context;
    redisReply *reply;

    if (caller->way == BY_EXEC)
        return call_by_bytes(caller), NULL;
    reply = call_by_hiredis(caller);
    caller->result = lendis_pool_error(worker, NULL);
    keep_text(caller, reply);
    if (reply)
        freeReplyObject(reply);
    return NULL;
}

static void expect_own(const char *text)
{
    redisReply *reply = lendis_command(worker, "ECHO %s", text);

    assert_non_null(reply);
    assert_string_equal(reply->str, text);
    freeReplyObject(reply);
}

/* ---- the peer ---- */

/* The slot of the command that is queued first, taken out of the queue. */
static uint32_t take_queued(const struct segment *segment, const struct lendis_lease *lease)
{
    uint64_t ticket = 0, mail;
    uint32_t slot = 0;

    assert_true(eventually(queue_head(segment, &ticket, &slot) == CELL_COMMAND, LIMIT_MS));
    mail = shm_load(&segment->slots[slot].mail);
    assert_int_equal(mail_state(mail), MAIL_QUEUED);
    assert_true(queue_leave(segment, slot, ticket));
    assert_true(shm_cas(&segment->slots[slot].mail, mail,
                        mail_taken(mail, lease->index, word_generation(lease->word),
                                   shm_load(&segment->connections[lease->index].batch))));
    return slot;
}

static void deliver(const struct segment *segment, uint32_t slot, const char *bytes)
{
    struct wait_slot *shared = &segment->slots[slot];
    uint64_t mail = shm_load(&shared->mail);
    struct wake_set told = {0};
    size_t size = strlen(bytes);

    memcpy(mail_room(segment, slot, size), bytes, size);
    shm_store32(&shared->reply_chunk, 0);
    shm_store32(&shared->reply_size, (uint32_t)size);
    assert_true(shm_cas(&shared->mail, mail, mail_with(mail, MAIL_DONE)));
    wake_hint(segment, &told, slot, WAKE_MAIL);
    wake_flush(segment, &told);
}

/* The caller's command is answered with `bytes`, and what it comes to is in *caller. */
static void answer(struct caller *caller, const char *bytes)
{
    const struct segment *segment;
    struct lendis_lease *lease;
    uint32_t slot;

    assert_int_equal(lendis_acquire(peer, LIMIT_MS, &lease), 0);
    segment = &lease->attachment->segment;
    assert_int_equal(pthread_create(&caller->thread, NULL, call, caller), 0);
    slot = take_queued(segment, lease);
    deliver(segment, slot, bytes);
    assert_int_equal(lendis_release(lease), 0);
    pthread_join(caller->thread, NULL);
    for (int i = 0; i < 3; i++) {
        char text[32];

        snprintf(text, sizeof text, "own-%d", i);
        expect_own(text);
    }
}

/* ---- what is not one reply ---- */

static const char *const deliveries[] = {
    "+first\r\n+second\r\n+third\r\n",               /* too many, also for a pipeline of two */
    "+first\r\n+second\r\n+thi",                     /* and a part of one more */
    "$5\r\nfirst\r\n$6\r\nsecond\r\n$0\r\n\r\n\r\n", /* bytes that are nothing */
    "+fir",                                          /* too few */
    "",
    "*3\r\n+first\r\n+second\r\n",
    "!? no reply",
};
#define DELIVERIES (sizeof deliveries / sizeof *deliveries)

static void try_all(enum way way, const char *command, int result, const char *text)
{
    for (size_t i = 0; i < DELIVERIES; i++) {
        struct caller caller = {.way = way, .command = command};

        answer(&caller, deliveries[i]);
        if (caller.result != result)
            fail_msg("delivery %zu: %s", i, lendis_strerror(caller.result));
        if (result == 0)
            assert_string_equal(caller.text, text);
    }
}

/* Nobody knows whether it was executed. */
static void what_may_write_is_uncertain(void **state)
{
    (void)state;
    try_all(BY_COMMAND, "ECHO text", LENDIS_E_UNCERTAIN, NULL);
    try_all(BY_EXEC, "ECHO text", LENDIS_E_UNCERTAIN, NULL);
    try_all(BY_PIPELINE, "ECHO text", LENDIS_E_UNCERTAIN, NULL);
}

static void what_reads_is_read_again(void **state)
{
    (void)state;
    try_all(BY_COMMAND, "GET key", 0, "value");
    try_all(BY_EXEC, "GET key", 0, "$5\r\nvalue\r\n");
    try_all(BY_PIPELINE, "GET key", 0, "value");
}

static void two_are_too_many_for_one_call(void **state)
{
    struct caller one = {.command = "ECHO text"}, bytes = {.way = BY_EXEC, .command = "ECHO text"};

    (void)state;
    answer(&one, "+first\r\n+second\r\n");
    assert_int_equal(one.result, LENDIS_E_UNCERTAIN);
    answer(&bytes, "+first\r\n+second\r\n");
    assert_int_equal(bytes.result, LENDIS_E_UNCERTAIN);
}

/* And one reply is too few for a pipeline of two; what is right is taken. */
static void one_is_too_few_for_two(void **state)
{
    struct caller two = {.way = BY_PIPELINE, .command = "ECHO text"};

    (void)state;
    answer(&two, "+first\r\n");
    assert_int_equal(two.result, LENDIS_E_UNCERTAIN);
    answer(&two, "+first\r\n*2\r\n+a\r\n");
    assert_int_equal(two.result, LENDIS_E_UNCERTAIN);
    answer(&two, "+first\r\n+second\r\n");
    assert_int_equal(two.result, 0);
    assert_string_equal(two.text, "second");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_may_write_is_uncertain, start, end),
        cmocka_unit_test_setup_teardown(what_reads_is_read_again, start, end),
        cmocka_unit_test_setup_teardown(two_are_too_many_for_one_call, start, end),
        cmocka_unit_test_setup_teardown(one_is_too_few_for_two, start, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
