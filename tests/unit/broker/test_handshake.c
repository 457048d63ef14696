/* SPDX-License-Identifier: MIT */
/* What is said on a new connection, what the answers mean, in every split, and how much is
 * borne. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "broker/redis/handshake.h"
#include "broker/redis/reply_walk.h"
#include "broker/redis/rights.h"

/* ---- the request ---- */

static void expect_request(const struct handshake_profile *profile, uint32_t missing,
                           const char *expected)
{
    struct handshake handshake;
    size_t room = handshake_room(profile), size;
    char *request = malloc(room);

    assert_non_null(request);
    size = handshake_begin(&handshake, profile, missing, request);
    assert_true(size <= room);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(request, expected, size);
    free(request);
}

static void what_is_sent(void **state)
{
    const struct handshake_profile plain = {.client_name = "lendis-p"};
    const struct handshake_profile full = {.db = 3,
                                           .username = "app",
                                           .password = "pass\nword",
                                           .password_size = 9,
                                           .client_name = "n"};

    (void)state;
    expect_request(&plain, 0,
                   "*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$8\r\nlendis-p\r\n"
                   "*1\r\n$4\r\nPING\r\n");
    expect_request(&plain, RIGHT_BIT(name), "*1\r\n$4\r\nPING\r\n");
    expect_request(&plain, RIGHT_BIT(name) | RIGHT_BIT(ping), "*1\r\n$4\r\nPING\r\n");
    expect_request(&full, RIGHT_BIT(name),
                   "*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$9\r\npass\nword\r\n"
                   "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$4\r\nPING\r\n");
}

/* ---- the replies ---- */

/* The handshake with login, database and name gets `replies`, cut at `split`. */
static enum handshake_result answer(struct handshake *handshake, const char *replies, size_t size,
                                    size_t split, size_t *used)
{
    const struct handshake_profile profile = {
        .db = 1, .password = "p", .password_size = 1, .client_name = "n"};
    enum handshake_result result;
    char request[1024];

    assert_true(handshake_room(&profile) <= sizeof request);
    handshake_begin(handshake, &profile, 0, request);
    result = handshake_take(handshake, replies, split, used);
    if (result != HANDSHAKE_WAITING)
        return result;
    assert_int_equal(*used, split);
    result = handshake_take(handshake, replies + split, size - split, used);
    *used += split;
    return result;
}

static void expect_answer(const char *replies, enum handshake_result expected, uint32_t refused,
                          const char *error)
{
    size_t size = strlen(replies);

    for (size_t split = 0; split <= size; split++) {
        struct handshake handshake;
        size_t used = 0;

        assert_int_equal(answer(&handshake, replies, size, split, &used), expected);
        assert_int_equal(handshake.refused, refused);
        assert_string_equal(handshake.error, error);
        if (expected == HANDSHAKE_DONE)
            assert_int_equal(used, size);
    }
}

static void what_is_needed_and_what_is_not(void **state)
{
    (void)state;
    expect_answer("+OK\r\n+OK\r\n+OK\r\n+PONG\r\n", HANDSHAKE_DONE, 0, "");
    expect_answer("+OK\r\n+OK\r\n+OK\r\n", HANDSHAKE_WAITING, 0, "");
    expect_answer("+OK\r\n+OK\r\n-NOPERM no\r\n-NOPERM no\r\n", HANDSHAKE_DONE,
                  RIGHT_BIT(name) | RIGHT_BIT(ping), "");
    expect_answer("+OK\r\n+OK\r\n-ERR unknown command 'CLIENT', with args\r\n+PONG\r\n",
                  HANDSHAKE_DONE, RIGHT_BIT(name), "");
    expect_answer("+OK\r\n+OK\r\n-whatever a proxy says\r\n+PONG\r\n", HANDSHAKE_DONE,
                  RIGHT_BIT(name), "");
    expect_answer("+OK\r\n+OK\r\n+OK\r\n-unsupported command\r\n", HANDSHAKE_DONE, RIGHT_BIT(ping),
                  "");
    /* Neither a login nor a database can be done without. */
    expect_answer("-WRONGPASS no\r\n", HANDSHAKE_FAILED, 0, "WRONGPASS no");
    expect_answer("+OK\r\n-NOPERM no\r\n", HANDSHAKE_FAILED, 0, "NOPERM no");
    /* What concerns every command is not for CLIENT alone. */
    expect_answer("+OK\r\n+OK\r\n-NOAUTH Authentication required.\r\n", HANDSHAKE_FAILED, 0,
                  "NOAUTH Authentication required.");
    expect_answer("+OK\r\n+OK\r\n-LOADING Redis is loading\r\n", HANDSHAKE_FAILED, 0,
                  "LOADING Redis is loading");
    /* A server that is not well answers all the same, and the connection is as good as any. */
    expect_answer("+OK\r\n+OK\r\n+OK\r\n-MISCONF disk\r\n", HANDSHAKE_DONE, 0, "");
    expect_answer("+OK\r\n+OK\r\n-BUSY script\r\n-BUSY script\r\n", HANDSHAKE_DONE, 0, "");
    /* PING refused in a way that is none of those known proves nothing. */
    expect_answer("+OK\r\n+OK\r\n+OK\r\n-ERR upstream\r\n", HANDSHAKE_FAILED, 0, "ERR upstream");
}

static void a_sentinel_is_asked(void **state)
{
    struct handshake handshake;
    const char *replies = "+OK\r\n-ERR unknown command 'SELECT'\r\n+OK\r\n+PONG\r\n";
    size_t used;

    (void)state;
    assert_int_equal(answer(&handshake, replies, strlen(replies), 7, &used), HANDSHAKE_FAILED);
    assert_true(handshake.odd);
    assert_int_equal(handshake.passed, handshake.count);
    assert_string_equal(handshake.error, "ERR unknown command 'SELECT'");
}

static void what_is_no_redis(void **state)
{
    static const char *const replies[] = {"HTTP/1.1 400 Bad Request\r\n",
                                          "\r\n",
                                          "\n",
                                          ":1\r\n",
                                          "*1\r\n:1\r\n",
                                          "$2\r\nOK\r\n",
                                          "\x15\x03\x01\r\n"};
    struct handshake handshake;
    size_t used, size = HANDSHAKE_BYTES_MAX + 100;
    char *endless = malloc(size);

    (void)state;
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        assert_int_equal(answer(&handshake, replies[i], strlen(replies[i]), 0, &used),
                         HANDSHAKE_FAILED);
        assert_non_null(strstr(handshake.error, "Protocol error"));
    }
    assert_int_equal(answer(&handshake, "\0\r\n", 3, 0, &used), HANDSHAKE_FAILED);
    assert_non_null(endless);
    memset(endless, '+', size);
    assert_int_equal(answer(&handshake, endless, HANDSHAKE_BYTES_MAX - 10, 50, &used),
                     HANDSHAKE_WAITING);
    assert_int_equal(answer(&handshake, endless, size, 50, &used), HANDSHAKE_FAILED);
    free(endless);
}

/* A long error is cut, and the next reply is found behind it. */
static void a_long_error(void **state)
{
    char replies[1024] = "+OK\r\n+OK\r\n-NOPERM ";
    struct handshake handshake;
    size_t used, start = strlen(replies);

    (void)state;
    memset(replies + start, 'x', 600);
    strcpy(replies + start + 600, "\r\n+PONG\r\n");
    assert_int_equal(answer(&handshake, replies, strlen(replies), 400, &used), HANDSHAKE_DONE);
    assert_int_equal(handshake.refused, RIGHT_BIT(name));
}

static void what_has_no_answer_yet(void **state)
{
    struct handshake handshake;
    size_t used;

    (void)state;
    answer(&handshake, "+OK\r\n", 5, 5, &used);
    assert_int_equal(handshake_asked(&handshake), RIGHT_BIT(name));
    answer(&handshake, "+OK\r\n+OK\r\n+OK\r\n", 15, 5, &used);
    assert_int_equal(handshake_asked(&handshake), 0);
}

/* ---- rights ---- */

static void a_closing_is_blamed_when_the_next_dial_succeeds(void **state)
{
    struct rights rights = {0};

    (void)state;
    assert_true(rights_doubt(&rights, 0, RIGHT_BIT(name)));
    assert_int_equal(rights_missing(&rights), RIGHT_BIT(name));
    assert_int_equal(rights.refused, 0);
    /* Without it there is nothing left to go without. */
    assert_false(rights_doubt(&rights, RIGHT_BIT(name), 0));
    assert_int_equal(rights_missing(&rights), 0);

    assert_true(rights_doubt(&rights, 0, RIGHT_BIT(name)));
    rights_learn(&rights, RIGHT_BIT(name), 0);
    assert_int_equal(rights.refused, RIGHT_BIT(name));
    assert_int_equal(rights.costly, RIGHT_BIT(name));
    assert_int_equal(rights_report(&rights), RIGHT_BIT(name));
    assert_int_equal(rights_report(&rights), 0);

    rights_renew(&rights);
    rights_learn(&rights, 0, 0);
    assert_int_equal(rights_missing(&rights), 0);
    /* It was answered before: a server that closes now has another reason. */
    assert_false(rights_doubt(&rights, 0, RIGHT_BIT(name)));
    /* Refused again after it was granted: that is news. */
    rights_renew(&rights);
    rights_learn(&rights, 0, RIGHT_BIT(name));
    assert_int_equal(rights_report(&rights), RIGHT_BIT(name));
    assert_int_equal(rights.costly, 0);
}

/* ---- walking through a reply ---- */

struct walked {
    char text[512];
};

static void on_string(void *context, char type, const uint32_t *path, uint32_t depth,
                      const char *text, size_t size)
{
    struct walked *walked = context;
    size_t used = strlen(walked->text);

    used += (size_t)snprintf(walked->text + used, sizeof walked->text - used, "%c", type);
    for (uint32_t i = 0; i < depth; i++)
        used += (size_t)snprintf(walked->text + used, sizeof walked->text - used, "%u.", path[i]);
    snprintf(walked->text + used, sizeof walked->text - used, "%.*s ", (int)size, text);
}

static int walk(struct walked *walked, const char *reply, size_t size, size_t split, size_t *used)
{
    struct reply_walk state = {.string = on_string, .context = walked};
    int result;

    walked->text[0] = '\0';
    result = reply_walk(&state, reply, split, used);
    if (result != 0)
        return result;
    result = reply_walk(&state, reply + split, size - split, used);
    *used += split;
    return result;
}

static void expect_walk(const char *reply, int expected, const char *text)
{
    size_t size = strlen(reply), used;
    struct walked walked;

    for (size_t split = 0; split <= size; split++) {
        assert_int_equal(walk(&walked, reply, size, split, &used), expected);
        assert_string_equal(walked.text, text);
        if (expected == 1)
            assert_int_equal(used, size);
    }
}

static void every_string_has_its_place(void **state)
{
    (void)state;
    expect_walk("+OK\r\n", 1, "+OK ");
    expect_walk("-ERR no\r\n", 1, "-ERR no ");
    expect_walk("$0\r\n\r\n", 1, "$ ");
    expect_walk("$-1\r\n", 1, "");
    expect_walk("*-1\r\n", 1, "");
    expect_walk("*0\r\n", 1, "");
    expect_walk(":17\r\n", 1, "");
    expect_walk("*3\r\n$1\r\na\r\n*2\r\n:1\r\n*0\r\n+b\r\n", 1, "$0.a +2.b ");
    expect_walk("*2\r\n*1\r\n*1\r\n+x\r\n*2\r\n$-1\r\n$2\r\n\r\n\r\n", 1, "+0.0.0.x $1.1.\r\n ");
    expect_walk("*2\r\n+a\r\n", 0, "+0.a ");
    expect_walk("$5\r\nhel", 0, "");
}

static void what_is_no_reply(void **state)
{
    static const char *const replies[] = {
        "x",      "*x\r\n",           "*\r\n",    "$-2\r\n",   "*1\n",
        "%1\r\n", "$12345678901\r\n", "*--1\r\n", "*1\r\n\r\n"};
    struct walked walked;
    size_t used;

    (void)state;
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++)
        assert_int_equal(walk(&walked, replies[i], strlen(replies[i]), 0, &used), -EPROTO);
}

/* Goes on with `text` for ever; how many bytes were borne. */
static size_t bear(const char *head, const char *text, int expected)
{
    struct walked walked;
    struct reply_walk state = {.string = on_string, .context = &walked};
    size_t used, bytes = strlen(head);
    int result = reply_walk(&state, head, bytes, &used);

    while (result == 0 && bytes < 2 * (size_t)WALK_BYTES_MAX) {
        walked.text[0] = '\0';
        result = reply_walk(&state, text, strlen(text), &used);
        bytes += strlen(text);
    }
    assert_int_equal(result, expected);
    return bytes;
}

static void what_has_no_end(void **state)
{
    (void)state;
    assert_in_range(bear("*4294967295\r\n", ":1\r\n", -EMSGSIZE), WALK_BYTES_MAX,
                    WALK_BYTES_MAX + 64);
    assert_in_range(bear("$4294967295\r\n", "xxxxxxxx", -EMSGSIZE), WALK_BYTES_MAX,
                    WALK_BYTES_MAX + 64);
    assert_in_range(bear("+", "xxxxxxxx", -EMSGSIZE), WALK_BYTES_MAX, WALK_BYTES_MAX + 64);
    assert_in_range(bear("", "*1\r\n", -EMSGSIZE), 4 * WALK_DEPTH_MAX, 4 * WALK_DEPTH_MAX + 64);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sent),
        cmocka_unit_test(what_is_needed_and_what_is_not),
        cmocka_unit_test(a_sentinel_is_asked),
        cmocka_unit_test(what_is_no_redis),
        cmocka_unit_test(a_long_error),
        cmocka_unit_test(what_has_no_answer_yet),
        cmocka_unit_test(a_closing_is_blamed_when_the_next_dial_succeeds),
        cmocka_unit_test(every_string_has_its_place),
        cmocka_unit_test(what_is_no_reply),
        cmocka_unit_test(what_has_no_end),
    };

    return cmocka_run_group_tests_name("handshake", tests, NULL, NULL);
}
