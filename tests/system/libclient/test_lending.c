/* SPDX-License-Identifier: MIT */
/*
 * The whole way from liblendis through a real lendisd to a real redis-server and back: every
 * function of lendis.h and lendis_hiredis.h with each of its results, over each kind of address and
 * login; order, threads, fork and exec.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis/wire.h"
#include "lendis_hiredis.h"
#include "tests/support/fixture.h"

/* Nobody's user and group on Debian; any other than ours will do. */
#define NOBODY 65534

static struct fixture fixture;

static int start_nothing(void **state)
{
    (void)state;
    return 0;
}

static int start_plain(void **state)
{
    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\nsize = 4\nmin_idle = 4\n"
                  "[pool one]\nredis = %s\nsize = 1\nmin_idle = 1\nwait_timeout = 300ms\n",
                  fixture.redis.unix_url, fixture.redis.unix_url);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

/* ---- checking replies ---- */

static void expect_text(redisReply *reply, int type, const char *text)
{
    if (!reply)
        fail_msg("no reply: %s", lendis_strerror(lendis_pool_error(NULL, NULL)));
    assert_int_equal(reply->type, type);
    assert_string_equal(reply->str, text);
    freeReplyObject(reply);
}

static void expect_integer(redisReply *reply, long long number)
{
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    assert_int_equal(reply->integer, number);
    freeReplyObject(reply);
}

static void expect_nil(redisReply *reply)
{
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_NIL);
    freeReplyObject(reply);
}

static void expect_failure(const struct lendis_pool *pool, redisReply *reply, int result)
{
    const char *text = NULL;

    assert_null(reply);
    if (lendis_pool_error(pool, &text) != result)
        fail_msg("%d (%s) instead of %d (%s)", lendis_pool_error(pool, NULL), text, result,
                 lendis_strerror(result));
    /* Why Redis is down, where that is known. */
    if (result != LENDIS_E_DOWN || strncmp(text, "Redis cannot be reached: ", 25) != 0)
        assert_string_equal(text, lendis_strerror(result));
}

static struct lendis_lease *lease_one(struct lendis_pool *pool)
{
    struct lendis_lease *lease = NULL;

    assert_int_equal(lendis_acquire(pool, 5000, &lease), 0);
    assert_non_null(lease);
    return lease;
}

/* ---- each kind of address and login ---- */

struct variant {
    bool tcp;
    const char *password; /* requirepass */
    const char *user;     /* an ACL user, with the password "of user" */
    unsigned db;
};

static const struct variant unix_plain = {0};
static const struct variant tcp_plain = {.tcp = true, .db = 3};
static const struct variant unix_password = {.password = "a word # with \"quotes\"", .db = 1};
static const struct variant tcp_user = {.tcp = true, .password = "x", .user = "lender", .db = 7};

static void write_secret(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    fprintf(file, "%s\n", text);
    assert_int_equal(fclose(file), 0);
}

static void start_variant(const struct variant *variant)
{
    char secret[TESTBED_PATH_SIZE], url[TESTBED_PATH_SIZE + 32], login[TESTBED_PATH_SIZE * 2] = "";

    fixture.redis.tcp = variant->tcp;
    fixture.redis.password = variant->password;
    redis_start(&fixture.redis);
    if (variant->user)
        expect_text(
            redis_do(&fixture.redis, "ACL SETUSER %s on >%s ~* &* +@all", variant->user, "ofuser"),
            REDIS_REPLY_STATUS, "OK");
    if (variant->password) {
        scratch_path(secret, "secret");
        write_secret(secret, variant->user ? "ofuser" : variant->password);
        snprintf(login, sizeof login, "password_file = %s\n", secret);
    }
    if (variant->user)
        snprintf(login + strlen(login), sizeof login - strlen(login), "username = %s\n",
                 variant->user);
    if (variant->tcp)
        snprintf(url, sizeof url, "redis://127.0.0.1:%d/%u", fixture.redis.port, variant->db);
    else
        snprintf(url, sizeof url, "unix://%s?db=%u", fixture.redis.socket_path, variant->db);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = 3\nmin_idle = 2\n%s", url, login);
}

/* CLIENT INFO of a leased connection has "field=value". */
static void expect_client(struct lendis_lease *lease, const char *field)
{
    redisReply *reply = lendis_lease_command(lease, "CLIENT INFO");

    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    if (!strstr(reply->str, field))
        fail_msg("no \"%s\" in: %s", field, reply->str);
    freeReplyObject(reply);
}

static void every_function_works(void **state)
{
    const struct variant *variant = *state;
    const char *argv[] = {"GET", "key"};
    const char *request = "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";
    struct lendis_pool *pool;
    struct lendis_lease *lease;
    redisContext *admin;
    void *reply;
    size_t size;
    char field[64];

    start_variant(variant);
    pool = pool_attach(&fixture.broker, "p");
    expect_text(lendis_command(pool, "SET %s %s", "key", "value"), REDIS_REPLY_STATUS, "OK");
    expect_text(lendis_command_argv(pool, 2, argv, NULL), REDIS_REPLY_STRING, "value");
    assert_int_equal(lendis_pool_error(pool, NULL), 0);
    assert_int_equal(lendis_exec(pool, request, strlen(request), -1, &reply, &size), 0);
    assert_int_equal(size, strlen("$5\r\nvalue\r\n"));
    assert_memory_equal(reply, "$5\r\nvalue\r\n", size);
    lendis_free(reply);

    lease = lease_one(pool);
    expect_text(lendis_lease_command(lease, "GET key"), REDIS_REPLY_STRING, "value");
    snprintf(field, sizeof field, " db=%u ", variant->db);
    expect_client(lease, field);
    expect_client(lease, "name=lendis-p ");
    snprintf(field, sizeof field, " user=%s ", variant->user ? variant->user : "default");
    expect_client(lease, field);
    assert_int_equal(lendis_release(lease), 0);

    lease = lease_one(pool);
    expect_text(redisCommand(lendis_lease_context(lease), "GET key"), REDIS_REPLY_STRING, "value");
    assert_int_equal(lendis_discard(lease), 0);

    admin = redis_open(&fixture.redis);
    expect_text(redisCommand(admin, "SELECT %u", variant->db), REDIS_REPLY_STATUS, "OK");
    expect_text(redisCommand(admin, "GET key"), REDIS_REPLY_STRING, "value");
    redisFree(admin);
    lendis_detach(pool);
}

/* ---- what attaching comes to ---- */

static void attach_says_why_not(void **state)
{
    struct lendis_options options = {.size = sizeof options};
    char missing[TESTBED_PATH_SIZE], dead[TESTBED_PATH_SIZE], long_name[CATALOG_NAME_SIZE + 1];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct lendis_pool *pool = NULL;
    int fd;

    (void)state;
    scratch_path(missing, "nobody.sock");
    assert_int_equal(lendis_attach(missing, "p", NULL, &pool), -ENOENT);
    scratch_path(dead, "dead.sock");
    strcpy(address.sun_path, dead);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(lendis_attach(dead, "p", NULL, &pool), -ECONNREFUSED);
    close(fd);

    assert_int_equal(lendis_attach(fixture.broker.socket_path, "other", NULL, &pool), -ESRCH);
    assert_int_equal(lendis_attach(fixture.broker.socket_path, NULL, NULL, &pool), -EINVAL);
    assert_int_equal(lendis_attach(fixture.broker.socket_path, "", NULL, &pool), -EINVAL);
    assert_int_equal(lendis_attach(fixture.broker.socket_path, "p", NULL, NULL), -EINVAL);
    memset(long_name, 'p', CATALOG_NAME_SIZE);
    long_name[CATALOG_NAME_SIZE] = '\0';
    assert_int_equal(lendis_attach(fixture.broker.socket_path, long_name, NULL, &pool), -EINVAL);
    long_name[CATALOG_NAME_SIZE - 1] = '\0';
    assert_int_equal(lendis_attach(fixture.broker.socket_path, long_name, NULL, &pool), -ESRCH);
    options.size = 4;
    assert_int_equal(lendis_attach(fixture.broker.socket_path, "p", &options, &pool), -EINVAL);
    options = (struct lendis_options){.size = sizeof options, .flags = 4};
    assert_int_equal(lendis_attach(fixture.broker.socket_path, "p", &options, &pool), -EINVAL);
    assert_null(pool);
}

static void the_socket_can_come_from_the_environment(void **state)
{
    struct lendis_pool *pool;

    (void)state;
    assert_int_equal(setenv("LENDIS_SOCKET", fixture.broker.socket_path, 1), 0);
    assert_int_equal(lendis_attach(NULL, "p", NULL, &pool), 0);
    unsetenv("LENDIS_SOCKET");
    expect_text(lendis_command(pool, "PING"), REDIS_REPLY_STATUS, "PONG");
    lendis_detach(pool);
}

/* A larger struct of a newer header works; the part that this library does not know is ignored. */
static void options_may_be_of_another_version(void **state)
{
    struct {
        struct lendis_options known;
        char more[64];
    } newer = {.known = {.size = sizeof newer, .attach_timeout_ms = 2000}};
    struct lendis_pool *pool;

    (void)state;
    assert_int_equal(lendis_attach(fixture.broker.socket_path, "p", &newer.known, &pool), 0);
    lendis_detach(pool);
    newer.known.size = offsetof(struct lendis_options, attach_timeout_ms);
    assert_int_equal(lendis_attach(fixture.broker.socket_path, "p", &newer.known, &pool), 0);
    lendis_detach(pool);
}

/* A broker that accepts and answers a HELLO with `answer`, or never. Returns its pid. */
static pid_t start_false_broker(const char *path, const void *answer, size_t size)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    pid_t pid;

    strcpy(address.sun_path, path);
    unlink(path);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 5), 0);
    pid = fork();
    if (pid == 0) {
        char message[512];
        int fd = accept(listener, NULL, NULL);

        if (recv(fd, message, sizeof message, 0) > 0 && answer)
            send(fd, answer, size, MSG_NOSIGNAL);
        if (!answer)
            sleep_us(20000000);
        _exit(0);
    }
    close(listener);
    return pid;
}

static int attach_to_false_broker(const void *answer, size_t size, int timeout_ms)
{
    struct lendis_options options = {.size = sizeof options, .attach_timeout_ms = timeout_ms};
    struct lendis_pool *pool;
    char path[TESTBED_PATH_SIZE];
    int before = count_fds(getpid()), result;
    pid_t pid;

    scratch_path(path, "false.sock");
    pid = start_false_broker(path, answer, size);
    result = lendis_attach(path, "p", &options, &pool);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(count_fds(getpid()), before);
    return result;
}

static void a_broker_that_misbehaves_is_told_apart(void **state)
{
    struct wire_welcome welcome = {0};
    int64_t before_ms;

    (void)state;
    before_ms = now_ms();
    assert_int_equal(attach_to_false_broker(NULL, 0, 50), LENDIS_E_TIMEOUT);
    assert_in_range(now_ms() - before_ms, 50, 5000);

    assert_int_equal(attach_to_false_broker("hello", 5, 5000), -EPROTO);
    assert_int_equal(attach_to_false_broker("", 0, 5000), LENDIS_E_DOWN);
    wire_header(&welcome.header, WIRE_WELCOME, sizeof welcome);
    welcome.header.abi_major = LENDIS_ABI_MAJOR + 1;
    assert_int_equal(attach_to_false_broker(&welcome, sizeof welcome, 5000), LENDIS_E_ABI);
    welcome.header.abi_major = LENDIS_ABI_MAJOR;
    welcome.result = LENDIS_E_DISABLED;
    assert_int_equal(attach_to_false_broker(&welcome, sizeof welcome, 5000), LENDIS_E_DISABLED);
    welcome.result = 0; /* and then it hangs up */
    assert_int_equal(attach_to_false_broker(&welcome, sizeof welcome, 5000), LENDIS_E_DOWN);
}

/* ---- who may attach ---- */

struct identity {
    uid_t uid;
    gid_t gid;
    gid_t supplementary;
};

/* lendis_attach() by somebody else, in a process of its own. */
static int attach_as(const struct identity *identity, const char *pool_name)
{
    struct lendis_pool *pool;
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        if (setgroups(1, &identity->supplementary) < 0 || setgid(identity->gid) < 0 ||
            setuid(identity->uid) < 0)
            _exit(100);
        status = lendis_attach(fixture.broker.socket_path, pool_name, NULL, &pool);
        _exit(status < 0 ? 128 - status : status);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    status = WEXITSTATUS(status);
    return status > 128 ? 128 - status : status;
}

static void only_who_is_allowed_attaches(void **state)
{
    struct identity root = {0, 0, 0}, nobody = {NOBODY, NOBODY, NOBODY},
                    member = {4000, 4000, 4711};
    struct catalog_pool pool;

    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can become others */
    scratch_share();
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "[pool root]\nredis = %s\nallow_uids = 0\n"
                  "[pool users]\nredis = %s\nallow_uids = 1000-4000 %d\n"
                  "[pool group]\nredis = %s\nallow_gids = 4711\n"
                  "[pool all]\nredis = %s\n",
                  fixture.redis.unix_url, fixture.redis.unix_url, NOBODY, fixture.redis.unix_url,
                  fixture.redis.unix_url);

    /* The socket is for its group alone, as long as nobody changes that. */
    assert_int_equal(attach_as(&nobody, "all"), -EACCES);
    assert_int_equal(chmod(fixture.broker.socket_path, 0666), 0);

    assert_int_equal(attach_as(&root, "root"), 0);
    assert_int_equal(attach_as(&nobody, "root"), LENDIS_E_DENIED);
    assert_int_equal(attach_as(&root, "users"), LENDIS_E_DENIED);
    assert_int_equal(attach_as(&nobody, "users"), 0);
    assert_int_equal(attach_as(&member, "users"), 0);
    assert_int_equal(attach_as(&member, "group"), 0);
    assert_int_equal(attach_as(&nobody, "group"), LENDIS_E_DENIED);
    assert_int_equal(attach_as(&nobody, "all"), 0);
    assert_int_equal(attach_as(&nobody, "none"), -ESRCH);

    segment_observe(&fixture.observer, fixture.broker.socket_path, "root");
    observe_pool(&fixture.observer, &pool);
    assert_int_equal(pool.counters[BROKER_COUNTER_denied], 1);
}

/* ---- misuse ---- */

static void misuse_is_refused(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    const char *two = "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n";
    const char *bad[] = {"PING\r\n",
                         "*1\r\n$4\r\nPING",
                         "*1\r\n$4\r\nPING\r\n\r\n",
                         "*2\r\n$4\r\nPING\r\n",
                         "*0\r\n",
                         "*-1\r\n",
                         "*1\r\n$-1\r\n",
                         "*1\r\n$99999999999999999999\r\n",
                         "*1\r\n:1\r\n",
                         "",
                         "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI"};
    struct lendis_lease *lease = NULL;
    void *reply = NULL;
    size_t size = 0;

    (void)state;
    assert_int_equal(lendis_acquire(NULL, 0, &lease), -EINVAL);
    assert_int_equal(lendis_acquire(pool, 0, NULL), -EINVAL);
    assert_int_equal(lendis_acquire(pool, -2, &lease), -EINVAL);
    assert_int_equal(lendis_release(NULL), -EINVAL);
    assert_int_equal(lendis_discard(NULL), -EINVAL);
    assert_int_equal(lendis_lease_fd(NULL), -EINVAL);
    assert_null(lendis_lease_context(NULL));
    assert_null(lendis_lease_command(NULL, "PING"));
    assert_int_equal(lendis_pool_error(pool, NULL), -EINVAL);

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(lendis_exec(pool, bad[i], strlen(bad[i]), -1, &reply, &size), -EINVAL);
    assert_int_equal(lendis_exec(NULL, two, 14, -1, &reply, &size), -EINVAL);
    assert_int_equal(lendis_exec(pool, NULL, 14, -1, &reply, &size), -EINVAL);
    assert_int_equal(lendis_exec(pool, two, 14, -1, NULL, &size), -EINVAL);
    assert_int_equal(lendis_exec(pool, two, 14, -1, &reply, NULL), -EINVAL);
    assert_int_equal(lendis_exec(pool, two, 14, -2, &reply, &size), -EINVAL);
    assert_null(reply);
    expect_failure(pool, lendis_command(pool, "GET %z", 1), -EINVAL);
    expect_failure(pool, lendis_command(pool, ""), -EINVAL);
    expect_failure(pool, lendis_command_argv(pool, 0, NULL, NULL), -EINVAL);
    expect_failure(NULL, lendis_command(NULL, "PING"), -EINVAL);

    lease = lease_one(pool);
    assert_null(lendis_lease_command(lease, "GET %z", 1));
    assert_int_equal(lendis_pool_error(pool, NULL), -EINVAL);
    assert_int_equal(lendis_release(lease), 0);
    assert_int_equal(lendis_release(lease), -EINVAL);
    assert_int_equal(lendis_discard(lease), -EINVAL);
    assert_int_equal(lendis_lease_fd(lease), -EINVAL);
    assert_null(lendis_lease_context(lease));
    assert_null(lendis_lease_command(lease, "PING"));

    lendis_free(NULL);
    lendis_detach(NULL);
    lendis_detach(pool);
}

static void every_result_has_a_sentence(void **state)
{
    static const int results[] = {
        LENDIS_OK,     LENDIS_E_TIMEOUT, LENDIS_E_BUSY, LENDIS_E_REVOKED,  LENDIS_E_UNCERTAIN,
        LENDIS_E_DOWN, LENDIS_E_DENIED,  LENDIS_E_ABI,  LENDIS_E_DISABLED, -ENOENT,
        -ECONNREFUSED, -EACCES,          -ESRCH,        -EINVAL,           -ENOMEM,
        -EMFILE,       -EPROTO,          -EIO};

    (void)state;
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        assert_true(strlen(lendis_strerror(results[i])) > 5);
        assert_string_not_equal(lendis_strerror(results[i]), lendis_strerror(12345));
    }
    assert_non_null(lendis_strerror(12345));
    assert_non_null(lendis_strerror(-12345));
}

/* ---- limits of time ---- */

static void waiting_has_a_limit(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    const char *ping = "*1\r\n$4\r\nPING\r\n";
    struct lendis_lease *held = lease_one(pool), *lease = NULL;
    void *reply = NULL;
    int64_t before_ms;
    size_t size;

    (void)state;
    assert_int_equal(lendis_acquire(pool, 0, &lease), LENDIS_E_BUSY);
    assert_int_equal(lendis_exec(pool, ping, strlen(ping), 0, &reply, &size), LENDIS_E_BUSY);
    before_ms = now_ms();
    assert_int_equal(lendis_acquire(pool, 50, &lease), LENDIS_E_TIMEOUT);
    assert_in_range(now_ms() - before_ms, 50, 3000);
    assert_int_equal(lendis_exec(pool, ping, strlen(ping), 50, &reply, &size), LENDIS_E_TIMEOUT);
    before_ms = now_ms();
    assert_int_equal(lendis_acquire(pool, -1, &lease), LENDIS_E_TIMEOUT);
    assert_in_range(now_ms() - before_ms, 300, 4000); /* the pool's wait_timeout */
    expect_failure(pool, lendis_command(pool, "PING"), LENDIS_E_TIMEOUT);

    assert_int_equal(lendis_release(held), 0);
    assert_int_equal(lendis_exec(pool, ping, strlen(ping), 0, &reply, &size), 0);
    lendis_free(reply);
    assert_int_equal(lendis_acquire(pool, 0, &lease), 0);
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(pool);
}

static void without_redis_the_pool_is_down(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "one");
    struct lendis_lease *lease = NULL;
    struct catalog_pool entry;
    int64_t before_ms;

    (void)state;
    expect_text(lendis_command(pool, "PING"), REDIS_REPLY_STATUS, "PONG");
    redis_stop(&fixture.redis);
    assert_true(eventually(lendis_acquire(pool, 0, &lease) == LENDIS_E_DOWN, 5000));
    before_ms = now_ms();
    assert_int_equal(lendis_acquire(pool, 100, &lease), LENDIS_E_DOWN);
    assert_in_range(now_ms() - before_ms, 100, 3000);
    expect_failure(pool, lendis_command(pool, "PING"), LENDIS_E_DOWN);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "one");
    observe_pool(&fixture.observer, &entry);
    assert_int_equal(entry.backend, BACKEND_DOWN);
    assert_true(strlen(entry.last_error) > 0);

    redis_start(&fixture.redis);
    assert_true(eventually(lendis_acquire(pool, 100, &lease) == 0, 15000));
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(pool);
}

/* ---- order ---- */

struct in_line {
    atomic_uint next; /* of the worker processes: in the first result */
    atomic_uint place;
};

static int wait_in_line(struct processes *processes, unsigned number)
{
    struct in_line *mine = processes_result(processes, number),
                   *first = processes_result(processes, 0);
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *lease;

    /* The parent lets them come one after the other. */
    while (atomic_load(&processes->control->go) <= number)
        sleep_us(200);
    if (lendis_acquire(pool, 20000, &lease) != 0)
        return 1;
    atomic_store(&mine->place, 1 + atomic_fetch_add(&first->next, 1));
    sleep_us(2000); /* so that the next one cannot overtake between here and there */
    return lendis_release(lease) != 0;
}

static void waiters_are_served_in_order(void **state)
{
    struct lendis_pool *pool;
    struct lendis_lease *lease;
    struct word_count count;
    unsigned workers = 8;

    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = 1\nmin_idle = 1\n",
                  fixture.redis.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    pool = pool_attach(&fixture.broker, "p");
    lease = lease_one(pool);
    processes_start(&fixture.processes, workers, sizeof(struct in_line), wait_in_line, NULL);
    for (unsigned i = 0; i < workers; i++) {
        atomic_store(&fixture.processes.control->go, i + 1);
        assert_true(
            eventually(observe_words(&fixture.observer, &count) && count.waiting == i + 1, 10000));
    }
    assert_int_equal(lendis_release(lease), 0);
    /* Not even the one who releases comes before who waits. */
    assert_int_equal(lendis_acquire(pool, 10000, &lease), 0);
    assert_int_equal(
        atomic_load(&((struct in_line *)processes_result(&fixture.processes, 0))->next), workers);
    assert_int_equal(lendis_release(lease), 0);
    assert_true(processes_wait(&fixture.processes, 10000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    for (unsigned i = 0; i < workers; i++)
        assert_int_equal(((struct in_line *)processes_result(&fixture.processes, i))->place, i + 1);
    assert_true(pool_fills(&fixture.observer, 1, 2000));
    lendis_detach(pool);
}

/* ---- threads ---- */

struct thread {
    pthread_t id;
    struct lendis_pool *pool;
    unsigned number;
    struct tally tally;
    int failures;
};

/* A failed call of this thread's shows here and nowhere else. */
static void fail_on_purpose(struct thread *thread)
{
    if (lendis_command(thread->pool, "GET %z", 1) ||
        lendis_pool_error(thread->pool, NULL) != -EINVAL)
        thread->failures++;
}

static void hold_for_a_moment(struct thread *thread)
{
    struct lendis_lease *lease;
    redisReply *reply;

    if (lendis_acquire(thread->pool, 10000, &lease) != 0) {
        thread->failures++;
        return;
    }
    reply = lendis_lease_command(lease, "ECHO thread%u", thread->number);
    if (!reply || reply->type != REDIS_REPLY_STRING || lendis_pool_error(thread->pool, NULL) != 0)
        thread->failures++;
    if (reply)
        freeReplyObject(reply);
    thread->failures += lendis_release(lease) != 0;
}

static void *thread_main(void *context)
{
    struct thread *thread = context;
    int64_t until_ms = now_ms() + 500;

    for (unsigned long turn = 0; now_ms() < until_ms; turn++) {
        talk(thread->pool, &thread->tally, thread->number, turn);
        if (turn % 3 == 0)
            hold_for_a_moment(thread);
        if (turn % 7 == thread->number % 7)
            fail_on_purpose(thread);
    }
    return NULL;
}

static void threads_share_a_handle(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct thread threads[8] = {{0}};

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        threads[i].pool = pool;
        threads[i].number = i;
        assert_int_equal(pthread_create(&threads[i].id, NULL, thread_main, &threads[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++)
        pthread_join(threads[i].id, NULL);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(threads[i].failures, 0);
        assert_int_equal(tally_failed(&threads[i].tally), 0);
        assert_int_equal(threads[i].tally.wrong + threads[i].tally.missing, 0);
        assert_true(threads[i].tally.good > 0);
    }
    /* One worker, whatever the number of its threads. */
    assert_int_equal(workers_attached(&fixture.observer), 2);
    assert_true(pool_fills(&fixture.observer, 4, 2000));
    assert_true(pool_counter(&fixture.observer, COUNTER_fetches) <= 4);
    lendis_detach(pool);
}

/* ---- fork ---- */

/* Leases all four connections once, so that their descriptors are here. */
static void fetch_all(struct lendis_pool *pool, unsigned count)
{
    struct lendis_lease *leases[16];

    for (unsigned i = 0; i < count; i++)
        leases[i] = lease_one(pool);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(lendis_release(leases[i]), 0);
}

struct inheritance {
    struct lendis_pool *pool;
    struct lendis_lease *lease; /* the parent's */
};

static int lease_is_foreign(struct lendis_lease *lease)
{
    return lendis_release(lease) == -EINVAL && lendis_discard(lease) == -EINVAL &&
           lendis_lease_fd(lease) == -EINVAL && lendis_lease_context(lease) == NULL &&
           lendis_lease_command(lease, "PING") == NULL;
}

static int heir(struct processes *processes, unsigned number)
{
    struct inheritance *inheritance = processes->context;
    struct tally *tally = processes_result(processes, number);

    if (!lease_is_foreign(inheritance->lease))
        return 1;
    for (unsigned long turn = 0; turn < 60; turn++)
        talk(inheritance->pool, tally, number, turn);
    if (!lease_is_foreign(inheritance->lease))
        return 2;
    processes_ready(processes);
    while (!processes_stopping(processes))
        sleep_us(1000);
    lendis_detach(inheritance->pool);
    return 0;
}

static void forked_children_work(void **state)
{
    struct inheritance inheritance;
    struct tally sum;
    unsigned children = 12;

    (void)state;
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    inheritance.pool = pool_attach(&fixture.broker, "p");
    fetch_all(inheritance.pool, 4);
    inheritance.lease = lease_one(inheritance.pool);
    assert_int_equal(pool_counter(&fixture.observer, COUNTER_fetches), 4);

    processes_start(&fixture.processes, children, sizeof(struct tally), heir, &inheritance);
    processes_go(&fixture.processes);
    tally_processes(&fixture.processes, &sum);
    assert_int_equal(sum.good, 60 * children);
    assert_int_equal(pool_counter(&fixture.observer, COUNTER_commands) +
                         pool_counter(&fixture.observer, COUNTER_handed),
                     60 * children);
    assert_int_equal(workers_attached(&fixture.observer), 2 + children);
    for (unsigned i = 0; i < children; i++) {
        int worker = worker_of(&fixture.observer, fixture.processes.pids[i]);

        assert_true(worker >= 0);
        assert_int_equal(fixture.observer.segment.workers[worker].counters[COUNTER_fetches], 0);
    }
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 10000));
    assert_int_equal(processes_failures(&fixture.processes), 0);

    /* And the parent's lease is still the parent's. */
    assert_true(eventually(workers_attached(&fixture.observer) == 2, 5000));
    expect_text(lendis_lease_command(inheritance.lease, "PING"), REDIS_REPLY_STATUS, "PONG");
    assert_int_equal(lendis_release(inheritance.lease), 0);
    assert_true(pool_fills(&fixture.observer, 4, 2000));
    lendis_detach(inheritance.pool);
}

static int heir_who_leaves_at_once(struct processes *processes, unsigned number)
{
    struct inheritance *inheritance = processes->context;

    (void)number;
    lendis_detach(inheritance->pool);
    return 0;
}

static int heir_of_a_heir(struct processes *processes, unsigned number)
{
    struct inheritance *inheritance = processes->context;
    pid_t pid;
    int status;

    talk(inheritance->pool, processes_result(processes, number), number, 0);
    pid = fork();
    if (pid == 0) {
        bool right = talk(inheritance->pool, processes_result(processes, number), number, 3);

        lendis_detach(inheritance->pool);
        _exit(right ? 0 : 1);
    }
    return waitpid(pid, &status, 0) != pid || status != 0;
}

static void children_may_detach_and_fork_again(void **state)
{
    struct inheritance inheritance;
    struct tally sum;

    (void)state;
    inheritance.pool = pool_attach(&fixture.broker, "p");
    inheritance.lease = lease_one(inheritance.pool);
    processes_start(&fixture.processes, 3, 0, heir_who_leaves_at_once, &inheritance);
    assert_true(processes_wait(&fixture.processes, 10000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    processes_end(&fixture.processes);
    expect_text(lendis_lease_command(inheritance.lease, "PING"), REDIS_REPLY_STATUS, "PONG");

    processes_start(&fixture.processes, 3, sizeof(struct tally), heir_of_a_heir, &inheritance);
    assert_true(processes_wait(&fixture.processes, 10000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    tally_processes(&fixture.processes, &sum);
    assert_int_equal(sum.good, 6);
    assert_int_equal(lendis_release(inheritance.lease), 0);
    lendis_detach(inheritance.pool);
}

/* A master that attached while one broker ran forks after another has taken its place. */
static void children_of_a_handle_whose_broker_is_gone(void **state)
{
    struct inheritance inheritance;

    (void)state;
    inheritance.pool = pool_attach(&fixture.broker, "p");
    fetch_all(inheritance.pool, 4);
    inheritance.lease = lease_one(inheritance.pool);
    lendisd_restart(&fixture.broker);
    processes_start(&fixture.processes, 3, sizeof(struct tally), heir, &inheritance);
    processes_go(&fixture.processes);
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 10000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    lendis_detach(inheritance.pool);
}

/* ---- exec ---- */

/* What `ls` sees of its own descriptors. */
static void list_after_exec(char *output, size_t size)
{
    int ends[2], status;
    size_t used = 0;
    ssize_t got;
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execl("/bin/ls", "ls", "/proc/self/fd", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    while ((got = read(ends[0], output + used, size - used - 1)) > 0)
        used += (size_t)got;
    output[used] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void exec_inherits_no_descriptor(void **state)
{
    char before[512], after[512];
    struct lendis_pool *pool;
    struct lendis_lease *lease;

    (void)state;
    list_after_exec(before, sizeof before);
    pool = pool_attach(&fixture.broker, "p");
    fetch_all(pool, 4);
    lease = lease_one(pool);
    assert_non_null(lendis_lease_context(lease));
    list_after_exec(after, sizeof after);
    assert_string_equal(after, before);
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(pool);
}

/* ---- connections that end while nobody uses them ---- */

static uint64_t generations(const struct observer *observer)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < segment_places(&observer->segment); i++)
        sum += word_generation(shm_load_relaxed(&observer->segment.connections[i].word));
    return sum;
}

static void killed_connections_are_replaced(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    uint64_t before;
    int fds;

    (void)state;
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    fetch_all(pool, 4);
    fds = count_fds(getpid());
    for (int round = 0; round < 5; round++) {
        before = generations(&fixture.observer);
        freeReplyObject(redis_do(&fixture.redis, "CLIENT KILL TYPE normal SKIPME yes"));
        assert_true(eventually(generations(&fixture.observer) >= before + 4 &&
                                   pool_is_full(&fixture.observer, 4),
                               10000));
        expect_text(lendis_command(pool, "ECHO x"), REDIS_REPLY_STRING, "x");
        fetch_all(pool, 4);
        assert_int_equal(count_fds(getpid()), fds);
    }
    lendis_detach(pool);
}

/* Reads find out by themselves that a connection is dead, if they come before the broker's look. */
static void reads_survive_killed_connections(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");

    (void)state;
    expect_text(lendis_command(pool, "SET key value"), REDIS_REPLY_STATUS, "OK");
    /* Few: a server that always throws the broker out is dialled ever more slowly. */
    for (int round = 0; round < 6; round++) {
        freeReplyObject(redis_do(&fixture.redis, "CLIENT KILL TYPE normal SKIPME yes"));
        expect_text(lendis_command(pool, "GET key"), REDIS_REPLY_STRING, "value");
    }
    lendis_detach(pool);
}

/* ---- attaching late ---- */

static void a_lazy_handle_attaches_when_used(void **state)
{
    struct lendis_options options = {.size = sizeof options, .flags = LENDIS_LAZY};
    struct lendis_lease *lease = NULL;
    struct lendis_pool *pool;
    char request[] = "*1\r\n$4\r\nPING\r\n";
    void *reply = NULL;
    int64_t before_ms;
    size_t size;

    (void)state;
    redis_start(&fixture.redis);
    lendisd_configure(&fixture.broker, "[pool p]\nredis = %s\n", fixture.redis.unix_url);
    assert_int_equal(lendis_attach(fixture.broker.socket_path, "p", &options, &pool), 0);
    before_ms = now_ms();
    assert_int_equal(lendis_acquire(pool, 0, &lease), LENDIS_E_DOWN);
    assert_int_equal(lendis_acquire(pool, 0, &lease), LENDIS_E_DOWN);
    assert_int_equal(lendis_exec(pool, request, strlen(request), 0, &reply, &size), LENDIS_E_DOWN);
    assert_true(now_ms() - before_ms < 1000);
    lendisd_launch(&fixture.broker, true);
    assert_true(eventually(lendis_acquire(pool, 1000, &lease) == 0, 5000));
    expect_text(lendis_lease_command(lease, "PING"), REDIS_REPLY_STATUS, "PONG");
    assert_int_equal(lendis_release(lease), 0);
    lendis_detach(pool);

    /* Never used: nothing to leave. */
    assert_int_equal(lendis_attach(fixture.broker.socket_path, "nowhere", &options, &pool), 0);
    lendis_detach(pool);
    assert_int_equal(lendis_attach(fixture.broker.socket_path, "nowhere", &options, &pool), 0);
    assert_int_equal(lendis_acquire(pool, 100, &lease), -ESRCH);
    lendis_detach(pool);
}

/* ---- commands and replies ---- */

static void raw_requests_of_any_size(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    size_t value = 20 << 20, head, size;
    char *request = malloc(value + 128), *reply;
    void *got;

    (void)state;
    assert_non_null(request);
    head = (size_t)sprintf(request, "*2\r\n$4\r\nECHO\r\n$%zu\r\n", value);
    for (size_t i = 0; i < value; i++)
        request[head + i] = (char)(i * 7 + i / 251);
    memcpy(request + head + value, "\r\n", 2);
    assert_int_equal(lendis_exec(pool, request, head + value + 2, -1, &got, &size), 0);
    reply = got;
    head -= strlen("*2\r\n$4\r\nECHO\r\n");
    assert_int_equal(size, head + value + 2);
    assert_memory_equal(reply, request + strlen("*2\r\n$4\r\nECHO\r\n"), size);
    lendis_free(got);

    /* Sizes around the one that is read at once. */
    for (value = 16384 - 20; value < 16384 + 20; value++) {
        head = (size_t)sprintf(request, "*2\r\n$4\r\nECHO\r\n$%zu\r\n", value);
        memset(request + head, 'v', value);
        memcpy(request + head + value, "\r\n", 2);
        assert_int_equal(lendis_exec(pool, request, head + value + 2, -1, &got, &size), 0);
        assert_int_equal(size, value + 2 + strlen("$16384\r\n"));
        lendis_free(got);
    }
    free(request);
    lendis_detach(pool);
}

static void large_values_through_hiredis(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    size_t size = 20 << 20;
    char *value = malloc(size);
    redisReply *reply;

    (void)state;
    assert_non_null(value);
    for (size_t i = 0; i < size; i++)
        value[i] = (char)(i * 13 + i / 257);
    expect_text(lendis_command(pool, "SET big %b", value, size), REDIS_REPLY_STATUS, "OK");
    reply = lendis_command(pool, "GET big");
    assert_non_null(reply);
    assert_int_equal(reply->len, size);
    assert_memory_equal(reply->str, value, size);
    freeReplyObject(reply);
    free(value);
    lendis_detach(pool);
}

static void formats_are_those_of_hiredis(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    static const char key[] = "zero\0 and\r\n$3\r\nlines", value[] = "\0\xff\r\n\0";
    const char *argv[] = {"SET", key, value};
    const size_t lengths[] = {3, sizeof key, sizeof value};
    redisReply *reply;

    (void)state;
    expect_text(lendis_command(pool, "SET %s %d", "number", -42), REDIS_REPLY_STATUS, "OK");
    expect_text(lendis_command(pool, "GET number"), REDIS_REPLY_STRING, "-42");
    expect_integer(lendis_command(pool, "INCRBY %s %lld", "number", 1LL << 40), (1LL << 40) - 42);
    expect_text(lendis_command(pool, "SET %b %b", key, sizeof key, value, sizeof value),
                REDIS_REPLY_STATUS, "OK");
    reply = lendis_command(pool, "GET %b", key, sizeof key);
    assert_non_null(reply);
    assert_int_equal(reply->len, sizeof value);
    assert_memory_equal(reply->str, value, sizeof value);
    freeReplyObject(reply);
    expect_text(lendis_command(pool, "ECHO %s", ""), REDIS_REPLY_STRING, "");
    expect_text(lendis_command(pool, "ECHO %s%%", "100"), REDIS_REPLY_STRING, "100%");
    expect_text(lendis_command_argv(pool, 3, argv, lengths), REDIS_REPLY_STATUS, "OK");
    expect_integer(lendis_command(pool, "EXISTS %b", key, sizeof key), 1);
    lendis_detach(pool);
}

static void replies_of_every_type(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    redisReply *reply;

    (void)state;
    expect_nil(lendis_command(pool, "GET missing"));
    expect_integer(lendis_command(pool, "DEL missing"), 0);
    reply = lendis_command(pool, "LRANGE missing 0 -1");
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
    assert_int_equal(reply->elements, 0);
    freeReplyObject(reply);

    reply = lendis_command(pool, "EVAL %s 0", "return {1, {'two', {}, false}, {err='ERR three'}}");
    assert_non_null(reply);
    assert_int_equal(reply->elements, 3);
    assert_int_equal(reply->element[0]->integer, 1);
    assert_string_equal(reply->element[1]->element[0]->str, "two");
    assert_int_equal(reply->element[1]->element[2]->type, REDIS_REPLY_NIL);
    assert_int_equal(reply->element[2]->type, REDIS_REPLY_ERROR);
    freeReplyObject(reply);

    reply = lendis_command(pool, "EVAL %s 0",
                           "local t = {} for i = 1, 100000 do t[i] = i end return t");
    assert_non_null(reply);
    assert_int_equal(reply->elements, 100000);
    assert_int_equal(reply->element[99999]->integer, 100000);
    freeReplyObject(reply);

    /* An error reply is a reply. */
    reply = lendis_command(pool, "NOSUCHCOMMAND");
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_ERROR);
    assert_int_equal(lendis_pool_error(pool, NULL), 0);
    freeReplyObject(reply);
    reply = lendis_command(pool, "EVAL %s 0", "return redis.error_reply('MINE of mine')");
    expect_text(reply, REDIS_REPLY_ERROR, "MINE of mine");
    lendis_detach(pool);
}

static void *push_later(void *context)
{
    (void)context;
    sleep_us(500000);
    freeReplyObject(redis_do(&fixture.redis, "RPUSH list item"));
    return NULL;
}

/* command_timeout is for commands that are due to answer; a blocking one has its own limit. */
static void blocking_commands_may_block(void **state)
{
    struct lendis_pipeline *pipeline;
    struct lendis_pool *pool;
    pthread_t pusher;
    redisReply *reply;

    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = 2\ncommand_timeout = 200ms\n",
                  fixture.redis.unix_url);
    pool = pool_attach(&fixture.broker, "p");
    assert_int_equal(pthread_create(&pusher, NULL, push_later, NULL), 0);
    reply = lendis_command(pool, "BLPOP list 20");
    assert_non_null(reply);
    assert_int_equal(reply->elements, 2);
    assert_string_equal(reply->element[1]->str, "item");
    freeReplyObject(reply);
    pthread_join(pusher, NULL);
    expect_nil(lendis_command(pool, "BLPOP list 0.3"));
    pipeline = lendis_pipeline_new(pool);
    lendis_pipeline_append(pipeline, "SET a b");
    lendis_pipeline_append(pipeline, "WAIT 1 300");
    reply = lendis_pipeline_exec(pipeline);
    assert_non_null(reply);
    assert_int_equal(reply->element[1]->integer, 0);
    freeReplyObject(reply);
    lendis_pipeline_free(pipeline);
    lendis_detach(pool);
}

/* ---- pipelines ---- */

static void raw_pipelines(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    static const char request[] = "*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*1\r\n$4\r\nPING\r\n"
                                  "*1\r\n$4\r\nNONE\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n";
    size_t size;
    void *reply;

    (void)state;
    assert_int_equal(lendis_exec(pool, request, sizeof request - 1, -1, &reply, &size), 0);
    assert_true(size > strlen(":1\r\n+PONG\r\n-ERR"));
    assert_memory_equal(reply, ":1\r\n+PONG\r\n-ERR", strlen(":1\r\n+PONG\r\n-ERR"));
    assert_memory_equal((char *)reply + size - 4, ":2\r\n", 4);
    lendis_free(reply);
    lendis_detach(pool);
}

static void pipelines_of_commands(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_pipeline *pipeline = lendis_pipeline_new(pool);
    const char *argv[] = {"GET", "7"};
    redisReply *replies;

    (void)state;
    assert_non_null(pipeline);
    expect_failure(pool, lendis_pipeline_exec(pipeline), -EINVAL);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 1000; i++)
            assert_int_equal(lendis_pipeline_append(pipeline, "SET %d value:%d", i, i), 0);
        assert_int_equal(lendis_pipeline_append_argv(pipeline, 2, argv, NULL), 0);
        assert_int_equal(lendis_pipeline_append(pipeline, "LPOP 7"), 0); /* WRONGTYPE */
        replies = lendis_pipeline_exec(pipeline);
        assert_non_null(replies);
        assert_int_equal(replies->type, REDIS_REPLY_ARRAY);
        assert_int_equal(replies->elements, 1002);
        for (int i = 0; i < 1000; i++)
            assert_string_equal(replies->element[i]->str, "OK");
        assert_string_equal(replies->element[1000]->str, "value:7");
        assert_int_equal(replies->element[1001]->type, REDIS_REPLY_ERROR);
        freeReplyObject(replies);
    }
    lendis_pipeline_free(pipeline);
    lendis_pipeline_free(NULL);
    lendis_detach(pool);
}

/* ---- giving back ---- */

static void discarded_connections_are_replaced(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct catalog_pool before, after;
    struct lendis_lease *lease;
    int fds;

    (void)state;
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    fetch_all(pool, 4);
    assert_true(pool_fills(&fixture.observer, 4, 5000));
    fds = count_fds(getpid());
    observe_pool(&fixture.observer, &before);
    for (int i = 0; i < 20; i++) {
        lease = lease_one(pool);
        assert_int_equal(lendis_discard(lease), 0);
    }
    assert_true(pool_fills(&fixture.observer, 4, 5000));
    observe_pool(&fixture.observer, &after);
    assert_int_equal(after.closed[CLOSE_returned] - before.closed[CLOSE_returned], 20);
    assert_int_equal(CATALOG_SUM(after.closed) - CATALOG_SUM(before.closed), 20);
    assert_int_equal(pool_counter(&fixture.observer, COUNTER_returned), 20);
    fetch_all(pool, 4);
    assert_int_equal(count_fds(getpid()), fds);
    lendis_detach(pool);
}

static void clean_leases_are_not_replaced(void **state)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct catalog_pool before, after;

    (void)state;
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 4, 5000));
    observe_pool(&fixture.observer, &before);
    for (unsigned long turn = 0; turn < 300; turn++) {
        struct lendis_lease *lease = lease_one(pool);

        expect_text(lendis_lease_command(lease, "SET key %lu", turn), REDIS_REPLY_STATUS, "OK");
        assert_int_equal(lendis_release(lease), 0);
    }
    observe_pool(&fixture.observer, &after);
    assert_int_equal(after.counters[BROKER_COUNTER_opened], before.counters[BROKER_COUNTER_opened]);
    assert_int_equal(CATALOG_SUM(after.closed), CATALOG_SUM(before.closed));
    assert_int_equal(pool_counter(&fixture.observer, COUNTER_leases), 300);
    assert_int_equal(pool_counter(&fixture.observer, COUNTER_returned), 0);
    lendis_detach(pool);
}

static void detaching_gives_back_what_is_held(void **state)
{
    struct lendis_pool *pool;
    struct lendis_lease *lease;
    int fds = count_fds(getpid());

    (void)state;
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    fds = count_fds(getpid());
    for (int round = 0; round < 10; round++) {
        pool = pool_attach(&fixture.broker, "p");
        lease = lease_one(pool);
        assert_non_null(lendis_lease_context(lease));
        lease_one(pool);
        lendis_detach(pool);
        assert_true(pool_fills(&fixture.observer, 4, 5000));
        assert_int_equal(workers_attached(&fixture.observer), 1);
        assert_int_equal(count_fds(getpid()), fds);
    }
}

int main(int argc, char **argv)
{
#define PLAIN(test) cmocka_unit_test_setup_teardown(test, start_plain, end)
#define ALONE(test) cmocka_unit_test_setup_teardown(test, start_nothing, end)
#define IN(variant)                                                                                \
    {                                                                                              \
        "every_function_works " #variant, every_function_works, start_nothing, end,                \
            (void *)&variant                                                                       \
    }
    const struct CMUnitTest tests[] = {
        IN(unix_plain),
        IN(tcp_plain),
        IN(unix_password),
        IN(tcp_user),
        PLAIN(attach_says_why_not),
        PLAIN(the_socket_can_come_from_the_environment),
        PLAIN(options_may_be_of_another_version),
        ALONE(a_broker_that_misbehaves_is_told_apart),
        ALONE(only_who_is_allowed_attaches),
        PLAIN(misuse_is_refused),
        ALONE(every_result_has_a_sentence),
        PLAIN(waiting_has_a_limit),
        PLAIN(without_redis_the_pool_is_down),
        ALONE(waiters_are_served_in_order),
        PLAIN(threads_share_a_handle),
        PLAIN(forked_children_work),
        PLAIN(children_may_detach_and_fork_again),
        PLAIN(children_of_a_handle_whose_broker_is_gone),
        PLAIN(exec_inherits_no_descriptor),
        PLAIN(killed_connections_are_replaced),
        PLAIN(reads_survive_killed_connections),
        ALONE(a_lazy_handle_attaches_when_used),
        PLAIN(raw_requests_of_any_size),
        PLAIN(large_values_through_hiredis),
        PLAIN(formats_are_those_of_hiredis),
        PLAIN(replies_of_every_type),
        ALONE(blocking_commands_may_block),
        PLAIN(raw_pipelines),
        PLAIN(pipelines_of_commands),
        PLAIN(discarded_connections_are_replaced),
        PLAIN(clean_leases_are_not_replaced),
        PLAIN(detaching_gives_back_what_is_held),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("lending", tests, NULL, NULL);
}
