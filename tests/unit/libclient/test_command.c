/* SPDX-License-Identifier: MIT */
/* What a request is: its flags, by the table and by what differs from it, and what is not one whole
 * command. */
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <hiredis/hiredis.h>
#include "libclient/shared/command.h"

static struct command parsed_with(const char *differences, const char *line)
{
    struct command command;
    uint32_t count;
    char *request;
    int length = redisFormatCommand(&request, line);

    assert_true(length > 0);
    assert_int_equal(command_parse(request, (size_t)length, differences, &command, &count), 0);
    assert_int_equal(count, 1);
    /* Any part of it is not a command, nor is it with something behind it. */
    for (int cut = 0; cut < length; cut++) {
        struct command other;

        assert_int_equal(command_parse(request, (size_t)cut, differences, &other, &count), -EINVAL);
    }
    redisFreeCommand(request);
    return command;
}

static struct command parsed(const char *line)
{
    return parsed_with(NULL, line);
}

static void flags_are_redis_own(void **state)
{
    (void)state;
    assert_int_equal(parsed("GET a").flags, COMMAND_READ_ONLY);
    assert_int_equal(parsed("get a").flags, COMMAND_READ_ONLY);
    assert_int_equal(parsed("MGET a b c").flags, COMMAND_READ_ONLY);
    assert_int_equal(parsed("SET a b").flags, 0);
    assert_int_equal(parsed("BLPOP a 0").flags, COMMAND_BLOCKING);
    assert_int_equal(parsed("WAIT 1 0").flags, COMMAND_BLOCKING | COMMAND_AFTER_WRITE);
    assert_int_equal(parsed("WAITAOF 1 1 0").flags, COMMAND_BLOCKING | COMMAND_AFTER_WRITE);
    assert_int_equal(parsed("HIMPORT PREPARE s f").flags, COMMAND_SESSION | COMMAND_NOT_ALONE);
    assert_int_equal(parsed("SCAN 0").flags, COMMAND_READ_ONLY | COMMAND_OF_NODE);
    assert_int_equal(parsed("CLUSTER SLOTS").flags, 0);
    assert_int_equal(parsed("CLUSTER SYNCSLOTS x").flags, COMMAND_SESSION | COMMAND_LEASE);
    assert_int_equal(parsed("SHUTDOWN").flags, COMMAND_EXCLUSIVE);
    assert_int_equal(parsed("AUTH a b").flags, COMMAND_SESSION);
    assert_int_equal(parsed("ZUNIONSTORE a 1 b").flags, 0);
    assert_int_equal(parsed("ZSCORE a b").flags, COMMAND_READ_ONLY);
}

static void client_is_a_family(void **state)
{
    (void)state;
    assert_int_equal(parsed("CLIENT LIST").flags, 0);
    assert_int_equal(parsed("client id").flags, 0);
    assert_int_equal(parsed("CLIENT SETNAME x").flags, COMMAND_SESSION);
    assert_int_equal(parsed("CLIENT REPLY ON").flags, COMMAND_SESSION);
    assert_int_equal(parsed("client reply off").flags, COMMAND_SESSION | COMMAND_LEASE);
    assert_int_equal(parsed("CLIENT REPLY SKIP").flags, COMMAND_SESSION | COMMAND_LEASE);
    assert_int_equal(parsed("CLIENT NO-EVICT ON").flags, COMMAND_SESSION | COMMAND_NOT_ALONE);
    assert_int_equal(parsed("CLIENT NO-TOUCH ON").flags, COMMAND_SESSION | COMMAND_NOT_ALONE);
    assert_int_equal(parsed("CLIENT CACHING YES").flags, COMMAND_SESSION | COMMAND_NOT_ALONE);
    assert_int_equal(parsed("CLIENT SETINFO LIB-NAME x").flags, COMMAND_SESSION);
    assert_int_equal(parsed("CLIENT KILL ID 5").flags, COMMAND_EXCLUSIVE);
    assert_int_equal(parsed("CLIENT TRACKING ON").flags, COMMAND_SESSION | COMMAND_NOT_ALONE);
    assert_int_equal(parsed("CLIENT SOMETHINGNEW").flags, COMMAND_SESSION);
    assert_int_equal(parsed("CLIENT").flags, COMMAND_SESSION);
}

static void scripts_are_debugged_in_a_session(void **state)
{
    (void)state;
    assert_int_equal(parsed("SCRIPT LOAD x").flags, 0);
    assert_int_equal(parsed("SCRIPT EXISTS debug").flags, 0);
    assert_int_equal(parsed("script debug sync").flags, COMMAND_SESSION | COMMAND_LASTING);
    assert_int_equal(parsed("SCRIPT").flags, 0);
}

static void streams_block_only_where_told_to(void **state)
{
    const unsigned blocking = COMMAND_BLOCKING;

    (void)state;
    assert_int_equal(parsed("XREAD COUNT 1 STREAMS s 0").flags, COMMAND_READ_ONLY);
    assert_int_equal(parsed("XREAD STREAMS block 0").flags, COMMAND_READ_ONLY);
    assert_int_equal(parsed("XREAD BLOCK 0 STREAMS s 0").flags, COMMAND_READ_ONLY | blocking);
    assert_int_equal(parsed("xread count 5 block 0 streams s 0").flags,
                     COMMAND_READ_ONLY | blocking);
    assert_int_equal(parsed("XREAD").flags, COMMAND_READ_ONLY);
    assert_int_equal(parsed("XREAD COUNT").flags, COMMAND_READ_ONLY);
    assert_int_equal(parsed("XREADGROUP GROUP g c COUNT 1 NOACK STREAMS s >").flags, 0);
    assert_int_equal(parsed("XREADGROUP GROUP g c BLOCK 5 STREAMS s >").flags, blocking);
    /* A group and a consumer can have any name. */
    assert_int_equal(parsed("XREADGROUP GROUP block STREAMS COUNT 1 STREAMS s >").flags, 0);
    assert_int_equal(parsed("XREADGROUP GROUP STREAMS c BLOCK 0 STREAMS s >").flags, blocking);
    assert_int_equal(parsed("XREADGROUP NOACK GROUP streams block BLOCK 0 STREAMS s >").flags,
                     blocking);
}

static bool refused(const char *line)
{
    struct command command = parsed(line);

    return command_needs_lease(&command, 1);
}

static void some_make_no_sense_in_one_call(void **state)
{
    static const char *const lines[] = {"SUBSCRIBE c",
                                        "psubscribe c",
                                        "SSUBSCRIBE c",
                                        "UNSUBSCRIBE",
                                        "PUNSUBSCRIBE",
                                        "SUNSUBSCRIBE",
                                        "MONITOR",
                                        "SYNC",
                                        "PSYNC ? -1",
                                        "REPLCONF ACK 1",
                                        "QUIT",
                                        "multi",
                                        "WATCH a b",
                                        "SELECT 3",
                                        "CLIENT REPLY OFF",
                                        "WAIT 1 0",
                                        "waitaof 1 0 0",
                                        "READONLY",
                                        "ASKING",
                                        "CLIENT NO-TOUCH ON",
                                        "HIMPORT SET k s v"};
    static const char *const others[] = {"EXEC",      "DISCARD",     "UNWATCH",         "AUTH a b",
                                         "RESET",     "HELLO 3",     "CLIENT REPLY ON", "BLPOP a 0",
                                         "CLIENT ID", "PUBLISH c m", "NOSUCHCOMMAND"};
    struct command command = {COMMAND_NOT_ALONE, COMMAND_MULTI};

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!refused(lines[i]))
            fail_msg("%s", lines[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (refused(others[i]))
            fail_msg("%s", others[i]);
    assert_false(command_needs_lease(&command, 3));
    command.flags |= COMMAND_LEASE;
    assert_true(command_needs_lease(&command, 3));
}

static bool shared(const char *differences, const char *line)
{
    struct command command = parsed_with(differences, line);

    return command_may_share(&command);
}

static void differences_win(void **state)
{
    static const char all[] = "!BAR -BLPOP +FOO +GET -XREAD !XREAD";

    (void)state;
    assert_int_equal(parsed_with(all, "foo a").flags, COMMAND_BLOCKING);
    assert_int_equal(parsed_with(all, "Bar").flags, COMMAND_EXCLUSIVE);
    assert_int_equal(parsed_with(all, "BLPOP a 0").flags, 0);
    assert_int_equal(parsed_with(all, "GET a").flags, COMMAND_READ_ONLY | COMMAND_BLOCKING);
    assert_int_equal(parsed_with(all, "XREAD BLOCK 0 STREAMS s 0").flags,
                     COMMAND_READ_ONLY | COMMAND_EXCLUSIVE);
    assert_int_equal(parsed_with(all, "BRPOP a 0").flags, COMMAND_BLOCKING);
    /* Whole names only. */
    assert_true(shared(all, "FO a"));
    assert_true(shared(all, "FOOO a"));
    assert_true(shared(all, "+FOO a"));
    assert_true(shared(all, "XREA a"));
    assert_true(shared("", "FOO a"));
    assert_false(shared("+FOO", "FOO a"));
    assert_false(shared("!FOO", "FOO a"));
    assert_true(shared("-FOO", "FOO a"));
    assert_false(shared("-FOO !FOO", "FOO a"));
    assert_true(shared("junk", "UNK"));
}

static void names_are_checked(void **state)
{
    char name[COMMAND_NAME_SIZE], longest[80];

    (void)state;
    memset(longest, 'a', sizeof longest);
    assert_true(command_name("json.get", 8, name));
    assert_string_equal(name, "JSON.GET");
    assert_true(command_name("_a-b:c/d1", 9, name));
    assert_string_equal(name, "_A-B:C/D1");
    assert_true(command_name(longest, COMMAND_NAME_SIZE - 1, name));
    assert_int_equal(strlen(name), COMMAND_NAME_SIZE - 1);
    assert_false(command_name(longest, COMMAND_NAME_SIZE, name));
    assert_false(command_name("", 0, name));
    assert_false(command_name("a b", 3, name));
    assert_false(command_name("a\0b", 3, name));
    assert_false(command_name("+a", 2, name));
    assert_false(command_name("\xc3\xa4", 2, name));
    assert_int_equal(command_flags("WAIT"), COMMAND_BLOCKING | COMMAND_FIXED | COMMAND_AFTER_WRITE);
    assert_int_equal(command_flags("NOSUCHCOMMAND"), 0);
}

/* ---- all of the table ---- */

static const struct {
    char name[COMMAND_NAME_SIZE];
    unsigned flags;
    enum command_kind kind;
} table[] = {
#include "libclient/shared/command_table.h"
};
#define TABLE_SIZE  (sizeof table / sizeof *table)
#define TABLE_FLAGS (unsigned)(COMMAND_ARGUMENTS | COMMAND_FIXED | COMMAND_WRITES)

static void each_command_is_found(void **state)
{
    (void)state;
    assert_true(TABLE_SIZE > 300);
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        char name[COMMAND_NAME_SIZE], lower[COMMAND_NAME_SIZE] = "";

        assert_true(i == 0 || strcmp(table[i - 1].name, table[i].name) < 0);
        assert_true(command_name(table[i].name, strlen(table[i].name), name));
        assert_string_equal(name, table[i].name);
        assert_true(command_is_known(name));
        assert_int_equal(command_flags(name), table[i].flags);
        for (size_t at = 0; name[at]; at++)
            lower[at] = (char)tolower(name[at]);
        /* What ends with the session's change is followed as that. */
        if (!(table[i].flags & COMMAND_SESSION))
            assert_int_equal(parsed(lower).kind, table[i].kind);
        if (!(table[i].flags & COMMAND_ARGUMENTS))
            assert_int_equal(parsed(lower).flags, table[i].flags & ~TABLE_FLAGS);
        assert_int_equal(parsed(lower).flags & TABLE_FLAGS, 0);
    }
    assert_false(command_is_known("NOSUCHCOMMAND"));
    assert_false(command_is_known(""));
}

/* What two flags of a command cannot say at once. */
static void no_command_contradicts_itself(void **state)
{
    (void)state;
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        unsigned flags = table[i].flags;
        struct command command = parsed(table[i].name);

        /* What may be sent twice, or by any node, changes nothing that lasts. */
        if (flags & COMMAND_READ_ONLY)
            assert_int_equal(flags & (COMMAND_WRITES | COMMAND_SESSION | COMMAND_LEASE |
                                      COMMAND_EXCLUSIVE | COMMAND_AFTER_WRITE),
                             0);
        /* What is of no use alone is refused, and so never leaves a connection changed. */
        assert_int_equal(
            command_needs_lease(&command, 1),
            (command.flags & (COMMAND_LEASE | COMMAND_NOT_ALONE | COMMAND_AFTER_WRITE)) != 0);
        if (flags & COMMAND_AFTER_WRITE)
            assert_int_equal(flags & (COMMAND_WRITES | COMMAND_SESSION), 0);
        /* What changes the session, or waits, shares a connection with nobody. */
        if (command.flags & (COMMAND_SESSION | COMMAND_BLOCKING | COMMAND_LEASE))
            assert_false(command_may_share(&command));
        if (flags & COMMAND_OF_NODE)
            assert_true(flags & COMMAND_READ_ONLY);
    }
}

static void marks_count_for_each_command(void **state)
{
    static const struct {
        char mark;
        unsigned flags;
    } marks[] = {{COMMAND_MARK_BLOCKS, COMMAND_BLOCKING},
                 {COMMAND_MARK_EXCLUSIVE, COMMAND_EXCLUSIVE},
                 {COMMAND_MARK_SESSION, COMMAND_SESSION | COMMAND_SUSPECT}};
    char differences[2 * COMMAND_NAME_SIZE];

    (void)state;
    for (size_t i = 0; i < TABLE_SIZE; i++)
        for (size_t m = 0; m < sizeof marks / sizeof *marks; m++) {
            struct command command;

            snprintf(differences, sizeof differences, "!A %c%.63s ~Z", marks[m].mark,
                     table[i].name);
            command = parsed_with(differences, table[i].name);
            assert_int_equal(command.flags, parsed(table[i].name).flags | marks[m].flags);
            assert_false(command_may_share(&command));
            /* It is one of those that are known. */
            assert_int_equal(parsed_with("~*", table[i].name).flags, parsed(table[i].name).flags);
        }
}

static void suspects_are_by_name_or_all_others(void **state)
{
    const unsigned suspect = COMMAND_SESSION | COMMAND_SUSPECT;
    char longest[80];

    (void)state;
    memset(longest, 'a', sizeof longest - 1);
    longest[79] = '\0';
    assert_int_equal(parsed_with("~NEW.FAMILY", "new.family start").flags, suspect);
    assert_int_equal(parsed_with("~NEW.FAMILY", "OTHER start").flags, 0);
    assert_int_equal(parsed_with("!A ~*", "OTHER start").flags, suspect);
    assert_int_equal(parsed_with("~*", "* start").flags, suspect);
    assert_int_equal(parsed_with("~*", longest).flags, suspect);
    assert_int_equal(parsed_with("~A", longest).flags, 0);
    assert_int_equal(parsed_with("+* !* -*", "OTHER start").flags, 0);
    assert_int_equal(parsed_with("~*", "SET a b").flags, 0);
}

/* ---- what is of use behind a write alone ---- */

static bool pipeline_refused(const char *const *lines)
{
    char request[1024];
    size_t size = 0;
    struct command command;
    uint32_t count;

    for (; *lines; lines++) {
        char *each;
        int length = redisFormatCommand(&each, *lines);

        assert_true(length > 0 && size + (size_t)length <= sizeof request);
        memcpy(request + size, each, (size_t)length);
        size += (size_t)length;
        redisFreeCommand(each);
    }
    assert_int_equal(command_parse(request, size, NULL, &command, &count), 0);
    return command_needs_lease(&command, count);
}
#define LINES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void wait_is_for_writes_before_it(void **state)
{
    (void)state;
    assert_false(pipeline_refused(LINES("SET a b", "WAIT 1 0")));
    assert_false(pipeline_refused(LINES("SET a b", "GET a", "WAIT 1 0", "WAITAOF 1 0 0")));
    assert_false(pipeline_refused(LINES("MULTI", "SET a b", "EXEC", "WAIT 1 0")));
    assert_false(pipeline_refused(LINES("EVAL x 0", "WAIT 1 0")));
    assert_false(pipeline_refused(LINES("FCALL x 0", "WAIT 1 0")));
    assert_false(pipeline_refused(LINES("PUBLISH c m", "WAIT 1 0")));
    assert_false(pipeline_refused(LINES("FUNCTION LOAD x", "WAIT 1 0")));
    assert_false(pipeline_refused(LINES("MODULE.SET x", "WAIT 1 0")));
    assert_true(pipeline_refused(LINES("WAIT 1 0", "WAIT 1 0")));
    assert_true(pipeline_refused(LINES("WAIT 1 0", "SET a b")));
    assert_true(pipeline_refused(LINES("GET a", "WAIT 1 0")));
    assert_true(pipeline_refused(LINES("PING", "INFO", "WAITAOF 1 0 0")));
    assert_true(pipeline_refused(LINES("MULTI", "WAIT 1 0", "EXEC")));
    assert_true(pipeline_refused(LINES("WAIT 1 0", "SET a b", "WAIT 1 0")));
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
    assert_int_equal(command.flags, COMMAND_SESSION | COMMAND_NOT_ALONE);
    assert_int_equal(command.kind, COMMAND_MULTI);
    assert_int_equal(command_parse(reads, sizeof reads - 1, "!TTL", &command, &count), 0);
    assert_int_equal(command.flags, COMMAND_READ_ONLY | COMMAND_EXCLUSIVE);
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
        "*01\r\n$4\r\nPING\r\n",
        "*1\r\n$04\r\nPING\r\n",
        "*2\r\n$4\r\nPING\r\n$00\r\n\r\n",
        "*9999999999999999999999999999999999999999999999999999\r\n",
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
        cmocka_unit_test(flags_are_redis_own),
        cmocka_unit_test(client_is_a_family),
        cmocka_unit_test(scripts_are_debugged_in_a_session),
        cmocka_unit_test(streams_block_only_where_told_to),
        cmocka_unit_test(some_make_no_sense_in_one_call),
        cmocka_unit_test(differences_win),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(each_command_is_found),
        cmocka_unit_test(no_command_contradicts_itself),
        cmocka_unit_test(marks_count_for_each_command),
        cmocka_unit_test(suspects_are_by_name_or_all_others),
        cmocka_unit_test(wait_is_for_writes_before_it),
        cmocka_unit_test(transactions_have_kinds),
        cmocka_unit_test(unknown_commands_have_no_flags),
        cmocka_unit_test(pipelines_are_summed_up),
        cmocka_unit_test(what_is_no_command_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
