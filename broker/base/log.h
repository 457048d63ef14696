/* SPDX-License-Identifier: MIT */
/*
 * Messages to the operator: one line each on standard error, with the priority prefix of
 * sd-daemon(3), which journald takes off again. Only starts, stops, changes of health and refusals
 * are logged; nothing in the steady state.
 *
 * No line is without a limit: log_line() brings one of its own for each place it is called from,
 * which only a fault reaches; what a peer (a worker, a tool, a metrics client, Redis) can provoke
 * at will goes through the tighter log_limited(). tests/lint/log.sh, in make lint, holds the code
 * to that. Whether anybody reads standard error makes no difference to the caller: log_writer.h.
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
/* Of log_line(): more than a configuration with a mistake in every line makes. */
#define LOG_LINE_BURST 100u

/* At most LOG_LIMIT_BURST lines per LOG_LIMIT_WINDOW, all-zero at first. */
struct log_limit {
    uint64_t window_ms; /* when it began */
    uint32_t count;     /* lines in it, kept back ones included */
};

/* Lines less urgent than this are dropped. */
void log_set_level(enum log_level level);

/* For what the operator or the broker itself brings about: LOG_LINE_BURST lines for each call in
 * the source. From any thread. */
#define log_line(...)                                                                              \
    do {                                                                                           \
        static struct log_limit limit_of_this_line;                                                \
                                                                                                   \
        log_of_place(&limit_of_this_line, __VA_ARGS__);                                            \
    } while (0)
void log_of_place(struct log_limit *limit, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, kept back when `limit` is used up; the next line that gets through says how many were.
 */
void log_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* For a message that is written later, or elsewhere: whether log_limited() would let it through,
 * and how many of its like it kept back before. */
bool log_admit(struct log_limit *limit, enum log_level level, uint32_t *kept_back);

/* Waits until all lines are written, for a second at most: before the process ends. */
void log_flush(void);

#endif
