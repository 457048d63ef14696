/* SPDX-License-Identifier: MIT */
/*
 * The process between the broker and a program that it runs (tool.h). It is a child of the broker
 * that executes nothing: it has none of the broker's descriptors and secrets, only a socket to the
 * broker. What the program starts is a descendant of the keeper for as long as that lives, whatever
 * it does (PR_SET_CHILD_SUBREAPER, prctl(2)), so it can be found and killed. It allocates nothing:
 * the broker has threads, so a child may only do what a signal handler may (fork(2)).
 */
#ifndef LENDIS_BROKER_TOOL_KEEPER_H
#define LENDIS_BROKER_TOOL_KEEPER_H

#include <stdint.h>
#include "broker/base/tool.h"

enum tool_news {
    TOOL_LINE,      /* `bytes` is a line of its standard error */
    TOOL_PRINTED,   /* it has ended well, and `bytes` is its line */
    TOOL_EMPTY,     /* it has ended well, and printed nothing */
    TOOL_LONG,      /* its line is too long, or there is too much of the rest */
    TOOL_EXITED,    /* `value` is its exit status, which is not 0 */
    TOOL_KILLED,    /* `value` is the signal that ended it */
    TOOL_LATE,      /* it has not ended within its time */
    TOOL_NOT_THERE, /* it cannot be executed: `value` is the errno */
    TOOL_FAILED,    /* the keeper could not do its work: likewise */
};

/* One message, of so much of this as `size` says. */
struct tool_message {
    uint32_t news;
    int32_t value;
    uint32_t size;
    char bytes[TOOL_OUTPUT_MAX];
};

/* What the keeper does, in a child process; `socket` is to the broker (SOCK_SEQPACKET). */
void tool_keep(int socket, const struct tool_order *order) __attribute__((noreturn));

#endif
