/* SPDX-License-Identifier: MIT */
/* Processes seen from outside: see process.h. */
#include "broker/base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "broker/base/proc.h"

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

static enum process_state state_of(const char *text)
{
    const char *at = proc_stat_field(text, FIELD_STATE);

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
    char file[32], text[STAT_SIZE];

    snprintf(file, sizeof file, "task/%d/stat", (int)thread);
    if (!proc_read_start(pid, file, text, sizeof text))
        return false;
    view->state = state_of(text);
    snprintf(file, sizeof file, "task/%d/schedstat", (int)thread);
    view->ran_ns = proc_read_start(pid, file, text, sizeof text) ? strtoull(text, NULL, 10) : 0;
    return true;
}

static bool has_ended(int process)
{
    struct pollfd poll_fd = {.fd = process, .events = POLLIN};

    return poll(&poll_fd, 1, 0) == 1;
}

void process_inspect(int process, pid_t pid, pid_t thread, struct process_view *view)
{
    char text[STAT_SIZE];

    *view = (struct process_view){.state = PROCESS_UNSEEN};
    if (process < 0 || pid <= 0)
        return;
    if (proc_read_start(pid, "stat", text, sizeof text)) {
        bool alone = proc_stat_number(text, FIELD_THREADS) <= 1;

        /* A signal stops all threads, so what the first one shows is enough then. */
        if (alone)
            view_thread(pid, pid, view);
        else if ((thread <= 0 || !view_thread(pid, thread, view)) &&
                 state_of(text) == PROCESS_STOPPED && *proc_stat_field(text, FIELD_STATE) != 'Z')
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
    return read_start(AT_FDCWD, name, text, sizeof text) && strstr(text, word) != NULL;
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
    char text[CGROUP_SIZE], *rest, *line;

    if (pid <= 0 || !proc_read_start(pid, "cgroup", text, sizeof text))
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

    if (!read_start(AT_FDCWD, "/proc/self/timens_offsets", text, sizeof text))
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
    char text[STAT_SIZE];
    uint64_t started;

    if (pid <= 0 || !proc_read_start(pid, "stat", text, sizeof text))
        return 0;
    started = proc_stat_number(text, FIELD_STARTED);
    return started ? started - (uint64_t)own_offset() : 0;
}
