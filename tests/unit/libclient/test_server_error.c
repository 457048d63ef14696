/* SPDX-License-Identifier: MIT */
/* What an error reply says about the server: the table in libclient/shared/server_error.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "libclient/shared/server_error.h"

/* As Redis 7.0 writes them. */
static const struct {
    const char *line;
    enum server_error error;
} lines[] = {
    {"-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist",
     SERVER_ERROR_misconf},
    {"-MISCONF Errors writing to the AOF file: No space left on device", SERVER_ERROR_misconf},
    {"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
     SERVER_ERROR_busy},
    {"-LOADING Redis is loading the dataset in memory", SERVER_ERROR_loading},
    {"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
     SERVER_ERROR_masterdown},
    {"-READONLY You can't write against a read only replica.", SERVER_ERROR_readonly},
    {"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> "
     "replica?)",
     SERVER_ERROR_unblocked},
    {"-OOM command not allowed when used memory > 'maxmemory'.", SERVER_ERROR_oom},
    {"-NOREPLICAS Not enough good replicas to write.", SERVER_ERROR_noreplicas},
    {"-CLUSTERDOWN The cluster is down", SERVER_ERROR_clusterdown},
    {"-MOVED 3999 127.0.0.1:6381", SERVER_ERROR_moved},
    {"-ASK 3999 127.0.0.1:6381", SERVER_ERROR_ask},
    {"-TRYAGAIN Multiple keys request during rehashing of slot", SERVER_ERROR_tryagain},
    {"-NOAUTH Authentication required.", SERVER_ERROR_noauth},
    {"-WRONGPASS invalid username-password pair or user is disabled.", SERVER_ERROR_wrongpass},
    {"-NOPERM this user has no permissions to run the 'ping' command", SERVER_ERROR_noperm},
    {"-DENIED Redis is running in protected mode because protected mode is enabled",
     SERVER_ERROR_denied},
    {"-ERR max number of clients reached", SERVER_ERROR_full},
    {"-ERR Protocol error: invalid bulk length", SERVER_ERROR_protocol},
    {"-REDIRECT 127.0.0.1:6380", SERVER_ERROR_redirect},
    /* Of the command alone. */
    {"-ERR unknown command 'x', with args beginning with: ", SERVER_ERROR_none},
    {"-WRONGTYPE Operation against a key holding the wrong kind of value", SERVER_ERROR_none},
    {"-NOSCRIPT No matching script. Please use EVAL.", SERVER_ERROR_none},
    {"-EXECABORT Transaction discarded because of previous errors.", SERVER_ERROR_none},
    {"-UNKILLABLE Sorry the script already executed write commands", SERVER_ERROR_none},
    {"-NOTBUSY No scripts in execution right now.", SERVER_ERROR_none},
    {"-BUSYKEY Target key name already exists.", SERVER_ERROR_none},
    {"-BUSYGROUP Consumer Group name already exists", SERVER_ERROR_none},
    {"-LOADINGS", SERVER_ERROR_none},
    {"-", SERVER_ERROR_none},
    {"", SERVER_ERROR_none},
};

static void lines_of_redis(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const char *line = lines[i].line;

        assert_int_equal(server_error_classify(line, strlen(line)), lines[i].error);
        if (*line == '-')
            assert_int_equal(server_error_classify(line + 1, strlen(line) - 1), lines[i].error);
    }
}

/* Part of a word is no word: "BUSY" may go on as BUSYKEY. */
static void parts_of_a_word(void **state)
{
    (void)state;
    assert_int_equal(server_error_classify("-MISCONF", 8), SERVER_ERROR_none);
    assert_int_equal(server_error_classify("-BUSY", 5), SERVER_ERROR_none);
    assert_int_equal(server_error_classify("-BUSY ", 6), SERVER_ERROR_busy);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (lines[i].error != SERVER_ERROR_none)
            assert_int_equal(
                server_error_classify(lines[i].line, SERVER_ERROR_SIZE < strlen(lines[i].line)
                                                         ? SERVER_ERROR_SIZE
                                                         : strlen(lines[i].line)),
                lines[i].error);
}

/* What sends commands elsewhere or ends connections is never an error of the command alone, nor one
 * that every node of the data set gives alike. */
static void what_follows(void **state)
{
    (void)state;
    assert_int_equal(server_error_flags(SERVER_ERROR_none), 0);
    assert_int_equal(server_error_flags((enum server_error)1000), 0);
    assert_string_equal(server_error_name((enum server_error)1000), "");
    assert_int_equal(server_error_flags(SERVER_ERROR_misconf), ERROR_ALIVE);
    assert_int_equal(server_error_flags(SERVER_ERROR_oom), ERROR_ALIVE);
    assert_true(server_error_flags(SERVER_ERROR_masterdown) & ERROR_ELSEWHERE);
    assert_true(server_error_flags(SERVER_ERROR_readonly) & ERROR_REPLACE);
    assert_true(server_error_flags(SERVER_ERROR_readonly) & ERROR_OF_PRIMARY);
    assert_true(server_error_flags(SERVER_ERROR_noauth) & ERROR_REPLACE);
    assert_false(server_error_flags(SERVER_ERROR_noauth) & ERROR_ALIVE);
    for (int i = 1; i < SERVER_ERROR_COUNT; i++) {
        assert_true(server_error_flags((enum server_error)i) != 0);
        assert_true(*server_error_name((enum server_error)i) != '\0');
        assert_true(*server_error_text((enum server_error)i) != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_redis),
        cmocka_unit_test(parts_of_a_word),
        cmocka_unit_test(what_follows),
    };

    return cmocka_run_group_tests_name("server_error", tests, NULL, NULL);
}
