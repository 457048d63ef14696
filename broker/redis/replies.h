/* SPDX-License-Identifier: MIT */
/*
 * The replies of one round of a reset, as they come: each is compared with what it must be and
 * passed over, from the first byte on. Knows bytes in a buffer; what must come when is
 * session_reset.c's.
 *
 * Results, of all that take: RESET_CLEAN, it was there and is passed; RESET_WAITING, what is there
 * of it is right, and there is more to come; RESET_UNREAD, something else is there.
 */
#ifndef LENDIS_BROKER_REPLIES_H
#define LENDIS_BROKER_REPLIES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "broker/redis/session_reset.h"

/* A few status lines, the token, and CLIENT INFO, which has some 600 bytes and names of up to 64
 * and 63. */
#define REPLIES_SIZE 2048u

struct replies {
    size_t got;            /* bytes */
    size_t at;             /* the first one that was not read yet */
    uint32_t unsubscribed; /* replies to the command whose turn it is */
    char bytes[REPLIES_SIZE];
};

/* The line that begins where we are, without its end. Results: its size; -1, it is not whole. */
ssize_t replies_line(const struct replies *replies);

/* The next one is an error. */
bool replies_have_error(const struct replies *replies);

/* These bytes. */
enum reset_result replies_take_text(struct replies *replies, const char *text, size_t size);

/* A line that begins with `sign`, whatever else is in it. */
enum reset_result replies_take_line(struct replies *replies, char sign);

/* A bulk string that has room in `text`, of `size` bytes, with a zero behind it. */
enum reset_result replies_take_bulk(struct replies *replies, char *text, size_t size);

/* What (P|S)UNSUBSCRIBE without a channel is answered: one reply for each channel, each of which
 * begins with `head`, and one if there is none; or an error. */
enum reset_result replies_take_unsubscribed(struct replies *replies, const char *head);

#endif
