/* SPDX-License-Identifier: MIT */
/*
 * Log lines on their way: see log_writer.h. The lock is never held over a system call that can wait
 * for a reader. The thread starts with the first line; where it cannot be had, lines are dropped
 * and the next one tries again.
 */
#include "broker/base/log_writer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>
#include "broker/base/thread.h"

/* write(2) and vsnprintf(3) on it, no more. */
#define STACK_SIZE 65536u

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled;  /* there is a line */
    pthread_cond_t emptied; /* all lines are written */
    bool running;           /* the thread is there */
    bool writing;           /* it has a line in its hands */
    bool broken;            /* the last one could not be written at all */
    uint64_t dropped;
    uint32_t first, used; /* the ring: where the oldest line begins, bytes of all */
    char ring[LOG_BUFFER_SIZE];
} lines = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER};

/* ---- the ring, under the lock ---- */

static bool push(const char *line, size_t size)
{
    if (size > sizeof lines.ring - lines.used)
        return false;
    if (lines.used == 0)
        lines.first = 0; /* a quiet broker touches one page of it */
    for (size_t i = 0; i < size; i++)
        lines.ring[(lines.first + lines.used + i) % sizeof lines.ring] = line[i];
    lines.used += (uint32_t)size;
    return true;
}

static size_t pop(char line[LOG_LINE_SIZE])
{
    size_t size = 0;

    while (lines.used > 0 && size < LOG_LINE_SIZE) {
        line[size] = lines.ring[lines.first];
        lines.first = (lines.first + 1) % sizeof lines.ring;
        lines.used--;
        if (line[size++] == '\n')
            break;
    }
    return size;
}

/* Puts the count of those dropped where they would have stood. */
static void push_dropped(void)
{
    char line[128];
    int size;

    if (lines.dropped == 0 || lines.broken)
        return;
    size = snprintf(line, sizeof line,
                    SD_WARNING "%ju log line%s dropped: standard error was not read\n",
                    (uintmax_t)lines.dropped, lines.dropped == 1 ? " was" : "s were");
    if (push(line, (size_t)size))
        lines.dropped = 0;
}

/* ---- the thread ---- */

/* False: standard error does not work. */
static bool write_all(const char *line, size_t size)
{
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};

    while (size > 0) {
        ssize_t written = write(STDERR_FILENO, line, size);

        if (written > 0) {
            line += written;
            size -= (size_t)written;
        } else if (written < 0 && errno == EAGAIN) {
            poll(&room, 1, -1); /* whoever shares it has made it non-blocking */
        } else if (written == 0 || errno != EINTR) {
            return false;
        }
    }
    return true;
}

static void *run(void *unused)
{
    char line[LOG_LINE_SIZE];

    (void)unused;
    pthread_mutex_lock(&lines.lock);
    for (;;) {
        bool written;
        size_t size;

        if (lines.used == 0)
            push_dropped();
        if (lines.used == 0) {
            pthread_cond_broadcast(&lines.emptied);
            pthread_cond_wait(&lines.filled, &lines.lock);
            continue;
        }
        size = pop(line);
        lines.writing = true;
        pthread_mutex_unlock(&lines.lock);
        written = write_all(line, size);
        pthread_mutex_lock(&lines.lock);
        lines.writing = false;
        lines.broken = !written;
        lines.dropped += !written;
    }
    return NULL;
}

/* ---- its beginning, under the lock ---- */

static void before_fork(void)
{
    pthread_mutex_lock(&lines.lock);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&lines.lock);
}

/* The thread is the parent's, and so are the lines. */
static void in_child(void)
{
    lines.running = lines.writing = lines.broken = false;
    lines.used = 0;
    lines.dropped = 0;
    pthread_mutex_unlock(&lines.lock);
}

static void prepare(void)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&lines.emptied, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_atfork(before_fork, in_parent, in_child);
}

static bool start(void)
{
    static bool prepared;

    if (lines.running)
        return true;
    if (!prepared)
        prepare();
    prepared = true;
    lines.running = thread_start(run, NULL, STACK_SIZE, NULL) == 0;
    return lines.running;
}

void log_writer_put(const char *line, size_t size)
{
    pthread_mutex_lock(&lines.lock);
    if (start())
        push_dropped();
    /* Where the count did not find room, no line overtakes it. */
    if (!lines.running || (lines.dropped > 0 && !lines.broken) || !push(line, size))
        lines.dropped++;
    pthread_cond_signal(&lines.filled);
    pthread_mutex_unlock(&lines.lock);
}

bool log_writer_flush(uint64_t timeout_ms)
{
    struct timespec until;
    bool done;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(timeout_ms / 1000);
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&lines.lock);
    while (lines.running && (lines.used > 0 || lines.writing) &&
           pthread_cond_timedwait(&lines.emptied, &lines.lock, &until) == 0)
        ;
    done = lines.used == 0 && !lines.writing;
    pthread_mutex_unlock(&lines.lock);
    return done;
}

uint64_t log_writer_dropped(void)
{
    uint64_t dropped;

    pthread_mutex_lock(&lines.lock);
    dropped = lines.dropped;
    pthread_mutex_unlock(&lines.lock);
    return dropped;
}
