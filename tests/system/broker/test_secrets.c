/* SPDX-License-Identifier: MIT */
/*
 * No secret over a descriptor that somebody else holds. A worker connects the socket of its lease,
 * or a copy of it that it kept, to a server of its own: it must never be sent the pool's password,
 * the connection is replaced, and the log says who had it. And of a server that counts passwords,
 * however connections are given back, checked and reset: one for each dial, no more.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "tests/support/fixture.h"

#define SECRET "sesame-open"

static struct fixture fixture;
static struct lendis_pool *worker, *other;
static char password_path[TESTBED_PATH_SIZE];

static void write_password(const char *text)
{
    FILE *file;

    scratch_path(password_path, "password");
    file = fopen(password_path, "we");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    fprintf(file, "%s\n", text);
    assert_int_equal(fclose(file), 0);
}

static void ask(redisReply *reply)
{
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s", reply->str);
    freeReplyObject(reply);
}

/* Answers as a server does that wants to be taken for the right one. */
static void start_liar(const char *user)
{
    fake_start(&fixture.fake, FAKE_ANSWER);
    snprintf(fixture.fake.control->secret, sizeof fixture.fake.control->secret, "%s", SECRET);
    snprintf(fixture.fake.control->client_info, sizeof fixture.fake.control->client_info,
             "id=1 addr=a name=lendis-p flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 watch=0 user=%s "
             "redir=-1 resp=2\n",
             user);
}

static void start_pool(const char *url, const char *keys)
{
    lendisd_start(&fixture.broker,
                  "log_level = debug\n[pool p]\nredis = %s\npassword_file = %s\nsize = 1\n"
                  "min_idle = 1\nwait_timeout = 10s\n%s",
                  url, password_path, keys);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    worker = pool_attach(&fixture.broker, "p");
    other = pool_attach(&fixture.broker, "p");
}

static void start_all(const char *keys)
{
    fixture.redis.tcp = true;
    fixture.redis.password = SECRET;
    redis_start(&fixture.redis);
    ask(redis_do(&fixture.redis, "ACL SETUSER app on >%s ~* &* +@all", SECRET));
    ask(redis_do(&fixture.redis, "SET key value"));
    write_password(SECRET);
    start_liar(strstr(keys, "username") ? "app" : "default");
    start_pool(fixture.redis.tcp_url, keys);
    assert_true(pool_fills(&fixture.observer, 1, 10000));
}

static int end(void **state)
{
    (void)state;
    lendis_detach(worker);
    lendis_detach(other);
    worker = other = NULL;
    fixture_end(&fixture);
    return 0;
}

static unsigned long closed(enum close_reason reason)
{
    struct catalog_pool pool;

    observe_pool(&fixture.observer, &pool);
    return pool.closed[reason];
}

static struct lendis_lease *lease_of(struct lendis_pool *pool)
{
    struct lendis_lease *lease = NULL;
    int result = lendis_acquire(pool, 10000, &lease);

    if (result != 0)
        fail_msg("acquire: %s", lendis_strerror(result));
    return lease;
}

/* A copy that a holder keeps. */
static int keep_copy(struct lendis_lease *lease)
{
    int copy = dup(lendis_lease_fd(lease));

    assert_true(copy >= 0);
    return copy;
}

/* The broker sees nothing of it while it happens. */
static void redirect(int fd)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    struct sockaddr_in liar = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)fixture.fake.port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    lendisd_pause(&fixture.broker);
    assert_int_equal(connect(fd, &none, sizeof none), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&liar, sizeof liar), 0);
    assert_true(eventually(atomic_load(&fixture.fake.control->open) == 1, 5000));
}

/* From here on the broker may do what it likes. */
static void expect_replaced(unsigned long before)
{
    char who[64];
    redisReply *reply;

    lendisd_continue(&fixture.broker);
    assert_true(eventually(closed(CLOSE_redirected) == before + 1, 10000));
    assert_true(eventually(atomic_load(&fixture.fake.control->open) == 0, 5000));
    assert_int_equal(atomic_load(&fixture.fake.control->secrets), 0);
    snprintf(who, sizeof who, "process %d of user %u", (int)getpid(), getuid());
    assert_true(lendisd_logged(&fixture.broker, "was connected elsewhere by one of its holders"));
    assert_true(lendisd_logged(&fixture.broker, who));
    /* Both learn from the right server. */
    for (int i = 0; i < 2; i++) {
        reply = lendis_command(i ? worker : other, "GET key");
        assert_non_null(reply);
        assert_string_equal(reply->str, "value");
        freeReplyObject(reply);
    }
    /* It is no evidence against that server. */
    assert_int_equal(closed(CLOSE_lost), 0);
}

/* ---- what comes back redirected ---- */

static void by_descriptor(struct lendis_lease *lease)
{
    assert_true(lendis_lease_fd(lease) >= 0);
}

static void by_context(struct lendis_lease *lease)
{
    ask(redisCommand(lendis_lease_context(lease), "PING"));
}

static void by_command(struct lendis_lease *lease)
{
    ask(lendis_lease_command(lease, "MULTI"));
}

static void in_use(void)
{
    static void (*const uses[])(struct lendis_lease * lease) = {by_descriptor, by_context,
                                                                by_command};

    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        unsigned long before = closed(CLOSE_redirected);
        struct lendis_lease *lease = lease_of(worker);
        int copy = keep_copy(lease), result;

        uses[i](lease);
        redirect(copy);
        result = lendis_release(lease);
        assert_true(result == 0 || result == LENDIS_E_REVOKED);
        expect_replaced(before);
        close(copy);
    }
}

static void given_back_redirected(void **state)
{
    (void)state;
    start_all("");
    in_use();
}

static void given_back_redirected_by_a_user_with_a_name(void **state)
{
    (void)state;
    start_all("username = app\n");
    in_use();
}

/* ---- a copy that was kept ---- */

static int give_back_but_keep_copy(void)
{
    struct lendis_lease *lease = lease_of(worker);
    int copy = keep_copy(lease);

    assert_int_equal(lendis_release(lease), 0);
    assert_true(pool_fills(&fixture.observer, 1, 10000));
    return copy;
}

static void redirected_before_a_check(void **state)
{
    int copy;

    (void)state;
    start_all("check_interval = 300ms\n");
    copy = give_back_but_keep_copy();
    redirect(copy);
    expect_replaced(0);
    close(copy);
}

/* The check has been sent, and waits for Redis. */
static void redirected_during_a_check(void **state)
{
    int copy;

    (void)state;
    start_all("check_interval = 300ms\ncheck_timeout = 5s\n");
    copy = give_back_but_keep_copy();
    redis_pause(&fixture.redis);
    assert_true(eventually(words_in(&fixture.observer, WORD_CHECKING) == 1, 10000));
    redirect(copy);
    redis_continue(&fixture.redis);
    expect_replaced(0);
    close(copy);
}

/* Likewise a reset: the liar gets what comes after its first answer. */
static void redirected_during_a_reset(void **state)
{
    struct lendis_lease *lease;
    int copy;

    (void)state;
    start_all("");
    lease = lease_of(worker);
    copy = keep_copy(lease);
    redis_pause(&fixture.redis);
    assert_int_equal(lendis_release(lease), 0);
    assert_true(eventually(words_in(&fixture.observer, WORD_CHECKING) == 1, 5000));
    redirect(copy);
    redis_continue(&fixture.redis);
    expect_replaced(0);
    close(copy);
}

/* It is idle, and another worker wants it: the broker does not give out what it finds
 * redirected. */
static void redirected_before_another_fetches_it(void **state)
{
    int copy;

    (void)state;
    start_all("check_interval = 0\n");
    copy = give_back_but_keep_copy();
    redirect(copy);
    lendisd_continue(&fixture.broker);
    for (int i = 0; closed(CLOSE_redirected) == 0 && i < 100; i++) {
        redisReply *reply = lendis_command(other, "GET key");

        if (reply)
            assert_string_equal(reply->str, "value");
        freeReplyObject(reply);
    }
    expect_replaced(0);
    close(copy);
}

/* Another password is for new connections. */
static void redirected_when_the_password_changes(void **state)
{
    int copy;

    (void)state;
    start_all("");
    copy = give_back_but_keep_copy();
    ask(redis_do(&fixture.redis, "ACL SETUSER default >%s-anew", SECRET));
    write_password(SECRET "-anew");
    redirect(copy);
    assert_int_equal(kill(fixture.broker.pid, SIGHUP), 0);
    lendisd_continue(&fixture.broker);
    assert_true(eventually(closed(CLOSE_redirected) + closed(CLOSE_reconnected) == 1, 10000));
    assert_true(eventually(atomic_load(&fixture.fake.control->open) == 0, 5000));
    assert_int_equal(atomic_load(&fixture.fake.control->secrets), 0);
    assert_true(pool_fills(&fixture.observer, 1, 10000));
    close(copy);
}

/* A connection for one process alone: the broker has nothing more to do with it. */
static void a_connection_of_ones_own(void **state)
{
    struct lendis_lease *lease;
    int copy;

    (void)state;
    start_all("");
    lendisd_configure(&fixture.broker,
                      "[pool p]\nredis = %s\npassword_file = %s\nsize = 1\nenabled = no\n"
                      "fallback = direct\n",
                      fixture.redis.tcp_url, password_path);
    assert_int_equal(kill(fixture.broker.pid, SIGHUP), 0);
    assert_true(eventually(closed(CLOSE_paused) == 1, 10000));
    lease = lease_of(worker);
    copy = keep_copy(lease);
    redirect(copy);
    lendisd_continue(&fixture.broker);
    lendis_release(lease);
    lendis_detach(pool_attach(&fixture.broker, "p"));
    assert_int_equal(atomic_load(&fixture.fake.control->secrets), 0);
    assert_int_equal(atomic_load(&fixture.fake.control->handshakes), 0);
    close(copy);
}

/* ---- a server that counts ---- */

static void wait_for_resets(unsigned long count)
{
    struct catalog_pool pool;

    assert_true(
        eventually((observe_pool(&fixture.observer, &pool),
                    pool.counters[BROKER_COUNTER_resets] + CATALOG_SUM(pool.closed)) >= count,
                   10000));
}

static void only_a_dial_logs_in(const char *url, const char *keys)
{
    struct fake_control *control = fixture.fake.control;
    struct catalog_pool pool;
    unsigned long count = 0;

    start_pool(url, keys);
    for (int i = 0; i < 10; i++) {
        struct lendis_lease *lease = lease_of(worker);

        if (i % 2)
            by_context(lease);
        else
            by_descriptor(lease);
        assert_int_equal(lendis_release(lease), 0);
        wait_for_resets(++count);
    }
    assert_true(eventually(
        (observe_pool(&fixture.observer, &pool), pool.counters[BROKER_COUNTER_checks] >= 2),
        10000));
    assert_true(pool.counters[BROKER_COUNTER_resets] > 0);
    assert_int_equal(atomic_load(&control->secrets), atomic_load(&control->accepted));
}

static void one_password_for_each_dial(void **state)
{
    (void)state;
    write_password(SECRET);
    start_liar("default");
    only_a_dial_logs_in(fixture.fake.tcp_url, "check_interval = 100ms\n");
    assert_int_equal(atomic_load(&fixture.fake.control->accepted), 1);
}

static void one_password_for_each_dial_of_a_unix_socket(void **state)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    struct lendis_lease *lease;

    (void)state;
    write_password(SECRET);
    start_liar("app");
    only_a_dial_logs_in(fixture.fake.unix_url, "username = app\ncheck_interval = 100ms\n");
    /* It cannot be redirected at all. */
    lease = lease_of(worker);
    assert_int_equal(connect(lendis_lease_fd(lease), &none, sizeof none), -1);
    assert_int_equal(lendis_release(lease), 0);
}

/* What is left cannot be undone by name: then it is a dial, which logs in. */
static void what_needs_a_login_is_dialled_anew(void **state)
{
    struct fake_control *control;

    (void)state;
    write_password(SECRET);
    start_liar("somebody-else");
    control = fixture.fake.control;
    start_pool(fixture.fake.tcp_url, "");
    for (unsigned i = 1; i <= 5; i++) {
        struct lendis_lease *lease = lease_of(worker);

        by_context(lease);
        assert_int_equal(lendis_release(lease), 0);
        assert_true(eventually(atomic_load(&control->accepted) == i + 1, 10000));
    }
    assert_true(pool_fills(&fixture.observer, 1, 10000));
    assert_int_equal(atomic_load(&control->secrets), atomic_load(&control->accepted));
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(given_back_redirected),
        TEST(given_back_redirected_by_a_user_with_a_name),
        TEST(redirected_before_a_check),
        TEST(redirected_during_a_check),
        TEST(redirected_during_a_reset),
        TEST(redirected_before_another_fetches_it),
        TEST(redirected_when_the_password_changes),
        TEST(a_connection_of_ones_own),
        TEST(one_password_for_each_dial),
        TEST(one_password_for_each_dial_of_a_unix_socket),
        TEST(what_needs_a_login_is_dialled_anew),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("secrets", tests, NULL, NULL);
}
