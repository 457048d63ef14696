/* SPDX-License-Identifier: MIT */
/*
 * Resetting one connection: what is sent, and the proof that it is clean afterwards. Knows a socket
 * and a profile, no words and no pools; who resets when is cleaning.c's.
 *
 * No secret is ever sent. The connection was lent, so somebody else has its socket as well and can
 * connect(2) it to another server, or put half a command in front of what is sent, at any moment,
 * and nothing that was checked before is proof against that. So RESET, behind which a login would
 * have to follow, is for pools that log in with no password. Where there is one, the session is
 * asked what it is like and what is different is undone by name; what cannot be, another user
 * above all, is for a new connection.
 *
 * All of a round is one write: what is undone, CLIENT INFO and a PING with a token that nobody can
 * guess. Nothing recalls a reply that is under way, so every reply is compared with what it must
 * be, in order, from the first byte on: whatever else comes first, however long it is, ends the
 * attempt there. CLIENT INFO shows what came of it, so that a state that a server's RESET leaves
 * alone (CLIENT NO-EVICT before Redis 7.2, say) is noticed, and undone in another round. The token
 * is the last reply, and nothing may follow it.
 *
 * Questions go into an open transaction, where they are answered QUEUED, or to a subscriber, where
 * they are refused: then it is DISCARD, or UNSUBSCRIBE and the like, and the questions again.
 *
 * Where a worker had the bare descriptor, half a command may be in the server, and what is sent
 * next would be taken for the rest of it, and executed. So two bytes go first, "x" and a newline.
 * In the middle of an argument they complete nothing (an argument ends with two bytes more), behind
 * one they are the end that was missing, and only where a command begins are they a command that
 * there is not, with the error that says so. (Half a command of the inline kind, which is no RESP,
 * is completed by them.)
 *
 * A server that has no CLIENT INFO: what is known to have been left is undone by name (LEFT_MULTI,
 * LEFT_WATCH, LEFT_DB, LEFT_NAME); anything else cannot be.
 */
#ifndef LENDIS_BROKER_RESET_H
#define LENDIS_BROKER_RESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a server that does not take every command shows that it has read this one, and no other. */
enum reset_proof {
    RESET_BY_PING,  /* PING with the token, which comes back */
    RESET_BY_ERROR, /* without the right to PING: the token as a command, which the error names */
    RESET_BY_PONG,  /* a proxy that knows PING alone: of use only where nothing was left */
};

/* What a connection of the pool is to be. Borrowed for the time of reset_begin(), save `username`
 * and `client_name`, which are copied. */
struct reset_profile {
    uint32_t db;
    const char *username; /* NULL: "default" */
    const char *client_name;
    uint32_t keepalive_ms; /* of TCP; 0: off */
    bool fieldsets;        /* the server may have HIMPORT (Redis 8.10) */
    enum reset_proof proof;
};

enum reset_kind {
    RESET_WHOLE, /* by RESET: for a session without a login */
    RESET_NAMED, /* by name: whatever CLIENT INFO shows */
    RESET_UNDO,  /* by name: what `left` says */
    RESET_PROVE, /* nothing but the proof that the stream is at a command's boundary */
};

enum reset_result {
    RESET_CLEAN,
    RESET_WAITING, /* go on when there is something to read */
    RESET_REFUSED, /* the server has no RESET or no CLIENT INFO, or the user may not use it */
    RESET_UNREAD,  /* a reply to somebody else was there, or came */
    RESET_FAILED,  /* the server refused something else, or the socket cannot be made as it was */
    /* all but the proof, in the place of which came an error of the server about itself */
    RESET_ALIVE,
    RESET_LOST, /* the connection ended */
};

struct reset;

/* True if RESET_UNDO can undo `left` (enum left). */
bool reset_can_undo(uint32_t left);

/*
 * Begins on `fd`, whose holder left `left`. Results: RESET_WAITING, and *reset is the caller's
 * until reset_end(); any other but RESET_CLEAN: it ended before it began.
 */
enum reset_result reset_begin(int fd, enum reset_kind kind, const struct reset_profile *profile,
                              uint32_t left, struct reset **reset);

/* Reads what has come; never waits, and never reads more than a few hundred bytes. */
enum reset_result reset_go_on(struct reset *reset);

/* It has found that the server has no HIMPORT. */
bool reset_lacks_fieldsets(const struct reset *reset);

/* NULL is allowed. */
void reset_end(struct reset *reset);

/* A few words for the log. */
const char *reset_text(enum reset_result result);

#endif
