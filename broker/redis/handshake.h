/* SPDX-License-Identifier: MIT */
/*
 * What is said on a new connection, and what the answers mean: log in, SELECT, a name, and PING as
 * the proof that the server serves. All is one write, and each reply is one line; more than that is
 * not Redis. Knows no sockets. Nothing is allocated: the caller brings the room for the request,
 * and wipes it, for the password is in it.
 *
 * A refusal of what is not needed is noted, no more (rights.h). A refused PING is as good as a
 * PONG: the server has read the command, knows the user, and answers.
 */
#ifndef LENDIS_BROKER_HANDSHAKE_H
#define LENDIS_BROKER_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HANDSHAKE_ERROR_SIZE 128u
#define HANDSHAKE_STEPS_MAX  4u
/* Of all replies together: a few dozen bytes, or an error with a sentence or two in each. */
#define HANDSHAKE_BYTES_MAX 16384u

/* What an error reply to a command of the broker's own means; server_error.h has more of it. */
enum handshake_error {
    HANDSHAKE_ERROR_REFUSED, /* there is no such command, or not for this user */
    HANDSHAKE_ERROR_ALIVE,   /* the server answers, but with an error about itself */
    HANDSHAKE_ERROR_STATE,   /* the server takes no client now, or not this one */
    HANDSHAKE_ERROR_OTHER,
};
enum handshake_error handshake_error(const char *text);

/* As whom, and to what; part of the dial's target. */
struct handshake_profile {
    uint32_t db;
    const char *username; /* may be NULL */
    const char *password; /* NULL: no login */
    size_t password_size;
    const char *client_name;
};

enum handshake_result { HANDSHAKE_WAITING, HANDSHAKE_DONE, HANDSHAKE_FAILED };

struct handshake {
    uint8_t step[HANDSHAKE_STEPS_MAX]; /* what was sent, in order */
    uint32_t count;
    uint32_t passed;
    uint32_t missing; /* rights that were not asked for, or not answered, RIGHT_BIT() */
    uint32_t refused; /* those that were refused */
    bool unwell;      /* the server answers, but only with an error about itself */
    bool odd;         /* it failed in a way in which a Sentinel would have it fail */
    uint32_t bytes;
    uint32_t line_size; /* of the reply under way, its type included; what is longer is dropped */
    char line[HANDSHAKE_ERROR_SIZE];
    char error[HANDSHAKE_ERROR_SIZE]; /* "": it has not failed */
};

/* Room for the request. */
size_t handshake_room(const struct handshake_profile *profile);

/* Writes it, without what is `missing`. Returns its size. */
size_t handshake_begin(struct handshake *handshake, const struct handshake_profile *profile,
                       uint32_t missing, char *request);

/* Takes what has come. HANDSHAKE_DONE: the last reply ends after *used bytes. HANDSHAKE_FAILED: see
 * `error`. */
enum handshake_result handshake_take(struct handshake *handshake, const char *data, size_t size,
                                     size_t *used);

/* Rights whose command is among those that have no answer yet. */
uint32_t handshake_asked(const struct handshake *handshake);

#endif
