/* SPDX-License-Identifier: MIT */
/*
 * What a process gets when nothing can be leased: from a pool that is switched off, with fallback =
 * error and fallback = direct, and where there is no broker, with fallback_url; and the way back,
 * when the pool lends again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis/wire.h"
#include "tests/support/fixture.h"

static struct fixture fixture;
static char secret_path[TESTBED_PATH_SIZE];

static void write_secret(const char *text)
{
    FILE *file;

    scratch_path(secret_path, "secret");
    file = fopen(secret_path, "we");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    fprintf(file, "%s\n", text);
    assert_int_equal(fclose(file), 0);
}

/* A server with a user, a password and a database that are none of the defaults. */
static void start_server(void)
{
    redisReply *reply;

    fixture.redis.tcp = true;
    fixture.redis.password = "x";
    redis_start(&fixture.redis);
    reply = redis_do(&fixture.redis, "ACL SETUSER %s on >%s ~* &* +@all", "lender", "of lender");
    assert_string_equal(reply->str, "OK");
    freeReplyObject(reply);
    write_secret("of lender");
}

static int start(void **state)
{
    (void)state;
    start_server();
    lendisd_start(
        &fixture.broker,
        "[pool off]\nredis = redis://127.0.0.1:%d/3\nusername = lender\npassword_file = %s\n"
        "enabled = no\nfallback = direct\nsize = 2\nwait_timeout = 300ms\n"
        "[pool error]\nredis = redis://127.0.0.1:%d/3\nusername = lender\n"
        "password_file = %s\nenabled = no\n"
        "[pool on]\nredis = redis://127.0.0.1:%d/3\nusername = lender\npassword_file = %s\n"
        "size = 2\nmin_idle = 0\nfallback = direct\n",
        fixture.redis.port, secret_path, fixture.redis.port, secret_path, fixture.redis.port,
        secret_path);
    return 0;
}

static int start_only_redis(void **state)
{
    (void)state;
    start_server();
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

static void expect_text(redisReply *reply, const char *text)
{
    if (!reply)
        fail_msg("no reply: %s", lendis_strerror(lendis_pool_error(NULL, NULL)));
    assert_non_null(reply->str);
    assert_string_equal(reply->str, text);
    freeReplyObject(reply);
}

/* CLIENT ID, by which one connection is told from another; 0: no reply. */
static long long client_id(redisReply *reply)
{
    long long id = reply && reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;

    if (reply)
        freeReplyObject(reply);
    return id;
}

static long long clients(void)
{
    return redis_info(&fixture.redis, "connected_clients");
}

static struct lendis_lease *lease_one(struct lendis_pool *pool)
{
    struct lendis_lease *lease = NULL;
    int result = lendis_acquire(pool, 5000, &lease);

    if (result != 0)
        fail_msg("acquire: %s", lendis_strerror(result));
    return lease;
}

/* ---- switched off ---- */

static void test_error(void **state)
{
    static const char request[] = "*1\r\n$4\r\nPING\r\n";
    struct lendis_pool *pool = pool_attach(&fixture.broker, "error");
    struct lendis_lease *lease;
    struct lendis_wait *wait;
    size_t size;
    void *reply;

    (void)state;
    assert_null(lendis_command(pool, "PING"));
    assert_int_equal(lendis_pool_error(pool, NULL), LENDIS_E_DISABLED);
    assert_int_equal(lendis_exec(pool, request, sizeof request - 1, 0, &reply, &size),
                     LENDIS_E_DISABLED);
    assert_int_equal(lendis_acquire(pool, -1, &lease), LENDIS_E_DISABLED);
    assert_int_equal(lendis_acquire(pool, 0, &lease), LENDIS_E_DISABLED);
    assert_int_equal(lendis_acquire_begin(pool, -1, &wait), LENDIS_E_DISABLED);
    assert_int_equal(clients(), 0);
    lendis_detach(pool);
}

/* Each call works, as the pool's user and in its database, over one connection that is kept. */
static void test_direct(void **state)
{
    static const char request[] = "*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n";
    struct lendis_pool *pool = pool_attach(&fixture.broker, "off");
    struct lendis_pipeline *pipeline = lendis_pipeline_new(pool);
    struct lendis_lease *lease;
    struct lendis_wait *wait;
    redisReply *reply;
    size_t size;
    void *bytes;

    (void)state;
    expect_text(lendis_command(pool, "ACL WHOAMI"), "lender");
    expect_text(lendis_command(pool, "SET key value"), "OK");
    expect_text(lendis_command(pool, "GET key"), "value");
    assert_int_equal(lendis_exec(pool, request, sizeof request - 1, 1000, &bytes, &size), 0);
    assert_int_equal(size, 8);
    assert_memory_equal(bytes, "$2\r\nhi\r\n", size);
    lendis_free(bytes);
    lendis_pipeline_append(pipeline, "INCR n");
    lendis_pipeline_append(pipeline, "INCR n");
    reply = lendis_pipeline_exec(pipeline);
    assert_non_null(reply);
    assert_int_equal(reply->element[1]->integer, 2);
    freeReplyObject(reply);
    lendis_pipeline_free(pipeline);
    lease = lease_one(pool);
    expect_text(lendis_lease_command(lease, "GET key"), "value");
    assert_int_equal(lendis_release(lease), 0);
    assert_int_equal(lendis_acquire_begin(pool, 1000, &wait), 0);
    assert_int_equal(lendis_acquire_finish(wait, &lease), 0);
    expect_text(lendis_lease_command(lease, "GET key"), "value");
    assert_int_equal(lendis_release(lease), 0);
    assert_int_equal(clients(), 1);
    /* In database 3. */
    reply = redis_do(&fixture.redis, "EXISTS key");
    assert_int_equal(reply->integer, 0);
    freeReplyObject(reply);
    lendis_detach(pool);
    assert_true(eventually(clients() == 0, 1000));
}

/* What is unclean is closed, whatever made it so. */
static void test_unclean(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "off");
    struct lendis_lease *lease;
    int fds, fd;

    (void)state;
    expect_text(lendis_command(pool, "SET key value"), "OK");
    fds = count_fds(getpid());
    lease = lease_one(pool);
    expect_text(lendis_lease_command(lease, "SELECT 5"), "OK");
    assert_int_equal(lendis_release(lease), 0);
    expect_text(lendis_command(pool, "GET key"), "value");
    lease = lease_one(pool);
    expect_text(lendis_lease_command(lease, "MULTI"), "OK");
    assert_int_equal(lendis_release(lease), 0);
    expect_text(lendis_command(pool, "GET key"), "value");
    lease = lease_one(pool);
    assert_non_null(lendis_lease_context(lease));
    assert_int_equal(redisAppendCommand(lendis_lease_context(lease), "PING"), REDIS_OK);
    assert_int_equal(lendis_release(lease), 0);
    expect_text(lendis_command(pool, "GET key"), "value");
    lease = lease_one(pool);
    fd = lendis_lease_fd(lease);
    assert_int_equal(write(fd, "*1\r\n$4\r\nPI", 10), 10);
    assert_int_equal(lendis_release(lease), 0);
    expect_text(lendis_command(pool, "GET key"), "value");
    lease = lease_one(pool);
    assert_int_equal(lendis_discard(lease), 0);
    expect_text(lendis_command(pool, "GET key"), "value");
    assert_int_equal(count_fds(getpid()), fds);
    assert_true(eventually(clients() == 1, 1000));
    /* A command that leaves its session changed, and one that kills its own connection. */
    expect_text(lendis_command(pool, "CLIENT SETNAME other"), "OK");
    expect_text(lendis_command(pool, "GET key"), "value");
    redisReply *name = lendis_command(pool, "CLIENT GETNAME");
    assert_string_equal(name->str, "lendis-off");
    freeReplyObject(name);
    freeReplyObject(redis_do(&fixture.redis, "CLIENT KILL TYPE normal SKIPME yes"));
    expect_text(lendis_command(pool, "GET key"), "value");
    lendis_detach(pool);
}

static void *give_back_soon(void *lease)
{
    sleep_us(50000);
    lendis_release(lease);
    return NULL;
}

/* As many as `size` in each process; who comes then waits as usual. */
static void test_limit(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "off");
    struct lendis_lease *first = lease_one(pool), *second = lease_one(pool), *lease;
    struct lendis_wait *wait;
    struct pollfd fd = {.events = POLLIN};
    int64_t before_ms;
    pthread_t thread;
    int result;

    (void)state;
    assert_int_equal(clients(), 2);
    assert_int_equal(lendis_acquire(pool, 0, &lease), LENDIS_E_BUSY);
    assert_int_equal(lendis_acquire_begin(pool, 0, &wait), LENDIS_E_BUSY);
    before_ms = now_ms();
    assert_int_equal(lendis_acquire(pool, -1, &lease), LENDIS_E_TIMEOUT);
    assert_in_range(now_ms() - before_ms, 300, 3000);
    pthread_create(&thread, NULL, give_back_soon, second);
    assert_int_equal(lendis_acquire(pool, 5000, &second), 0);
    pthread_join(thread, NULL);
    assert_int_equal(lendis_acquire_begin(pool, 5000, &wait), 0);
    assert_int_equal(lendis_acquire_finish(wait, &lease), LENDIS_E_AGAIN);
    lendis_release(first);
    do {
        fd.fd = lendis_acquire_fd(wait);
        assert_int_equal(poll(&fd, 1, 5000), 1);
        result = lendis_acquire_finish(wait, &lease);
    } while (result == LENDIS_E_AGAIN);
    assert_int_equal(result, 0);
    lendis_release(lease);
    lendis_release(second);
    assert_int_equal(clients(), 2);
    lendis_detach(pool);
}

static void test_fork(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "off");
    struct lendis_lease *held = lease_one(pool), *lease;
    long long id, rest;
    int status, fds;
    pid_t child;

    (void)state;
    id = client_id(lendis_lease_command(held, "CLIENT ID"));
    rest = client_id(lendis_command(pool, "CLIENT ID"));
    assert_int_not_equal(id, rest);
    fds = count_fds(getpid());
    child = fork();
    if (child == 0) {
        long long own = client_id(lendis_command(pool, "CLIENT ID"));
        int result = own == id || own == rest || own == 0 ? 1 : 0;

        result |= lendis_release(held) == -EINVAL ? 0 : 2;
        result |= lendis_lease_fd(held) == -EINVAL ? 0 : 4;
        result |= lendis_acquire(pool, 1000, &lease) == 0 ? 0 : 8;
        result |= client_id(lendis_lease_command(lease, "CLIENT ID")) == own ? 0 : 16;
        lendis_release(lease);
        /* The parent's two are closed here, and it has one of its own. */
        result |= count_fds(getpid()) <= fds ? 0 : 32;
        lendis_detach(pool);
        _exit(result);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(client_id(lendis_lease_command(held, "CLIENT ID")), id);
    assert_int_equal(lendis_release(held), 0);
    lendis_detach(pool);
}

/* lendisctl switches it on and off while a process uses it. */
static void control(const char *verb, const char *pool)
{
    const char *const argv[] = {
        built_program("lendisctl"), "--socket", fixture.broker.socket_path, verb, pool, NULL};
    char output[2048];

    if (program_run(argv, output, sizeof output, 20000) != 0)
        fail_msg("lendisctl %s %s: %s", verb, pool, output);
}

static bool is_connected(long long id)
{
    redisReply *reply = redis_do(&fixture.redis, "CLIENT LIST ID %lld", id);
    bool there = reply->len > 0;

    freeReplyObject(reply);
    return there;
}

static void test_switching(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "off");
    struct catalog_pool entry;
    long long private_id, id;

    (void)state;
    segment_observe(&fixture.observer, fixture.broker.socket_path, "off");
    private_id = client_id(lendis_command(pool, "CLIENT ID"));
    assert_int_not_equal(private_id, 0);
    assert_true(eventually(pool_counter(&fixture.observer, COUNTER_direct) == 1, 1000));
    observe_pool(&fixture.observer, &entry);
    assert_int_equal(entry.counters[BROKER_COUNTER_privates], 1);
    control("resume", "off");
    id = client_id(lendis_command(pool, "CLIENT ID"));
    assert_int_not_equal(id, 0);
    assert_int_not_equal(id, private_id);
    /* What it had of its own is closed. */
    assert_true(eventually(!is_connected(private_id), 2000));
    assert_int_equal(pool_counter(&fixture.observer, COUNTER_direct), 1);
    assert_int_equal(pool_counter(&fixture.observer, COUNTER_leases), 1);
    control("drain", "off");
    assert_int_not_equal(client_id(lendis_command(pool, "CLIENT ID")), id);
    assert_true(eventually(pool_counter(&fixture.observer, COUNTER_direct) == 2, 1000));
    observer_close(&fixture.observer);
    fixture.observer = (struct observer){0};
    lendis_detach(pool);
}

/* Drained by the operator, a pool that is not switched off in the configuration has no fallback. */
static void test_drained_is_not_off(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "on");

    (void)state;
    expect_text(lendis_command(pool, "ACL WHOAMI"), "lender");
    control("drain", "on");
    assert_null(lendis_command(pool, "PING"));
    assert_int_equal(lendis_pool_error(pool, NULL), LENDIS_E_DISABLED);
    lendis_detach(pool);
}

static void test_environment(void **state)
{
    struct lendis_pool *pool;

    (void)state;
    assert_int_equal(setenv("LENDIS_POOL_ON_ENABLED", "0", 1), 0);
    lendisd_restart(&fixture.broker);
    unsetenv("LENDIS_POOL_ON_ENABLED");
    pool = pool_attach(&fixture.broker, "on");
    segment_observe(&fixture.observer, fixture.broker.socket_path, "on");
    expect_text(lendis_command(pool, "ACL WHOAMI"), "lender");
    assert_true(eventually(pool_counter(&fixture.observer, COUNTER_direct) == 1, 1000));
    lendis_detach(pool);
}

static void test_redis_down(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "off");
    int64_t before_ms;

    (void)state;
    expect_text(lendis_command(pool, "SET key value"), "OK");
    redis_kill(&fixture.redis);
    before_ms = now_ms();
    assert_null(lendis_command(pool, "GET key"));
    assert_int_equal(lendis_pool_error(pool, NULL), LENDIS_E_DOWN);
    assert_true(now_ms() - before_ms < 2000);
    lendis_detach(pool);
}

/* ---- the message ---- */

/* Asks, as nothing but the message; what came is in *fd and, if it stays open, *socket. Returns the
 * result. */
static int ask_raw(const char *pool, int *socket, int *fd)
{
    struct wire_hello hello = {0};
    struct wire_descriptor answer;
    int got;

    *socket = lendisd_connect(fixture.broker.socket_path);
    *fd = -1;
    if (*socket < 0)
        return *socket;
    wire_header(&hello.header, WIRE_DIRECT, sizeof hello);
    strncpy(hello.pool, pool, sizeof hello.pool - 1);
    if (wire_send(*socket, &hello, -1) != 0)
        return -EPIPE;
    got = wire_receive(*socket, &answer, sizeof answer, fd, 5000);
    if (got < 0 || !wire_is(&answer, (size_t)got, WIRE_DESCRIPTOR, sizeof answer) ||
        (*fd >= 0) != (answer.result == 0))
        return -EPROTO;
    return answer.result;
}

static void say_return(int socket)
{
    struct wire_header message;

    wire_header(&message, WIRE_RETURN, sizeof message);
    wire_send(socket, &message, -1);
}

static bool has_ended(int socket)
{
    struct wire_descriptor answer;

    return wire_receive(socket, &answer, sizeof answer, NULL, 5000) == 0;
}

static int ask_direct(const char *pool, bool hang_up)
{
    struct wire_hello hello = {0};
    int socket, fd, result;

    if (hang_up) {
        socket = lendisd_connect(fixture.broker.socket_path);
        wire_header(&hello.header, WIRE_DIRECT, sizeof hello);
        strncpy(hello.pool, pool, sizeof hello.pool - 1);
        assert_int_equal(wire_send(socket, &hello, -1), 0);
        close(socket);
        return 0;
    }
    result = ask_raw(pool, &socket, &fd);
    if (fd >= 0)
        close(fd);
    if (result == 0)
        say_return(socket);
    assert_true(has_ended(socket)); /* that was all */
    close(socket);
    return result;
}

static void test_message(void **state)
{
    int fds;

    (void)state;
    assert_int_equal(ask_direct("off", false), 0); /* now it is through with starting */
    fds = count_fds(fixture.broker.pid);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(ask_direct("off", false), 0);
        ask_direct("off", true);
    }
    assert_int_equal(ask_direct("error", false), LENDIS_E_DISABLED);
    assert_int_equal(ask_direct("on", false), -ESTALE);
    assert_int_equal(ask_direct("none", false), -ESRCH);
    if (!eventually(count_fds(fixture.broker.pid) <= fds, 5000)) {
        print_fds(fixture.broker.pid);
        fail_msg("%d descriptors, %d before", count_fds(fixture.broker.pid), fds);
    }
    assert_true(eventually(clients() == 0, 5000));
}

/* ---- limits (I8) ---- */

#define NOBODY 65534u
#define GRABS  50

struct grabs {
    int got;
    int last; /* the last result */
};

/* As another user, asks for many and keeps what it gets, without a word when it hangs up; ends when
 * it is told to. */
static int grab_all(struct processes *processes, unsigned number)
{
    struct grabs *grabs = processes_result(processes, number);
    int sockets[GRABS], fds[GRABS];

    if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
        return 1;
    for (int i = 0; i < GRABS; i++) {
        grabs->last = ask_raw(processes->context, &sockets[i], &fds[i]);
        grabs->got += fds[i] >= 0;
        if (grabs->last == LENDIS_E_BUSY && grabs->got == 0)
            break;
        if (number % 2 == 1)
            close(sockets[i]); /* which gains nothing */
    }
    processes_ready(processes);
    while (!processes_stopping(processes))
        sleep_us(1000);
    return 0;
}

/* `processes` of one user grab at once. Returns how many connections they have; each was refused in
 * the end. */
static int grab(unsigned processes)
{
    int got = 0;

    scratch_share();
    assert_int_equal(chmod(fixture.broker.socket_path, 0666), 0);
    processes_start(&fixture.processes, processes, sizeof(struct grabs), grab_all, "off");
    processes_go(&fixture.processes);
    for (unsigned i = 0; i < processes; i++) {
        const struct grabs *grabs = processes_result(&fixture.processes, i);

        assert_int_equal(grabs->last, LENDIS_E_BUSY);
        got += grabs->got;
    }
    return got;
}

static void expect_released(void)
{
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 20000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    assert_true(eventually(clients() == 0, 5000));
}

static void start_limited(const char *keys)
{
    start_server();
    lendisd_start(
        &fixture.broker,
        "[pool off]\nredis = redis://127.0.0.1:%d/3\nusername = lender\npassword_file = %s\n"
        "enabled = no\nfallback = direct\nwait_timeout = 5s\n%s",
        fixture.redis.port, secret_path, keys);
}

/* The process ends with what it has, and its places are free at once. */
static void test_a_process_has_its_size(void **state)
{
    (void)state;
    start_limited("size = 3\n");
    for (int round = 0; round < 2; round++) {
        assert_int_equal(grab(2), 6);
        /* Who hung up has no connection left, and no place for another. */
        assert_true(eventually(clients() == 3, 5000));
        expect_released();
        processes_end(&fixture.processes);
    }
    assert_true(lendisd_logged(&fixture.broker, "gets no further connection of its own: size = 3"));
}

static void test_a_user_has_so_many(void **state)
{
    (void)state;
    start_limited("size = 3\nper_uid_leases = 5\n");
    assert_int_equal(grab(4), 5);
    /* Another user is not touched by it. */
    assert_int_equal(ask_direct("off", false), 0);
    expect_released();
    assert_true(lendisd_logged(&fixture.broker, "per_uid_leases = 5"));
}

static void test_a_user_has_so_many_processes(void **state)
{
    (void)state;
    start_limited("size = 3\nper_uid_workers = 2\n");
    assert_int_equal(grab(4), 6);
    expect_released();
    assert_true(lendisd_logged(&fixture.broker, "per_uid_workers = 2"));
}

static void test_a_pool_has_so_many(void **state)
{
    (void)state;
    start_limited("size = 3\nfallback_connections = 7\n");
    assert_int_equal(grab(4), 7);
    assert_int_equal(ask_direct("off", false), LENDIS_E_BUSY);
    expect_released();
    assert_int_equal(ask_direct("off", false), 0);
    assert_true(lendisd_logged(&fixture.broker, "fallback_connections = 7"));
}

static void *end_grabbing(void *unused)
{
    (void)unused;
    sleep_us(100000);
    processes_stop(&fixture.processes);
    return NULL;
}

/* The library waits for a place as it waits for a lease, and gets it when another process has
 * gone. */
static void test_the_library_waits_for_a_place(void **state)
{
    struct lendis_pool *pool;
    struct lendis_lease *lease;
    pthread_t thread;

    (void)state;
    start_limited("size = 2\nfallback_connections = 4\n");
    pool = pool_attach(&fixture.broker, "off");
    assert_int_equal(grab(2), 4);
    assert_int_equal(lendis_acquire(pool, 0, &lease), LENDIS_E_BUSY);
    assert_int_equal(lendis_acquire(pool, 50, &lease), LENDIS_E_TIMEOUT);
    pthread_create(&thread, NULL, end_grabbing, NULL);
    expect_text(lendis_command(pool, "PING"), "PONG");
    pthread_join(thread, NULL);
    assert_true(processes_wait(&fixture.processes, 20000));
    lendis_detach(pool);
    assert_true(eventually(clients() == 0, 5000));
}

/* What was had from a broker that is gone is not counted by the next one: it is replaced by one
 * that is. */
static void test_the_next_broker_counts_as_well(void **state)
{
    struct lendis_pool *pool;
    long long id;

    (void)state;
    start_limited("size = 2\n");
    pool = pool_attach(&fixture.broker, "off");
    id = client_id(lendis_command(pool, "CLIENT ID"));
    assert_int_equal(client_id(lendis_command(pool, "CLIENT ID")), id);
    lendisd_restart(&fixture.broker);
    assert_true(eventually(client_id(lendis_command(pool, "CLIENT ID")) > id, 10000));
    assert_int_equal(clients(), 1);
    lendis_detach(pool);
}

/* ---- no broker ---- */

static struct lendis_pool *attach_with_url(const char *url, const char *socket_path)
{
    struct lendis_options options = {
        .size = sizeof options,
        .fallback_url = url,
        .fallback_username = "lender",
        .fallback_password_file = secret_path,
        .fallback_connections = 2,
    };
    struct lendis_pool *pool;
    int result = lendis_attach(socket_path, "on", &options, &pool);

    if (result != 0)
        fail_msg("attach: %s", lendis_strerror(result));
    return pool;
}

static void use_without_broker(const char *url)
{
    struct lendis_pool *pool = attach_with_url(url, "/nonexistent/lendis.sock");
    struct lendis_lease *first, *second, *lease;
    struct lendis_wait *wait;

    expect_text(lendis_command(pool, "ACL WHOAMI"), "lender");
    expect_text(lendis_command(pool, "SET key value"), "OK");
    expect_text(lendis_command(pool, "CLIENT GETNAME"), "lendis-direct");
    first = lease_one(pool);
    assert_int_equal(lendis_acquire_begin(pool, 1000, &wait), 0);
    assert_int_equal(lendis_acquire_finish(wait, &second), 0);
    expect_text(lendis_lease_command(first, "GET key"), "value");
    expect_text(lendis_lease_command(second, "GET key"), "value");
    assert_int_equal(lendis_acquire(pool, 0, &lease), LENDIS_E_BUSY);
    lendis_release(first);
    lendis_release(second);
    assert_int_equal(clients(), 2);
    lendis_detach(pool);
}

static void test_without_broker(void **state)
{
    char url[TESTBED_PATH_SIZE + 32];

    (void)state;
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/3", fixture.redis.port);
    use_without_broker(url);
    snprintf(url, sizeof url, "unix://%s?db=3", fixture.redis.socket_path);
    use_without_broker(url);
    snprintf(url, sizeof url, "redis://localhost:%d", fixture.redis.port);
    use_without_broker(url);
}

static void test_wrong_login(void **state)
{
    struct lendis_pool *pool;

    (void)state;
    write_secret("wrong");
    pool = attach_with_url(fixture.redis.unix_url, "/nonexistent/lendis.sock");
    assert_null(lendis_command(pool, "PING"));
    assert_int_equal(lendis_pool_error(pool, NULL), LENDIS_E_DOWN);
    /* The file is read each time. */
    write_secret("of lender");
    expect_text(lendis_command(pool, "PING"), "PONG");
    lendis_detach(pool);
}

/* Whether a command is served on a connection of this name. */
static bool is_named(struct lendis_pool *pool, const char *name)
{
    redisReply *reply = lendis_command(pool, "CLIENT GETNAME");
    bool right = reply && reply->str && strcmp(reply->str, name) == 0;

    if (reply)
        freeReplyObject(reply);
    return right;
}

/* A broker that comes is used, one that goes is done without. */
static void test_broker_comes_and_goes(void **state)
{
    char socket_path[TESTBED_PATH_SIZE];
    struct lendis_pool *pool;

    (void)state;
    lendisd_configure(&fixture.broker,
                      "[pool on]\nredis = redis://127.0.0.1:%d/3\nusername = lender\n"
                      "password_file = %s\nsize = 1\nmin_idle = 1\n",
                      fixture.redis.port, secret_path);
    snprintf(socket_path, sizeof socket_path, "%s", fixture.broker.socket_path);
    pool = attach_with_url(fixture.redis.unix_url, socket_path);
    expect_text(lendis_command(pool, "CLIENT GETNAME"), "lendis-direct");
    lendisd_launch(&fixture.broker, true);
    assert_true(eventually(({
                               redisReply *reply = lendis_command(pool, "CLIENT GETNAME");
                               bool lent = reply && strcmp(reply->str, "lendis-on") == 0;

                               freeReplyObject(reply);
                               lent;
                           }),
                           5000));
    /* Counted as soon as there was somebody to tell, and what was left of it is closed. */
    segment_observe(&fixture.observer, socket_path, "on");
    assert_true(eventually(clients() == 1, 2000));
    lendisd_kill(&fixture.broker);
    /* The connection that is open serves on, until it is gone, too. */
    expect_text(lendis_command(pool, "CLIENT GETNAME"), "lendis-on");
    freeReplyObject(redis_do(&fixture.redis, "CLIENT KILL TYPE normal SKIPME yes"));
    assert_true(eventually(is_named(pool, "lendis-direct"), 5000));
    observer_close(&fixture.observer);
    fixture.observer = (struct observer){0};
    lendis_detach(pool);
}

/* fallback_connections holds, whatever size the broker had said. */
static void test_own_connections_have_their_limit(void **state)
{
    struct lendis_lease *leases[2], *lease;
    struct lendis_pool *pool;

    (void)state;
    lendisd_start(&fixture.broker,
                  "[pool on]\nredis = %s?db=3\nusername = lender\npassword_file = %s\n"
                  "size = 8\nmin_idle = 0\nenabled = no\n",
                  "unix:///nonexistent/redis", secret_path);
    pool = attach_with_url(fixture.redis.unix_url, fixture.broker.socket_path);
    lendisd_kill(&fixture.broker);
    for (int i = 0; i < 2; i++)
        leases[i] = lease_one(pool);
    assert_int_equal(lendis_acquire(pool, 0, &lease), LENDIS_E_BUSY);
    assert_int_equal(lendis_acquire(pool, 50, &lease), LENDIS_E_TIMEOUT);
    assert_int_equal(clients(), 2);
    for (int i = 0; i < 2; i++)
        lendis_release(leases[i]);
    lendis_detach(pool);
}

static void test_wrong_options(void **state)
{
    static const char *const urls[] = {
        "",
        "127.0.0.1",
        "http://127.0.0.1/",
        "redis://",
        "redis://127.0.0.1:6379/x",
        "redis://127.0.0.1:6379/65536",
        "redis://127.0.0.1:/0",
        "redis://user@127.0.0.1/0",
        "redis://[::1",
        "unix://relative",
        "unix:///path?db=",
        "unix:///path?user=x",
        "redis://127.0.0.1:99999/0",
        "redis://127.0.0.1:abc/0",
        "redis://a:b:6379",
        "redis://[zz]",
        "redis://[fe80::1%eth0]",
    };
    struct lendis_options options = {.size = sizeof options};
    struct lendis_pool *pool;
    const char *text = "";

    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        options.fallback_url = urls[i];
        if (lendis_attach("/nonexistent", "p", &options, &pool) != -EINVAL)
            fail_msg("%s is taken", urls[i]);
        assert_int_equal(lendis_pool_error(NULL, &text), -EINVAL);
        assert_true(strncmp(text, "fallback_url: ", 14) == 0);
        if (strchr(urls[i], '@'))
            assert_null(strstr(text, "user@"));
    }
    assert_string_equal(text, "fallback_url: \"fe80::1%eth0\": a zone is written behind %25, as in "
                              "[fe80::1%25eth0]");
    options.fallback_url = "redis://[::1]:6379/0";
    options.fallback_username = "without a password";
    assert_int_equal(lendis_attach("/nonexistent", "p", &options, &pool), -EINVAL);
    assert_int_equal(lendis_pool_error(NULL, &text), -EINVAL);
    assert_string_equal(text, "fallback_username: it needs fallback_password_file");
    options.fallback_url = NULL;
    assert_int_equal(lendis_attach("/nonexistent", "p", &options, &pool), -EINVAL);
    assert_int_equal(lendis_pool_error(NULL, &text), -EINVAL);
    assert_string_equal(text, "fallback_username and fallback_password_file need fallback_url");
    /* As a program has it that was compiled before there were such options. */
    options = (struct lendis_options){.size = offsetof(struct lendis_options, fallback_url)};
    assert_int_equal(lendis_attach("/nonexistent", "p", &options, &pool), -ENOENT);
}

/* A handle on the server's own address, without a broker. */
static int attach_by_url(const char *url, struct lendis_pool **pool)
{
    struct lendis_options options = {
        .size = sizeof options,
        .fallback_url = url,
        .fallback_username = "lender",
        .fallback_password_file = secret_path,
    };

    return lendis_attach("/nonexistent", "p", &options, pool);
}

static void write_bytes(const char *bytes, size_t size, mode_t mode)
{
    FILE *file = fopen(secret_path, "we");

    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), mode), 0);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* The same reader as the broker's: password_file.h, tests/unit/libclient/test_password_file.c. */
static void test_password_files(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } good[] = {
        {"of lender", 9},
        {"of lender\n", 10},
        {"of lender\r\n", 11},
        {"\xef\xbb\xbfof lender\r\n", 14},
    };
    struct lendis_pool *pool;
    const char *text;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        write_bytes(good[i].bytes, good[i].size, 0600);
        assert_int_equal(attach_by_url(fixture.redis.tcp_url, &pool), 0);
        expect_text(lendis_command(pool, "PING"), "PONG");
        lendis_detach(pool);
    }
    write_bytes("of lender\0", 10, 0600);
    assert_int_equal(attach_by_url(fixture.redis.tcp_url, &pool), -EINVAL);
    lendis_pool_error(NULL, &text);
    assert_non_null(strstr(text, "secret has a NUL byte in it"));
    write_bytes("", 0, 0600);
    assert_int_equal(attach_by_url(fixture.redis.tcp_url, &pool), -EINVAL);
    write_bytes("of lender", 9, 0644);
    assert_int_equal(attach_by_url(fixture.redis.tcp_url, &pool), 0);
    assert_int_equal(lendis_pool_error(NULL, &text), 0);
    assert_non_null(strstr(text, "can be read by every user"));
    write_bytes("wrong", 5, 0600);
    assert_null(lendis_command(pool, "PING"));
    assert_int_equal(lendis_pool_error(pool, &text), LENDIS_E_DOWN);
    assert_non_null(strstr(text, "WRONGPASS"));
    assert_int_equal(unlink(secret_path), 0);
    assert_null(lendis_command(pool, "PING"));
    assert_int_equal(lendis_pool_error(pool, &text), -ENOENT);
    assert_non_null(strstr(text, "fallback_password_file: cannot read "));
    lendis_detach(pool);
}

/* A zone of the loopback interface's address, by number: it needs no name. */
static void test_zone(void **state)
{
    static const char *const arguments[] = {"--bind", "127.0.0.1", "::1", NULL};
    struct lendis_pool *pool;
    char url[64];

    (void)state;
    if (access("/proc/net/if_inet6", R_OK) < 0)
        skip();
    fixture.redis.arguments = arguments;
    start_server();
    snprintf(url, sizeof url, "redis://[::1%%251]:%d", fixture.redis.port);
    assert_int_equal(attach_by_url(url, &pool), 0);
    expect_text(lendis_command(pool, "PING"), "PONG");
    lendis_detach(pool);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nusername = lender\npassword_file = %s\n",
                  url, secret_path);
    pool = pool_attach(&fixture.broker, "p");
    expect_text(lendis_command(pool, "PING"), "PONG");
    lendis_detach(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_password_files, start_only_redis, end),
        cmocka_unit_test_setup_teardown(test_zone, NULL, end),
        cmocka_unit_test_setup_teardown(test_error, start, end),
        cmocka_unit_test_setup_teardown(test_direct, start, end),
        cmocka_unit_test_setup_teardown(test_unclean, start, end),
        cmocka_unit_test_setup_teardown(test_limit, start, end),
        cmocka_unit_test_setup_teardown(test_fork, start, end),
        cmocka_unit_test_setup_teardown(test_switching, start, end),
        cmocka_unit_test_setup_teardown(test_drained_is_not_off, start, end),
        cmocka_unit_test_setup_teardown(test_environment, start, end),
        cmocka_unit_test_setup_teardown(test_redis_down, start, end),
        cmocka_unit_test_setup_teardown(test_message, start, end),
        cmocka_unit_test_teardown(test_a_process_has_its_size, end),
        cmocka_unit_test_teardown(test_a_user_has_so_many, end),
        cmocka_unit_test_teardown(test_a_user_has_so_many_processes, end),
        cmocka_unit_test_teardown(test_a_pool_has_so_many, end),
        cmocka_unit_test_teardown(test_the_library_waits_for_a_place, end),
        cmocka_unit_test_teardown(test_the_next_broker_counts_as_well, end),
        cmocka_unit_test_setup_teardown(test_without_broker, start_only_redis, end),
        cmocka_unit_test_setup_teardown(test_wrong_login, start_only_redis, end),
        cmocka_unit_test_setup_teardown(test_broker_comes_and_goes, start_only_redis, end),
        cmocka_unit_test_setup_teardown(test_own_connections_have_their_limit, start_only_redis,
                                        end),
        cmocka_unit_test(test_wrong_options),
    };

    return cmocka_run_group_tests_name("fallback", tests, NULL, NULL);
}
