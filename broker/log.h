/* SPDX-License-Identifier: MIT */
/*
 * Messages to the operator: one line each on standard error, with the priority prefix of
 * sd-daemon(3), which journald takes off again. Only starts, stops, changes of health and refusals
 * are logged; nothing in the steady state. What a worker can provoke at will goes through a
 * log_limit.
 */
#ifndef LENDIS_BROKER_LOG_H
#define LENDIS_BROKER_LOG_H

#include <stdbool.h>
#include <stdint.h>

/* As in syslog(3). */
enum log_level {
    LOG_LEVEL_ERR = 3,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
};

#define LOG_LIMIT_BURST  5u
#define LOG_LIMIT_WINDOW 10000u /* milliseconds */

/* At most LOG_LIMIT_BURST lines per LOG_LIMIT_WINDOW, all-zero at first. */
struct log_limit {
    uint64_t window_ms; /* when it began */
    uint32_t count;     /* lines in it, kept back ones included */
};

/* Lines less urgent than this are dropped. */
void log_set_level(enum log_level level);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, kept back when `limit` is used up; the next line that gets through says how many were.
 */
void log_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* For a message that is written later, or elsewhere: whether log_limited() would let it through, and
 * how many of its like it kept back before. */
bool log_admit(struct log_limit *limit, enum log_level level, uint32_t *kept_back);

/* CLOCK_MONOTONIC in milliseconds. */
uint64_t clock_ms(void);

#endif
