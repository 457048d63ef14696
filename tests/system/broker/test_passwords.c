/* SPDX-License-Identifier: MIT */
/*
 * Passwords that change in password_file, and rights that change at the server, while the pool is
 * in use: no reload is needed, no command fails that need not, and a file that is gone, empty, half
 * written or on a file system that hangs leaves the last good password in use.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "tests/support/fixture.h"

#define LIMIT_MS 20000
#define WORKERS  200

static struct fixture fixture;
static struct lendis_pool *pool;
static char password_path[TESTBED_PATH_SIZE], mount_path[TESTBED_PATH_SIZE];
static int fuse = -1;

static int end(void **state)
{
    (void)state;
    if (fuse >= 0) {
        close(fuse); /* by which all that hangs there goes on */
        umount2(mount_path, MNT_DETACH);
        fuse = -1;
    }
    lendis_detach(pool);
    pool = NULL;
    fixture_end(&fixture);
    return 0;
}

/* ---- what the tests are made of ---- */

/* As whoever cares does it: beside it, then renamed. */
static void write_password(const char *text)
{
    char beside[TESTBED_PATH_SIZE];
    FILE *file;

    scratch_path(password_path, "password");
    scratch_path(beside, "password.new");
    file = fopen(beside, "we");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(beside, password_path), 0);
}

/* As an editor may, or a shell. */
static void write_in_place(const char *text)
{
    FILE *file = fopen(password_path, "we");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void on_server(const char *command)
{
    redisReply *reply = redis_do(&fixture.redis, command);

    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply->str);
    freeReplyObject(reply);
}

/* The server's user "app" has this password alone. */
static void set_server(const char *password)
{
    char command[128];

    snprintf(command, sizeof command, "ACL SETUSER app reset on >%s ~* &* +@all", password);
    on_server(command);
}

static void start(unsigned size, const char *keys)
{
    static const char *const arguments[] = {"--loglevel", "warning", NULL};

    fixture.redis.arguments = arguments;
    redis_start(&fixture.redis);
    set_server("first");
    write_password("first\n");
    lendisd_start(&fixture.broker,
                  "log_level = info\n[pool p]\nredis = %s\nusername = app\npassword_file = %s\n"
                  "size = %u\nmin_idle = 2\nwait_timeout = 10s\ndial_backoff_max = 200ms\n%s",
                  fixture.redis.unix_url, password_path, size, keys);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    pool = pool_attach(&fixture.broker, "p");
}

static struct catalog_pool entry(void)
{
    struct catalog_pool now;

    observe_pool(&fixture.observer, &now);
    return now;
}

static bool is_answered(const char *command, const char *text)
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

/* The pool's connections end, and others are opened. */
static void take_connections(void)
{
    uint64_t opened = entry().counters[BROKER_COUNTER_opened];

    on_server("CLIENT KILL USER app");
    assert_true(eventually(entry().counters[BROKER_COUNTER_opened] >= opened + 2, LIMIT_MS));
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
}

static unsigned lines_about(const char *text)
{
    char line[1024];
    unsigned count = 0;
    FILE *log = fopen(fixture.broker.log_path, "re");

    assert_non_null(log);
    while (fgets(line, sizeof line, log))
        count += strstr(line, text) != NULL;
    fclose(log);
    return count;
}

/* ---- the file ---- */

static void another_password_needs_no_reload(void **state)
{
    (void)state;
    start(4, "");
    write_password("second\n");
    set_server("second");
    take_connections();
    assert_true(is_answered("PING", "PONG"));
    /* With what editors put around it, and written in place. */
    write_in_place("\xef\xbb\xbfthird\r\n");
    set_server("third");
    take_connections();
    assert_true(is_answered("PING", "PONG"));
    assert_int_equal(entry().counters[BROKER_COUNTER_password_failures], 0);
    assert_int_equal(entry().password, PASSWORD_GOOD);
}

/* Connections that are open serve; the pool is whole again as soon as both have the new one. */
static void the_server_has_it_first(void **state)
{
    (void)state;
    start(4, "");
    set_server("second");
    on_server("CLIENT KILL USER app");
    assert_true(eventually(entry().password == PASSWORD_REFUSED, LIMIT_MS));
    assert_true(eventually(entry().dial_errors[DIAL_login] > 0, LIMIT_MS));
    write_password("second\n");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    assert_true(is_answered("PING", "PONG"));
    assert_int_equal(entry().password, PASSWORD_GOOD);
}

static void the_file_has_it_first(void **state)
{
    struct lendis_lease *lease;
    redisReply *reply;

    (void)state;
    start(2, "");
    write_password("second\n");
    assert_int_equal(lendis_acquire(pool, LIMIT_MS, &lease), 0);
    /* One of the two is lost; the other one stays, whatever becomes of dials. */
    reply = redisCommand(lendis_lease_context(lease), "QUIT");
    freeReplyObject(reply);
    lendis_release(lease);
    assert_true(eventually(entry().dial_errors[DIAL_login] > 2, LIMIT_MS));
    assert_int_equal(entry().backend, BACKEND_UP);
    assert_true(is_answered("PING", "PONG"));
    set_server("second");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    assert_true(eventually(entry().password == PASSWORD_GOOD, LIMIT_MS));
}

static void a_file_that_is_no_good(void **state)
{
    static const char *const texts[] = {"", "\n", "\r\n"};

    (void)state;
    start(4, "");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_in_place(texts[i]);
        take_connections();
        assert_true(is_answered("PING", "PONG"));
    }
    assert_int_equal(unlink(password_path), 0);
    take_connections();
    assert_true(entry().counters[BROKER_COUNTER_password_failures] >= 1);
    assert_int_equal(entry().password, PASSWORD_OLD);
    assert_true(lendisd_logged(&fixture.broker, "the last one stays in use: password_file"));
    write_password("first\n");
    /* A dial that waits for longer than 500 ms does without: a machine may be that busy. */
    for (int i = 0; i < 5 && lines_about("password_file gives a password again") == 0; i++)
        take_connections();
    assert_true(lendisd_logged(&fixture.broker, "password_file gives a password again"));
    assert_int_equal(lines_about("stays in use"), 1);
    assert_true(lendisd_silent_about(&fixture.broker, "first"));
}

/* Half of it is there when it is read, and would be refused. */
static void a_file_that_is_being_written(void **state)
{
    FILE *file;

    (void)state;
    start(4, "");
    set_server("a-long-password");
    file = fopen(password_path, "we");
    assert_non_null(file);
    fputs("a-long", file);
    assert_int_equal(fflush(file), 0);
    on_server("CLIENT KILL USER app");
    assert_true(
        eventually(entry().backend == BACKEND_DOWN || entry().closed[CLOSE_lost] >= 2, LIMIT_MS));
    fputs("-password\n", file);
    assert_int_equal(fclose(file), 0);
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    assert_int_equal(entry().dial_errors[DIAL_login], 0);
}

/* A file system whose server answers nothing but the greeting. False: it cannot be had here. */
static bool mount_hanging(void)
{
    struct {
        struct fuse_in_header header;
        struct fuse_init_in init;
        char more[8192];
    } asked;
    struct {
        struct fuse_out_header header;
        struct fuse_init_out init;
    } answer = {.header.len = sizeof answer,
                .init = {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096}};
    char options[96];

    scratch_path(mount_path, "mount");
    fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse < 0 || mkdir(mount_path, 0700) < 0)
        return false;
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other",
             fuse);
    if (mount("lendis-test", mount_path, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
        return false;
    if (read(fuse, &asked, sizeof asked) < (ssize_t)sizeof asked.header ||
        asked.header.opcode != FUSE_INIT)
        return false;
    answer.header.unique = asked.header.unique;
    return write(fuse, &answer, sizeof answer) == (ssize_t)sizeof answer;
}

static void a_file_system_that_hangs(void **state)
{
    char inside[TESTBED_PATH_SIZE + 16];

    (void)state;
    start(4, "");
    if (!mount_hanging()) {
        fprintf(stderr, "no file system of our own can be mounted here: %s\n", strerror(errno));
        skip();
    }
    snprintf(inside, sizeof inside, "%s/password", mount_path);
    assert_int_equal(unlink(password_path), 0);
    assert_int_equal(symlink(inside, password_path), 0);
    take_connections();
    assert_true(is_answered("PING", "PONG"));
    assert_true(lendisd_logged(&fixture.broker, "is not read within"));
    /* Not even a reload waits for it for long, and one thread hangs, no more. */
    for (int i = 0; i < 3; i++)
        take_connections();
    assert_int_equal(kill(fixture.broker.pid, SIGHUP), 0);
    assert_true(lendisd_logged(&fixture.broker, "its file system hangs"));
    take_connections();
    assert_int_equal(lines_about("is not read within 5"), 1);
    close(fuse);
    fuse = -1;
    umount2(mount_path, MNT_DETACH);
    assert_int_equal(unlink(password_path), 0);
    write_password("second\n");
    set_server("second");
    on_server("CLIENT KILL USER app");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    assert_true(is_answered("PING", "PONG"));
}

static void reconnect_uses_it(void **state)
{
    const char *argv[] = {"", "--socket", fixture.broker.socket_path, "reconnect", "p", NULL};
    char output[4096];

    (void)state;
    start(4, "");
    argv[0] = built_program("lendisctl");
    set_server("second");
    write_password("second\n");
    assert_int_equal(program_run(argv, output, sizeof output, LIMIT_MS), 0);
    assert_int_equal(entry().dial_errors[DIAL_login], 0);
    assert_true(entry().closed[CLOSE_reconnected] >= 2);
    assert_true(is_answered("PING", "PONG"));
}

static void another_broker_has_it(void **state)
{
    (void)state;
    start(4, "");
    set_server("second");
    write_password("second\n");
    lendis_detach(pool);
    observer_close(&fixture.observer);
    lendisd_restart(&fixture.broker);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    pool = pool_attach(&fixture.broker, "p");
    assert_true(is_answered("PING", "PONG"));
}

/* ---- its time ---- */

static bool is_replaced(uint64_t times)
{
    return eventually(entry().closed[CLOSE_login] >= times, LIMIT_MS);
}

static void logins_end(void **state)
{
    struct lendis_lease *lease;
    uint64_t before;

    (void)state;
    start(2, "password_lifetime = 1s\nmax_idle_time = 1h\n");
    assert_true(is_replaced(4));
    /* Never while it is leased; its successor is there meanwhile. */
    assert_int_equal(lendis_acquire(pool, LIMIT_MS, &lease), 0);
    before = entry().closed[CLOSE_login];
    assert_true(is_replaced(before + 4));
    freeReplyObject(redisCommand(lendis_lease_context(lease), "SET key value"));
    assert_int_equal(lendis_lease_context(lease)->err, 0);
    assert_int_equal(lendis_release(lease), 0);
    assert_true(is_answered("GET key", "value"));
    /* A login that is refused takes none away. */
    set_server("second");
    assert_true(eventually(entry().password == PASSWORD_REFUSED, LIMIT_MS));
    before = entry().closed[CLOSE_login];
    assert_true(is_answered("GET key", "value"));
    assert_int_equal(entry().backend, BACKEND_UP);
    write_password("second\n");
    assert_true(is_replaced(before + 2));
}

static int talk_on(struct processes *processes, unsigned number)
{
    struct lendis_pool *mine;
    struct tally *tally = processes_result(processes, number);

    processes_ready(processes);
    mine = pool_attach(&fixture.broker, "p");
    for (unsigned long turn = 0; !processes_stopping(processes); turn++)
        talk(mine, tally, number, turn);
    lendis_detach(mine);
    return 0;
}

static unsigned long work_done(void)
{
    struct tally sum;

    tally_processes(&fixture.processes, &sum);
    return atomic_load(&sum.good);
}

static void rotation_under_load(void **state)
{
    struct tally sum;
    char password[32];

    (void)state;
    start(8, "password_lifetime = 1s\n");
    processes_start(&fixture.processes, WORKERS, sizeof(struct tally), talk_on, NULL);
    processes_go(&fixture.processes);
    for (int round = 0; round < 6; round++) {
        uint64_t before = entry().closed[CLOSE_login];
        unsigned long done = work_done();

        snprintf(password, sizeof password, "password-%d\n", round);
        if (round % 2 == 0)
            write_password(password);
        password[strlen(password) - 1] = '\0';
        set_server(password);
        if (round % 2 == 1) {
            /* The server has it, the file has not, and no login works. */
            assert_true(eventually(entry().password == PASSWORD_REFUSED, LIMIT_MS));
            strcat(password, "\n");
            write_password(password);
        }
        assert_true(is_replaced(before + 8));
        assert_true(eventually(work_done() > done + WORKERS, LIMIT_MS));
    }
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    tally_processes(&fixture.processes, &sum);
    tally_print("six passwords", &sum);
    assert_int_equal(tally_failed(&sum), 0);
    assert_int_equal(atomic_load(&sum.wrong), 0);
}

/* ---- rights ---- */

static void rights_are_taken(void **state)
{
    uint64_t opened;

    (void)state;
    start(2, "");
    assert_true(is_answered("SET key value", "OK"));
    opened = entry().counters[BROKER_COUNTER_opened];
    on_server("ACL SETUSER app -set");
    assert_true(is_answered("SET key other", "NOPERM"));
    assert_true(is_answered("GET key", "value"));
    on_server("ACL SETUSER app resetkeys ~other*");
    assert_true(is_answered("GET key", "NOPERM"));
    on_server("ACL SETUSER app allkeys +set");
    assert_true(is_answered("SET key other", "OK"));
    /* It concerns the caller alone: no connection was given up for it. */
    assert_int_equal(entry().counters[BROKER_COUNTER_opened], opened);
}

/* Whoever waits meanwhile is served when the user is there again. */
static int ask_once(struct processes *processes, unsigned number)
{
    struct lendis_pool *mine = pool_attach(&fixture.broker, "p");
    redisReply *reply;
    int result;

    (void)number;
    processes_ready(processes);
    reply = lendis_command(mine, "GET key");
    result = reply && reply->type == REDIS_REPLY_STRING && strcmp(reply->str, "value") == 0 ? 0 : 1;
    if (result != 0)
        fprintf(stderr, "%s\n", reply ? reply->str : "no reply");
    lendis_detach(mine);
    return result;
}

static void a_user_goes_and_comes(void **state)
{
    static const char *const ways[] = {"ACL DELUSER app", "ACL LOAD"};
    char file[TESTBED_PATH_SIZE];
    const char *arguments[] = {"--aclfile", file, NULL};
    FILE *acl;

    (void)state;
    scratch_path(file, "users.acl");
    acl = fopen(file, "we");
    assert_non_null(acl);
    fputs("user default on nopass ~* &* +@all\n", acl);
    assert_int_equal(fclose(acl), 0);
    fixture.redis.arguments = arguments;
    redis_start(&fixture.redis);
    set_server("first");
    on_server("SET key value");
    write_password("first\n");
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\nusername = app\npassword_file = %s\nsize = 2\n"
                  "min_idle = 2\nwait_timeout = 20s\nfail_fast_after = 0\n"
                  "dial_backoff_max = 200ms\n",
                  fixture.redis.unix_url, password_path);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
        on_server(ways[i]); /* Redis closes its connections */
        assert_true(eventually(entry().backend == BACKEND_DOWN, LIMIT_MS));
        processes_start(&fixture.processes, 4, 0, ask_once, NULL);
        processes_go(&fixture.processes);
        assert_true(eventually(({
                                   struct word_count count;
                                   observe_words(&fixture.observer, &count);
                                   count.waiting == 4;
                               }),
                               LIMIT_MS));
        set_server("first");
        assert_true(processes_wait(&fixture.processes, LIMIT_MS));
        assert_int_equal(processes_failures(&fixture.processes), 0);
        processes_end(&fixture.processes);
    }
    assert_true(entry().closed[CLOSE_lost] >= 4);
}

/* The server has forgotten the login: whoever reads that reads it, and nobody else on this
 * connection, which would not answer. */
static void a_connection_that_is_logged_out(void **state)
{
    (void)state;
    fake_start(&fixture.fake, FAKE_ANSWER);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = 1\nmin_idle = 1\n",
                  fixture.fake.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    pool = pool_attach(&fixture.broker, "p");
    assert_true(is_answered("GET one", "one"));
    lendisd_pause(&fixture.broker); /* it is not the broker that sees to it */
    atomic_store(&fixture.fake.control->command, FAKE_LOGGED_OUT);
    assert_true(is_answered("GET two", "NOAUTH "));
    atomic_store(&fixture.fake.control->command, FAKE_ANSWER);
    assert_int_equal(words_in(&fixture.observer, WORD_RETURNED), 1);
    lendisd_continue(&fixture.broker);
    assert_true(is_answered("GET three", "three"));
    assert_int_equal(entry().closed[CLOSE_returned] + entry().closed[CLOSE_outdated], 1);
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(another_password_needs_no_reload),
        TEST(the_server_has_it_first),
        TEST(the_file_has_it_first),
        TEST(a_file_that_is_no_good),
        TEST(a_file_that_is_being_written),
        TEST(a_file_system_that_hangs),
        TEST(reconnect_uses_it),
        TEST(another_broker_has_it),
        TEST(logins_end),
        TEST(rotation_under_load),
        TEST(rights_are_taken),
        TEST(a_user_goes_and_comes),
        TEST(a_connection_that_is_logged_out),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("passwords", tests, NULL, NULL);
}
