/* SPDX-License-Identifier: MIT */
/* ROLE and INFO replication: see replication.h. The states of a replica's link are those of Redis
 * 2.8 to 8 and of Valkey (roleCommand() in their replication.c). */
#include "broker/redis/replication.h"

#include <string.h>
#include "broker/redis/handshake.h"

static bool is_text(const char *text, size_t size, const char *expected)
{
    return size == strlen(expected) && memcmp(text, expected, size) == 0;
}

/* An error in place of the answer. */
static enum replication judge_error(const char *text, size_t size)
{
    char copy[WALK_TEXT_SIZE + 1];

    if (size > WALK_TEXT_SIZE)
        size = WALK_TEXT_SIZE;
    memcpy(copy, text, size);
    copy[size] = '\0';
    switch (handshake_error(copy)) {
    case HANDSHAKE_ERROR_ALIVE:
    case HANDSHAKE_ERROR_STATE:
        return REPLICATION_ERROR;
    default:
        return REPLICATION_REFUSED;
    }
}

static void note_role(struct replication_answer *answer, const char *text, size_t size)
{
    if (is_text(text, size, "master"))
        answer->found = REPLICATION_PRIMARY;
    else if (is_text(text, size, "slave") || is_text(text, size, "replica"))
        answer->found = REPLICATION_UNLINKED;
    else
        answer->found = REPLICATION_REFUSED; /* a Sentinel, for one */
}

/* ["slave", host, port, "connected", offset], of which ROLE's other answers have only the first. */
static void on_string(void *context, char type, const uint32_t *path, uint32_t depth,
                      const char *text, size_t size)
{
    struct replication_answer *answer = context;

    if (depth == 0 && type == '-')
        answer->found = judge_error(text, size);
    else if (answer->by_info || depth != 1)
        return;
    else if (path[0] == 0)
        note_role(answer, text, size);
    else if (path[0] == 3 && answer->found == REPLICATION_UNLINKED &&
             is_text(text, size, "connected"))
        answer->found = REPLICATION_LINKED;
}

/* A line of INFO. */
static void take_line(struct replication_answer *answer)
{
    size_t size = answer->line_size;

    if (size > 5 && memcmp(answer->line, "role:", 5) == 0)
        note_role(answer, answer->line + 5, size - 5);
    else if (answer->found == REPLICATION_UNLINKED &&
             is_text(answer->line, size, "master_link_status:up"))
        answer->found = REPLICATION_LINKED;
}

static void take_lines(struct replication_answer *answer, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\r' || data[i] == '\n') {
            take_line(answer);
            answer->line_size = 0;
        } else if (answer->line_size < sizeof answer->line) {
            answer->line[answer->line_size++] = data[i];
        }
    }
}

const char *replication_ask(struct replication_answer *answer, bool by_info)
{
    *answer = (struct replication_answer){.by_info = by_info, .walk = {.string = on_string}};
    return by_info ? "*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n" : "*1\r\n$4\r\nROLE\r\n";
}

enum replication replication_take(struct replication_answer *answer, const char *data, size_t size)
{
    size_t used;
    int result;

    answer->walk.context = answer;
    if (answer->by_info)
        take_lines(answer, data, size);
    result = reply_walk(&answer->walk, data, size, &used);
    if (result == 0)
        return REPLICATION_WAITING;
    if (result < 0 || used < size || answer->found == REPLICATION_WAITING)
        return REPLICATION_REFUSED;
    return answer->found;
}
