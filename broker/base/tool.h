/* SPDX-License-Identifier: MIT */
/*
 * Running a program for the one line that it prints, a secret, without waiting for it. The program
 * gets no shell, no descriptor of ours, a session of its own and /dev/null as its input. Between it
 * and the broker stands a keeper (tool_keeper.h), a small process that waits for it, bounds its
 * time and its output, and ends with it all that it has started.
 *
 * The broker only reads the keeper's messages. If the broker ends, however it comes, so does the
 * keeper, and so does the program.
 */
#ifndef LENDIS_BROKER_TOOL_H
#define LENDIS_BROKER_TOOL_H

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#define TOOL_WORDS_MAX 64u
/* Of the line that it prints. */
#define TOOL_OUTPUT_MAX 4096u
#define TOOL_WHY_SIZE   96u

struct tool;

/* What is to be run; borrowed for the time of tool_start(). */
struct tool_order {
    char *const *words;       /* the program's absolute path and its arguments, NULL-terminated */
    char *const *environment; /* as environ(7) */
    uint32_t limit_ms;
};

/* A line that it printed to its standard error, whatever is in it; at most 20 of them. */
typedef void tool_line(void *context, const char *text, size_t size);

/* It has ended, and is gone: its line, at least one byte, which is wiped after the call; or NULL
 * and why. */
typedef void tool_done(void *context, const char *output, size_t size, const char *why);

/* Results: 0, `done` is called once, later, unless tool_cancel() comes first; -errno. */
int tool_start(sd_event *event, const struct tool_order *order, tool_line *line, tool_done *done,
               void *context, struct tool **tool);

/* It is killed, and gives no report. NULL is allowed. */
void tool_cancel(struct tool *tool);

#endif
