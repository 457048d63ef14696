/* SPDX-License-Identifier: MIT */
/*
 * What the preloaded library follows of a program's bytes: requests cut anywhere, classified by
 * their first words, and what their replies change.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "libclient/preload/plan.h"

/* Words, separated by blanks, as a request. */
static size_t make(char *to, const char *words)
{
    char copy[512], *rest = NULL;
    size_t used = 0;
    int count = 1;

    strcpy(copy, words);
    for (const char *at = words; *at; at++)
        count += *at == ' ';
    used = (size_t)sprintf(to, "*%d\r\n", count);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        used += (size_t)sprintf(to + used, "$%zu\r\n%s\r\n", strlen(word), word);
    return used;
}

/* ---- requests ---- */

static void requests_in_pieces(void **state)
{
    char text[1024];
    size_t size = make(text, "SET some:key some-value"), used;

    (void)state;
    size += make(text + size, "PING");
    for (size_t cut = 0; cut <= size; cut++) {
        struct request request = {0};
        size_t at = 0, ends[2], count = 0;

        while (at < size) {
            size_t piece = at < cut ? cut - at : size - at;
            int result = request_feed(&request, text + at, piece, &used);

            assert_true(result == 0 || result == 1);
            at += used;
            if (result == 1) {
                assert_true(count < 2);
                assert_true(request_word_is(&request, 0, count == 0 ? "SET" : "PING"));
                ends[count++] = at;
                request_end(&request);
                assert_true(request_is_between(&request));
            } else if (at < size) {
                assert_int_equal(at, cut);
            }
        }
        assert_int_equal(count, 2);
        assert_int_equal(ends[0], size - strlen("*1\r\n$4\r\nPING\r\n"));
        assert_int_equal(ends[1], size);
    }
}

static void what_is_no_request(void **state)
{
    static const char *const bad[] = {
        "PING\r\n",
        "\r\n",
        "*0\r\n",
        "*-1\r\n",
        "*1\r\n+PING\r\n",
        "*1\r\n$-1\r\n",
        "*x\r\n",
        "*1\n$4\n",
        "*99999999999999\r\n",
        "*\r\n",
        "*1\r\n$\r\n",
        "*1\r\n*1\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct request request = {0};
        size_t used;
        int result = request_feed(&request, bad[i], strlen(bad[i]), &used);

        if (result >= 0)
            fail_msg("%s: %d", bad[i], result);
    }
}

/* A long word is no name; a payload's own text is none either. */
static void words(void **state)
{
    struct request request = {0};
    char text[1024], long_word[200];
    size_t size, used;

    (void)state;
    memset(long_word, 'a', sizeof long_word - 1);
    long_word[sizeof long_word - 1] = '\0';
    size = (size_t)sprintf(text, "*3\r\n$3\r\nget\r\n$199\r\n%s\r\n$6\r\n*1\r\n$4\r\n", long_word);
    assert_int_equal(request_feed(&request, text, size, &used), 1);
    assert_true(request_word_is(&request, 0, "GET"));
    assert_false(request_word_is(&request, 1, long_word));
    assert_int_equal(request.sizes[1], 199);
    assert_int_equal(request_number(&request, 1), -1);
    request_end(&request);
    size = make(text, "SELECT 15");
    assert_int_equal(request_feed(&request, text, size, &used), 1);
    assert_int_equal(request_number(&request, 1), 15);
}

/* ---- plans ---- */

static struct plan plan_of(const char *words)
{
    struct plan plan;
    char text[1024];

    plan_make(&plan, text, make(text, words), NULL, NULL);
    return plan;
}

static void plans(void **state)
{
    static const struct {
        const char *words;
        bool shares, own, ties, blocks, lasting;
    } cases[] = {
        {"GET k", true, false, false, false, false},
        {"SET k v EX 5", true, false, false, false, false},
        {"MULTI", false, false, true, false, false},
        {"WATCH k", false, false, true, false, false},
        {"BLPOP k 0", false, false, false, true, false},
        {"XREAD COUNT 2 STREAMS s 0", true, false, false, false, false},
        {"XREAD COUNT 2 BLOCK 5 STREAMS s 0", false, false, false, true, false},
        {"XREADGROUP GROUP BLOCK c STREAMS s 0", true, false, false, false, false},
        {"XREADGROUP GROUP g c COUNT 1 BLOCK 5 STREAMS s 0", false, false, false, true, false},
        {"SUBSCRIBE c", false, false, false, false, true},
        {"MONITOR", false, false, false, false, true},
        {"CLIENT REPLY OFF", false, false, false, false, true},
        {"CLIENT TRACKING ON", false, false, false, false, true},
        {"CLIENT SETINFO LIB-NAME x", true, false, false, false, false},
        {"CLIENT SETNAME x", false, true, false, false, false},
        {"CLIENT GETNAME", false, true, false, false, false},
        {"CLIENT ID", false, false, false, false, true},
        {"CLIENT LIST TYPE normal", false, false, false, false, true},
        {"CLIENT UNPAUSE", true, false, false, false, false},
        {"SELECT 3", false, true, false, false, false},
        {"AUTH p", false, true, false, false, false},
        {"HELLO", true, false, false, false, false},
        {"HELLO 2", true, false, false, false, false},
        {"HELLO 3", false, false, false, false, true},
        {"HELLO 2 AUTH u p", false, true, false, false, false},
        {"HELLO 3 AUTH u p", false, false, false, false, true},
        {"HELLO 2 SETNAME x", false, false, false, false, true},
        {"WAIT 1 100", false, false, false, false, true},
        {"QUIT", false, true, false, false, false},
        {"SCRIPT DEBUG YES", false, false, false, false, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct plan plan = plan_of(cases[i].words);

        if (plan.commands != 1 || plan.shares != cases[i].shares || plan.own != cases[i].own ||
            plan.ties != cases[i].ties || plan.blocks != cases[i].blocks ||
            plan.lasting != cases[i].lasting)
            fail_msg("%s: shares %d own %d ties %d blocks %d lasting %d", cases[i].words,
                     plan.shares, plan.own, plan.ties, plan.blocks, plan.lasting);
    }
}

static void plans_of_parts(void **state)
{
    struct plan plan;
    char text[1024];
    size_t first = make(text, "GET k"), size = first + make(text + first, "BLPOP k 0");

    (void)state;
    plan_make(&plan, text, size, NULL, NULL);
    assert_int_equal(plan.commands, 2);
    assert_true(plan.blocks && !plan.partial && !plan.shares);
    assert_string_equal(plan.why, "BLPOP");
    plan_make(&plan, text, size - 3, NULL, NULL);
    assert_int_equal(plan.commands, 1);
    assert_true(plan.blocks && plan.partial);
    plan_make(&plan, text, first + 5, NULL, NULL);
    assert_true(plan.unknown && plan.partial && !plan.blocks);
    assert_int_equal(plan_first_end(text, size), first);
    assert_int_equal(plan_first_end(text, first - 1), 0);
    plan_make(&plan, "PING\r\n", 6, NULL, NULL);
    assert_true(plan.foreign);
}

/* What is known by its name is what plan_make() has found to share, and nothing else. */
static void plans_by_name(void **state)
{
    static const char *const others[] = {
        "CLIENT ID", "HELLO",       "HELLO 2",        "XREAD STREAMS s 0", "MULTI", "BLPOP k 0",
        "AUTH p",    "SUBSCRIBE c", "GEORADIUS_RO k", "SELECT 1",          "QUIT",  "WAIT 0 0"};
    char text[1024];
    struct plan plan;
    size_t size = make(text, "GET k");

    (void)state;
    assert_false(plan_known(&plan, text, make(text, "HSTRLEN k")));
    plan_of("get k");
    size = make(text, "GET k");
    assert_true(plan_known(&plan, text, size));
    assert_int_equal(plan.commands, 1);
    assert_true(plan.shares && plan.select == -1 && !plan.ties && !plan.lasting);
    size += make(text + size, "gEt some-other-key");
    assert_true(plan_known(&plan, text, size));
    assert_int_equal(plan.commands, 2);
    for (size_t cut = 1; cut < size; cut++)
        if (cut != strlen("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"))
            assert_false(plan_known(&plan, text, cut));
    size += make(text + size, "MULTI");
    assert_false(plan_known(&plan, text, size));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        plan_of(others[i]);
        assert_false(plan_known(&plan, text, make(text, others[i])));
    }
    assert_false(plan_known(&plan, "*02\r\n$3\r\nGET\r\n$1\r\nk\r\n", 21));
    assert_false(plan_known(&plan, "*2\r\n$3\r\nGET\r\n$9999999\r\nk\r\n", 26));
    assert_false(plan_known(&plan, "GET k\r\n", 7));
}

/* ---- streams ---- */

static void sent(struct stream *stream, const char *words)
{
    char text[1024];

    stream_sent(stream, text, make(text, words), NULL, NULL);
}

static bool received(struct stream *stream, const char *reply)
{
    return stream_received(stream, reply, strlen(reply));
}

static void replies_are_counted(void **state)
{
    struct stream stream = {0};
    char text[1024];
    size_t size = make(text, "GET k");

    (void)state;
    stream_begin(&stream, 0);
    assert_true(stream_is_clean(&stream));
    stream_sent(&stream, text, 4, NULL, NULL);
    assert_false(stream_is_clean(&stream));
    stream_sent(&stream, text + 4, size - 4, NULL, NULL);
    sent(&stream, "GET other");
    assert_true(received(&stream, "$1\r"));
    assert_true(received(&stream, "\nx\r\n$2\r\n"));
    assert_false(stream_is_between(&stream));
    assert_true(received(&stream, "yy\r\n"));
    assert_true(stream_is_clean(&stream));
    /* A reply that nobody asked for. */
    assert_false(received(&stream, "+OK\r\n"));
    assert_false(stream_is_clean(&stream));
    stream_forget(&stream);
}

static void replies_decide(void **state)
{
    struct stream stream = {0};

    (void)state;
    stream_begin(&stream, 2);
    sent(&stream, "MULTI");
    assert_true(received(&stream, "-ERR no\r\n"));
    assert_true(stream_is_clean(&stream));
    sent(&stream, "MULTI");
    sent(&stream, "INCR k");
    assert_true(received(&stream, "+OK\r\n+QUEUED\r\n"));
    assert_false(stream_is_clean(&stream));
    assert_string_equal(stream.reason, "MULTI");
    sent(&stream, "EXEC");
    assert_true(received(&stream, "*1\r\n:1\r\n"));
    assert_true(stream_is_clean(&stream));
    sent(&stream, "SELECT 99");
    assert_true(received(&stream, "-ERR DB index is out of range\r\n"));
    assert_true(stream_is_clean(&stream));
    assert_false(stream.db_changed);
    sent(&stream, "SELECT 5");
    assert_true(received(&stream, "+OK\r\n"));
    assert_false(stream_is_clean(&stream));
    assert_int_equal(stream.db, 5);
    sent(&stream, "SELECT 2");
    assert_true(received(&stream, "+OK\r\n"));
    assert_true(stream_is_clean(&stream));
    sent(&stream, "CLIENT SETNAME joe");
    assert_true(received(&stream, "+OK\r\n"));
    assert_true(stream_is_clean(&stream)); /* the name is kept for the program */
    assert_int_equal(stream.session.left, LEFT_NAME);
    assert_string_equal(stream.name, "joe");
    sent(&stream, "WATCH k");
    assert_true(received(&stream, "+OK\r\n"));
    sent(&stream, "UNWATCH");
    assert_false(stream_is_clean(&stream));
    assert_true(received(&stream, "+OK\r\n"));
    assert_true(stream_is_clean(&stream));
    stream_forget(&stream);
}

/* What takes effect with EXEC is not looked into. */
static void sessions_in_transactions(void **state)
{
    struct stream stream = {0};

    (void)state;
    stream_begin(&stream, 0);
    sent(&stream, "MULTI");
    sent(&stream, "SELECT 5");
    sent(&stream, "EXEC");
    assert_true(received(&stream, "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"));
    assert_true(stream_is_between(&stream));
    assert_false(stream_is_clean(&stream));
    stream_begin(&stream, 0);
    sent(&stream, "AUTH p");
    assert_true(received(&stream, "+OK\r\n"));
    assert_false(stream_is_clean(&stream));
    stream_begin(&stream, 0);
    sent(&stream, "SUBSCRIBE c");
    assert_false(stream_is_between(&stream));
    assert_true(received(&stream, "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n+anything\r\n"));
    assert_false(stream_is_between(&stream));
    stream_begin(&stream, 0);
    stream_sent(&stream, "PING\r\n", 6, NULL, NULL);
    assert_false(stream_is_between(&stream));
    stream_forget(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_in_pieces),
        cmocka_unit_test(what_is_no_request),
        cmocka_unit_test(words),
        cmocka_unit_test(plans),
        cmocka_unit_test(plans_of_parts),
        cmocka_unit_test(plans_by_name),
        cmocka_unit_test(replies_are_counted),
        cmocka_unit_test(replies_decide),
        cmocka_unit_test(sessions_in_transactions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
