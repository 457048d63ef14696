/* SPDX-License-Identifier: MIT */
/* What a request is: its flags, and what is not one whole command. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include <hiredis/hiredis.h>
#include "shared/command.h"

static struct command parsed(const char *line)
{
    struct command command;
    uint32_t count;
    char *request;
    int length = redisFormatCommand(&request, line);

    assert_true(length > 0);
    assert_int_equal(command_parse(request, (size_t)length, NULL, &command, &count), 0);
    assert_int_equal(count, 1);
    /* Any part of it is not a command, nor is it with something behind it. */
    for (int cut = 0; cut < length; cut++) {
        struct command other;

        assert_int_equal(command_parse(request, (size_t)cut, NULL, &other, &count), -EINVAL);
    }
    redisFreeCommand(request);
    return command;
}

static void flags_are_redis_own(void **state)
{
    (void)state;
    assert_int_equal(parsed("GET a").flags, COMMAND_READ_ONLY);
    assert_int_equal(parsed("get a").flags, COMMAND_READ_ONLY);
    assert_int_equal(parsed("MGET a b c").flags, COMMAND_READ_ONLY);
    assert_int_equal(parsed("SET a b").flags, 0);
    assert_int_equal(parsed("BLPOP a 0").flags, COMMAND_BLOCKING);
    assert_int_equal(parsed("XREAD COUNT 1 STREAMS s 0").flags,
                     COMMAND_READ_ONLY | COMMAND_BLOCKING);
    assert_int_equal(parsed("SELECT 3").flags, COMMAND_SESSION);
    assert_int_equal(parsed("SUBSCRIBE c").flags, COMMAND_SESSION);
    assert_int_equal(parsed("ZUNIONSTORE a 1 b").flags, 0);
    assert_int_equal(parsed("ZSCORE a b").flags, COMMAND_READ_ONLY);
}

static void client_is_a_family(void **state)
{
    (void)state;
    assert_int_equal(parsed("CLIENT LIST").flags, 0);
    assert_int_equal(parsed("client id").flags, 0);
    assert_int_equal(parsed("CLIENT SETNAME x").flags, COMMAND_SESSION);
    assert_int_equal(parsed("CLIENT REPLY OFF").flags, COMMAND_SESSION);
    assert_int_equal(parsed("CLIENT TRACKING ON").flags, COMMAND_SESSION);
    assert_int_equal(parsed("CLIENT SOMETHINGNEW").flags, COMMAND_SESSION);
    assert_int_equal(parsed("CLIENT").flags, COMMAND_SESSION);
}

static void transactions_have_kinds(void **state)
{
    (void)state;
    assert_int_equal(parsed("MULTI").kind, COMMAND_MULTI);
    assert_int_equal(parsed("exec").kind, COMMAND_EXEC);
    assert_int_equal(parsed("DISCARD").kind, COMMAND_DISCARD);
    assert_int_equal(parsed("WATCH a b").kind, COMMAND_WATCH);
    assert_int_equal(parsed("UNWATCH").kind, COMMAND_UNWATCH);
    assert_int_equal(parsed("GET a").kind, COMMAND_OTHER);
}

static void unknown_commands_have_no_flags(void **state)
{
    (void)state;
    assert_int_equal(parsed("JSON.GET a").flags, 0);
    assert_int_equal(parsed("averyveryverylongcommandname.thatnobodyknows a").flags, 0);
    assert_int_equal(parsed("GETX a").flags, 0);
}

static void pipelines_are_summed_up(void **state)
{
    static const char reads[] = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nTTL\r\n$1\r\na\r\n";
    static const char mixed[] = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$5\r\nMULTI\r\n"
                                "*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n";
    struct command command;
    uint32_t count;

    (void)state;
    assert_int_equal(command_parse(reads, sizeof reads - 1, NULL, &command, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(command.flags, COMMAND_READ_ONLY);
    assert_int_equal(command.kind, COMMAND_OTHER);
    assert_int_equal(command_parse(mixed, sizeof mixed - 1, NULL, &command, &count), 0);
    assert_int_equal(count, 3);
    assert_int_equal(command.flags, COMMAND_SESSION);
    assert_int_equal(command.kind, COMMAND_MULTI);
}

static void refuse(const char *request, size_t size)
{
    struct command command;
    uint32_t count;

    assert_int_equal(command_parse(request, size, NULL, &command, &count), -EINVAL);
}

static void what_is_no_command_is_refused(void **state)
{
    static const char *const requests[] = {
        "GET a\r\n",
        "*0\r\n",
        "*-1\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$4\r\nPINGx\r\n",
        "*1\r\n$4\r\nPING\r\n*1\r\n",
        "*1\r\n$4\r\nPING\r\nPING\r\n",
        "*99999999999999999999\r\n",
        "*2\r\n$4\r\nPING\r\n$99999999999999999\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        refuse(requests[i], strlen(requests[i]));
    refuse("", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_are_redis_own),     cmocka_unit_test(client_is_a_family),
        cmocka_unit_test(transactions_have_kinds), cmocka_unit_test(unknown_commands_have_no_flags),
        cmocka_unit_test(pipelines_are_summed_up), cmocka_unit_test(what_is_no_command_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
