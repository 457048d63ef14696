/* SPDX-License-Identifier: MIT */
/* What servers answer to ROLE and INFO replication, whole and byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "broker/redis/replication.h"

#define REPLICA(state) "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$" state "\r\n:14\r\n"

static const struct {
    bool by_info;
    enum replication found;
    const char *reply;
} answers[] = {
    {false, REPLICATION_PRIMARY, "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"},
    /* With a replica of its own, which is called "connected". */
    {false, REPLICATION_PRIMARY,
     "*3\r\n$6\r\nmaster\r\n:5\r\n*1\r\n*3\r\n$9\r\nconnected\r\n$4\r\n6380\r\n$1\r\n5\r\n"},
    {false, REPLICATION_LINKED, REPLICA("9\r\nconnected")},
    {false, REPLICATION_UNLINKED, REPLICA("7\r\nconnect")},
    {false, REPLICATION_UNLINKED, REPLICA("10\r\nconnecting")},
    {false, REPLICATION_UNLINKED, REPLICA("4\r\nsync")},
    {false, REPLICATION_REFUSED, "*2\r\n$8\r\nsentinel\r\n*0\r\n"},
    {false, REPLICATION_REFUSED,
     "-NOPERM this user has no permissions to run the 'role' command\r\n"},
    {false, REPLICATION_REFUSED, "-ERR unknown command 'ROLE'\r\n"},
    {false, REPLICATION_REFUSED, "+OK\r\n"},
    {false, REPLICATION_REFUSED, "HTTP/1.1 400 Bad Request\r\n"},
    {false, REPLICATION_REFUSED, "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n+more\r\n"},
    {false, REPLICATION_ERROR, "-LOADING Redis is loading the dataset in memory\r\n"},
    {false, REPLICATION_ERROR, "-BUSY Redis is busy running a script.\r\n"},
    {true, REPLICATION_PRIMARY,
     "$58\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\nx:123456\r\n\r\n"},
    {true, REPLICATION_LINKED,
     "$78\r\n# "
     "Replication\r\nrole:slave\r\nmaster_host:127.0.0.1\r\nmaster_link_status:up\r\nx:1\r\n\r\n"},
    {true, REPLICATION_UNLINKED,
     "$80\r\n# "
     "Replication\r\nrole:slave\r\nmaster_host:127.0.0.1\r\nmaster_link_status:down\r\nx:"
     "1\r\n\r\n"},
    {true, REPLICATION_REFUSED, "-NOPERM this user has no permissions\r\n"},
    {true, REPLICATION_REFUSED, "$0\r\n\r\n"},
};

static void answers_are_understood(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct replication_answer answer;

        assert_non_null(strstr(replication_ask(&answer, answers[i].by_info),
                               answers[i].by_info ? "replication" : "ROLE"));
        if (replication_take(&answer, answers[i].reply, strlen(answers[i].reply)) !=
            answers[i].found)
            fail_msg("%s is taken for %d", answers[i].reply, answer.found);
    }
}

/* Nothing is concluded before the reply is whole. */
static void answers_come_in_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        const char *reply = answers[i].reply;
        enum replication found = REPLICATION_WAITING;
        struct replication_answer answer;
        size_t at = 0;

        replication_ask(&answer, answers[i].by_info);
        for (; reply[at] && found == REPLICATION_WAITING; at++)
            found = replication_take(&answer, reply + at, 1);
        /* What comes behind the reply is another matter then. */
        if (!strstr(reply, "+more") && found != answers[i].found)
            fail_msg("%s is taken for %d after %zu bytes", reply, found, at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_understood),
        cmocka_unit_test(answers_come_in_pieces),
    };

    return cmocka_run_group_tests_name("replication", tests, NULL, NULL);
}
