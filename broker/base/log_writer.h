/* SPDX-License-Identifier: MIT */
/*
 * The way of log lines to standard error, which nobody has to read: a full pipe, a stopped
 * terminal, a stopped journald, a file system that hangs. The event loop puts a line into a buffer
 * of fixed size and goes on; a thread of its own writes, and alone is stopped by a reader that is.
 * What finds no room is dropped and counted, and the count is written as soon as there is room
 * again (I5: the broker waits for nobody; I8: bounded).
 *
 * Why a thread: O_NONBLOCK belongs to the open file description (open(2)), so it would change for
 * all who share standard error; poll(2) promises room for less than a line on a terminal, and none
 * of it to us alone on a pipe that others write to; pipes know RWF_NOWAIT since Linux 6.4 only;
 * /proc/self/fd/2 of another user's pipe cannot be opened anew. A thread is right for each of them.
 */
#ifndef LENDIS_BROKER_LOG_WRITER_H
#define LENDIS_BROKER_LOG_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest line, with its end. */
#define LOG_LINE_SIZE 1024u
/* Of all lines that wait to be written. */
#define LOG_BUFFER_SIZE 65536u

/* Takes a copy of a line that ends in '\n'; never waits for the reader. From any thread. */
void log_writer_put(const char *line, size_t size);

/* Waits until all is written, for timeout_ms at most. False: it is not. Before the process ends. */
bool log_writer_flush(uint64_t timeout_ms);

/* Lines that were dropped and not reported yet. */
uint64_t log_writer_dropped(void);

#endif
