/* SPDX-License-Identifier: MIT */
/* Processes seen from outside: see process.h. */
#include "broker/base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STAT_SIZE   1024u
#define CGROUP_SIZE 4096u

/* Fields of /proc/PID/stat, proc_pid_stat(5). */
#define FIELD_STATE   3
#define FIELD_THREADS 20
#define FIELD_STARTED 22

/* Where systemd(1) mounts the hierarchies: version 2 alone, beside version 1, and version 1. */
static const char *const events_of[] = {"/sys/fs/cgroup%s/cgroup.events",
                                        "/sys/fs/cgroup/unified%s/cgroup.events"};
#define FREEZER_STATE "/sys/fs/cgroup/freezer%s/freezer.state"

/* The beginning of a file, as a string. False: it cannot be read. */
static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (fd < 0)
        return false;
    got = read(fd, text, size - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* Field `number` of the text of a stat, from FIELD_STATE on; NULL: there is none. */
static const char *stat_field(const char *text, int number)
{
    /* The name, field 2, is in brackets and may contain anything. */
    const char *at = strrchr(text, ')');

    for (int field = 2; at && field < number; field++)
        at = strchr(at + 1, ' ');
    return at ? at + 1 : NULL;
}

static uint64_t stat_number(const char *text, int number)
{
    const char *at = stat_field(text, number);

    return at ? strtoull(at, NULL, 10) : 0;
}

static enum process_state state_of(const char *text)
{
    const char *at = stat_field(text, FIELD_STATE);

    switch (at ? *at : '\0') {
    case 'T':
    case 't':
    case 'X':
    case 'Z':
        return PROCESS_STOPPED;
    case 'R':
        return PROCESS_RUNNABLE;
    case 'D':
        return PROCESS_BLOCKED;
    case '\0':
        return PROCESS_UNSEEN;
    default:
        return PROCESS_ASLEEP;
    }
}

/* Thread `thread` of `pid`. False: it cannot be seen. */
static bool view_thread(pid_t pid, pid_t thread, struct process_view *view)
{
    char path[64], text[STAT_SIZE];

    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)pid, (int)thread);
    if (!read_text(path, text, sizeof text))
        return false;
    view->state = state_of(text);
    snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", (int)pid, (int)thread);
    view->ran_ns = read_text(path, text, sizeof text) ? strtoull(text, NULL, 10) : 0;
    return true;
}

static bool has_ended(int process)
{
    struct pollfd poll_fd = {.fd = process, .events = POLLIN};

    return poll(&poll_fd, 1, 0) == 1;
}

void process_inspect(int process, pid_t pid, pid_t thread, struct process_view *view)
{
    char path[32], text[STAT_SIZE];

    *view = (struct process_view){.state = PROCESS_UNSEEN};
    if (process < 0 || pid <= 0)
        return;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (read_text(path, text, sizeof text)) {
        bool alone = stat_number(text, FIELD_THREADS) <= 1;

        /* A signal stops all threads, so what the first one shows is enough then. */
        if (alone)
            view_thread(pid, pid, view);
        else if ((thread <= 0 || !view_thread(pid, thread, view)) &&
                 state_of(text) == PROCESS_STOPPED && *stat_field(text, FIELD_STATE) != 'Z')
            view->state = PROCESS_STOPPED;
    }
    if (has_ended(process))
        view->state = PROCESS_STOPPED;
}

/* ---- the freezer ---- */

/* Whether the file by `format` and `path` exists and has `word` in it. */
static bool file_says(const char *format, const char *path, const char *word)
{
    char name[CGROUP_SIZE + 64], text[256];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(name, sizeof name, format, path);
#pragma GCC diagnostic pop
    return read_text(name, text, sizeof text) && strstr(text, word) != NULL;
}

static bool line_is_frozen(char *line)
{
    char *controllers = strchr(line, ':'),
         *path = controllers ? strchr(controllers + 1, ':') : NULL;

    if (!path)
        return false;
    *path++ = '\0';
    if (strcmp(controllers, ":freezer") == 0)
        return file_says(FREEZER_STATE, path, "FROZEN");
    if (controllers[1] != '\0')
        return false;
    return file_says(events_of[0], path, "frozen 1") || file_says(events_of[1], path, "frozen 1");
}

bool process_is_frozen(pid_t pid)
{
    char path[32], text[CGROUP_SIZE], *rest, *line;

    snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
    if (pid <= 0 || !read_text(path, text, sizeof text))
        return false;
    for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (line_is_frozen(line))
            return true;
    return false;
}

/* ---- when it began ---- */

/* What /proc adds to times since boot for this process, in ticks. */
static int64_t own_offset(void)
{
    char text[256], *at;
    int64_t seconds, ns;

    if (!read_text("/proc/self/timens_offsets", text, sizeof text))
        return 0; /* Linux before 5.6 */
    at = strstr(text, "boottime");
    if (!at)
        return 0;
    seconds = strtoll(at + strlen("boottime"), &at, 10);
    ns = strtoll(at, NULL, 10);
    return (seconds * 1000000000 + ns) / (1000000000 / sysconf(_SC_CLK_TCK));
}

uint64_t process_started(pid_t pid)
{
    char path[32], text[STAT_SIZE];
    uint64_t started;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (pid <= 0 || !read_text(path, text, sizeof text))
        return 0;
    started = stat_number(text, FIELD_STARTED);
    return started ? started - (uint64_t)own_offset() : 0;
}
