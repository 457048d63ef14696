/* SPDX-License-Identifier: MIT */
/*
 * I3: whatever a holder leaves behind on a connection, the next one gets a clean one. A table of
 * what can be left, each through lendis_lease_command(), through a hiredis context and through the
 * bare descriptor, over a Unix socket and over TCP; then what is special to one of the ways. The
 * pool has one connection, so that the next holder would get what the last one left, and a db of
 * its own, so that a forgotten SELECT shows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "tests/support/clean.h"

#define COMMAND_TIMEOUT_MS 300
#define LARGE              (64 << 20)

static struct stage stage;

static bool logs_in; /* the pool has a password */

static void open_stage(bool tcp, const char *keys)
{
    logs_in = keys[0] != '\0';
    stage.db = 2;
    stage.tcp = tcp;
    stage.fixture.redis.tcp = tcp;
    redis_start(&stage.fixture.redis);
    freeReplyObject(redis_do(&stage.fixture.redis, "ACL SETUSER other on >secret ~* +@all"));
    lendisd_start(&stage.fixture.broker,
                  "[pool p]\nredis = %.*s%u\nsize = 1\nmin_idle = 1\ncommand_timeout = %dms\n%s",
                  (int)strlen(tcp ? stage.fixture.redis.tcp_url : stage.fixture.redis.unix_url) - 1,
                  tcp ? stage.fixture.redis.tcp_url : stage.fixture.redis.unix_url, stage.db,
                  COMMAND_TIMEOUT_MS, keys);
    stage_open(&stage);
}

static int start(void **state)
{
    (void)state;
    open_stage(false, "");
    return 0;
}

static int start_tcp(void **state)
{
    (void)state;
    open_stage(true, "");
    return 0;
}

/* Everybody has to log in, and "default" with a password. */
static int start_with_password(void **state)
{
    char path[TESTBED_PATH_SIZE], keys[TESTBED_PATH_SIZE + 32];
    FILE *file;

    (void)state;
    scratch_path(path, "password");
    file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file, "a password\n");
    fclose(file);
    chmod(path, 0600);
    snprintf(keys, sizeof keys, "password_file = %s\n", path);
    stage.fixture.redis.password = "a password";
    open_stage(true, keys);
    return 0;
}

static int end(void **state)
{
    (void)state;
    stage_end(&stage);
    return 0;
}

/* ---- the three ways ---- */

enum way { BY_COMMAND, BY_CONTEXT, BY_DESCRIPTOR, WAYS };

static const char *const way_names[WAYS] = {"lendis_lease_command()", "a context",
                                            "the bare descriptor"};

static void write_raw(struct lendis_lease *lease, const char *data, size_t size)
{
    int fd = lendis_lease_fd(lease);

    assert_true(fd >= 0);
    assert_int_equal(send(fd, data, size, MSG_NOSIGNAL), size);
}

/* Whatever comes within 20 ms of each other. */
static void read_raw(struct lendis_lease *lease)
{
    struct pollfd waited = {.fd = lendis_lease_fd(lease), .events = POLLIN};
    char buffer[4096];

    for (int limit_ms = 2000; poll(&waited, 1, limit_ms) == 1; limit_ms = 20)
        if (recv(waited.fd, buffer, sizeof buffer, MSG_DONTWAIT) <= 0)
            return;
}

static void send_by_context(struct lendis_lease *lease, const char *command)
{
    redisContext *context = lendis_lease_context(lease);
    int done = 0;

    assert_non_null(context);
    assert_int_equal(redisAppendCommand(context, command), REDIS_OK);
    while (!done)
        assert_int_equal(redisBufferWrite(context, &done), REDIS_OK);
}

/* Sends `command`; `answered`: and reads what it is answered. */
static void say(enum way way, struct lendis_lease *lease, const char *command, bool answered)
{
    void *reply = NULL;
    char *raw;
    int size;

    switch (way) {
    case BY_COMMAND:
        reply = lendis_lease_command(lease, command);
        break;
    case BY_CONTEXT:
        send_by_context(lease, command);
        if (answered)
            redisGetReply(lendis_lease_context(lease), &reply);
        break;
    default:
        size = redisFormatCommand(&raw, command);
        assert_true(size > 0);
        write_raw(lease, raw, (size_t)size);
        redisFreeCommand(raw);
        if (answered)
            read_raw(lease);
        break;
    }
    if (reply)
        freeReplyObject(reply);
}

/* ---- what can be left ---- */

/* Tabs: blanks separate arguments. */
#define BUSY_400                                                                                   \
    "EVAL local\ts=redis.call('TIME')\trepeat\tlocal\tn=redis.call('TIME')\tuntil\t"               \
    "(n[1]-s[1])*1000000+n[2]-s[2]>400000 0"

struct left_case {
    const char *name;
    const char *commands[3];
    bool unanswered; /* the last one */
    bool no_command; /* not by lendis_lease_command(), which waits for the reply */
    bool by_reset;   /* nothing else undoes it: in a pool with a password it is REPLACED */
    enum fate fates[WAYS];
};

#define ALL(fate)                                                                                  \
    {                                                                                              \
        fate, fate, fate                                                                           \
    }

static const struct left_case left_cases[] = {
    {"SELECT", {"SELECT 5"}, .fates = ALL(RESET)},
    {"MULTI", {"MULTI"}, .fates = ALL(RESET)},
    {"MULTI with commands", {"MULTI", "SET a b"}, .fates = ALL(RESET)},
    {"MULTI with a SELECT", {"MULTI", "SELECT 5", "EXEC"}, .fates = ALL(RESET)},
    {"WATCH", {"WATCH watched"}, .fates = ALL(RESET)},
    {"SUBSCRIBE", {"SUBSCRIBE channel"}, .fates = ALL(RESET)},
    {"PSUBSCRIBE", {"PSUBSCRIBE chan*"}, .fates = ALL(RESET)},
    /* Before 7.0 a monitor is told of its own RESET. */
    {"MONITOR", {"MONITOR"}, .fates = ALL(EITHER)},
    {"CLIENT TRACKING", {"CLIENT TRACKING ON", "GET a"}, .fates = ALL(RESET)},
    /* No answer: lendis_lease_command() gives up, and two bytes behind the descriptor prove
     * nothing. */
    {"CLIENT REPLY OFF",
     {"CLIENT REPLY OFF"},
     .unanswered = true,
     .fates = {REPLACED, RESET, REPLACED}},
    /* RESET forgets it before 7.2. */
    {"CLIENT NO-EVICT", {"CLIENT NO-EVICT ON"}, .fates = ALL(EITHER)},
    {"CLIENT SETNAME", {"CLIENT SETNAME somebody"}, .fates = ALL(RESET)},
    {"CLIENT NO-TOUCH and READONLY", {"CLIENT NO-TOUCH ON", "READONLY"}, .fates = ALL(RESET)},
    {"several of them",
     {"SELECT 5", "CLIENT SETNAME somebody", "CLIENT TRACKING ON"},
     .fates = ALL(RESET)},
    {"AUTH", {"AUTH other secret"}, .by_reset = true, .fates = ALL(RESET)},
    {"a failed AUTH", {"AUTH other wrong"}, .fates = ALL(RESET)},
    /* hiredis before 1.0 cannot read the answer. */
    {"HELLO 3", {"HELLO 3"}, .by_reset = true, .fates = {RESET, EITHER, RESET}},
    {"HELLO with all",
     {"HELLO 2 AUTH other secret SETNAME x"},
     .by_reset = true,
     .fates = ALL(RESET)},
    {"RESET", {"RESET"}, .by_reset = true, .fates = ALL(RESET)},
    {"QUIT", {"QUIT"}, .fates = ALL(REPLACED)},
    {"a script left running", {BUSY_400}, .unanswered = true, .fates = ALL(REPLACED)},
    {"a blocked BLPOP",
     {"BLPOP nothing 0"},
     .unanswered = true,
     .no_command = true,
     .fates = ALL(REPLACED)},
    {"an unread reply", {"PING"}, .unanswered = true, .no_command = true, .fates = ALL(REPLACED)},
    {"an unread large reply",
     {"GET large"},
     .unanswered = true,
     .no_command = true,
     .fates = ALL(REPLACED)},
};

static void leave_behind(const struct left_case *left, enum way way)
{
    enum fate fate = logs_in && left->by_reset ? REPLACED : left->fates[way];
    struct lendis_lease *lease = stage_enter(&stage);
    char what[128];

    for (size_t i = 0; i < sizeof left->commands / sizeof *left->commands && left->commands[i];
         i++) {
        bool last =
            i + 1 == sizeof left->commands / sizeof *left->commands || !left->commands[i + 1];

        say(way, lease, left->commands[i], !(last && left->unanswered));
    }
    stage_leave(lease, fate != RESET);
    snprintf(what, sizeof what, "%s by %s", left->name, way_names[way]);
    stage_expect(&stage, fate, what);
}

static void make_large(void)
{
    freeReplyObject(
        redis_do(&stage.fixture.redis, "EVAL %s 0",
                 "redis.call('SELECT', 2) redis.call('SETRANGE', 'large', 67108863, 'x')"));
}

static size_t broker_memory(void)
{
    struct smaps memory;

    assert_true(process_memory(stage.fixture.broker.pid, &memory));
    return (size_t)memory.rss;
}

static void whatever_is_left(void **state)
{
    size_t before;

    (void)state;
    make_large();
    before = broker_memory();
    for (size_t i = 0; i < sizeof left_cases / sizeof *left_cases; i++)
        for (enum way way = BY_COMMAND; way < WAYS; way++)
            if (way != BY_COMMAND || !left_cases[i].no_command)
                leave_behind(&left_cases[i], way);
    assert_int_equal(redis_info(&stage.fixture.redis, "blocked_clients"), 0);
    /* It has not read the large reply. */
    assert_true(broker_memory() < before + LARGE / 16);
}

/* ---- what lendis follows by itself ---- */

static void by_command(const char *const *commands, enum fate fate)
{
    struct lendis_lease *lease = stage_enter(&stage);
    const char *what = *commands;

    for (; *commands; commands++)
        say(BY_COMMAND, lease, *commands, true);
    stage_leave(lease, fate == REPLACED);
    stage_expect(&stage, fate, what);
}

#define COMMANDS(...)                                                                              \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static void session_changes_through_a_lease(void **state)
{
    (void)state;
    by_command(COMMANDS("sElEcT 5"), RESET);
    by_command(COMMANDS("MULTI", "SET a b", "GET a"), RESET);
    by_command(COMMANDS("MULTI", "NOSUCHCOMMAND"), RESET);
    by_command(COMMANDS("WATCH watched", "MULTI", "UNWATCH"), RESET);
    by_command(COMMANDS("PSUBSCRIBE a* b* c*"), REPLACED); /* three replies to one command */
    by_command(COMMANDS("HELLO 3", "CLIENT TRACKING ON", "GET a"), RESET);
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
        redisReply *reply;
        int error;

        stage_leave(stage_enter(&stage), false);
        reply = lendis_command(stage.leaver, commands[i]);
        error = lendis_pool_error(stage.leaver, NULL);

        /* EPROTO: hiredis before 1.0 cannot read RESP3. */
        if (!reply && error != -EOPNOTSUPP && error != -EPROTO)
            fail_msg("%s: %s", commands[i], lendis_strerror(error));
        if (reply)
            freeReplyObject(reply);
        stage_expect(&stage, error == -EOPNOTSUPP ? CLEAN : RESET, commands[i]);
    }
}

static void through_a_pipeline(const char *const *commands, enum fate fate)
{
    struct lendis_pipeline *pipeline = lendis_pipeline_new(stage.leaver);
    size_t count = 0;
    redisReply *replies;

    stage_leave(stage_enter(&stage), false);
    for (; commands[count]; count++)
        assert_int_equal(lendis_pipeline_append(pipeline, commands[count]), 0);
    replies = lendis_pipeline_exec(pipeline);
    if (!replies)
        fail_msg("%s: %s", *commands, lendis_strerror(lendis_pool_error(stage.leaver, NULL)));
    assert_int_equal(replies->elements, count);
    freeReplyObject(replies);
    lendis_pipeline_free(pipeline);
    stage_expect(&stage, fate, "a pipeline");
}

static void session_changes_through_a_pipeline(void **state)
{
    static const char raw[] = "*2\r\n$6\r\nselect\r\n$1\r\n5\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
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
    stage_leave(stage_enter(&stage), false);
    assert_int_equal(lendis_exec(stage.leaver, raw, sizeof raw - 1, -1, &bytes, &size), 0);
    lendis_free(bytes);
    stage_expect(&stage, RESET, "lendis_exec");
}

/* ---- through a context and through the bare descriptor: lendis does not see it ---- */

typedef void leaving(struct lendis_lease *lease);

static void leave(const char *what, leaving *how, enum fate fate)
{
    struct lendis_lease *lease = stage_enter(&stage);

    how(lease);
    stage_leave(lease, fate != RESET);
    stage_expect(&stage, fate, what);
}

#define LEAVE(how, fate) leave(#how, how, fate)

static void context_commands(struct lendis_lease *lease)
{
    static const char *const commands[] = {"SELECT 5", "WATCH watched", "CLIENT SETNAME somebody",
                                           "MULTI", "SET a b"};

    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        say(BY_CONTEXT, lease, commands[i], true);
}

static void context_unsent_output(struct lendis_lease *lease)
{
    assert_int_equal(redisAppendCommand(lendis_lease_context(lease), "SET a b"), REDIS_OK);
}

/* Half of it is sent. */
static void context_half_written_command(struct lendis_lease *lease)
{
    redisContext *context = lendis_lease_context(lease);
    char *large = calloc(1, LARGE);
    int done = 0;

    assert_non_null(large);
    redis_pause(&stage.fixture.redis);
    fcntl(context->fd, F_SETFL, fcntl(context->fd, F_GETFL) | O_NONBLOCK);
    assert_int_equal(redisAppendCommand(context, "SET half %b", large, (size_t)LARGE), REDIS_OK);
    assert_int_equal(redisBufferWrite(context, &done), REDIS_OK);
    assert_int_equal(done, 0);
    redis_continue(&stage.fixture.redis);
    free(large);
}

static void command_half_written(struct lendis_lease *lease)
{
    char *large = calloc(1, LARGE);

    assert_non_null(large);
    redis_pause(&stage.fixture.redis);
    assert_null(lendis_lease_command(lease, "SET half %b", large, (size_t)LARGE));
    redis_continue(&stage.fixture.redis);
    free(large);
}

static void context_reply_in_the_reader(struct lendis_lease *lease)
{
    redisContext *context = lendis_lease_context(lease);
    void *reply;

    send_by_context(lease, "ECHO one");
    send_by_context(lease, "ECHO two");
    assert_int_equal(redisGetReply(context, &reply), REDIS_OK);
    freeReplyObject(reply);
}

static void context_one_byte_unread(struct lendis_lease *lease)
{
    char pong[6];

    send_by_context(lease, "PING");
    assert_int_equal(recv(lendis_lease_context(lease)->fd, pong, sizeof pong, MSG_WAITALL),
                     sizeof pong);
}

static void context_merely_looked_at(struct lendis_lease *lease)
{
    assert_non_null(lendis_lease_context(lease));
    assert_ptr_equal(lendis_lease_context(lease), lendis_lease_context(lease));
}

static void context_after_commands(struct lendis_lease *lease)
{
    expect_text(lendis_lease_command(lease, "SET a b"), REDIS_REPLY_STATUS, "OK");
    expect_text(redisCommand(lendis_lease_context(lease), "GET a"), REDIS_REPLY_STRING, "b");
    expect_text(lendis_lease_command(lease, "GET a"), REDIS_REPLY_STRING, "b");
}

static void context_freed_by_mistake(struct lendis_lease *lease)
{
    redisContext *context = lendis_lease_context(lease);

    expect_text(redisCommand(context, "SELECT 5"), REDIS_REPLY_STATUS, "OK");
    redisFree(context);
}

static int used; /* the number of a freed context's descriptor, now the program's */

static void context_freed_and_its_number_used(struct lendis_lease *lease)
{
    redisContext *context = lendis_lease_context(lease);

    used = context->fd;
    redisFree(context);
    assert_int_equal(open("/dev/null", O_RDONLY | O_CLOEXEC), used);
}

static void context_time_out(struct lendis_lease *lease)
{
    redisSetTimeout(lendis_lease_context(lease), (struct timeval){.tv_usec = 1000});
}

static void what_went_through_a_context(void **state)
{
    (void)state;
    LEAVE(context_commands, RESET);
    LEAVE(context_unsent_output, REPLACED);
    LEAVE(context_half_written_command, REPLACED);
    LEAVE(command_half_written, REPLACED);
    assert_int_equal(redis_info(&stage.fixture.redis, "total_error_replies"), 0);
    LEAVE(context_reply_in_the_reader, REPLACED);
    LEAVE(context_one_byte_unread, REPLACED);
    LEAVE(context_merely_looked_at, RESET);
    LEAVE(context_after_commands, RESET);
    LEAVE(context_time_out, RESET);
    LEAVE(context_freed_by_mistake, REPLACED);
    LEAVE(context_freed_and_its_number_used, REPLACED);
    assert_int_equal(close(used), 0);
    /* Neither worker has lost a descriptor that is somebody's. */
    expect_text(lendis_command(stage.leaver, "PING"), REDIS_REPLY_STATUS, "PONG");
}

static void raw_one_byte_unread(struct lendis_lease *lease)
{
    char pong[6];

    write_raw(lease, "*1\r\n$4\r\nPING\r\n", 14);
    assert_int_equal(recv(lendis_lease_fd(lease), pong, sizeof pong, MSG_WAITALL), sizeof pong);
}

static void raw_half_read_reply(struct lendis_lease *lease)
{
    char half[8];

    write_raw(lease, "*2\r\n$4\r\nECHO\r\n$9\r\nanother's\r\n", 29);
    assert_int_equal(recv(lendis_lease_fd(lease), half, sizeof half, MSG_WAITALL), sizeof half);
}

static void raw_not_resp(struct lendis_lease *lease)
{
    write_raw(lease, "\x16\x03\x01\r\n\r\n*z\r\n", 11);
}

static void raw_shutdown(struct lendis_lease *lease)
{
    assert_int_equal(shutdown(lendis_lease_fd(lease), SHUT_RDWR), 0);
}

static void raw_shutdown_of_writing(struct lendis_lease *lease)
{
    assert_int_equal(shutdown(lendis_lease_fd(lease), SHUT_WR), 0);
}

static void raw_shutdown_of_reading(struct lendis_lease *lease)
{
    assert_int_equal(shutdown(lendis_lease_fd(lease), SHUT_RD), 0);
}

static void raw_closed_by_mistake(struct lendis_lease *lease)
{
    close(lendis_lease_fd(lease));
}

/* Cannot be undone, and is noticed since Linux 5.14. */
static void raw_buffer_size(struct lendis_lease *lease)
{
    int size = 4096;

    assert_int_equal(setsockopt(lendis_lease_fd(lease), SOL_SOCKET, SO_RCVBUF, &size, sizeof size),
                     0);
}

static void what_went_through_the_bare_descriptor(void **state)
{
    (void)state;
    LEAVE(raw_one_byte_unread, REPLACED);
    LEAVE(raw_half_read_reply, REPLACED);
    LEAVE(raw_not_resp, REPLACED);
    LEAVE(raw_shutdown, REPLACED);
    LEAVE(raw_shutdown_of_writing, REPLACED);
    LEAVE(raw_shutdown_of_reading, REPLACED);
    LEAVE(raw_closed_by_mistake, REPLACED);
    LEAVE(raw_buffer_size, EITHER);
    expect_text(lendis_command(stage.leaver, "PING"), REDIS_REPLY_STATUS, "PONG");
}

/* A SET of which each beginning is left once: it is never executed with something else for its
 * end. */
static void half_a_command_is_never_completed(void **state)
{
    static const char set[] = "*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$6\r\nabcdef\r\n";
    redisReply *reply;
    const char *script = "redis.call('SELECT', 2) return redis.call('GETDEL', 'half')";

    (void)state;
    for (size_t size = 1; size < sizeof set; size++) {
        struct lendis_lease *lease = stage_enter(&stage);

        write_raw(lease, set, size);
        stage_leave(lease, false);
        stage_expect(&stage, REPLACED, "a beginning");
        reply = redis_do(&stage.fixture.redis, "EVAL %s 0", script);
        /* Only its last bytes, which say nothing, may be another's. */
        if (reply->type != REDIS_REPLY_NIL &&
            (strcmp(reply->str, "abcdef") != 0 || size < sizeof set - 3))
            fail_msg("%zu bytes made it \"%s\"", size, reply->str);
        freeReplyObject(reply);
    }
}

/* ---- what belongs to the open file description, which all holders share ---- */

static void expect_time_out(int fd, int option, long usec)
{
    struct timeval limit;
    socklen_t size = sizeof limit;

    assert_int_equal(getsockopt(fd, SOL_SOCKET, option, &limit, &size), 0);
    assert_int_equal(limit.tv_sec, 0);
    /* The kernel counts in ticks. */
    assert_true(limit.tv_usec >= usec && limit.tv_usec <= usec + 10000);
}

static void socket_options_are_as_before(void **state)
{
    static const struct timeval limit = {.tv_usec = 1000};
    static const struct linger linger = {.l_onoff = 1, .l_linger = 30};
    struct lendis_lease *lease = stage_enter(&stage);
    int fd = lendis_lease_fd(lease), copy = dup(fd), least = 1000, value;
    socklen_t size = sizeof value;

    (void)state;
    assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least), 0);
    stage_leave(lease, false);
    stage_expect(&stage, RESET, "socket options");
    assert_int_equal(fcntl(copy, F_GETFL) & O_NONBLOCK, 0);
    expect_time_out(copy, SO_RCVTIMEO, CONNECTION_RECEIVE_MS * 1000);
    expect_time_out(copy, SO_SNDTIMEO, 0);
    assert_int_equal(getsockopt(copy, SOL_SOCKET, SO_RCVLOWAT, &value, &size), 0);
    assert_int_equal(value, 1);
    close(copy);
}

/* ---- the dead, and the late ---- */

/* The same, and then the holder dies or detaches instead of giving back. */
static int leave_and_die(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&stage.fixture.broker, "p");
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
    _exit(processes_stopping(processes));
}

static void what_the_dead_leave(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        processes_start(&stage.fixture.processes, 4, 0, leave_and_die, NULL);
        assert_true(processes_wait(&stage.fixture.processes, 20000));
        assert_int_equal(processes_failures(&stage.fixture.processes), 0);
        processes_end(&stage.fixture.processes);
        stage_expect_clean(&stage);
    }
}

/* A command that was given up on: its late reply reaches nobody. */
static void late_replies_reach_nobody(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        struct lendis_lease *lease = stage_lease(&stage, stage.leaver);
        unsigned long before = closed_so_far(&stage);
        redisReply *reply = lendis_lease_command(lease, "EVAL %s 0",
                                                 "local start = redis.call('TIME') "
                                                 "repeat local now = redis.call('TIME') "
                                                 "until (now[1] - start[1]) * 1000000 + now[2] - "
                                                 "start[2] > 500000 return 'late'");

        assert_null(reply);
        assert_int_equal(lendis_pool_error(stage.leaver, NULL), LENDIS_E_UNCERTAIN);
        assert_null(lendis_lease_command(lease, "GET mine"));
        assert_int_equal(lendis_pool_error(stage.leaver, NULL), LENDIS_E_DOWN);
        assert_int_equal(lendis_release(lease), 0);
        assert_true(eventually(closed_so_far(&stage) == before + 1, 5000));
        sleep_us(500000); /* Redis is busy with the script for that long */
        stage_expect_clean(&stage);
    }
}

int main(int argc, char **argv)
{
#define REAL(test)     cmocka_unit_test_setup_teardown(test, start, end)
#define REAL_TCP(test) cmocka_unit_test_setup_teardown(test, start_tcp, end)
#define WITH_PASSWORD(test)                                                                        \
    {                                                                                              \
#test "_with_a_password", test, start_with_password, end, NULL                             \
    }
    const struct CMUnitTest tests[] = {
        REAL(whatever_is_left),
        REAL_TCP(whatever_is_left),
        WITH_PASSWORD(whatever_is_left),
        WITH_PASSWORD(half_a_command_is_never_completed),
        REAL(session_changes_through_a_lease),
        REAL(what_ends_clean_is_left_alone),
        REAL(session_changes_through_the_pool),
        REAL(session_changes_through_a_pipeline),
        REAL(what_went_through_a_context),
        REAL(what_went_through_the_bare_descriptor),
        REAL_TCP(what_went_through_the_bare_descriptor),
        REAL(half_a_command_is_never_completed),
        REAL(socket_options_are_as_before),
        REAL_TCP(socket_options_are_as_before),
        REAL(what_the_dead_leave),
        REAL(late_replies_reach_nobody),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("hygiene", tests, NULL, NULL);
}
