/* SPDX-License-Identifier: MIT */
/* CPU time of processes, and of the whole machine. */
#ifndef LENDIS_BENCH_CPU_H
#define LENDIS_BENCH_CPU_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * What a process has used, in seconds: user and system time, all threads, in nanoseconds
 * (clock_getcpuclockid(3)) where /proc/PID/stat has ticks of 10 ms. 0 when it is gone.
 */
double cpu_of_process(pid_t pid);

/* What all processors have spent otherwise than idle, in seconds. 0: unknown. */
double cpu_of_machine(void);

/* The same from the first line of /proc/stat, proc(5), in ticks. False: it is none. */
bool cpu_parse_stat(const char *line, double *ticks);

/* How many processors are kept busy just now, by whomever: a sample of 0.2 s. */
double cpu_busy(void);

#endif
