/* SPDX-License-Identifier: MIT */
/* Replies as they come, compared with what they must be: see replies.h. */
#include "broker/redis/replies.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Compares what has come with `text`. RESET_CLEAN: it is there, and passed. */
enum reset_result replies_take_text(struct replies *replies, const char *text, size_t size)
{
    size_t here = replies->got - replies->at;

    if (memcmp(replies->bytes + replies->at, text, here < size ? here : size) != 0)
        return RESET_UNREAD;
    if (here < size)
        return RESET_WAITING;
    replies->at += size;
    return RESET_CLEAN;
}

ssize_t replies_line(const struct replies *replies)
{
    const char *from = replies->bytes + replies->at;
    const char *end = memmem(from, replies->got - replies->at, "\r\n", 2);

    return end ? end - from : -1;
}

bool replies_have_error(const struct replies *replies)
{
    return replies->at < replies->got && replies->bytes[replies->at] == '-';
}

/* A line that begins with `sign`, whatever else is in it. */
enum reset_result replies_take_line(struct replies *replies, char sign)
{
    ssize_t size = replies_line(replies);

    if (replies->at < replies->got && replies->bytes[replies->at] != sign)
        return RESET_UNREAD;
    if (size < 0)
        return replies->got < REPLIES_SIZE ? RESET_WAITING : RESET_UNREAD;
    replies->at += (size_t)size + 2;
    return RESET_CLEAN;
}

/* ---- bulk strings ---- */

enum reset_result replies_take_bulk(struct replies *replies, char *text, size_t size)
{
    const char *line = replies->bytes + replies->at;
    ssize_t head = replies_line(replies);
    unsigned long length;
    char *end;

    if (replies->at < replies->got && *line != '$')
        return RESET_UNREAD;
    if (head < 0)
        return replies->got - replies->at < 16 ? RESET_WAITING : RESET_UNREAD;
    length = strtoul(line + 1, &end, 10);
    if (head < 2 || end != line + head || length >= size)
        return RESET_UNREAD;
    if (replies->got - replies->at < (size_t)head + 2 + length + 2)
        return RESET_WAITING;
    memcpy(text, line + head + 2, length);
    text[length] = '\0';
    replies->at += (size_t)head + 2 + length;
    if (memcmp(replies->bytes + replies->at, "\r\n", 2) != 0)
        return RESET_UNREAD;
    replies->at += 2;
    return RESET_CLEAN;
}

/* ---- replies to a subscriber ---- */

/* The size of the reply to (P|S)UNSUBSCRIBE that begins where we are: an array of the command's
 * name, which is at `name` as a bulk string, a channel or nothing, and a number. 0: it is not
 * whole; -1: it is none. */
static ssize_t unsubscribed_size(const struct replies *replies)
{
    const char *from = replies->bytes + replies->at, *end = replies->bytes + replies->got,
               *at = from;

    for (int line = 0; line < 4; line++) {
        const char *stop = memmem(at, (size_t)(end - at), "\r\n", 2);
        long size = 0;

        if (!stop)
            return 0;
        if (line < 3 && *at == '$')
            size = strtol(at + 1, NULL, 10);
        at = stop + 2;
        if (line == 0 ? size != 0 : line == 3 ? at[-3] < '0' : size < -1 || size > 1000)
            return -1;
        if (line == 0 || line == 3 || size < 0)
            continue;
        if (end - at < size + 2)
            return 0;
        at += size + 2;
    }
    return at - from;
}

/* One reply for each channel, and one if there is none: as many as come. */
enum reset_result replies_take_unsubscribed(struct replies *replies, const char *head)
{
    size_t here;

    for (;;) {
        size_t size = strlen(head);
        ssize_t whole;

        here = replies->got - replies->at;
        if (memcmp(replies->bytes + replies->at, head, here < size ? here : size) != 0)
            break;
        whole = here < size ? 0 : unsubscribed_size(replies);
        if (whole < 0)
            return RESET_UNREAD;
        if (whole == 0)
            return replies->got < REPLIES_SIZE ? RESET_WAITING : RESET_UNREAD;
        replies->at += (size_t)whole;
        replies->unsubscribed++;
    }
    if (replies->unsubscribed == 0)
        return replies_take_line(replies, '-'); /* there is no such command */
    replies->unsubscribed = 0;
    return RESET_CLEAN;
}
