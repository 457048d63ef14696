/* SPDX-License-Identifier: MIT */
/* Messages to the operator: see log.h. A line is formatted on the stack; log_writer.h has it
 * written. */
#include "broker/base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include "broker/base/clock.h"
#include "broker/base/log_writer.h"
#include "broker/base/text.h"

#define FLUSH_MS 1000u

static enum log_level threshold = LOG_LEVEL_NOTICE;

static const char *prefix(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_ERR:
        return SD_ERR;
    case LOG_LEVEL_WARNING:
        return SD_WARNING;
    case LOG_LEVEL_NOTICE:
        return SD_NOTICE;
    case LOG_LEVEL_INFO:
        return SD_INFO;
    default:
        return SD_DEBUG;
    }
}

static __attribute__((format(printf, 3, 0))) void
write_line(enum log_level level, uint32_t kept_back, const char *format, va_list arguments)
{
    char raw[LOG_LINE_SIZE], line[LOG_LINE_SIZE];
    size_t start = (size_t)snprintf(line, sizeof line, "%s", prefix(level));
    size_t length;

    vsnprintf(raw, sizeof raw, format, arguments);
    /* Text from a server or a configuration file must not make up lines or colours of its own. */
    text_clean(line + start, sizeof line - start - 1, raw, sizeof raw);
    length = strlen(line);
    if (kept_back && length + 64 < sizeof line)
        length += (size_t)snprintf(line + length, 64, " (and %u more like this)", kept_back);
    line[length++] = '\n';
    log_writer_put(line, length);
}

void log_set_level(enum log_level level)
{
    threshold = level;
}

static bool admit(struct log_limit *limit, uint32_t burst, uint32_t *kept_back)
{
    uint64_t now = clock_ms();

    *kept_back = 0;
    if (limit->count == 0 || now - limit->window_ms >= LOG_LIMIT_WINDOW) {
        if (limit->count > burst)
            *kept_back = limit->count - burst;
        *limit = (struct log_limit){.window_ms = now};
    }
    if (limit->count < UINT32_MAX)
        limit->count++;
    return limit->count <= burst;
}

void log_of_place(struct log_limit *limit, enum log_level level, const char *format, ...)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* leak_report.c has a thread */
    uint32_t kept_back;
    va_list arguments;
    bool admitted;

    if (level > threshold)
        return;
    pthread_mutex_lock(&lock);
    admitted = admit(limit, LOG_LINE_BURST, &kept_back);
    pthread_mutex_unlock(&lock);
    if (!admitted)
        return;
    va_start(arguments, format);
    write_line(level, kept_back, format, arguments);
    va_end(arguments);
}

bool log_admit(struct log_limit *limit, enum log_level level, uint32_t *kept_back)
{
    return level <= threshold && admit(limit, LOG_LIMIT_BURST, kept_back);
}

void log_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
{
    uint32_t kept_back;
    va_list arguments;

    if (!log_admit(limit, level, &kept_back))
        return;
    va_start(arguments, format);
    write_line(level, kept_back, format, arguments);
    va_end(arguments);
}

void log_flush(void)
{
    log_writer_flush(FLUSH_MS);
}
