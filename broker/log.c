/* SPDX-License-Identifier: MIT */
/* Messages to the operator: see log.h. A line is formatted on the stack and leaves in one write(2).
 */
#include "broker/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE 1024

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

/* Text from a server or a configuration file must not make up lines or colours of its own. */
static void defuse(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 127)
            *text = '?';
}

static __attribute__((format(printf, 3, 0))) void
write_line(enum log_level level, uint32_t kept_back, const char *format, va_list arguments)
{
    char line[LINE_SIZE];
    size_t start = (size_t)snprintf(line, sizeof line, "%s", prefix(level));
    size_t length;

    vsnprintf(line + start, sizeof line - start - 1, format, arguments);
    defuse(line + start);
    length = strlen(line);
    if (kept_back && length + 64 < sizeof line)
        length += (size_t)snprintf(line + length, 64, " (and %u more like this)", kept_back);
    line[length++] = '\n';
    /* Nobody is left to be told when standard error does not work. */
    if (write(STDERR_FILENO, line, length) < 0)
        return;
}

void log_set_level(enum log_level level)
{
    threshold = level;
}

void log_line(enum log_level level, const char *format, ...)
{
    va_list arguments;

    if (level > threshold)
        return;
    va_start(arguments, format);
    write_line(level, 0, format, arguments);
    va_end(arguments);
}

bool log_admit(struct log_limit *limit, enum log_level level, uint32_t *kept_back)
{
    uint64_t now = clock_ms();

    *kept_back = 0;
    if (level > threshold)
        return false;
    if (limit->count == 0 || now - limit->window_ms >= LOG_LIMIT_WINDOW) {
        if (limit->count > LOG_LIMIT_BURST)
            *kept_back = limit->count - LOG_LIMIT_BURST;
        *limit = (struct log_limit){.window_ms = now};
    }
    if (limit->count < UINT32_MAX)
        limit->count++;
    return limit->count <= LOG_LIMIT_BURST;
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

uint64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
