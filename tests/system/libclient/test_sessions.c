/* SPDX-License-Identifier: MIT */
/*
 * What nothing undoes: a session that only the connection's end makes clean, and logins that end on
 * open connections, by the holder's hand or by an operator who changes the users. Such a connection
 * is replaced and never lent again, and nobody else reads -NOAUTH.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "tests/support/fixture.h"

static struct fixture fixture;

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

/* A pool of one connection, with a login or without one. */
static struct lendis_pool *start(bool login)
{
    char password[TESTBED_PATH_SIZE], as[TESTBED_PATH_SIZE + 64] = "";
    FILE *file;

    redis_start(&fixture.redis);
    if (login) {
        scratch_path(password, "password");
        file = fopen(password, "we");
        assert_non_null(file);
        fputs("secret\n", file);
        assert_int_equal(fclose(file), 0);
        snprintf(as, sizeof as, "username = app\npassword_file = %s\n", password);
        freeReplyObject(redis_do(&fixture.redis, "ACL SETUSER app on >secret ~* +@all"));
    }
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = 1\ndial_backoff_max = 50ms\n%s",
                  fixture.redis.unix_url, as);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    return pool_attach(&fixture.broker, "p");
}

static struct lendis_lease *lease_one(struct lendis_pool *pool)
{
    struct lendis_lease *lease;

    assert_int_equal(lendis_acquire(pool, 10000, &lease), 0);
    return lease;
}

static long long client_id(struct lendis_lease *lease)
{
    redisReply *reply = lendis_lease_command(lease, "CLIENT ID");
    long long id;

    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    id = reply->integer;
    freeReplyObject(reply);
    return id;
}

static void expect_begin(redisReply *reply, const char *begin)
{
    assert_non_null(reply);
    assert_non_null(reply->str);
    if (strncmp(reply->str, begin, strlen(begin)) != 0)
        fail_msg("\"%s\" where \"%s\" is expected", reply->str, begin);
    freeReplyObject(reply);
}

/* The next lease is another connection, and serves. */
static void expect_replaced(struct lendis_pool *pool, long long id)
{
    struct lendis_lease *lease = lease_one(pool);

    assert_true(client_id(lease) != id);
    expect_begin(lendis_lease_command(lease, "SET key value"), "OK");
    assert_int_equal(lendis_release(lease), 0);
}

/* A debugger's session lasts, whatever is sent after it. */
static void script_debug(void **state)
{
    struct lendis_pool *pool = start(false);
    struct lendis_lease *lease = lease_one(pool);
    long long id = client_id(lease);

    (void)state;
    expect_begin(lendis_lease_command(lease, "SCRIPT DEBUG YES"), "OK");
    lendis_release(lease);
    expect_replaced(pool, id);
    expect_begin(lendis_command(pool, "EVAL %s 0", "return 'no debugger'"), "no debugger");
    lendis_detach(pool);
}

/* Where it was not seen it is ended by the reset, by name or not. */
static void script_debug_unseen(bool login)
{
    struct lendis_pool *pool = start(login);

    for (int bare = 0; bare < 2; bare++) {
        struct lendis_lease *lease = lease_one(pool);
        char ok[5];
        int fd;

        if (bare) {
            fd = lendis_lease_fd(lease);
            assert_int_equal(send(fd, "SCRIPT DEBUG YES\r\n", 18, MSG_NOSIGNAL), 18);
            assert_int_equal(recv(fd, ok, sizeof ok, MSG_WAITALL), sizeof ok);
        } else {
            expect_begin(redisCommand(lendis_lease_context(lease), "SCRIPT DEBUG YES"), "OK");
        }
        assert_int_equal(lendis_release(lease), 0);
        expect_begin(lendis_command(pool, "EVAL %s 0", "return 'no debugger'"), "no debugger");
    }
    lendis_detach(pool);
}

static void script_debug_through_a_context(void **state)
{
    (void)state;
    script_debug_unseen(false);
}

static void script_debug_through_a_context_with_a_login(void **state)
{
    (void)state;
    script_debug_unseen(true);
}

static void a_holder_that_logs_out(void **state)
{
    struct lendis_pool *pool = start(true);
    struct lendis_lease *lease;
    long long id;

    (void)state;
    freeReplyObject(redis_do(&fixture.redis, "ACL SETUSER default >other"));
    lease = lease_one(pool);
    id = client_id(lease);
    expect_begin(lendis_lease_command(lease, "RESET"), "RESET");
    expect_begin(lendis_lease_command(lease, "GET key"), "NOAUTH");
    lendis_release(lease);
    expect_replaced(pool, id);
    lendis_detach(pool);
}

/* By a context, of which lendis does not see what goes through. */
static void a_holder_that_logs_out_unseen(void **state)
{
    struct lendis_pool *pool = start(true);
    struct lendis_lease *lease;
    long long id;

    (void)state;
    freeReplyObject(redis_do(&fixture.redis, "ACL SETUSER default >other"));
    lease = lease_one(pool);
    id = client_id(lease);
    expect_begin(redisCommand(lendis_lease_context(lease), "RESET"), "RESET");
    expect_begin(redisCommand(lendis_lease_context(lease), "GET key"), "NOAUTH");
    lendis_release(lease);
    expect_replaced(pool, id);
    lendis_detach(pool);
}

/* Whether a command succeeds; what else comes is no NOAUTH. */
static bool serves(struct lendis_pool *pool)
{
    redisReply *reply = lendis_command(pool, "SET key value");
    bool good = reply && strcmp(reply->str, "OK") == 0;

    if (reply && strncmp(reply->str, "NOAUTH", 6) == 0)
        fail_msg("%s", reply->str);
    if (reply)
        freeReplyObject(reply);
    return good;
}

/* Redis ends the user's connections. */
static void a_user_that_is_deleted(void **state)
{
    struct lendis_pool *pool = start(true);

    (void)state;
    assert_true(serves(pool));
    freeReplyObject(redis_do(&fixture.redis, "ACL DELUSER app"));
    assert_true(eventually(!serves(pool), 10000));
    freeReplyObject(redis_do(&fixture.redis, "ACL SETUSER app on >secret ~* +@all"));
    assert_true(eventually(serves(pool), 10000));
    lendis_detach(pool);
}

/* A pool without a login: the broker's own RESET logs out once there is a password. */
static void a_password_where_there_was_none(void **state)
{
    struct lendis_pool *pool = start(false);
    struct lendis_lease *lease = lease_one(pool);
    redisContext *context;

    (void)state;
    expect_begin(lendis_lease_command(lease, "WATCH key"), "OK");
    freeReplyObject(redis_do(&fixture.redis, "ACL SETUSER default >other"));
    lendis_release(lease);
    assert_true(eventually(!serves(pool), 10000));
    context = redisConnectUnix(fixture.redis.socket_path);
    expect_begin(redisCommand(context, "AUTH other"), "OK");
    expect_begin(redisCommand(context, "ACL SETUSER default nopass"), "OK");
    redisFree(context);
    assert_true(eventually(serves(pool), 10000));
    lendis_detach(pool);
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(script_debug),
        TEST(script_debug_through_a_context),
        TEST(script_debug_through_a_context_with_a_login),
        TEST(a_holder_that_logs_out),
        TEST(a_holder_that_logs_out_unseen),
        TEST(a_user_that_is_deleted),
        TEST(a_password_where_there_was_none),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("sessions", tests, NULL, NULL);
}
