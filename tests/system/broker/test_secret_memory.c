/* SPDX-License-Identifier: MIT */
/*
 * Where the broker keeps a password: in one place for each pool that has it, whatever it has done
 * with it since, in pages that are locked and not dumped. Its memory is searched as a debugger
 * would (proc(5), /proc/PID/mem), which takes root; nobody else can, and no core is written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "tests/support/fixture.h"

#define NOBODY 65534
#define PIECE  (1u << 20)
/* A mapping this large is the shadow of a sanitizer: marks, a byte for eight of the program's. */
#define SHADOW_SIZE (UINT64_C(1) << 40)
#ifdef __SANITIZE_ADDRESS__
#define LOCKED "" /* it makes mlock(2) do nothing */
#else
#define LOCKED " lo"
#endif

static struct fixture fixture;
static struct lendis_pool *pool;
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

static int end(void **state)
{
    (void)state;
    lendis_detach(pool);
    pool = NULL;
    fixture_end(&fixture);
    return 0;
}

static void configure(void)
{
    lendisd_configure(&fixture.broker,
                      "[pool p]\nredis = %s\npassword_file = %s\nsize = 4\nmin_idle = 4\n"
                      "check_interval = 100ms\n",
                      fixture.redis.tcp_url, password_path);
}

static void start(const char *password)
{
    fixture.redis.tcp = true;
    fixture.redis.password = password;
    redis_start(&fixture.redis);
    write_password(password);
    configure();
    lendisd_launch(&fixture.broker, true);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    pool = pool_attach(&fixture.broker, "p");
    assert_true(pool_fills(&fixture.observer, 4, 10000));
}

/* ---- searching ---- */

/* Occurrences of `text` from `from` to `to`. Pieces overlap by its length, less one. */
static unsigned search_range(int memory, uint64_t from, uint64_t to, const char *text)
{
    static char piece[PIECE];
    size_t size = strlen(text), kept = 0;
    unsigned count = 0;

    for (uint64_t at = from; at < to;) {
        size_t room = sizeof piece - kept;
        ssize_t got = pread(memory, piece + kept, to - at < room ? to - at : room, (off_t)at);

        if (got <= 0)
            break; /* what is not mapped to anything cannot be read */
        at += (uint64_t)got;
        kept += (size_t)got;
        for (char *found = piece;
             (found = memmem(found, kept - (size_t)(found - piece), text, size)); found++)
            count++;
        if (kept >= size) {
            memmove(piece, piece + kept - (size - 1), size - 1);
            kept = size - 1;
        }
    }
    explicit_bzero(piece, sizeof piece);
    return count;
}

/* The flags of a mapping that has it: smaps, VmFlags. */
struct found {
    unsigned count;
    unsigned guarded; /* of these, in pages that are locked and not dumped */
};

/* In all that the broker can read itself. */
static struct found search(const char *text)
{
    char path[64], line[512];
    uint64_t from = 0, to = 0;
    unsigned here = 0;
    struct found found = {0, 0};
    FILE *maps;
    int memory;

    snprintf(path, sizeof path, "/proc/%d/mem", (int)fixture.broker.pid);
    memory = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/%d/smaps", (int)fixture.broker.pid);
    maps = fopen(path, "re");
    assert_true(memory >= 0);
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        char rights[8];

        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s", &from, &to, rights) == 3) {
            here = rights[0] == 'r' && to - from < SHADOW_SIZE
                       ? search_range(memory, from, to, text)
                       : 0;
            found.count += here;
        } else if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " dd") &&
                   strstr(line, LOCKED)) {
            found.guarded += here;
        }
    }
    fclose(maps);
    close(memory);
    return found;
}

static void expect_found(const char *text, unsigned count, const char *when)
{
    struct found found = {0, 0};

    /* A dial may be under way. */
    if (!eventually((found = search(text)).count == count, 2000) || found.guarded != count)
        fail_msg("%s: %u copies, %u of them guarded, not %u", when, found.count, found.guarded,
                 count);
}

/* ---- what is done with it ---- */

static void ask(redisReply *reply)
{
    assert_non_null(reply);
    freeReplyObject(reply);
}

/* Makes the broker reset and replace connections. */
static void use(void)
{
    static const char *const commands[] = {"SELECT 5", "AUTH default wrong", "RESET", "QUIT"};

    for (int i = 0; i < 20; i++) {
        struct lendis_lease *lease;
        void *reply;

        assert_int_equal(lendis_acquire(pool, 10000, &lease), 0);
        reply = redisCommand(lendis_lease_context(lease), commands[i % 4]);
        if (reply)
            freeReplyObject(reply);
        lendis_release(lease);
    }
    assert_true(pool_fills(&fixture.observer, 4, 10000));
}

static void in_one_place(void **state)
{
    struct catalog_pool entry;

    (void)state;
    start("a-secret-that-is-looked-for");
    expect_found("secret-that-is-looked", 1, "after the first dials");
    use();
    assert_true(eventually(
        (observe_pool(&fixture.observer, &entry), entry.counters[BROKER_COUNTER_checks] > 4),
        10000));
    assert_true(entry.counters[BROKER_COUNTER_resets] > 0);
    expect_found("secret-that-is-looked", 1, "after resets, checks and further dials");
}

static void another_password(void **state)
{
    (void)state;
    start("a-secret-that-is-looked-for");
    ask(redis_do(&fixture.redis, "ACL SETUSER default >%s", "what-comes-after-it"));
    write_password("what-comes-after-it");
    assert_int_equal(kill(fixture.broker.pid, SIGHUP), 0);
    use();
    expect_found("what-comes-after", 1, "the new one");
    expect_found("secret-that-is-looked", 0, "the old one");
    /* A configuration that is not taken leaves nothing behind either. */
    write_password("the-one-that-is-refused");
    lendisd_configure(&fixture.broker, "[pool p]\nredis = %s\npassword_file = %s\nsize = none\n",
                      fixture.redis.tcp_url, password_path);
    assert_int_equal(kill(fixture.broker.pid, SIGHUP), 0);
    assert_true(lendisd_logged(&fixture.broker, "the new configuration is not used"));
    expect_found("one-that-is-refused", 0, "one that was refused");
    expect_found("what-comes-after", 1, "the one in force");
}

static void a_pool_that_goes(void **state)
{
    (void)state;
    start("a-secret-that-is-looked-for");
    lendis_detach(pool);
    pool = NULL;
    observer_close(&fixture.observer);
    lendisd_configure(&fixture.broker, "[pool q]\nredis = %s\n", fixture.redis.tcp_url);
    assert_int_equal(kill(fixture.broker.pid, SIGHUP), 0);
    expect_found("secret-that-is-looked", 0, "a pool that has gone");
}

/* A server that does not know AUTH repeats what it was sent, and it must not be told on. */
static void a_server_that_repeats_it(void **state)
{
    static const char *const arguments[] = {"--rename-command", "AUTH", "", NULL};
    char text[4096] = "";
    FILE *log;

    (void)state;
    fixture.redis.tcp = true;
    fixture.redis.arguments = arguments;
    redis_start(&fixture.redis);
    write_password("a-secret-that-is-looked-for");
    configure();
    lendisd_launch(&fixture.broker, true);
    assert_true(lendisd_logged(&fixture.broker, "cannot open a connection"));
    assert_true(lendisd_silent_about(&fixture.broker, "secret-that-is-looked"));
    assert_true(lendisd_logged(&fixture.broker, "unknown command"));
    log = fopen(fixture.broker.log_path, "re");
    assert_non_null(log);
    assert_true(fread(text, 1, sizeof text - 1, log) > 0);
    fclose(log);
    expect_found("secret-that-is-looked", 1, text);
}

/* Nothing listens there: the request of a dial that failed goes with it. */
static void a_server_that_is_away(void **state)
{
    (void)state;
    start("a-secret-that-is-looked-for");
    redis_kill(&fixture.redis);
    assert_true(lendisd_logged(&fixture.broker, "cannot open a connection"));
    expect_found("secret-that-is-looked", 1, "after failed dials");
}

/* ---- who may look ---- */

/* Runs as nobody. Results: whether it can open `file` in the broker's /proc. */
static bool nobody_can_open(const char *file)
{
    char path[64];
    int status;
    pid_t child;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)fixture.broker.pid, file);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
            _exit(2);
        _exit(open(path, O_RDONLY) < 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 0;
}

/* The broker runs as nobody, too. */
static void start_as_nobody(const char *keys)
{
    const char *argv[] = {"setpriv",
                          "--reuid=65534",
                          "--regid=65534",
                          "--clear-groups",
                          built_program("lendisd"),
                          "--config",
                          fixture.broker.config_path,
                          NULL};
    char folder[TESTBED_PATH_SIZE];
    int fd;

    lendisd_configure(&fixture.broker, "[pool p]\nredis = %s\n%s", fixture.redis.tcp_url, keys);
    snprintf(folder, sizeof folder, "%s", fixture.broker.config_path);
    *strrchr(folder, '/') = '\0';
    assert_int_equal(chown(folder, NOBODY, NOBODY), 0);
    assert_int_equal(chown(fixture.broker.config_path, NOBODY, NOBODY), 0);
    assert_int_equal(chown(password_path, NOBODY, NOBODY), 0);
    fixture.broker.pid = program_start(argv, fixture.broker.log_path, 0);
    assert_true(eventually((fd = lendisd_connect(fixture.broker.socket_path)) >= 0, 10000));
    close(fd);
}

/* Of one that has no password its own user may see all, as ever. */
static void nobody_else_reads_it(void **state)
{
    char keys[TESTBED_PATH_SIZE + 32], output[4096], lendisctl[TESTBED_PATH_SIZE];
    const char *show[] = {"setpriv",
                          "--reuid=65534",
                          "--regid=65534",
                          "--clear-groups",
                          lendisctl,
                          "--socket",
                          fixture.broker.socket_path,
                          "show",
                          "pools",
                          NULL};

    (void)state;
    snprintf(lendisctl, sizeof lendisctl, "%s", built_program("lendisctl"));
    fixture.redis.tcp = true;
    redis_start(&fixture.redis);
    write_password("a-secret-that-is-looked-for");
    start_as_nobody("min_idle = 1\n");
    assert_true(nobody_can_open("mem"));
    lendisd_stop(&fixture.broker);
    ask(redis_do(&fixture.redis, "ACL SETUSER default >a-secret-that-is-looked-for"));
    snprintf(keys, sizeof keys, "min_idle = 1\npassword_file = %s\n", password_path);
    start_as_nobody(keys);
    assert_false(nobody_can_open("mem"));
    /* Its user's tools ask for what they may see. */
    assert_int_equal(program_run(show, output, sizeof output, 10000), EXIT_SUCCESS);
    assert_non_null(strstr(output, "lending"));
    assert_int_equal(program_run(show + 4, output, sizeof output, 10000), EXIT_SUCCESS);
    assert_false(nobody_can_open("environ"));
    assert_false(nobody_can_open("fd/0"));
    expect_found("secret-that-is-looked", 1, "as nobody");
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(in_one_place),          TEST(another_password),
        TEST(a_pool_that_goes),      TEST(a_server_that_repeats_it),
        TEST(a_server_that_is_away), TEST(nobody_else_reads_it),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("secret_memory", tests, NULL, NULL);
}
