/* SPDX-License-Identifier: MIT */
/*
 * What another process is doing, as far as it can be seen from outside: /proc/PID/stat and
 * schedstat (proc(5)), and the freezer of its cgroup (cgroups(7)). Knows nothing of workers; keeps
 * nothing; never waits.
 *
 * A number of a process can be another's by now. Whoever has a pidfd (pidfd_open(2)) checks that
 * one *after* reading: if the process has not ended, what was read was its own.
 */
#ifndef LENDIS_BROKER_PROCESS_H
#define LENDIS_BROKER_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum process_state {
    /* another PID namespace, hidepid, or which of its threads is meant is not known */
    PROCESS_UNSEEN,
    PROCESS_STOPPED,  /* by a signal or a debugger, or it has ended */
    PROCESS_RUNNABLE, /* it runs or waits for a processor: the kernel does not say which */
    PROCESS_BLOCKED,  /* waits for a disk, for example for a page of its memory */
    PROCESS_ASLEEP,   /* waits for anything else */
};

struct process_view {
    enum process_state state;
    uint64_t ran_ns; /* how long it has been running on a processor; 0: not known */
};

/*
 * Inspects thread `thread` of process `pid`, whose pidfd is `process` (-1: there is none, nothing
 * can be seen). The thread is by its number in the process' own PID namespace, or 0: not known. A
 * process with one thread needs none.
 */
void process_inspect(int process, pid_t pid, pid_t thread, struct process_view *view);

/* Whether the process' cgroup is frozen, by either version of cgroups. Such a process looks asleep
 * or blocked. */
bool process_is_frozen(pid_t pid);

/*
 * When the process began, in ticks since boot, without the offset of the caller's time namespace
 * (time_namespaces(7)), which /proc adds: so it can be compared with what another broker found. 0:
 * not known.
 */
uint64_t process_started(pid_t pid);

/* Whether two results of process_started() are one process': the offset may be no whole number of
 * ticks. */
static inline bool process_started_alike(uint64_t one, uint64_t other)
{
    return one == 0 || other == 0 || (one > other ? one - other : other - one) <= 1;
}

#endif
