/* SPDX-License-Identifier: MIT */
/*
 * Commands that may not share a connection, or not be sent in one call at all: what the server says
 * of its commands (a real module's, and answers that no Redis of ours gives), what the
 * configuration says, and the error that names what to use instead.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "tests/support/fixture.h"

static struct fixture fixture;

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

/* ---- servers ---- */

/* The server has another working directory. */
static const char *module_path(void)
{
    static char *path;

    if (!path)
        path = realpath(built_program("tests/system/libclient/blocking_module.so"), NULL);
    assert_non_null(path);
    return path;
}

/* Starts redis-server anew, with the module or without. */
static void start_redis(bool with_module)
{
    static const char *with[3] = {"--loadmodule"};

    with[1] = module_path();
    fixture.redis.arguments = with_module ? with : NULL;
    redis_start(&fixture.redis);
}

static void start_broker(const char *more)
{
    lendisd_start(&fixture.broker,
                  "log_level = info\n[pool p]\nredis = %s\nsize = 2\nmin_idle = 2\n"
                  "connect_timeout = 500ms\n%s",
                  fixture.redis.pid ? fixture.redis.unix_url : fixture.fake.unix_url, more);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
}

/* What workers are told, when it is this. */
static bool commands_are(const char *expected)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return atomic_load(&entry.backend) == BACKEND_UP && strcmp(entry.commands, expected) == 0 &&
           atomic_load(&entry.commands_size) == strlen(expected);
}

static void expect_commands(const char *expected)
{
    struct catalog_pool entry;

    if (eventually(commands_are(expected), 10000))
        return;
    observe_pool(&fixture.observer, &entry);
    fail_msg("\"%s\" instead of \"%s\", backend %u", entry.commands, expected,
             atomic_load(&entry.backend));
}

static unsigned long closed_so_far(void)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return CATALOG_SUM(entry.closed);
}

static unsigned long resets_so_far(void)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return entry.counters[BROKER_COUNTER_resets];
}

/* ---- replies ---- */

static void expect_text(redisReply *reply, int type, const char *text)
{
    if (!reply)
        fail_msg("no reply: %s", lendis_strerror(lendis_pool_error(NULL, NULL)));
    assert_int_equal(reply->type, type);
    assert_string_equal(reply->str, text);
    freeReplyObject(reply);
}

static void expect_failure(const struct lendis_pool *pool, redisReply *reply, int result)
{
    assert_null(reply);
    if (lendis_pool_error(pool, NULL) != result)
        fail_msg("%s instead of %s", lendis_strerror(lendis_pool_error(pool, NULL)),
                 lendis_strerror(result));
}

/* ---- several at once ---- */

struct caller {
    struct lendis_pool *pool;
    char command[64];
    pthread_t thread;
    int result; /* 0: a reply that is not an error */
    int64_t done_ns;
};

static void *call(void *context)
{
    struct caller *caller = context;
    redisReply *reply = lendis_command(caller->pool, caller->command);

    caller->done_ns = now_ns();
    caller->result = reply ? reply->type == REDIS_REPLY_ERROR : lendis_pool_error(NULL, NULL);
    if (reply)
        freeReplyObject(reply);
    return NULL;
}

static unsigned waiting(void)
{
    struct word_count count;

    assert_true(observe_words(&fixture.observer, &count));
    return count.waiting;
}

#define READERS 6

/*
 * `command`, which takes half a second at least, is queued first, then READERS times GET, while
 * both connections are out; then one comes back, and later the other. True: whoever got the first
 * one took everything for it. False: `command` had it alone, and did not hold up the reads.
 */
static bool goes_with_others(struct lendis_pool *pool, const char *command, int *result)
{
    struct caller callers[1 + READERS] = {0};
    struct lendis_lease *leases[2];
    bool together;

    assert_int_equal(lendis_acquire(pool, 5000, &leases[0]), 0);
    assert_int_equal(lendis_acquire(pool, 5000, &leases[1]), 0);
    for (unsigned i = 0; i < 1 + READERS; i++) {
        callers[i].pool = pool;
        snprintf(callers[i].command, sizeof callers[i].command, "%s", i ? "GET key" : command);
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
        assert_true(eventually(waiting() == i + 1, 5000));
    }
    assert_int_equal(lendis_release(leases[0]), 0);
    assert_true(eventually(waiting() <= READERS, 5000));
    together = eventually(waiting() == 0, 200);
    assert_int_equal(lendis_release(leases[1]), 0);
    for (unsigned i = 0; i < 1 + READERS; i++)
        pthread_join(callers[i].thread, NULL);
    for (unsigned i = 1; i < 1 + READERS; i++) {
        assert_int_equal(callers[i].result, 0);
        assert_true(together || callers[i].done_ns < callers[0].done_ns);
    }
    *result = callers[0].result;
    return together;
}

/* ---- what the server says ---- */

static void what_the_server_calls_blocking_gets_a_connection(void **state)
{
    struct lendis_pool *pool;
    int result;

    (void)state;
    start_redis(true);
    start_broker("command_timeout = 800ms\nexclusive_commands = lendis.SLOW\n");
    expect_commands("~LENDIS.KEEP +LENDIS.PARK !LENDIS.SLOW");
    assert_int_equal(pool_fills(&fixture.observer, 2, 5000), true);
    pool = pool_attach(&fixture.broker, "p");

    /* Nothing stands behind it, and it may wait for longer than command_timeout. */
    assert_false(goes_with_others(pool, "LENDIS.PARK 1200", &result));
    assert_int_equal(result, 0);
    expect_text(lendis_command(pool, "lendis.park 900"), REDIS_REPLY_STATUS, "DONE");
    /* What the configuration lists has a connection for itself too, and its limit. */
    assert_false(goes_with_others(pool, "LENDIS.SLOW 500", &result));
    assert_int_equal(result, 0);
    expect_failure(pool, lendis_command(pool, "lendis.slow 5000"), LENDIS_E_UNCERTAIN);
    lendis_detach(pool);
}

/* A family that nobody knows may keep something on its connection: nobody else gets that as it
 * is. */
static void what_may_keep_something_is_reset(void **state)
{
    struct lendis_lease *lease;
    struct lendis_pool *pool;
    unsigned long resets;

    (void)state;
    start_redis(true);
    start_broker("");
    expect_commands("~LENDIS.KEEP +LENDIS.PARK");
    pool = pool_attach(&fixture.broker, "p");
    resets = resets_so_far();
    expect_text(lendis_command(pool, "lendis.keep put"), REDIS_REPLY_STATUS, "DONE");
    assert_true(eventually(resets_so_far() == resets + 1, 5000));
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    expect_text(lendis_lease_command(lease, "LENDIS.KEEP PUT"), REDIS_REPLY_STATUS, "DONE");
    expect_text(lendis_lease_command(lease, "LENDIS.KEEP TAKE"), REDIS_REPLY_STATUS, "DONE");
    expect_text(lendis_lease_command(lease, "PING"), REDIS_REPLY_STATUS, "PONG");
    assert_int_equal(lendis_release(lease), 0);
    assert_true(eventually(resets_so_far() == resets + 2, 5000));
    /* What does not is as clean as ever. */
    expect_text(lendis_command(pool, "LENDIS.SLOW 1"), REDIS_REPLY_STATUS, "DONE");
    expect_text(lendis_command(pool, "LENDIS.PARK 1"), REDIS_REPLY_STATUS, "DONE");
    assert_int_equal(closed_so_far(), 0);
    assert_int_equal(resets_so_far(), resets + 2);
    lendis_detach(pool);
}

static void on_a_lease_it_may_wait_as_well(void **state)
{
    struct lendis_lease *lease;
    struct lendis_pool *pool;

    (void)state;
    start_redis(true);
    start_broker("command_timeout = 300ms\n");
    expect_commands("~LENDIS.KEEP +LENDIS.PARK");
    pool = pool_attach(&fixture.broker, "p");
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    expect_text(lendis_lease_command(lease, "LENDIS.PARK 700"), REDIS_REPLY_STATUS, "DONE");
    assert_null(lendis_lease_command(lease, "LENDIS.SLOW 700"));
    assert_int_equal(lendis_pool_error(pool, NULL), LENDIS_E_UNCERTAIN);
    lendis_release(lease);
    lendis_detach(pool);
}

static void attached_workers_hear_of_a_new_module(void **state)
{
    struct lendis_pool *pool;
    int result;

    (void)state;
    start_redis(false);
    start_broker("");
    expect_commands("");
    pool = pool_attach(&fixture.broker, "p");
    expect_text(lendis_command(pool, "SET key value"), REDIS_REPLY_STATUS, "OK");
    redis_stop(&fixture.redis);
    start_redis(true);
    expect_commands("~LENDIS.KEEP +LENDIS.PARK");
    assert_true(pool_fills(&fixture.observer, 2, 15000));
    assert_false(goes_with_others(pool, "LENDIS.PARK 500", &result));
    assert_int_equal(result, 0);
    redis_stop(&fixture.redis);
    start_redis(false);
    expect_commands("");
    lendis_detach(pool);
}

/* The pool logs in as "lender". */
static void start_broker_with_login(const char *more)
{
    char path[TESTBED_PATH_SIZE], all[512];
    FILE *file;

    scratch_path(path, "secret");
    file = fopen(path, "we");
    assert_non_null(file);
    fputs("secret\n", file);
    assert_int_equal(fclose(file), 0);
    snprintf(all, sizeof all, "username = lender\npassword_file = %s\n%s", path, more);
    start_broker(all);
}

/* Where no RESET is sent, since a login would have to follow it, nothing undoes what nobody
 * knows. */
static void what_may_keep_something_is_replaced_where_there_is_a_login(void **state)
{
    struct lendis_pool *pool;

    (void)state;
    start_redis(true);
    freeReplyObject(redis_do(&fixture.redis, "ACL SETUSER lender on >secret ~* &* +@all"));
    start_broker_with_login("");
    expect_commands("~LENDIS.KEEP +LENDIS.PARK");
    pool = pool_attach(&fixture.broker, "p");
    expect_text(lendis_command(pool, "PING"), REDIS_REPLY_STATUS, "PONG");
    expect_text(lendis_command(pool, "LENDIS.KEEP PUT"), REDIS_REPLY_STATUS, "DONE");
    assert_true(eventually(closed_so_far() == 1, 5000));
    assert_int_equal(resets_so_far(), 0);
    lendis_detach(pool);
}

/* A user that may not ask: nothing is known, and all else works. */
static void a_user_without_command(void **state)
{
    struct lendis_pool *pool;
    int result;

    (void)state;
    start_redis(true);
    freeReplyObject(redis_do(&fixture.redis, "ACL SETUSER lender on >secret ~* &* +@all -command"));
    start_broker_with_login("exclusive_commands = X.Y\n");
    expect_commands("!X.Y");
    assert_true(lendisd_logged(&fixture.broker, "refuses COMMAND"));
    pool = pool_attach(&fixture.broker, "p");
    assert_true(goes_with_others(pool, "LENDIS.PARK 500", &result));
    assert_int_equal(result, 0);
    expect_text(lendis_command(pool, "X.Y z"), REDIS_REPLY_ERROR,
                "ERR unknown command 'X.Y', with args beginning with: 'z' ");
    lendis_detach(pool);
}

/* ---- answers that no Redis of ours gives ---- */

#define REDIS_6_LIKE                                                                               \
    "*3\r\n"                                                                                       \
    "*7\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*1\r\n+@read\r\n"      \
    "*7\r\n$5\r\nblpop\r\n:-3\r\n*1\r\n+write\r\n:1\r\n:-2\r\n:1\r\n*2\r\n+@list\r\n+@"            \
    "blocking\r\n"                                                                                 \
    "*7\r\n$5\r\nbrpop\r\n:-3\r\n*1\r\n+write\r\n:1\r\n:-2\r\n:1\r\n*1\r\n+@list\r\n"

static void odd_answers(void **state)
{
    static const struct {
        const char *reply, *expected;
    } answers[] = {
        {"", ""},
        {"*0\r\n", ""},
        {"*-1\r\n", ""},
        {"$-1\r\n", ""},
        {":5\r\n", ""},
        {"+OK\r\n", ""},
        {"-ERR unknown command\r\n", ""},
        {"*1\r\n*0\r\n", ""},
        {"*2\r\n$-1\r\n*1\r\n$-1\r\n", ""},
        {"*1\r\n*3\r\n$5\r\ntwo w\r\n:1\r\n*1\r\n+blocking\r\n", ""},
        {"*1\r\n*3\r\n$3\r\nfoo\r\n:1\r\n*1\r\n+blocking\r\n", "+FOO"},
        {"*1\r\n*3\r\n$3\r\nfoo\r\n:1\r\n*1\r\n$8\r\nblocking\r\n", "+FOO"},
        {"*1\r\n*3\r\n+Foo\r\n:1\r\n*1\r\n*1\r\n*1\r\n*1\r\n+blocking\r\n", ""},
        {"*1\r\n*3\r\n$3\r\nfoo\r\n:1\r\n*1\r\n+no_multi\r\n", "~FOO"},
        {REDIS_6_LIKE, "-BRPOP"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct lendis_pool *pool;

        fake_start(&fixture.fake, FAKE_ANSWER);
        strcpy(fixture.fake.control->command_info_reply, answers[i].reply);
        start_broker("");
        expect_commands(answers[i].expected);
        assert_true(pool_fills(&fixture.observer, 2, 5000));
        assert_int_equal(atomic_load(&fixture.fake.control->command_infos), 1);
        pool = pool_attach(&fixture.broker, "p");
        expect_text(lendis_command(pool, "GET x"), REDIS_REPLY_STRING, "x");
        lendis_detach(pool);
        fixture_end(&fixture);
    }
}

/* A server that cannot bear to be asked is not asked for ever. */
static void servers_that_do_not_answer(void **state)
{
    static const enum fake_action actions[] = {FAKE_SILENT, FAKE_STALL,        FAKE_GARBAGE,
                                               FAKE_CLOSE,  FAKE_CLOSE_MIDWAY, FAKE_TWICE};

    (void)state;
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        struct lendis_pool *pool;

        fake_start(&fixture.fake, FAKE_ANSWER);
        strcpy(fixture.fake.control->command_info_reply,
               "*1\r\n*3\r\n$3\r\nfoo\r\n:1\r\n*1\r\n+blocking\r\n");
        atomic_store(&fixture.fake.control->command_info, actions[i]);
        start_broker("exclusive_commands = BAR\n");
        if (actions[i] == FAKE_TWICE) {
            /* It did answer, on a connection that is of no use. */
            expect_commands("!BAR +FOO");
        } else {
            expect_commands("!BAR");
            assert_true(lendisd_logged(&fixture.broker, "does not answer COMMAND"));
            assert_int_equal(atomic_load(&fixture.fake.control->command_infos), 2);
        }
        pool = pool_attach(&fixture.broker, "p");
        expect_text(lendis_command(pool, "GET x"), REDIS_REPLY_STRING, "x");
        lendis_detach(pool);
        fixture_end(&fixture);
    }
}

/* Slow, byte by byte, in many reads: as good as any. */
static void an_answer_in_pieces(void **state)
{
    (void)state;
    fake_start(&fixture.fake, FAKE_ANSWER);
    strcpy(fixture.fake.control->command_info_reply, REDIS_6_LIKE);
    atomic_store(&fixture.fake.control->command_info, FAKE_TRICKLE);
    start_broker("");
    expect_commands("-BRPOP");
    assert_int_equal(atomic_load(&fixture.fake.control->command_infos), 1);
}

/* ---- what makes no sense in one call ---- */

static void refused_with_a_hint(void **state)
{
    static const char *const commands[] = {"SUBSCRIBE c",
                                           "PSUBSCRIBE c*",
                                           "SSUBSCRIBE c",
                                           "UNSUBSCRIBE",
                                           "MONITOR",
                                           "SYNC",
                                           "PSYNC ? -1",
                                           "QUIT",
                                           "MULTI",
                                           "REPLCONF ACK 0",
                                           "CLIENT REPLY OFF",
                                           "WATCH key",
                                           "SELECT 5",
                                           "select 5",
                                           "CLIENT REPLY SKIP",
                                           "WAIT 0 100",
                                           "WAITAOF 0 0 100",
                                           "READONLY",
                                           "CLIENT NO-TOUCH ON",
                                           "ASKING",
                                           "HIMPORT SET k s v"};
    static const char raw[] = "*2\r\n$6\r\nselect\r\n$1\r\n5\r\n";
    static const char two[] = "*1\r\n$4\r\nPING\r\n*1\r\n$7\r\nMONITOR\r\n";
    static const char wait[] = "*1\r\n$4\r\nPING\r\n*3\r\n$4\r\nWAIT\r\n$1\r\n0\r\n$1\r\n1\r\n";
    struct lendis_pool *pool;
    unsigned long before;
    const char *text;
    void *reply = NULL;
    size_t size = 0;

    (void)state;
    start_redis(false);
    start_broker("");
    expect_commands("");
    pool = pool_attach(&fixture.broker, "p");
    before = closed_so_far();
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        expect_failure(pool, lendis_command(pool, commands[i]), -EOPNOTSUPP);
    lendis_pool_error(pool, &text);
    assert_non_null(strstr(text, "lendis_acquire"));
    assert_non_null(strstr(text, "pipeline"));
    assert_int_equal(lendis_exec(pool, raw, sizeof raw - 1, -1, &reply, &size), -EOPNOTSUPP);
    assert_int_equal(lendis_exec(pool, two, sizeof two - 1, -1, &reply, &size), -EOPNOTSUPP);
    assert_int_equal(lendis_exec(pool, wait, sizeof wait - 1, -1, &reply, &size), -EOPNOTSUPP);
    assert_null(reply);
    /* Nothing was sent. */
    expect_text(lendis_command(pool, "PING"), REDIS_REPLY_STATUS, "PONG");
    assert_int_equal(closed_so_far(), before);
    lendis_detach(pool);
}

static void append(struct lendis_pipeline *pipeline, const char *command)
{
    assert_int_equal(lendis_pipeline_append(pipeline, command), 0);
}

static void allowed_in_pipelines(void **state)
{
    struct lendis_pipeline *pipeline;
    struct lendis_pool *pool;
    unsigned long before;
    redisReply *reply;

    (void)state;
    start_redis(false);
    start_broker("");
    expect_commands("");
    pool = pool_attach(&fixture.broker, "p");
    before = closed_so_far();
    pipeline = lendis_pipeline_new(pool);
    assert_non_null(pipeline);

    append(pipeline, "MULTI");
    append(pipeline, "SET key value");
    append(pipeline, "GET key");
    append(pipeline, "EXEC");
    reply = lendis_pipeline_exec(pipeline);
    assert_non_null(reply);
    assert_int_equal(reply->elements, 4);
    assert_int_equal(reply->element[3]->type, REDIS_REPLY_ARRAY);
    assert_string_equal(reply->element[3]->element[1]->str, "value");
    freeReplyObject(reply);
    assert_int_equal(closed_so_far(), before);

    append(pipeline, "SELECT 5");
    append(pipeline, "SET key other");
    reply = lendis_pipeline_exec(pipeline);
    assert_non_null(reply);
    assert_int_equal(reply->elements, 2);
    freeReplyObject(reply);
    expect_text(lendis_command(pool, "GET key"), REDIS_REPLY_STRING, "value");
    assert_true(eventually(resets_so_far() == 1, 1000));
    assert_int_equal(closed_so_far(), before);

    append(pipeline, "SET key value");
    append(pipeline, "WAIT 0 1000");
    reply = lendis_pipeline_exec(pipeline);
    assert_non_null(reply);
    assert_int_equal(reply->element[1]->type, REDIS_REPLY_INTEGER);
    freeReplyObject(reply);

    append(pipeline, "PING");
    append(pipeline, "SUBSCRIBE c");
    assert_null(lendis_pipeline_exec(pipeline));
    assert_int_equal(lendis_pool_error(pool, NULL), -EOPNOTSUPP);
    lendis_pipeline_free(pipeline);
    lendis_detach(pool);
}

static void allowed_on_leases(void **state)
{
    struct lendis_lease *lease;
    struct lendis_pool *pool;
    redisReply *reply;

    (void)state;
    start_redis(false);
    start_broker("");
    pool = pool_attach(&fixture.broker, "p");
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    expect_text(lendis_lease_command(lease, "SELECT 5"), REDIS_REPLY_STATUS, "OK");
    expect_text(lendis_lease_command(lease, "WATCH key"), REDIS_REPLY_STATUS, "OK");
    expect_text(lendis_lease_command(lease, "MULTI"), REDIS_REPLY_STATUS, "OK");
    expect_text(lendis_lease_command(lease, "DISCARD"), REDIS_REPLY_STATUS, "OK");
    reply = lendis_lease_command(lease, "WAIT 0 100");
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    freeReplyObject(reply);
    reply = lendis_lease_command(lease, "SUBSCRIBE c");
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
    freeReplyObject(reply);
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(pool);
}

/* RESP3 pushes what nobody asked for: it is no reply, whether it comes before one, behind it, or
 * alone. (A push of another's making, and enough of them to come in pieces.) */
static void pushes_are_no_replies(void **state)
{
    struct lendis_lease *lease;
    struct lendis_pool *pool;
    char text[32], command[64];

    (void)state;
    start_redis(false);
    start_broker("");
    pool = pool_attach(&fixture.broker, "p");
    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    freeReplyObject(lendis_lease_command(lease, "HELLO 3"));
    expect_text(lendis_lease_command(lease, "CLIENT TRACKING ON BCAST"), REDIS_REPLY_STATUS, "OK");
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < round * 20; i++) {
            snprintf(command, sizeof command, "SET pushed-%d x", i);
            freeReplyObject(lendis_command(pool, command));
        }
        snprintf(text, sizeof text, "own-%d", round);
        snprintf(command, sizeof command, "SET own %s", text); /* pushes behind its own reply */
        expect_text(lendis_lease_command(lease, command), REDIS_REPLY_STATUS, "OK");
        expect_text(lendis_lease_command(lease, "GET own"), REDIS_REPLY_STRING, text);
    }
    assert_int_equal(lendis_release(lease), 0);
    assert_true(eventually(resets_so_far() == 1, 1000));
    lendis_detach(pool);
}

/* XREAD that does not wait goes with others' commands; one that does stands alone. */
static void stream_reads(void **state)
{
    struct lendis_pool *pool;
    int result;

    (void)state;
    start_redis(false);
    start_broker("command_timeout = 500ms\n");
    expect_commands("");
    assert_true(pool_fills(&fixture.observer, 2, 5000));
    pool = pool_attach(&fixture.broker, "p");
    assert_false(goes_with_others(pool, "XREAD BLOCK 900 STREAMS s 0", &result));
    assert_int_equal(result, 0);
    assert_true(goes_with_others(pool, "XREAD COUNT 1 STREAMS s 0", &result));
    assert_int_equal(result, 0);
    lendis_detach(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_the_server_calls_blocking_gets_a_connection, end),
        cmocka_unit_test_teardown(what_may_keep_something_is_reset, end),
        cmocka_unit_test_teardown(what_may_keep_something_is_replaced_where_there_is_a_login, end),
        cmocka_unit_test_teardown(on_a_lease_it_may_wait_as_well, end),
        cmocka_unit_test_teardown(attached_workers_hear_of_a_new_module, end),
        cmocka_unit_test_teardown(a_user_without_command, end),
        cmocka_unit_test_teardown(odd_answers, end),
        cmocka_unit_test_teardown(servers_that_do_not_answer, end),
        cmocka_unit_test_teardown(an_answer_in_pieces, end),
        cmocka_unit_test_teardown(refused_with_a_hint, end),
        cmocka_unit_test_teardown(allowed_in_pipelines, end),
        cmocka_unit_test_teardown(allowed_on_leases, end),
        cmocka_unit_test_teardown(pushes_are_no_replies, end),
        cmocka_unit_test_teardown(stream_reads, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
