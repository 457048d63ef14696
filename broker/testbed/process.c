/* SPDX-License-Identifier: MIT */
/* What /proc says about processes that were started. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "broker/base/proc.h"
#include "broker/testbed/testbed.h"

int count_fds(pid_t pid)
{
    return proc_count_descriptors(pid);
}

static bool print_fd(void *context, int fds, const char *name, const char *target)
{
    (void)context;
    (void)fds;
    fprintf(stderr, "  %s -> %s\n", name, target);
    return false;
}

void print_fds(pid_t pid)
{
    int folder = proc_open(pid);

    proc_each_descriptor(folder, print_fd, NULL);
    if (folder >= 0)
        close(folder);
}

bool process_memory(pid_t pid, struct smaps *memory)
{
    char *text = proc_read(pid, "smaps_rollup");

    smaps_parse(text ? text : "", NULL, memory);
    free(text);
    return memory->rss > 0;
}

/* utime and stime, proc_pid_stat(5). */
static bool read_ticks(pid_t pid, uint64_t *ticks)
{
    char text[1024];

    if (!proc_read_start(pid, "stat", text, sizeof text))
        return false;
    *ticks = proc_stat_number(text, 14) + proc_stat_number(text, 15);
    return true;
}

bool process_use(pid_t pid, struct process_use *use)
{
    char *text = proc_read(pid, "status");
    double switches = text ? info_field(text, "voluntary_ctxt_switches") : NAN;

    free(text);
    use->switches = isnan(switches) ? 0 : (uint64_t)switches;
    return !isnan(switches) && read_ticks(pid, &use->ticks);
}

unsigned process_cpu_ms(pid_t pid, int ms)
{
    uint64_t before = 0, after = 0;

    read_ticks(pid, &before);
    sleep_us((int64_t)ms * 1000);
    read_ticks(pid, &after);
    return (unsigned)((after - before) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK));
}
