/* SPDX-License-Identifier: MIT */
/*
 * A server that answers with an error about itself: MISCONF, BUSY, LOADING, MASTERDOWN. It is not
 * away: connections are opened and kept, and callers get its own words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

static void start_redis(const char *const *arguments)
{
    fixture.redis.arguments = arguments;
    redis_start(&fixture.redis);
}

static void start_pool(const char *more)
{
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = 4\n%s", fixture.redis.unix_url,
                  more);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
}

static void do_on_server(const char *command)
{
    redisReply *reply = redis_do(&fixture.redis, command);

    if (reply->type == REDIS_REPLY_ERROR)
        give_up("%s: %s", command, reply->str);
    freeReplyObject(reply);
}

/* The reply to `command` through the pool begins with `text`. */
static bool is_answered(struct lendis_pool *pool, const char *command, const char *text)
{
    redisReply *reply = lendis_command(pool, command);
    bool right = reply && reply->str && strncmp(reply->str, text, strlen(text)) == 0;

    if (!right)
        fprintf(stderr, "%s: %s\n", command,
                !reply       ? lendis_strerror(lendis_pool_error(pool, NULL))
                : reply->str ? reply->str
                             : "another type");
    if (reply)
        freeReplyObject(reply);
    return right;
}

static uint32_t backend(void)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return entry.backend;
}

static uint64_t broker_counter(enum broker_counter counter)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return shm_load_relaxed(&entry.counters[counter]);
}

static uint64_t closed(enum close_reason reason)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return shm_load_relaxed(&entry.closed[reason]);
}

static uint64_t dial_errors(void)
{
    struct catalog_pool entry;

    observe_pool(&fixture.observer, &entry);
    return CATALOG_SUM(entry.dial_errors);
}

/* ---- MISCONF ---- */

/* The disk fails: Redis is to save, into a directory that is gone. */
static void fail_to_save(void)
{
    char gone[TESTBED_PATH_SIZE], command[TESTBED_PATH_SIZE + 32];

    scratch_path(gone, "gone");
    assert_int_equal(mkdir(gone, 0700), 0);
    snprintf(command, sizeof command, "CONFIG SET dir %s", gone);
    do_on_server(command);
    assert_int_equal(rmdir(gone), 0);
    freeReplyObject(redis_do(&fixture.redis, "CONFIG SET save %s", "3600 1"));
    do_on_server("SET changed 1");
    do_on_server("BGSAVE");
    assert_true(eventually(({
                               redisReply *reply = redis_do(&fixture.redis, "PING");
                               bool refused = reply->type == REDIS_REPLY_ERROR;
                               freeReplyObject(reply);
                               refused;
                           }),
                           10000));
}

/* Reads go on and writes get Redis' words: on connections that are open, over their checks, and on
 * those that are opened meanwhile. */
static void a_disk_that_fails(void **state)
{
    static const char *const arguments[] = {"--enable-protected-configs", "yes", NULL};
    struct lendis_pool *pool;
    uint64_t checks;

    (void)state;
    start_redis(arguments);
    start_pool("min_idle = 1\ncheck_interval = 1s\nwait_timeout = 1s\n");
    pool = pool_attach(&fixture.broker, "p");
    assert_true(is_answered(pool, "SET key value", "OK"));
    fail_to_save();
    assert_true(is_answered(pool, "GET key", "value"));
    assert_true(is_answered(pool, "SET key other", "MISCONF "));

    checks = broker_counter(BROKER_COUNTER_checks);
    assert_true(eventually(broker_counter(BROKER_COUNTER_checks) > checks + 1, 10000));
    assert_int_equal(closed(CLOSE_check), 0);
    for (int round = 0; round < 3; round++) {
        do_on_server("CLIENT KILL TYPE normal");
        assert_true(is_answered(pool, "GET key", "value"));
        assert_true(is_answered(pool, "SET key other", "MISCONF "));
        assert_int_equal(backend(), BACKEND_UP);
    }
    assert_int_equal(dial_errors(), 0);
    lendis_detach(pool);
}

/* What a lease left behind is undone all the same. */
static void a_disk_that_fails_and_a_reset(void **state)
{
    static const char *const arguments[] = {"--enable-protected-configs", "yes", NULL};
    struct lendis_pool *pool;
    struct lendis_lease *lease;

    (void)state;
    start_redis(arguments);
    start_pool("min_idle = 1\n");
    pool = pool_attach(&fixture.broker, "p");
    assert_true(is_answered(pool, "SET key value", "OK"));
    fail_to_save();
    for (int round = 0; round < 3; round++) {
        assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
        freeReplyObject(lendis_lease_command(lease, "SELECT 3"));
        assert_int_equal(lendis_release(lease), 0);
        assert_true(is_answered(pool, "GET key", "value"));
    }
    lendis_detach(pool);
}

/* ---- BUSY ---- */

static void *run_for_ever(void *context)
{
    redisContext *redis = context;

    freeReplyObject(redisCommand(redis, "EVAL %s 0", "while true do end"));
    return NULL;
}

static bool is_busy(void)
{
    redisReply *reply = redis_do(&fixture.redis, "PING");
    bool busy = reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "BUSY", 4) == 0;

    freeReplyObject(reply);
    return busy;
}

/* A pool that has no connection yet gets one, everybody is told, and the script can be ended. */
static void a_script_that_runs_for_long(void **state)
{
    static const char *const arguments[] = {"--busy-reply-threshold", "50", NULL};
    struct lendis_pool *pool;
    redisContext *other;
    pthread_t thread;

    (void)state;
    start_redis(arguments);
    start_pool("check_interval = 1s\nwait_timeout = 2s\n");
    do_on_server("SET key value");
    pool = pool_attach(&fixture.broker, "p");
    other = redis_open(&fixture.redis);
    assert_int_equal(pthread_create(&thread, NULL, run_for_ever, other), 0);
    assert_true(eventually(is_busy(), 10000));

    assert_true(is_answered(pool, "GET key", "BUSY "));
    assert_true(is_answered(pool, "SET key other", "BUSY "));
    assert_int_equal(backend(), BACKEND_UP);
    assert_true(eventually(broker_counter(BROKER_COUNTER_checks) > 1, 10000));
    assert_int_equal(closed(CLOSE_check), 0);
    assert_true(is_answered(pool, "SCRIPT KILL", "OK"));
    assert_true(eventually(is_answered(pool, "GET key", "value"), 10000));
    assert_int_equal(dial_errors(), 0);
    pthread_join(thread, NULL);
    redisFree(other);
    lendis_detach(pool);
}

/* ---- LOADING ---- */

static bool is_loading(void)
{
    redisReply *reply = redis_do(&fixture.redis, "PING");
    bool loading = reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "LOADING", 7) == 0;

    freeReplyObject(reply);
    return loading;
}

static void *reload(void *context)
{
    redisContext *redis = context;

    freeReplyObject(redisCommand(redis, "DEBUG RELOAD"));
    return NULL;
}

/* Who has a connection is told; who has none waits, and is served soon after the end of it. */
static void a_server_that_loads(void **state)
{
    static const char *const arguments[] = {"--enable-debug-command",
                                            "yes",
                                            "--loading-process-events-interval-bytes",
                                            "1024",
                                            "--key-load-delay",
                                            "200",
                                            NULL};
    struct lendis_pool *pool;
    redisContext *other;
    pthread_t thread;
    int64_t end_ms;

    (void)state;
    start_redis(arguments);
    start_pool("check_interval = 1s\nwait_timeout = 20s\n");
    do_on_server("SET key value");
    do_on_server("DEBUG POPULATE 10000 k 20");
    pool = pool_attach(&fixture.broker, "p");
    assert_true(is_answered(pool, "GET key", "value"));
    other = redis_open(&fixture.redis);
    redisSetTimeout(other, (struct timeval){.tv_sec = 60});
    assert_int_equal(pthread_create(&thread, NULL, reload, other), 0);
    assert_true(eventually(is_loading(), 10000));

    assert_true(is_answered(pool, "GET key", "LOADING "));
    assert_int_equal(backend(), BACKEND_UP);
    do_on_server("CLIENT KILL TYPE normal");
    assert_true(is_loading());
    assert_true(eventually(backend() == BACKEND_DOWN, 5000));
    assert_true(is_answered(pool, "GET key", "value"));
    end_ms = now_ms();
    pthread_join(thread, NULL);
    assert_true(now_ms() - end_ms < 1000); /* it was over when the command was served */
    redisFree(other);
    lendis_detach(pool);
}

/* ---- MASTERDOWN ---- */

static void a_replica_without_its_primary(void **state)
{
    static const char *const arguments[] = {"--replica-serve-stale-data", "no", NULL};
    struct lendis_pool *pool;
    char command[64];
    int port, port_fd = reserve_port(&port);

    (void)state;
    start_redis(arguments);
    snprintf(command, sizeof command, "REPLICAOF 127.0.0.1 %d", port);
    do_on_server(command);
    start_pool("check_interval = 1s\nwait_timeout = 2s\n");
    pool = pool_attach(&fixture.broker, "p");
    assert_true(is_answered(pool, "GET key", "MASTERDOWN "));
    assert_true(eventually(broker_counter(BROKER_COUNTER_checks) > 1, 10000));
    assert_int_equal(closed(CLOSE_check), 0);
    assert_int_equal(dial_errors(), 0);
    assert_int_equal(backend(), BACKEND_UP);
    lendis_detach(pool);
    close(port_fd);
}

/* ---- a name that means another server ---- */

static struct redis_server other; /* at 127.0.0.2, at the same port */
static char hosts[TESTBED_PATH_SIZE];

static int end_both(void **state)
{
    unsetenv("LENDISD");
    redis_kill(&other);
    return end(state);
}

/* What db.lendis.test means to the broker from now on. In place: it is a mount. */
static void name_means(const char *address)
{
    FILE *file = fopen(hosts, "we");

    assert_non_null(file);
    fprintf(file, "127.0.0.1 localhost\n%s db.lendis.test\n", address);
    assert_int_equal(fclose(file), 0);
}

/* A broker that has an /etc/hosts of its own. */
static void start_broker_with_hosts(const char *more)
{
    char script[TESTBED_PATH_SIZE];
    FILE *file;

    scratch_path(hosts, "hosts");
    name_means("127.0.0.1");
    scratch_path(script, "lendisd-with-hosts");
    file = fopen(script, "we");
    assert_non_null(file);
    fprintf(file,
            "#!/bin/sh\nexec unshare -m sh -c 'mount --bind %s /etc/hosts && exec %s \"$@\"' "
            "lendisd \"$@\"\n",
            hosts, built_program("lendisd"));
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(script, 0700), 0);
    assert_int_equal(setenv("LENDISD", script, 1), 0);
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = redis://db.lendis.test:%d\nsize = 4\nmin_idle = 2\n%s",
                  fixture.redis.port, more);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 2, 10000));
}

static void start_two_servers(void)
{
    static char port[16];
    static const char *arguments[] = {"--bind", "127.0.0.2", "--port", port, NULL};

    fixture.redis.tcp = true;
    redis_start(&fixture.redis);
    snprintf(port, sizeof port, "%d", fixture.redis.port);
    other = (struct redis_server){.arguments = arguments};
    redis_start(&other);
}

static void follow(const struct redis_server *server, const char *address)
{
    freeReplyObject(redis_do(server, "REPLICAOF %s %d", address, fixture.redis.port));
}

static bool has_key(const struct redis_server *server, const char *key)
{
    redisReply *reply = redis_do(server, "EXISTS %s", key);
    bool found = reply->integer == 1;

    freeReplyObject(reply);
    return found;
}

/* A failover by name: the old primary lives on as a replica and refuses writes. */
static void a_failover_by_name(void **state)
{
    struct lendis_pool *pool;

    (void)state;
    if (geteuid() != 0)
        skip();
    start_two_servers();
    start_broker_with_hosts("");
    pool = pool_attach(&fixture.broker, "p");
    assert_true(is_answered(pool, "SET first 1", "OK"));
    follow(&fixture.redis, "127.0.0.2");
    assert_true(is_answered(pool, "SET second 2", "READONLY "));
    name_means("127.0.0.2");
    assert_true(eventually(is_answered(pool, "SET third 3", "OK"), 10000));
    assert_true(has_key(&other, "third"));
    assert_true(closed(CLOSE_outdated) > 0);
    assert_true(lendisd_logged(&fixture.broker, "answered readonly"));
    lendis_detach(pool);
}

/* An operator's word is enough, without any error. */
static void reconnect_looks_the_name_up(void **state)
{
    const char *argv[] = {NULL, "--socket", fixture.broker.socket_path, "reconnect", "p", NULL};
    struct lendis_pool *pool;
    char output[1024];

    (void)state;
    if (geteuid() != 0)
        skip();
    start_two_servers();
    start_broker_with_hosts("");
    pool = pool_attach(&fixture.broker, "p");
    assert_true(is_answered(pool, "SET first 1", "OK"));
    assert_true(has_key(&fixture.redis, "first"));
    name_means("127.0.0.2");
    argv[0] = built_program("lendisctl");
    if (program_run(argv, output, sizeof output, 20000) != 0)
        fail_msg("%s", output);
    assert_true(is_answered(pool, "SET second 2", "OK"));
    assert_true(has_key(&other, "second"));
    assert_false(has_key(&fixture.redis, "second"));
    lendis_detach(pool);
}

/* Nothing says so but the name: the old server lives on, and answers. */
static void a_name_that_means_another_server(void **state)
{
    struct lendis_pool *pool;

    (void)state;
    if (geteuid() != 0)
        skip();
    start_two_servers();
    start_broker_with_hosts("check_interval = 200ms\n");
    pool = pool_attach(&fixture.broker, "p");
    assert_true(is_answered(pool, "SET first 1", "OK"));
    assert_true(has_key(&fixture.redis, "first"));
    name_means("127.0.0.2");
    assert_true(
        eventually(is_answered(pool, "SET second 2", "OK") && has_key(&other, "second"), 10000));
    assert_true(
        eventually(closed(CLOSE_outdated) >= 2 && pool_is_full(&fixture.observer, 2), 10000));
    freeReplyObject(redis_do(&fixture.redis, "DEL second"));
    for (int i = 0; i < 20; i++)
        assert_true(is_answered(pool, "SET second 2", "OK"));
    assert_false(has_key(&fixture.redis, "second"));
    assert_true(lendisd_logged(&fixture.broker, "means another server now"));
    lendis_detach(pool);
}

/* A lookup that fails, or does not end, says nothing of the server. */
static void a_name_that_cannot_be_looked_up(void **state)
{
    struct lendis_pool *pool;

    (void)state;
    if (geteuid() != 0)
        skip();
    start_two_servers();
    start_broker_with_hosts("check_interval = 200ms\n");
    pool = pool_attach(&fixture.broker, "p");
    assert_true(is_answered(pool, "SET first 1", "OK"));
    name_means("# 127.0.0.1");
    freeReplyObject(redis_do(&fixture.redis, "CLIENT KILL TYPE normal SKIPME yes"));
    assert_true(eventually(is_answered(pool, "SET second 2", "OK"), 10000));
    assert_true(has_key(&fixture.redis, "second"));
    assert_int_equal(closed(CLOSE_outdated), 0);
    assert_true(pool_fills(&fixture.observer, 2, 10000));
    lendis_detach(pool);
}

static void writes_to_a_replica_of_its_own(void **state)
{
    struct lendis_pool *pool;
    uint64_t before;

    (void)state;
    fixture.redis.tcp = true;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = 4\nrole = replica\n",
                  fixture.redis.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    pool = pool_attach(&fixture.broker, "p");
    follow(&fixture.redis, "127.0.0.2");
    before = broker_counter(BROKER_COUNTER_opened);
    for (int i = 0; i < 20; i++)
        assert_true(is_answered(pool, "SET key value", "READONLY "));
    /* The pool is one of a replica: nothing is wrong with its connections. */
    assert_int_equal(closed(CLOSE_outdated), 0);
    assert_in_range(broker_counter(BROKER_COUNTER_opened) - before, 0, 4);
    lendis_detach(pool);
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(a_disk_that_fails),
        TEST(a_disk_that_fails_and_a_reset),
        TEST(a_script_that_runs_for_long),
        TEST(a_server_that_loads),
        TEST(a_replica_without_its_primary),
        cmocka_unit_test_teardown(a_failover_by_name, end_both),
        cmocka_unit_test_teardown(reconnect_looks_the_name_up, end_both),
        cmocka_unit_test_teardown(a_name_that_means_another_server, end_both),
        cmocka_unit_test_teardown(a_name_that_cannot_be_looked_up, end_both),
        TEST(writes_to_a_replica_of_its_own),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("server_errors", tests, NULL, NULL);
}
