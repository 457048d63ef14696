/* SPDX-License-Identifier: MIT */
/* The end of a reply, in one piece and in every split, against hiredis' reader where that knows the
 * type. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <hiredis/hiredis.h>
#include "libclient/connection/resp.h"

/* Feeds `text` in pieces of `piece` bytes; returns the reply's length, 0 for incomplete, -1 for an
 * error. */
static long scan_pieces(const char *text, size_t size, size_t piece)
{
    struct resp_scan scan = {0};
    size_t at = 0;

    while (at < size) {
        size_t step = size - at < piece ? size - at : piece, used;
        int result = resp_scan(&scan, text + at, step, &used);

        if (result < 0)
            return -1;
        at += used;
        if (result == 1)
            return (long)at;
    }
    return 0;
}

static void expect_length(const char *text, size_t size, long expected)
{
    for (size_t piece = 1; piece <= size; piece++)
        assert_int_equal(scan_pieces(text, size, piece), expected);
}

/* The whole of `text` is one reply; what follows it does not matter. */
static void expect_whole(const char *text)
{
    size_t size = strlen(text);
    char *more = malloc(size + 4);

    expect_length(text, size, (long)size);
    memcpy(more, text, size);
    memcpy(more + size, "+OK\r", 4);
    expect_length(more, size + 4, (long)size);
    free(more);
    for (size_t cut = 1; cut < size; cut++)
        assert_int_equal(scan_pieces(text, cut, cut), 0);
}

static void resp2_replies(void **state)
{
    (void)state;
    expect_whole("+OK\r\n");
    expect_whole("-ERR no\r\n");
    expect_whole(":-123\r\n");
    expect_whole("$0\r\n\r\n");
    expect_whole("$5\r\nab\r\nc\r\n");
    expect_whole("$-1\r\n");
    expect_whole("*-1\r\n");
    expect_whole("*0\r\n");
    expect_whole("*3\r\n$1\r\na\r\n:1\r\n*2\r\n+x\r\n$-1\r\n");
    expect_whole("*2\r\n*0\r\n*1\r\n*1\r\n$3\r\n*1\r\r\n");
    /* hiredis takes a CR without LF for text, and so do we. */
    expect_whole("+a\rb\r\n");
    expect_whole("-\r\r\n");
    expect_whole("+a\nb\r\r\r\n");
}

static void resp3_replies(void **state)
{
    (void)state;
    expect_whole("_\r\n");
    expect_whole("#t\r\n");
    expect_whole(",1.5e10\r\n");
    expect_whole("(123456789012345678901234567890\r\n");
    expect_whole("!5\r\nERR x\r\n");
    expect_whole("=6\r\ntxt:ab\r\n");
    expect_whole("%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n");
    expect_whole("~2\r\n:1\r\n:2\r\n");
    expect_whole("|1\r\n+ttl\r\n:5\r\n$1\r\na\r\n");
    expect_whole("*2\r\n|1\r\n+k\r\n+v\r\n:1\r\n:2\r\n");
}

static void not_resp(void **state)
{
    static const char *const texts[] = {
        "HTTP/1.1 200\r\n",          "\r\n",    "$x\r\n",    "$\r\n",   "$-2\r\n",
        "*99999999999999999999\r\n", "*1-\r\n", "$1\r1\r\n", "%-1\r\n", "$1 \r\n"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t piece = 1; piece <= strlen(texts[i]); piece++)
            assert_int_equal(scan_pieces(texts[i], strlen(texts[i]), piece), -1);
}

static void deep_and_wide(void **state)
{
    size_t size = 0;
    char *text = malloc(4 * 100000 + 16);

    (void)state;
    for (int i = 0; i < 100000; i++, size += 4)
        memcpy(text + size, "*1\r\n", 4);
    memcpy(text + size, ":1\r\n", 4);
    assert_int_equal(scan_pieces(text, size + 4, 4096), (long)size + 4);
    free(text);
}

static void error_replies_are_known(void **state)
{
    struct resp_scan scan = {0};
    size_t used;

    (void)state;
    assert_int_equal(resp_scan(&scan, "-ERR\r\n", 6, &used), 1);
    assert_int_equal(scan.first, '-');
    assert_int_equal(resp_scan(&scan, "*1\r\n-ERR\r\n", 10, &used), 1);
    assert_int_equal(scan.first, '*');
}

/* The same boundaries as hiredis for random well-formed RESP2, in random pieces. */
static size_t random_value(char *out, int depth)
{
    int length = rand() % 20;

    switch (depth > 4 ? rand() % 4 : rand() % 5) {
    case 0:
        return (size_t)sprintf(out, "+status%d\r\n", rand());
    case 1:
        return (size_t)sprintf(out, ":%d\r\n", rand() - RAND_MAX / 2);
    case 2:
        return (size_t)sprintf(out, "$-1\r\n");
    case 3: {
        size_t at = (size_t)sprintf(out, "$%d\r\n", length);

        for (int i = 0; i < length; i++)
            out[at++] = "\r\n$*+-:ab1"[rand() % 10];
        out[at++] = '\r';
        out[at++] = '\n';
        return at;
    }
    default: {
        int count = rand() % 4;
        size_t at = (size_t)sprintf(out, "*%d\r\n", count);

        for (int i = 0; i < count; i++)
            at += random_value(out + at, depth + 1);
        return at;
    }
    }
}

static void same_boundaries_as_hiredis(void **state)
{
    char *text = malloc(1 << 20);

    (void)state;
    srand(1);
    for (int round = 0; round < 5000; round++) {
        size_t size = random_value(text, 0);
        redisReader *reader = redisReaderCreate();
        void *reply = NULL;

        assert_int_equal(redisReaderFeed(reader, text, size - 1), REDIS_OK);
        assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
        assert_null(reply);
        assert_int_equal(redisReaderFeed(reader, text + size - 1, 1), REDIS_OK);
        assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
        assert_non_null(reply);
        freeReplyObject(reply);
        redisReaderFree(reader);
        assert_int_equal(scan_pieces(text, size, 1 + (size_t)rand() % size), (long)size);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resp2_replies),
        cmocka_unit_test(resp3_replies),
        cmocka_unit_test(not_resp),
        cmocka_unit_test(deep_and_wide),
        cmocka_unit_test(error_replies_are_known),
        cmocka_unit_test(same_boundaries_as_hiredis),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
