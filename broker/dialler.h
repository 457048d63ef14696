/* SPDX-License-Identifier: MIT */
/*
 * Opening one connection to Redis: connect, log in, SELECT, name it, and PING as the proof, all
 * pipelined, with hiredis' asynchronous calls on sd-event; then COMMAND, where a survey is due. What
 * comes out is a plain blocking socket, ready to be lent, or a sentence that says what went wrong.
 * The only part of the broker that knows addresses, TCP and hiredis.
 *
 * The dialler also keeps the number of dials under way in the whole broker at its limit: who wants
 * to dial asks for a turn, and turns are given in the order of asking.
 */
#ifndef LENDIS_BROKER_DIALLER_H
#define LENDIS_BROKER_DIALLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "broker/survey.h"

#define DIAL_ERROR_SIZE 128u

/* A turn that was asked for; part of whoever asks, all-zero at first. */
struct dial_turn {
    struct dial_turn *next;
    bool queued;
    void (*run)(struct dial_turn *turn); /* makes at most one dial */
};

struct dialler {
    sd_event *event;
    uint32_t limit;
    uint32_t active;
    bool running; /* turns are being given */
    struct dial_turn *first, **last;
};

/* Where and as whom. Everything is borrowed for the time of dial_start(). */
struct dial_target {
    const char *host; /* numeric; NULL: `path` */
    const char *path;
    uint16_t port;
    uint32_t db;
    const char *username; /* may be NULL */
    const char *password; /* NULL: no login */
    size_t password_size;
    const char *client_name;
    uint32_t timeout_ms;   /* for everything together */
    struct survey *survey; /* answered if it is due; must outlive the dial. NULL: none */
};

struct dial;

/* Gets `fd`, which is the receiver's from now on, or -1 and why. The dial is gone. */
typedef void dial_done(void *context, int fd, const char *error);

void dialler_init(struct dialler *dialler, sd_event *event, uint32_t limit);

/* Asks for a turn; it may come before this returns. A turn that is queued already is not queued
 * again. */
void dialler_ask(struct dialler *dialler, struct dial_turn *turn);
/* For those who wait, when a dial was cancelled. */
void dialler_give_turns(struct dialler *dialler);
void dialler_withdraw(struct dialler *dialler, struct dial_turn *turn);

/*
 * Dials. Results: 0, *dial is under way, and `done` is called once, later, unless dial_cancel()
 * comes first; -errno, and `error` says why.
 */
int dial_start(struct dialler *dialler, const struct dial_target *target, dial_done *done,
               void *context, struct dial **dial, char error[DIAL_ERROR_SIZE]);

/*
 * Makes a socket what one is when it is lent: blocking for a moment, with no option that a holder may
 * have set, and, over TCP, without delay and noticing a dead peer. Results: 0; -errno.
 */
int dial_finish_socket(int fd);

/* A holder has fixed the size of its buffers, which cannot be undone. (False before Linux 5.14.) */
bool dial_is_resized(int fd);

/* Gives up; no turn is given in its place: dialler_give_turns(). NULL is allowed. */
void dial_cancel(struct dial *dial);

#endif
