/* SPDX-License-Identifier: MIT */
/* Worker processes: see worker_processes.h. */
#include "broker/testbed/worker_processes.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "broker/testbed/internal.h"

#define READY_LIMIT_MS 20000

/* Results of two workers never share a cache line. */
#define RESULT_ALIGNMENT 128u

static size_t result_stride(const struct processes *processes)
{
    return (processes->result_size + RESULT_ALIGNMENT - 1) / RESULT_ALIGNMENT * RESULT_ALIGNMENT;
}

static void fork_one(struct processes *processes, unsigned number)
{
    pid_t parent = getpid(), pid;

    fflush(NULL);
    pid = fork();
    if (pid < 0)
        give_up("fork: %s", strerror(errno));
    if (pid == 0) {
        int result;

        die_with(parent);
        scratch_forget();
        result = processes->function(processes, number);
        fflush(NULL);
        _exit(result);
    }
    processes->pids[number] = pid;
    processes->statuses[number] = -1;
}

void processes_start(struct processes *processes, unsigned count, size_t result_size,
                     int (*function)(struct processes *processes, unsigned number), void *context)
{
    *processes = (struct processes){
        .count = count, .result_size = result_size, .function = function, .context = context};
    scratch_directory();
    processes->size = RESULT_ALIGNMENT + result_stride(processes) * count;
    processes->control =
        mmap(NULL, processes->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    processes->pids = calloc(count, sizeof *processes->pids);
    processes->statuses = calloc(count, sizeof *processes->statuses);
    if (processes->control == MAP_FAILED || !processes->pids || !processes->statuses)
        give_up("no memory for %u workers", count);
    processes->results = (char *)processes->control + RESULT_ALIGNMENT;
    for (unsigned i = 0; i < count; i++)
        fork_one(processes, i);
}

void *processes_result(const struct processes *processes, unsigned number)
{
    return processes->results + result_stride(processes) * number;
}

void processes_signal(const struct processes *processes, unsigned number, int signal)
{
    if (processes->pids[number] > 0)
        kill(processes->pids[number], signal);
}

/* Reaps one; with `flags` WNOHANG, if it has ended. True: it is reaped. */
static bool reap(struct processes *processes, unsigned number, int flags)
{
    pid_t got;

    if (processes->pids[number] == 0)
        return true;
    do
        got = waitpid(processes->pids[number], &processes->statuses[number], flags);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        give_up("waitpid: %s", strerror(errno));
    if (got > 0)
        processes->pids[number] = 0;
    return got > 0;
}

void processes_replace(struct processes *processes, unsigned number)
{
    processes_signal(processes, number, SIGKILL);
    reap(processes, number, 0);
    fork_one(processes, number);
}

int processes_wait_one(struct processes *processes, unsigned number, int limit_ms)
{
    return eventually(reap(processes, number, WNOHANG), limit_ms) ? processes->statuses[number]
                                                                  : -1;
}

bool processes_wait(struct processes *processes, int limit_ms)
{
    int64_t until_ms = now_ms() + limit_ms;

    for (unsigned i = 0; i < processes->count; i++) {
        int64_t left_ms = until_ms - now_ms();

        if (!eventually(reap(processes, i, WNOHANG), left_ms > 0 ? left_ms : 0))
            return false;
    }
    return true;
}

unsigned processes_failures(const struct processes *processes)
{
    unsigned failures = 0;

    for (unsigned i = 0; i < processes->count; i++)
        if (processes->pids[i] == 0 && processes->statuses[i] != 0)
            failures++;
    return failures;
}

void processes_end(struct processes *processes)
{
    if (!processes->control)
        return;
    for (unsigned i = 0; i < processes->count; i++)
        processes_signal(processes, i, SIGKILL);
    for (unsigned i = 0; i < processes->count; i++)
        reap(processes, i, 0);
    munmap(processes->control, processes->size);
    free(processes->pids);
    free(processes->statuses);
    *processes = (struct processes){0};
}

void processes_ready(struct processes *processes)
{
    atomic_fetch_add(&processes->control->ready, 1);
    while (!atomic_load(&processes->control->go))
        sleep_us(500);
}

void processes_go(struct processes *processes)
{
    if (!eventually(atomic_load(&processes->control->ready) >= processes->count, READY_LIMIT_MS))
        give_up("%u of %u workers are ready", atomic_load(&processes->control->ready),
                processes->count);
    atomic_store(&processes->control->go, 1);
}

void processes_stop(struct processes *processes)
{
    atomic_store(&processes->control->stop, 1);
}
