/* SPDX-License-Identifier: MIT */
/*
 * A service: where calls run (trio.h), how it goes on when servers are killed and come back, and
 * what the operator does to it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/support/trio.h"

/* What the server of a lease says that it is. */
static void expect_role(struct lendis_lease *lease, const char *role)
{
    redisReply *reply = lendis_lease_command(lease, "ROLE");

    assert_non_null(reply);
    assert_string_equal(reply->element[0]->str, role);
    freeReplyObject(reply);
}

/* ---- where commands go ---- */

static void test_commands(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "shop");
    struct lendis_pipeline *pipeline = lendis_pipeline_new(pool);
    static const char request[] = "*2\r\n$6\r\nSTRLEN\r\n$3\r\nkey\r\n";
    long gets[2];
    redisReply *reply;
    size_t size;
    void *bytes;

    (void)state;
    set_everywhere(pool, "key", "value");
    for (int i = 0; i < 2; i++)
        gets[i] = calls(&replicas[i], "get");
    for (int i = 0; i < 100; i++)
        expect_text(lendis_command(pool, "GET key"), "value");
    /* Spread evenly, and none at the primary. */
    for (int i = 0; i < 2; i++)
        assert_in_range(calls(&replicas[i], "get") - gets[i], 30, 70);
    assert_int_equal(calls(&fixture.redis, "get"), 0);
    /* Bytes likewise. */
    assert_int_equal(lendis_exec(pool, request, sizeof request - 1, 1000, &bytes, &size), 0);
    assert_memory_equal(bytes, ":5\r\n", 4);
    lendis_free(bytes);
    assert_int_equal(calls(&fixture.redis, "strlen"), 0);
    /* A pipeline that only reads; then one that writes, too. */
    lendis_pipeline_append(pipeline, "EXISTS key");
    lendis_pipeline_append(pipeline, "EXISTS key");
    reply = lendis_pipeline_exec(pipeline);
    assert_non_null(reply);
    assert_int_equal(reply->element[1]->integer, 1);
    freeReplyObject(reply);
    assert_int_equal(calls(&fixture.redis, "exists"), 0);
    lendis_pipeline_append(pipeline, "EXISTS key");
    lendis_pipeline_append(pipeline, "APPEND key !");
    lendis_pipeline_append(pipeline, "EXISTS key");
    reply = lendis_pipeline_exec(pipeline);
    assert_non_null(reply);
    assert_int_equal(reply->element[1]->integer, 6);
    freeReplyObject(reply);
    assert_int_equal(calls(&fixture.redis, "exists"), 2);
    /* What lendis does not know goes where it can do no harm: to the primary. */
    reply = lendis_command(pool, "NOSUCHCOMMAND");
    assert_int_equal(reply->type, REDIS_REPLY_ERROR);
    freeReplyObject(reply);
    lendis_pipeline_free(pipeline);
    lendis_detach(pool);
}

/* ---- what belongs to one node ---- */

#define KEYS 2000

/* A turn with each of two workers: the replies' elements, summed over all calls. A cursor is good
 * at one node alone. */
static unsigned long scan(struct lendis_pool *const pools[2], const char *command, unsigned step)
{
    char cursor[32] = "0", seen[KEYS] = "";
    unsigned long found = 0;

    for (int turn = 0; turn < KEYS; turn++) {
        redisReply *reply = lendis_command(pools[turn % 2], command, cursor);

        assert_non_null(reply);
        assert_int_equal(reply->elements, 2);
        snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
        for (size_t i = 0; i < reply->element[1]->elements; i += step) {
            long number = atol(reply->element[1]->element[i]->str + 1);

            assert_in_range(number, 0, KEYS - 1);
            found += !seen[number];
            seen[number] = 1;
        }
        freeReplyObject(reply);
        if (strcmp(cursor, "0") == 0)
            return found;
    }
    fail_msg("%s does not end", command);
    return 0;
}

static void test_cursors(void **state)
{
    static const char fill[] =
        "for i=0,1999 do redis.call('SET','k'..i,i) redis.call('HSET','h','k'..i,i) "
        "redis.call('SADD','s','k'..i) redis.call('ZADD','z',i,'k'..i) end";
    struct lendis_pool *pools[2];

    (void)state;
    pools[0] = pool_attach(&fixture.broker, "shop");
    pools[1] = pool_attach(&fixture.broker, "shop");
    freeReplyObject(redis_do(&fixture.redis, "EVAL %s 0", fill));
    set_everywhere(pools[0], "end", "of it");
    assert_int_equal(scan(pools, "SCAN %s MATCH k* COUNT 20", 1), KEYS);
    assert_int_equal(scan(pools, "HSCAN h %s COUNT 20", 2), KEYS);
    assert_int_equal(scan(pools, "SSCAN s %s COUNT 20", 1), KEYS);
    assert_int_equal(scan(pools, "ZSCAN z %s COUNT 20", 2), KEYS);
    for (int i = 0; i < 2; i++)
        assert_int_equal(calls(&replicas[i], "scan") + calls(&replicas[i], "hscan") +
                             calls(&replicas[i], "sscan") + calls(&replicas[i], "zscan"),
                         0);
    lendis_detach(pools[0]);
    lendis_detach(pools[1]);
}

/* SCRIPT LOAD goes to the primary, and stays there: Redis does not pass scripts on to replicas. */
static void test_scripts(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "shop");
    redisReply *loaded, *reply;

    (void)state;
    set_everywhere(pool, "key", "value");
    loaded = lendis_command(pool, "SCRIPT LOAD %s", "return redis.call('GET', KEYS[1])");
    assert_non_null(loaded);
    for (int i = 0; i < 10; i++)
        expect_text(lendis_command(pool, "EVALSHA_RO %s 1 key", loaded->str), "value");
    freeReplyObject(loaded);
    assert_int_equal(calls(&fixture.redis, "evalsha_ro"), 10);
    /* A script that there is nowhere is the caller's own mistake. */
    reply = lendis_command(pool, "EVALSHA_RO %040d 0", 0);
    assert_non_null(reply);
    assert_memory_equal(reply->str, "NOSCRIPT", 8);
    freeReplyObject(reply);
    /* One replica without the primary's functions. */
    expect_text(lendis_command(pool, "FUNCTION LOAD %s",
                               "#!lua name=lib\nredis.register_function{function_name='f', "
                               "callback=function(keys) return redis.call('GET', keys[1]) end, "
                               "flags={'no-writes'}}"),
                "lib");
    set_everywhere(pool, "end", "of it");
    freeReplyObject(redis_do(&replicas[0], "CONFIG SET replica-read-only no"));
    expect_text(redis_do(&replicas[0], "FUNCTION FLUSH"), "OK");
    for (int i = 0; i < 10; i++)
        expect_text(lendis_command(pool, "FCALL_RO f 1 key"), "value");
    lendis_detach(pool);
}

/* The reply to WAIT behind a write, in one pipeline. */
static long long written_and_waited(struct lendis_pool *pool, const char *wait)
{
    struct lendis_pipeline *pipeline = lendis_pipeline_new(pool);
    redisReply *reply;
    long long count;

    assert_int_equal(lendis_pipeline_append(pipeline, "INCR n"), 0);
    assert_int_equal(lendis_pipeline_append(pipeline, wait), 0);
    reply = lendis_pipeline_exec(pipeline);
    assert_non_null(reply);
    count = reply->element[1]->integer;
    freeReplyObject(reply);
    lendis_pipeline_free(pipeline);
    return count;
}

/* WAIT tells of its own connection's writes. */
static void test_wait(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "shop");
    long long halted[5];

    (void)state;
    assert_int_equal(written_and_waited(pool, "WAIT 2 10000"), 2);
    for (int i = 0; i < 2; i++)
        kill(replicas[i].pid, SIGSTOP);
    for (int i = 0; i < 5; i++)
        halted[i] = written_and_waited(pool, "WAIT 1 100");
    for (int i = 0; i < 2; i++)
        kill(replicas[i].pid, SIGCONT);
    for (int i = 0; i < 5; i++)
        assert_int_equal(halted[i], 0);
    assert_null(lendis_command(pool, "WAIT 1 100"));
    assert_int_equal(lendis_pool_error(pool, NULL), -EOPNOTSUPP);
    lendis_detach(pool);
}

static void test_least_busy(void **state)
{
    struct lendis_pool *shop = pool_attach(&fixture.broker, "shop");
    struct lendis_pool *r1 = pool_attach(&fixture.broker, "r1");
    struct lendis_lease *lease;
    long before;

    (void)state;
    set_everywhere(shop, "key", "value");
    assert_int_equal(lendis_acquire(r1, 5000, &lease), 0);
    before = calls(&replicas[1], "get");
    for (int i = 0; i < 20; i++)
        expect_text(lendis_command(shop, "GET key"), "value");
    assert_int_equal(calls(&replicas[1], "get") - before, 20);
    lendis_release(lease);
    lendis_detach(r1);
    lendis_detach(shop);
}

static void test_leases(void **state)
{
    struct lendis_options options = {.size = sizeof options, .flags = LENDIS_REPLICA};
    struct lendis_pool *pool = pool_attach(&fixture.broker, "shop"), *reader;
    struct lendis_lease *leases[4];
    struct lendis_wait *wait;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(lendis_acquire(pool, 5000, &leases[i]), 0);
        expect_role(leases[i], "master");
    }
    assert_int_equal(lendis_acquire(pool, 0, &leases[3]), LENDIS_E_BUSY);
    assert_int_equal(lendis_acquire_begin(pool, 5000, &wait), 0);
    assert_int_equal(lendis_acquire_finish(wait, &leases[3]), LENDIS_E_AGAIN);
    lendis_release(leases[0]);
    for (int result = LENDIS_E_AGAIN; result != 0;) {
        struct pollfd fd = {.fd = lendis_acquire_fd(wait), .events = POLLIN};

        assert_int_equal(poll(&fd, 1, 5000), 1);
        result = lendis_acquire_finish(wait, &leases[0]);
        assert_true(result == 0 || result == LENDIS_E_AGAIN);
    }
    expect_role(leases[0], "master");
    for (int i = 0; i < 3; i++)
        assert_int_equal(lendis_release(leases[i]), 0);
    assert_int_equal(lendis_attach(fixture.broker.socket_path, "shop", &options, &reader), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(lendis_acquire(reader, 5000, &leases[i]), 0);
        expect_role(leases[i], "slave");
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(lendis_release(leases[i]), 0);
    lendis_detach(reader);
    lendis_detach(pool);
}

/* Without replicas it is the primary by another name. */
static void test_no_replicas(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "alone");

    (void)state;
    expect_text(lendis_command(pool, "SET key value"), "OK");
    expect_text(lendis_command(pool, "GET key"), "value");
    assert_int_equal(calls(&fixture.redis, "get"), 1);
    lendis_detach(pool);
}

/* ---- death ---- */

struct reader_tally {
    atomic_long good, bad;
    atomic_int last;
};

static int read_on(struct processes *processes, unsigned number)
{
    struct reader_tally *tally = processes_result(processes, number);
    struct lendis_pool *pool = pool_attach(&fixture.broker, "shop");

    processes_ready(processes);
    while (!processes_stopping(processes)) {
        redisReply *reply = lendis_command(pool, "GET key");

        if (reply && reply->str && strcmp(reply->str, "value") == 0) {
            atomic_fetch_add(&tally->good, 1);
        } else {
            atomic_fetch_add(&tally->bad, 1);
            atomic_store(&tally->last, lendis_pool_error(pool, NULL));
        }
        if (reply)
            freeReplyObject(reply);
    }
    lendis_detach(pool);
    return 0;
}

#define READERS 12u

static long reads(const struct processes *processes)
{
    long sum = 0;

    for (unsigned i = 0; i < READERS; i++)
        sum += atomic_load(&((struct reader_tally *)processes_result(processes, i))->good);
    return sum;
}

static bool go_on(const struct processes *processes, long more)
{
    long before = reads(processes);

    return eventually(reads(processes) >= before + more, 10000);
}

/* Replicas die under load, both; one comes back. No read fails, and all that is up is used. */
static void test_death(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "shop");
    long before;

    (void)state;
    set_everywhere(pool, "key", "value");
    processes_start(&fixture.processes, READERS, sizeof(struct reader_tally), read_on, NULL);
    processes_go(&fixture.processes);
    assert_true(go_on(&fixture.processes, 2000));
    redis_kill(&replicas[0]);
    assert_true(go_on(&fixture.processes, 2000));
    before = calls(&replicas[1], "get");
    assert_true(go_on(&fixture.processes, 1000));
    assert_true(calls(&replicas[1], "get") > before);
    redis_kill(&replicas[1]);
    before = calls(&fixture.redis, "get");
    assert_true(go_on(&fixture.processes, 2000));
    assert_true(calls(&fixture.redis, "get") > before);
    redis_start(&replicas[0]);
    assert_true(eventually(is_synced(&replicas[0]), 20000));
    before = calls(&replicas[0], "get");
    assert_true(eventually(calls(&replicas[0], "get") > before + 100, 20000));
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 20000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    for (unsigned i = 0; i < READERS; i++) {
        struct reader_tally *tally = processes_result(&fixture.processes, i);

        if (atomic_load(&tally->bad) != 0)
            fail_msg("reader %u: %ld reads failed, the last one: %s", i, atomic_load(&tally->bad),
                     lendis_strerror(atomic_load(&tally->last)));
    }
    /* Writes go on, too. */
    expect_text(lendis_command(pool, "SET key other"), "OK");
    lendis_detach(pool);
}

/* ---- a replica that is unwell ---- */

/* Without its primary it answers -MASTERDOWN, and faster than any other answers: it is left to
 * itself, nobody sees an error, and it is asked again when it has a primary. */
static void test_unwell(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "shop");
    struct lendis_pool *alone = pool_attach(&fixture.broker, "r1");
    char command[64];
    redisReply *reply;
    long before;
    int port, port_fd = reserve_port(&port);

    (void)state;
    set_everywhere(pool, "key", "value");
    assert_true(is_asked(pool, &replicas[0]));
    freeReplyObject(redis_do(&replicas[0], "CONFIG SET replica-serve-stale-data no"));
    snprintf(command, sizeof command, "REPLICAOF 127.0.0.1 %d", port);
    freeReplyObject(redis_do(&replicas[0], command));
    for (int i = 0; i < 200; i++)
        assert_true(reads_well(pool));
    before = calls(&replicas[0], "get");
    for (int i = 0; i < 500; i++)
        assert_true(reads_well(pool));
    assert_in_range(calls(&replicas[0], "get") - before, 0, 5);
    /* Who asks this replica and no other gets its own words. */
    reply = lendis_command(alone, "GET key");
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_ERROR);
    assert_memory_equal(reply->str, "MASTERDOWN", 10);
    freeReplyObject(reply);

    snprintf(command, sizeof command, "REPLICAOF 127.0.0.1 %d", fixture.redis.port);
    freeReplyObject(redis_do(&replicas[0], command));
    assert_true(eventually(is_synced(&replicas[0]), 20000));
    assert_true(eventually(is_asked(pool, &replicas[0]), 10000));
    lendis_detach(alone);
    lendis_detach(pool);
    close(port_fd);
}

static void test_fork_and_detach(void **state)
{
    int fds = count_fds(getpid()), status;
    struct lendis_pool *pool = pool_attach(&fixture.broker, "shop");
    pid_t child;

    (void)state;
    set_everywhere(pool, "key", "value");
    expect_text(lendis_command(pool, "GET key"), "value");
    child = fork();
    if (child == 0) {
        redisReply *reply = lendis_command(pool, "GET key");
        int result = reply && reply->str && strcmp(reply->str, "value") == 0 ? 0 : 1;

        freeReplyObject(reply);
        reply = lendis_command(pool, "SET key child");
        result |= reply && reply->str && strcmp(reply->str, "OK") == 0 ? 0 : 2;
        freeReplyObject(reply);
        lendis_detach(pool);
        _exit(result);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(has(&fixture.redis, "key", "child"));
    lendis_detach(pool);
    assert_int_equal(count_fds(getpid()), fds);
}

/* The members may be others with the next broker. */
static void test_other_members(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "shop");
    long before;

    (void)state;
    set_everywhere(pool, "key", "value");
    expect_text(lendis_command(pool, "GET key"), "value");
    assert_int_equal(setenv("LENDIS_POOL_SHOP_REPLICAS", "r2", 1), 0);
    lendisd_restart(&fixture.broker);
    unsetenv("LENDIS_POOL_SHOP_REPLICAS");
    segment_observe(&fixture.observer, fixture.broker.socket_path, "shop");
    assert_true(eventually(({
                               redisReply *reply = lendis_command(pool, "GET key");

                               if (reply)
                                   freeReplyObject(reply);
                               workers_attached(&fixture.observer) >=
                                   3; /* shop, r2 and the observer */
                           }),
                           10000));
    before = calls(&replicas[0], "get");
    for (int i = 0; i < 20; i++)
        expect_text(lendis_command(pool, "GET key"), "value");
    assert_int_equal(calls(&replicas[0], "get"), before);
    lendis_detach(pool);
}

/* ---- the operator ---- */

static int lendisctl(char *output, size_t size, const char *verb, const char *pool)
{
    const char *const argv[] = {
        built_program("lendisctl"), "--socket", fixture.broker.socket_path, verb, pool, NULL};

    return program_run(argv, output, size, 20000);
}

static void test_control(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "shop");
    char output[4096];
    long before;

    (void)state;
    set_everywhere(pool, "key", "value");
    assert_int_equal(lendisctl(output, sizeof output, "show", "pools"), 0);
    assert_non_null(strstr(output, "service"));
    /* A service has nothing to pause; its members have. */
    assert_int_not_equal(lendisctl(output, sizeof output, "drain", "shop"), 0);
    assert_int_equal(lendisctl(output, sizeof output, "drain", "r1"), 0);
    before = calls(&replicas[0], "get");
    for (int i = 0; i < 20; i++)
        expect_text(lendis_command(pool, "GET key"), "value");
    assert_int_equal(calls(&replicas[0], "get"), before);
    assert_int_equal(lendisctl(output, sizeof output, "resume", NULL), 0);
    for (int i = 0; i < 20; i++)
        expect_text(lendis_command(pool, "GET key"), "value");
    assert_true(calls(&replicas[0], "get") > before);
    lendis_detach(pool);
}

static void configure(const char *shop)
{
    lendisd_configure(&fixture.broker,
                      "[pool main]\nredis = %s\nsize = 3\n"
                      "[pool r1]\nredis = %s\nsize = 2\nrole = replica\n"
                      "[pool r2]\nredis = %s\nsize = 2\nrole = replica\n"
                      "[pool shop]\n%s\n[pool alone]\nprimary = main\n",
                      fixture.redis.unix_url, replicas[0].unix_url, replicas[1].unix_url, shop);
}

/* A reload changes the members under way; it does not make a pool of a service. */
static void test_reload(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "shop");
    char output[4096], redis[TESTBED_PATH_SIZE + 32];
    long before;

    (void)state;
    set_everywhere(pool, "key", "value");
    expect_text(lendis_command(pool, "GET key"), "value");
    configure("primary = main\nreplicas = r2");
    assert_int_equal(lendisctl(output, sizeof output, "reload", NULL), 0);
    before = calls(&replicas[0], "get");
    for (int i = 0; i < 20; i++)
        expect_text(lendis_command(pool, "GET key"), "value");
    assert_int_equal(calls(&replicas[0], "get"), before);
    snprintf(redis, sizeof redis, "redis = %s", fixture.redis.unix_url);
    configure(redis);
    assert_int_not_equal(lendisctl(output, sizeof output, "reload", NULL), 0);
    assert_non_null(strstr(output, "cannot become a service"));
    expect_text(lendis_command(pool, "GET key"), "value");
    lendis_detach(pool);
}

/* lendisctl names the members, and how they are. */
static void test_members_are_shown(void **state)
{
    const char *const argv[] = {built_program("lendisctl"),
                                "--socket",
                                fixture.broker.socket_path,
                                "show",
                                "pools",
                                "shop",
                                NULL};
    static char output[4096];
    struct lendis_pool *pool = pool_attach(&fixture.broker, "shop");
    redisReply *reply;

    (void)state;
    redis_kill(&replicas[1]);
    /* Whatever is asked of it has it dialled. */
    for (int64_t until_ms = now_ms() + 20000;
         now_ms() < until_ms && !strstr(output, "replica r2 down\n");) {
        reply = lendis_command(pool, "GET key");
        if (reply)
            freeReplyObject(reply);
        freeReplyObject(lendis_command(pool, "SET key value"));
        assert_int_equal(program_run(argv, output, sizeof output, 20000), 0);
    }
    if (!strstr(output, "\nshop is a service: primary main up, replica r1 up, replica r2 down\n"))
        fail_msg("%s", output);
    assert_non_null(strstr(output, "\nshop up      service"));
    lendis_detach(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commands, trio_start, trio_end),
        cmocka_unit_test_setup_teardown(test_cursors, trio_start, trio_end),
        cmocka_unit_test_setup_teardown(test_scripts, trio_start, trio_end),
        cmocka_unit_test_setup_teardown(test_wait, trio_start, trio_end),
        cmocka_unit_test_setup_teardown(test_least_busy, trio_start, trio_end),
        cmocka_unit_test_setup_teardown(test_leases, trio_start, trio_end),
        cmocka_unit_test_setup_teardown(test_no_replicas, trio_start, trio_end),
        cmocka_unit_test_setup_teardown(test_death, trio_start, trio_end),
        cmocka_unit_test_setup_teardown(test_unwell, trio_start, trio_end),
        cmocka_unit_test_setup_teardown(test_fork_and_detach, trio_start, trio_end),
        cmocka_unit_test_setup_teardown(test_other_members, trio_start, trio_end),
        cmocka_unit_test_setup_teardown(test_control, trio_start, trio_end),
        cmocka_unit_test_setup_teardown(test_reload, trio_start, trio_end),
        cmocka_unit_test_setup_teardown(test_members_are_shown, trio_start, trio_end),
    };

    return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}
