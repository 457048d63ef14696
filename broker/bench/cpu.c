/* SPDX-License-Identifier: MIT */
/* CPU time: see cpu.h. */
#include "broker/bench/cpu.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "broker/base/proc.h"
#include "broker/testbed/testbed.h"

#define SAMPLE_US 200000

double cpu_of_process(pid_t pid)
{
    struct timespec used;
    clockid_t clock;

    if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) < 0)
        return 0;
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

bool cpu_parse_stat(const char *line, double *ticks)
{
    unsigned long long user, nice, system, idle, iowait, irq, softirq;

    if (strncmp(line, "cpu ", 4) != 0) /* and not cpu0 */
        return false;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers, proc_stat(5) */
    if (sscanf(line, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
               &iowait, &irq, &softirq) != 7)
        return false;
    *ticks = (double)(user + nice + system + irq + softirq);
    return true;
}

double cpu_of_machine(void)
{
    char text[512];
    double ticks = 0;

    if (read_start(AT_FDCWD, "/proc/stat", text, sizeof text))
        cpu_parse_stat(text, &ticks);
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

double cpu_busy(void)
{
    int64_t begin = now_ns();
    double before = cpu_of_machine();

    sleep_us(SAMPLE_US);
    return (cpu_of_machine() - before) / ((double)(now_ns() - begin) / 1e9);
}
