/* SPDX-License-Identifier: MIT */
/*
 * I3 and I4: whatever a holder leaves behind on a connection, the next one gets a clean one, and
 * nobody gets another's reply. The pool has one connection, so that the next holder would get what
 * the last one left; and a db of its own, so that a forgotten SELECT shows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "tests/support/site.h"

#define POOL_DB 2

static struct site site;
static struct lendis_pool *leaver, *next; /* two workers of the pool */

static int start(void **state)
{
    (void)state;
    redis_start(&site.redis);
    lendisd_start(&site.broker,
                  "[pool p]\nredis = unix://%s?db=%d\nsize = 1\nmin_idle = 1\n"
                  "command_timeout = 300ms\n",
                  site.redis.socket_path, POOL_DB);
    segment_observe(&site.observer, site.broker.socket_path, "p");
    leaver = pool_attach(&site.broker, "p");
    next = pool_attach(&site.broker, "p");
    assert_true(pool_fills(&site.observer, 1, 10000));
    return 0;
}

static int end(void **state)
{
    (void)state;
    lendis_detach(leaver);
    lendis_detach(next);
    leaver = next = NULL;
    site_end(&site);
    return 0;
}

/* ---- what a clean connection is ---- */

static void expect_text(redisReply *reply, int type, const char *text)
{
    if (!reply)
        fail_msg("no reply: %s", lendis_strerror(lendis_pool_error(NULL, NULL)));
    if (reply->type != type || strcmp(reply->str ? reply->str : "", text) != 0)
        fail_msg("type %d, \"%s\" instead of \"%s\"", reply->type, reply->str ? reply->str : "",
                 text);
    freeReplyObject(reply);
}

/* CLIENT INFO has this field with this value. */
static void expect_field(const char *info, const char *field)
{
    char middle[64], last[64];

    snprintf(middle, sizeof middle, " %s ", field);
    snprintf(last, sizeof last, " %s\n", field);
    if (!strstr(info, middle) && !strstr(info, last))
        fail_msg("not %s: %s", field, info);
}

static struct lendis_lease *lease_of(struct lendis_pool *pool)
{
    struct lendis_lease *lease = NULL;
    int result = lendis_acquire(pool, 10000, &lease);

    if (result != 0)
        fail_msg("acquire: %s", lendis_strerror(result));
    return lease;
}

/* A transaction by `lease` takes place although somebody else changed what the last holder watched.
 */
static void expect_unwatched(struct lendis_lease *lease)
{
    redisReply *reply;

    freeReplyObject(redis_do(&site.redis, "EVAL %s 0",
                             "redis.call('SELECT', 2) "
                             "redis.call('SET', 'watched', 'again')"));
    expect_text(lendis_lease_command(lease, "MULTI"), REDIS_REPLY_STATUS, "OK");
    expect_text(lendis_lease_command(lease, "SET other value"), REDIS_REPLY_STATUS, "QUEUED");
    reply = lendis_lease_command(lease, "EXEC");
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
    freeReplyObject(reply);
}

/* The next holder finds a connection as the pool's configuration has it. */
static void expect_clean(void)
{
    static unsigned round;
    struct lendis_lease *lease = lease_of(next);
    char value[32];
    redisReply *info;

    snprintf(value, sizeof value, "value %u", ++round);
    expect_text(lendis_lease_command(lease, "SET mine %s", value), REDIS_REPLY_STATUS, "OK");
    expect_text(lendis_lease_command(lease, "GET mine"), REDIS_REPLY_STRING, value);
    info = lendis_lease_command(lease, "CLIENT INFO");
    assert_non_null(info);
    assert_int_equal(info->type, REDIS_REPLY_STRING);
    expect_field(info->str, "db=2");
    expect_field(info->str, "name=lendis-p");
    expect_field(info->str, "multi=-1");
    expect_field(info->str, "sub=0");
    expect_field(info->str, "psub=0");
    expect_field(info->str, "user=default");
    expect_field(info->str, "flags=U"); /* nothing but: connected through a Unix socket */
    expect_field(info->str, "resp=2");
    freeReplyObject(info);
    expect_unwatched(lease);
    assert_int_equal(lendis_release(lease), 0);
    expect_text(lendis_command(next, "GET mine"), REDIS_REPLY_STRING, value);
}

/* Where holder or server ended the connection, the broker may have seen that before. */
static void give_back(struct lendis_lease *lease, bool may_be_revoked)
{
    int result = lendis_release(lease);

    assert_true(result == 0 || (may_be_revoked && result == LENDIS_E_REVOKED));
}

static unsigned long closed_so_far(void)
{
    struct catalog_pool pool;

    observe_pool(&site.observer, &pool);
    return CATALOG_SUM(pool.closed);
}

static unsigned long resets_so_far(void)
{
    struct catalog_pool pool;

    observe_pool(&site.observer, &pool);
    return pool.counters[BROKER_COUNTER_resets];
}

/* What becomes of a connection. */
enum fate {
    CLEAN,    /* for the next one as it is */
    RESET,    /* made clean by the broker */
    REPLACED, /* closed */
    EITHER,   /* reset or replaced, as the server's version has it */
};

/* The next holder finds a clean connection, and how it became so is `fate`. */
static void expect_fate(enum fate fate, unsigned long closed, unsigned long resets)
{
    expect_clean();
    closed = closed_so_far() - closed;
    resets = resets_so_far() - resets;
    if (fate == EITHER ? closed + resets != 1
                       : closed != (fate == REPLACED) || resets != (fate == RESET))
        fail_msg("closed %lu, reset %lu", closed, resets);
}

/* ---- what a holder leaves behind, by lendis_lease_command() ---- */

static void by_command(const char *const *commands, enum fate fate)
{
    unsigned long closed = closed_so_far(), resets = resets_so_far();
    struct lendis_lease *lease = lease_of(leaver);

    for (; *commands; commands++) {
        redisReply *reply = lendis_lease_command(lease, *commands);

        if (reply)
            freeReplyObject(reply);
    }
    give_back(lease, fate == REPLACED);
    expect_fate(fate, closed, resets);
}

#define COMMANDS(...)                                                                              \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static void session_changes_through_a_lease(void **state)
{
    (void)state;
    by_command(COMMANDS("SELECT 5"), RESET);
    by_command(COMMANDS("sElEcT 5"), RESET);
    by_command(COMMANDS("MULTI"), RESET);
    by_command(COMMANDS("MULTI", "SET a b", "GET a"), RESET);
    by_command(COMMANDS("MULTI", "NOSUCHCOMMAND"), RESET);
    by_command(COMMANDS("WATCH watched"), RESET);
    by_command(COMMANDS("WATCH watched", "MULTI", "UNWATCH"), RESET);
    by_command(COMMANDS("SUBSCRIBE channel"), RESET);
    by_command(COMMANDS("PSUBSCRIBE a* b* c*"), REPLACED); /* three replies to one command */
    by_command(COMMANDS("CLIENT SETNAME somebody"), RESET);
    by_command(COMMANDS("HELLO 3"), RESET);
    by_command(COMMANDS("HELLO 3", "CLIENT TRACKING ON", "GET a"), RESET);
    by_command(COMMANDS("CLIENT NO-EVICT ON"), EITHER); /* RESET forgets it before 7.2 */
    by_command(COMMANDS("AUTH default wrong"), RESET);
    by_command(COMMANDS("RESET"), RESET);
    by_command(COMMANDS("QUIT"), REPLACED);
    by_command(COMMANDS("MONITOR"), EITHER);
    /* No reply ever comes: it ends by the command's time limit. */
    by_command(COMMANDS("CLIENT REPLY OFF"), REPLACED);
    by_command(COMMANDS("MULTI", "SELECT 5", "EXEC"), RESET);
}

static void what_ends_clean_is_left_alone(void **state)
{
    (void)state;
    by_command(COMMANDS("SET a b", "GET a", "NOSUCHCOMMAND", "CLIENT ID", "CLIENT LIST"), CLEAN);
    by_command(COMMANDS("MULTI", "SET a b", "GET a", "EXEC"), CLEAN);
    by_command(COMMANDS("MULTI", "SET a b", "DISCARD"), CLEAN);
    by_command(COMMANDS("MULTI", "NOSUCHCOMMAND", "EXEC"), CLEAN); /* EXECABORT */
    by_command(COMMANDS("EXEC", "DISCARD"), CLEAN);                /* errors: there is no MULTI */
    by_command(COMMANDS("WATCH watched", "UNWATCH"), CLEAN);
    by_command(COMMANDS("WATCH watched", "MULTI", "SET a b", "EXEC"), CLEAN);
    by_command(COMMANDS("MULTI", "MULTI", "EXEC"), CLEAN);
    /* A script's SELECT is the script's alone. */
    by_command(COMMANDS("EVAL redis.call('SELECT',5) 0"), CLEAN);
}

/* Alone they make no sense there: refused, or the connection is reset. */
static void session_changes_through_the_pool(void **state)
{
    static const char *const commands[] = {
        "SELECT 5", "MULTI",   "WATCH watched", "SUBSCRIBE channel", "CLIENT SETNAME somebody",
        "HELLO 3",  "MONITOR", "QUIT"};

    (void)state;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        unsigned long closed = closed_so_far(), resets = resets_so_far();
        redisReply *reply = lendis_command(leaver, commands[i]);
        int error = lendis_pool_error(leaver, NULL);

        /* EPROTO: hiredis before 1.0 cannot read RESP3. */
        if (!reply && error != -EOPNOTSUPP && error != -EPROTO)
            fail_msg("%s: %s", commands[i], lendis_strerror(error));
        if (reply)
            freeReplyObject(reply);
        expect_fate(error == -EOPNOTSUPP ? CLEAN : RESET, closed, resets);
    }
}

static void through_a_pipeline(const char *const *commands, enum fate fate)
{
    struct lendis_pipeline *pipeline = lendis_pipeline_new(leaver);
    unsigned long closed = closed_so_far(), resets = resets_so_far();
    size_t count = 0;
    redisReply *replies;

    for (; commands[count]; count++)
        assert_int_equal(lendis_pipeline_append(pipeline, commands[count]), 0);
    replies = lendis_pipeline_exec(pipeline);
    if (!replies)
        fail_msg("%s: %s", *commands, lendis_strerror(lendis_pool_error(leaver, NULL)));
    assert_int_equal(replies->elements, count);
    freeReplyObject(replies);
    lendis_pipeline_free(pipeline);
    expect_fate(fate, closed, resets);
}

static void session_changes_through_a_pipeline(void **state)
{
    static const char raw[] = "*2\r\n$6\r\nselect\r\n$1\r\n5\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    unsigned long closed, resets;
    size_t size;
    void *bytes;

    (void)state;
    through_a_pipeline(COMMANDS("SELECT 5", "SET a b"), RESET);
    through_a_pipeline(COMMANDS("SET a b", "MULTI", "GET a"), RESET);
    through_a_pipeline(COMMANDS("WATCH watched", "GET a"), RESET);
    through_a_pipeline(COMMANDS("CLIENT SETNAME somebody", "GET a"), RESET);
    through_a_pipeline(COMMANDS("MULTI", "SELECT 5", "EXEC"), RESET);
    through_a_pipeline(COMMANDS("MULTI", "SET a b", "GET a", "EXEC"), CLEAN);
    through_a_pipeline(COMMANDS("WATCH watched", "GET a", "UNWATCH"), CLEAN);
    through_a_pipeline(COMMANDS("SET a b", "GET a", "LPOP a"), CLEAN);
    closed = closed_so_far();
    resets = resets_so_far();
    assert_int_equal(lendis_exec(leaver, raw, sizeof raw - 1, -1, &bytes, &size), 0);
    lendis_free(bytes);
    expect_fate(RESET, closed, resets);
}

/* ---- through a context and through the bare descriptor: lendis does not see it ---- */

typedef void leaving(struct lendis_lease *lease);

static void leave(leaving *how, enum fate fate)
{
    unsigned long closed = closed_so_far(), resets = resets_so_far();
    struct lendis_lease *lease = lease_of(leaver);

    how(lease);
    give_back(lease, fate != RESET);
    expect_fate(fate, closed, resets);
}

static void context_commands(struct lendis_lease *lease)
{
    static const char *const commands[] = {"SELECT 5", "WATCH watched", "CLIENT SETNAME somebody",
                                           "MULTI", "SET a b"};
    redisContext *context = lendis_lease_context(lease);

    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        freeReplyObject(redisCommand(context, commands[i]));
}

static void context_unsent_output(struct lendis_lease *lease)
{
    assert_int_equal(redisAppendCommand(lendis_lease_context(lease), "SET a b"), REDIS_OK);
}

static void context_unread_reply(struct lendis_lease *lease)
{
    redisContext *context = lendis_lease_context(lease);
    int done = 0;

    assert_int_equal(redisAppendCommand(context, "ECHO another's"), REDIS_OK);
    while (!done)
        assert_int_equal(redisBufferWrite(context, &done), REDIS_OK);
}

static void context_reply_in_the_reader(struct lendis_lease *lease)
{
    redisContext *context = lendis_lease_context(lease);
    void *reply;

    assert_int_equal(redisAppendCommand(context, "ECHO one"), REDIS_OK);
    assert_int_equal(redisAppendCommand(context, "ECHO two"), REDIS_OK);
    assert_int_equal(redisGetReply(context, &reply), REDIS_OK);
    freeReplyObject(reply);
}

static void context_subscription(struct lendis_lease *lease)
{
    freeReplyObject(redisCommand(lendis_lease_context(lease), "SUBSCRIBE channel"));
}

static void context_merely_looked_at(struct lendis_lease *lease)
{
    assert_non_null(lendis_lease_context(lease));
}

static void context_after_commands(struct lendis_lease *lease)
{
    expect_text(lendis_lease_command(lease, "SET a b"), REDIS_REPLY_STATUS, "OK");
    expect_text(redisCommand(lendis_lease_context(lease), "GET a"), REDIS_REPLY_STRING, "b");
    expect_text(lendis_lease_command(lease, "GET a"), REDIS_REPLY_STRING, "b");
}

static void write_raw(struct lendis_lease *lease, const char *text)
{
    int fd = lendis_lease_fd(lease);

    assert_true(fd >= 0);
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void raw_unread_reply(struct lendis_lease *lease)
{
    write_raw(lease, "*2\r\n$4\r\nECHO\r\n$9\r\nanother's\r\n");
}

static void raw_half_read_reply(struct lendis_lease *lease)
{
    char half[8];

    write_raw(lease, "*2\r\n$4\r\nECHO\r\n$9\r\nanother's\r\n");
    assert_int_equal(recv(lendis_lease_fd(lease), half, sizeof half, MSG_WAITALL), sizeof half);
}

static void raw_half_written_command(struct lendis_lease *lease)
{
    write_raw(lease, "*3\r\n$3\r\nSET\r\n$4\r\nmine\r\n$100\r\nhalf a va");
}

static void raw_select(struct lendis_lease *lease)
{
    char ok[5];

    write_raw(lease, "*2\r\n$6\r\nSELECT\r\n$1\r\n5\r\n");
    assert_int_equal(recv(lendis_lease_fd(lease), ok, sizeof ok, MSG_WAITALL), sizeof ok);
    assert_memory_equal(ok, "+OK\r\n", sizeof ok);
}

static void raw_not_resp(struct lendis_lease *lease)
{
    write_raw(lease, "\x16\x03\x01\r\n\r\n*z\r\n");
}

static void raw_shutdown(struct lendis_lease *lease)
{
    assert_int_equal(shutdown(lendis_lease_fd(lease), SHUT_RDWR), 0);
}

static void raw_shutdown_of_one_side(struct lendis_lease *lease)
{
    assert_int_equal(shutdown(lendis_lease_fd(lease), SHUT_WR), 0);
}

/* They belong to the open file description, which all holders share. */
static void raw_socket_options(struct lendis_lease *lease)
{
    struct timeval limit = {.tv_usec = 1000};
    int fd = lendis_lease_fd(lease), size = 4096;

    assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
}

static void what_went_through_a_context(void **state)
{
    (void)state;
    leave(context_commands, RESET);
    leave(context_unsent_output, REPLACED);
    leave(context_unread_reply, REPLACED);
    leave(context_reply_in_the_reader, REPLACED);
    leave(context_subscription, RESET);
    leave(context_merely_looked_at, RESET);
    leave(context_after_commands, RESET);
}

static void what_went_through_the_bare_descriptor(void **state)
{
    (void)state;
    leave(raw_unread_reply, REPLACED);
    leave(raw_half_read_reply, REPLACED);
    leave(raw_half_written_command, REPLACED);
    leave(raw_select, RESET);
    leave(raw_not_resp, REPLACED);
    leave(raw_shutdown, REPLACED);
    leave(raw_shutdown_of_one_side, REPLACED);
    leave(raw_socket_options, EITHER);
}

/* The same, and then the holder dies or detaches instead of giving back. */
static int leave_and_die(struct crew *crew, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&site.broker, "p");
    struct lendis_lease *lease;

    if (lendis_acquire(pool, 10000, &lease) != 0)
        return 1;
    if (number % 2 == 0)
        freeReplyObject(lendis_lease_command(lease, "MULTI"));
    else
        freeReplyObject(redisCommand(lendis_lease_context(lease), "SELECT 5"));
    if (send(lendis_lease_fd(lease), "*1\r\n$4\r\nPI", 10, MSG_NOSIGNAL) != 10)
        return 2;
    if (number < 2)
        lendis_detach(pool);
    _exit(crew_stopping(crew));
}

static void what_the_dead_leave(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        crew_start(&site.crew, 4, 0, leave_and_die, NULL);
        assert_true(crew_wait(&site.crew, 20000));
        assert_int_equal(crew_failures(&site.crew), 0);
        crew_end(&site.crew);
        expect_clean();
    }
}

/* A command that was given up on: its late reply reaches nobody. */
static void late_replies_reach_nobody(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        struct lendis_lease *lease = lease_of(leaver);
        unsigned long before = closed_so_far();
        redisReply *reply = lendis_lease_command(lease, "EVAL %s 0",
                                                 "local start = redis.call('TIME') "
                                                 "repeat local now = redis.call('TIME') "
                                                 "until (now[1] - start[1]) * 1000000 + now[2] - "
                                                 "start[2] > 500000 return 'late'");

        assert_null(reply);
        assert_int_equal(lendis_pool_error(leaver, NULL), LENDIS_E_UNCERTAIN);
        assert_null(lendis_lease_command(lease, "GET mine"));
        assert_int_equal(lendis_pool_error(leaver, NULL), LENDIS_E_DOWN);
        assert_int_equal(lendis_release(lease), 0);
        assert_true(eventually(closed_so_far() == before + 1, 5000));
        sleep_us(500000); /* Redis is busy with the script for that long */
        expect_clean();
    }
}

/* ---- a server that does not keep to the protocol ---- */

static int start_fake(void **state)
{
    (void)state;
    fake_start(&site.fake, FAKE_ANSWER);
    lendisd_start(&site.broker,
                  "[pool p]\nredis = %s\nsize = 1\nmin_idle = 1\n"
                  "command_timeout = 1s\nwait_timeout = 10s\n",
                  site.fake.unix_url);
    segment_observe(&site.observer, site.broker.socket_path, "p");
    leaver = pool_attach(&site.broker, "p");
    next = pool_attach(&site.broker, "p");
    assert_true(pool_fills(&site.observer, 1, 10000));
    return 0;
}

/* ECHO key yields "key", unless the fake misbehaves: then anything but another's reply. */
static bool gets_own(struct lendis_pool *pool, const char *key)
{
    redisReply *reply = lendis_command(pool, "ECHO %s", key); /* not repeated, as GET would be */
    bool own = reply && reply->type == REDIS_REPLY_STRING && strcmp(reply->str, key) == 0;

    if (reply && !own)
        fail_msg("%s instead of %s", reply->str, key);
    if (!reply)
        fprintf(stderr, "%.20s: %s\n", key, lendis_strerror(lendis_pool_error(pool, NULL)));
    if (reply)
        freeReplyObject(reply);
    return own;
}

static void misbehave_and_go_on(enum fake_action action)
{
    char key[32];

    for (int round = 0; round < 3; round++) {
        unsigned long before = closed_so_far();

        atomic_store(&site.fake.control->command, action);
        snprintf(key, sizeof key, "bad-%d-%d", action, round);
        gets_own(leaver, key);
        atomic_store(&site.fake.control->command, FAKE_ANSWER);
        snprintf(key, sizeof key, "good-%d-%d", action, round);
        assert_true(gets_own(next, key));
        assert_true(closed_so_far() > before);
    }
}

static void two_replies_to_one_command(void **state)
{
    (void)state;
    misbehave_and_go_on(FAKE_TWICE);
}

/* The first reply just fills what is read at once, the second is still in the socket. */
static void two_replies_on_a_boundary(void **state)
{
    char *key = malloc(16400);
    unsigned long before = closed_so_far();

    (void)state;
    assert_non_null(key);
    for (size_t size = 16384 - 12; size < 16384 - 8; size++) {
        memset(key, 'k', size);
        key[size] = '\0';
        atomic_store(&site.fake.control->command, FAKE_TWICE);
        gets_own(leaver, key);
        atomic_store(&site.fake.control->command, FAKE_ANSWER);
        assert_true(gets_own(next, "own"));
        assert_int_equal(closed_so_far(), ++before);
    }
    free(key);
}

/* The second reply comes when the connection has been given back: before the next one's command, or
 * together with its reply. */
static void a_second_reply_that_is_late(void **state)
{
    char key[32];

    (void)state;
    for (int round = 0; round < 10; round++) {
        atomic_store(&site.fake.control->command, FAKE_LATE_TWICE);
        snprintf(key, sizeof key, "bad-%d", round);
        assert_true(gets_own(leaver, key));
        atomic_store(&site.fake.control->command, FAKE_ANSWER);
        if (round % 2 == 0)
            sleep_us(40000);
        snprintf(key, sizeof key, "good-%d", round);
        gets_own(next, key);
        assert_true(gets_own(next, "own"));
        assert_true(gets_own(leaver, "own"));
    }
}

static void garbage(void **state)
{
    (void)state;
    misbehave_and_go_on(FAKE_GARBAGE);
}

static void a_reply_that_ends_midway(void **state)
{
    (void)state;
    misbehave_and_go_on(FAKE_CLOSE_MIDWAY);
}

static void no_reply_but_the_end(void **state)
{
    (void)state;
    misbehave_and_go_on(FAKE_CLOSE);
}

static void a_reply_that_stalls(void **state)
{
    (void)state;
    misbehave_and_go_on(FAKE_STALL);
}

/* ---- all at once ---- */

static const enum fake_action actions[] = {FAKE_TWICE,        FAKE_GARBAGE, FAKE_CLOSE,
                                           FAKE_CLOSE_MIDWAY, FAKE_RESET,   FAKE_TRICKLE};
#define ACTIONS (sizeof actions / sizeof *actions)

static int talk_until_stopped(struct crew *crew, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&site.broker, crew->context);
    struct tally *tally = crew_result(crew, number);

    crew_ready(crew);
    /* Turns 0, 3, 6, ...: ECHO, whose reply names the worker and the turn. */
    for (unsigned long turn = 0; !crew_stopping(crew); turn += 3)
        talk(pool, tally, number, turn);
    lendis_detach(pool);
    return 0;
}

static unsigned long good_so_far(void)
{
    struct tally tally;

    tally_crew(&site.crew, &tally);
    return tally.good;
}

static void misbehave_under_load(enum fake_action action, char *pool)
{
    struct tally tally;

    crew_start(&site.crew, 8, sizeof tally, talk_until_stopped, pool);
    crew_go(&site.crew);
    for (int round = 0; round < 3; round++) {
        struct fake_control *control = site.fake.control;
        unsigned commands = atomic_load(&control->commands);
        unsigned long before;

        /* In the middle of a batch, and more than once. */
        atomic_store(&control->answer_first, 20);
        atomic_store(&control->command, action);
        assert_true(eventually(atomic_load(&control->commands) > commands + 24, 15000));
        atomic_store(&control->command, FAKE_ANSWER);
        before = good_so_far();
        assert_true(eventually(good_so_far() > before + 20, 15000));
    }
    crew_stop(&site.crew);
    assert_true(crew_wait(&site.crew, 20000));
    assert_int_equal(crew_failures(&site.crew), 0);
    tally_crew(&site.crew, &tally);
    tally_print(pool, &tally);
    assert_int_equal(tally.wrong, 0);
    assert_int_equal(tally.other, 0);
    assert_true(action == FAKE_TRICKLE ? tally_failed(&tally) == 0 : tally.uncertain > 0);
    crew_end(&site.crew);
}

/* A pool for each: one whose server keeps closing connections is dialled ever more slowly. */
static void nobody_gets_anothers_reply(void **state)
{
    char config[ACTIONS * 256], pool[16];
    size_t used = 0;

    (void)state;
    fake_start(&site.fake, FAKE_ANSWER);
    for (size_t i = 0; i < ACTIONS; i++)
        used += (size_t)snprintf(config + used, sizeof config - used,
                                 "[pool p%zu]\nredis = %s\nsize = 3\nmin_idle = 3\n"
                                 "wait_timeout = 20s\n",
                                 i, site.fake.tcp_url);
    lendisd_start(&site.broker, "%s", config);
    for (size_t i = 0; i < ACTIONS; i++) {
        snprintf(pool, sizeof pool, "p%zu", i);
        misbehave_under_load(actions[i], pool);
    }
}

int main(int argc, char **argv)
{
#define REAL(test) cmocka_unit_test_setup_teardown(test, start, end)
#define FAKE(test) cmocka_unit_test_setup_teardown(test, start_fake, end)
    const struct CMUnitTest tests[] = {
        REAL(session_changes_through_a_lease),
        REAL(what_ends_clean_is_left_alone),
        REAL(session_changes_through_the_pool),
        REAL(session_changes_through_a_pipeline),
        REAL(what_went_through_a_context),
        REAL(what_went_through_the_bare_descriptor),
        REAL(what_the_dead_leave),
        REAL(late_replies_reach_nobody),
        FAKE(two_replies_to_one_command),
        FAKE(two_replies_on_a_boundary),
        FAKE(a_second_reply_that_is_late),
        FAKE(garbage),
        FAKE(a_reply_that_ends_midway),
        FAKE(no_reply_but_the_end),
        FAKE(a_reply_that_stalls),
        cmocka_unit_test_teardown(nobody_gets_anothers_reply, end),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("hygiene", tests, NULL, NULL);
}
