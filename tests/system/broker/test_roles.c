/* SPDX-License-Identifier: MIT */
/*
 * Members of a service that answer, but are not what the service takes them for: a replica without
 * its link to the primary (which goes on answering with old data, as Redis does unless it is told
 * otherwise), one that was promoted, a primary that was demoted or is stopped. Such a member gets
 * no reads while another one is well, and nobody sees an error.
 */
#include "tests/support/trio.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What services are told: a member is unwell. */
static bool is_unwell(const char *pool)
{
    int index = catalog_find_pool(&fixture.observer.catalog, pool);

    assert_true(index >= 0);
    return shm_load32(&fixture.observer.catalog.pools[index].unwell) != 0;
}

static struct lendis_pool *attach(void)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "shop");

    segment_observe(&fixture.observer, fixture.broker.socket_path, "shop");
    set_everywhere(pool, "key", "value");
    for (int i = 0; i < 2; i++)
        assert_true(eventually(!is_unwell(i == 0 ? "r1" : "r2"), 10000));
    assert_true(eventually(!is_unwell("main"), 10000));
    assert_true(is_asked(pool, &replicas[0]));
    return pool;
}

static void follow(const struct redis_server *server, int port)
{
    freeReplyObject(redis_do(server, "REPLICAOF 127.0.0.1 %d", port));
}

/* From here on the first replica, unwell, gets no read: the others do. */
static void expect_left_alone(struct lendis_pool *pool)
{
    long before;

    assert_true(eventually(is_unwell("r1"), 10000));
    before = calls(&replicas[0], "get");
    for (int i = 0; i < 200; i++)
        assert_true(reads_well(pool));
    assert_int_equal(calls(&replicas[0], "get"), before);
}

static void expect_used_again(struct lendis_pool *pool)
{
    follow(&replicas[0], fixture.redis.port);
    assert_true(eventually(is_synced(&replicas[0]), 20000));
    assert_true(eventually(!is_unwell("r1"), 10000));
    assert_true(is_asked(pool, &replicas[0]));
}

/* ---- replicas ---- */

static void a_link_that_is_cut(void **state)
{
    struct lendis_pool *pool = attach();
    int port, port_fd = reserve_port(&port);

    (void)state;
    follow(&replicas[0], port);
    expect_left_alone(pool);
    expect_used_again(pool);
    lendis_detach(pool);
    close(port_fd);
}

/* No connection of its pool is ever idle: it is noticed all the same. */
static void a_link_that_is_cut_while_all_is_lent(void **state)
{
    struct lendis_pool *pool = attach(), *r1 = pool_attach(&fixture.broker, "r1");
    struct lendis_lease *leases[2];
    int port, port_fd = reserve_port(&port);

    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(lendis_acquire(r1, 5000, &leases[i]), 0);
    follow(&replicas[0], port);
    assert_true(eventually(is_unwell("r1"), 10000));
    for (int i = 0; i < 2; i++)
        assert_int_equal(lendis_release(leases[i]), 0);
    expect_left_alone(pool);
    lendis_detach(r1);
    lendis_detach(pool);
    close(port_fd);
}

static void a_replica_that_was_promoted(void **state)
{
    struct lendis_pool *pool = attach();

    (void)state;
    freeReplyObject(redis_do(&replicas[0], "REPLICAOF NO ONE"));
    expect_left_alone(pool);
    assert_true(lendisd_logged(&fixture.broker, "it is a primary now"));
    expect_used_again(pool);
    lendis_detach(pool);
}

static void a_lease_for_reading(void **state)
{
    struct lendis_options options = {.size = sizeof options, .flags = LENDIS_REPLICA};
    struct lendis_pool *pool = attach(), *reader;
    struct lendis_lease *lease;
    long before;

    (void)state;
    freeReplyObject(redis_do(&replicas[0], "REPLICAOF NO ONE"));
    assert_true(eventually(is_unwell("r1"), 10000));
    assert_int_equal(lendis_attach(fixture.broker.socket_path, "shop", &options, &reader), 0);
    before = calls(&replicas[0], "get");
    for (int i = 0; i < 20; i++) {
        assert_int_equal(lendis_acquire(reader, 5000, &lease), 0);
        expect_text(lendis_lease_command(lease, "GET key"), "value");
        assert_int_equal(lendis_release(lease), 0);
    }
    assert_int_equal(calls(&replicas[0], "get"), before);
    lendis_detach(reader);
    lendis_detach(pool);
}

/* A server that hangs is left as soon as the question has no answer. */
static void a_replica_that_is_stopped(void **state)
{
    struct lendis_pool *pool = attach();

    (void)state;
    kill(replicas[0].pid, SIGSTOP);
    assert_true(eventually(is_unwell("r1"), 10000));
    for (int i = 0; i < 200; i++)
        assert_true(reads_well(pool));
    kill(replicas[0].pid, SIGCONT);
    assert_true(eventually(!is_unwell("r1"), 10000));
    assert_true(is_asked(pool, &replicas[0]));
    lendis_detach(pool);
}

/* ---- the primary ---- */

/* Then no replica has its link, and reads go on: nobody is better. */
static void a_primary_that_died(void **state)
{
    struct lendis_pool *pool = attach();

    (void)state;
    redis_kill(&fixture.redis);
    assert_true(eventually(is_unwell("r1") && is_unwell("r2") && is_unwell("main"), 20000));
    for (int i = 0; i < 200; i++)
        assert_true(reads_well(pool));
    lendis_detach(pool);
}

/* Likewise; and no read waits for it. */
static void a_primary_that_is_stopped(void **state)
{
    struct lendis_pool *pool = attach();
    int64_t begin_ms;

    (void)state;
    for (int i = 0; i < 2; i++)
        freeReplyObject(redis_do(&replicas[i], "CONFIG SET repl-timeout 2"));
    kill(fixture.redis.pid, SIGSTOP);
    assert_true(eventually(is_unwell("r1") && is_unwell("r2") && is_unwell("main"), 20000));
    begin_ms = now_ms();
    for (int i = 0; i < 200; i++)
        assert_true(reads_well(pool));
    /* Each would wait for as long as it may, which is seconds. */
    assert_in_range(now_ms() - begin_ms, 0, 5000);
    kill(fixture.redis.pid, SIGCONT);
    for (int i = 0; i < 2; i++)
        assert_true(eventually(!is_unwell(i == 0 ? "r1" : "r2"), 20000));
    assert_true(eventually(!is_unwell("main"), 20000));
    lendis_detach(pool);
}

static void a_primary_that_was_demoted(void **state)
{
    struct lendis_pool *pool = attach();

    (void)state;
    follow(&fixture.redis, replicas[0].port);
    assert_true(eventually(is_unwell("main"), 10000));
    assert_true(lendisd_logged(&fixture.broker, "it is a replica now"));
    assert_true(reads_well(pool));
    lendis_detach(pool);
}

/* ---- who may not ask ---- */

/* `rules` of the user as whom the broker logs in everywhere. */
static struct lendis_pool *attach_as(const char *rules)
{
    const struct redis_server *servers[] = {&fixture.redis, &replicas[0], &replicas[1]};
    char password[TESTBED_PATH_SIZE], as[TESTBED_PATH_SIZE + 64];
    FILE *file;

    trio_start_servers();
    scratch_path(password, "password");
    file = fopen(password, "we");
    assert_non_null(file);
    fputs("secret\n", file);
    assert_int_equal(fclose(file), 0);
    for (int i = 0; i < 3; i++)
        freeReplyObject(redis_do(servers[i], rules));
    snprintf(as, sizeof as, "username = app\npassword_file = %s\n", password);
    lendisd_start(&fixture.broker,
                  "[pool main]\nredis = %s\n%s"
                  "[pool r1]\nredis = %s\nrole = replica\n%s"
                  "[pool r2]\nredis = %s\nrole = replica\n%s"
                  "[pool shop]\nprimary = main\nreplicas = r1, r2\n",
                  fixture.redis.unix_url, as, replicas[0].unix_url, as, replicas[1].unix_url, as);
    return attach();
}

static void a_user_without_role(void **state)
{
    struct lendis_pool *pool = attach_as("ACL SETUSER app on >secret ~* +@all -role");
    int port, port_fd = reserve_port(&port);

    (void)state;
    follow(&replicas[0], port);
    expect_left_alone(pool);
    expect_used_again(pool);
    lendis_detach(pool);
    close(port_fd);
}

static void a_user_without_role_and_info(void **state)
{
    struct lendis_pool *pool = attach_as("ACL SETUSER app on >secret ~* +@all -role -info");
    int port, port_fd = reserve_port(&port);

    (void)state;
    assert_true(lendisd_logged(&fixture.broker, "refuses ROLE and INFO"));
    /* Nobody can know: it is asked as before. */
    follow(&replicas[0], port);
    assert_true(is_asked(pool, &replicas[0]));
    lendis_detach(pool);
    close(port_fd);
}

/* ---- the operator ---- */

static int lendisctl(char *output, size_t size, const char *verb, const char *what,
                     const char *pool)
{
    const char *argv[] = {
        built_program("lendisctl"), "--socket", fixture.broker.socket_path, verb, what, pool, NULL};

    return program_run(argv, output, size, 20000);
}

static void what_is_shown(void **state)
{
    struct lendis_pool *pool = attach();
    static char output[4096];

    (void)state;
    freeReplyObject(redis_do(&replicas[0], "REPLICAOF NO ONE"));
    assert_true(eventually(is_unwell("r1"), 10000));
    assert_int_equal(lendisctl(output, sizeof output, "show", "pools", "shop"), 0);
    if (!strstr(output, "replica r1 up but unwell, replica r2 up\n"))
        fail_msg("%s", output);
    lendis_detach(pool);
}

static long connections(const struct redis_server *server)
{
    redisReply *reply = redis_do(server, "CLIENT LIST");
    long count = 0;

    for (const char *at = reply->str; (at = strstr(at, "name=lendis-r1")); at++)
        count++;
    freeReplyObject(reply);
    return count;
}

/* The broker's own connection goes with the others. */
static void a_pool_that_is_drained(void **state)
{
    struct lendis_pool *pool = attach();
    char output[4096];

    (void)state;
    assert_true(connections(&replicas[0]) > 0);
    assert_int_equal(lendisctl(output, sizeof output, "drain", "r1", NULL), 0);
    assert_true(eventually(connections(&replicas[0]) == 0, 10000));
    assert_int_equal(lendisctl(output, sizeof output, "resume", "r1", NULL), 0);
    assert_true(eventually(connections(&replicas[0]) > 0, 10000));
    assert_true(eventually(is_asked(pool, &replicas[0]), 10000));
    lendis_detach(pool);
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, trio_start, trio_end)
    const struct CMUnitTest tests[] = {
        TEST(a_link_that_is_cut),
        TEST(a_link_that_is_cut_while_all_is_lent),
        TEST(a_replica_that_was_promoted),
        TEST(a_lease_for_reading),
        TEST(a_replica_that_is_stopped),
        TEST(a_primary_that_died),
        TEST(a_primary_that_is_stopped),
        TEST(a_primary_that_was_demoted),
        cmocka_unit_test_teardown(a_user_without_role, trio_end),
        cmocka_unit_test_teardown(a_user_without_role_and_info, trio_end),
        TEST(what_is_shown),
        TEST(a_pool_that_is_drained),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("roles", tests, NULL, NULL);
}
