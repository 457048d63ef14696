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

static size_t result_stride(const struct crew *crew)
{
    return (crew->result_size + RESULT_ALIGNMENT - 1) / RESULT_ALIGNMENT * RESULT_ALIGNMENT;
}

static void fork_one(struct crew *crew, unsigned number)
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
        result = crew->function(crew, number);
        fflush(NULL);
        _exit(result);
    }
    crew->pids[number] = pid;
    crew->statuses[number] = -1;
}

void crew_start(struct crew *crew, unsigned count, size_t result_size,
                int (*function)(struct crew *crew, unsigned number), void *context)
{
    *crew = (struct crew){
        .count = count, .result_size = result_size, .function = function, .context = context};
    scratch_directory();
    crew->size = RESULT_ALIGNMENT + result_stride(crew) * count;
    crew->control =
        mmap(NULL, crew->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    crew->pids = calloc(count, sizeof *crew->pids);
    crew->statuses = calloc(count, sizeof *crew->statuses);
    if (crew->control == MAP_FAILED || !crew->pids || !crew->statuses)
        give_up("no memory for %u workers", count);
    crew->results = (char *)crew->control + RESULT_ALIGNMENT;
    for (unsigned i = 0; i < count; i++)
        fork_one(crew, i);
}

void *crew_result(const struct crew *crew, unsigned number)
{
    return crew->results + result_stride(crew) * number;
}

void crew_signal(const struct crew *crew, unsigned number, int signal)
{
    if (crew->pids[number] > 0)
        kill(crew->pids[number], signal);
}

/* Reaps one; with `flags` WNOHANG, if it has ended. True: it is reaped. */
static bool reap(struct crew *crew, unsigned number, int flags)
{
    pid_t got;

    if (crew->pids[number] == 0)
        return true;
    do
        got = waitpid(crew->pids[number], &crew->statuses[number], flags);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        give_up("waitpid: %s", strerror(errno));
    if (got > 0)
        crew->pids[number] = 0;
    return got > 0;
}

void crew_replace(struct crew *crew, unsigned number)
{
    crew_signal(crew, number, SIGKILL);
    reap(crew, number, 0);
    fork_one(crew, number);
}

int crew_wait_one(struct crew *crew, unsigned number, int limit_ms)
{
    return eventually(reap(crew, number, WNOHANG), limit_ms) ? crew->statuses[number] : -1;
}

bool crew_wait(struct crew *crew, int limit_ms)
{
    int64_t until_ms = now_ms() + limit_ms;

    for (unsigned i = 0; i < crew->count; i++) {
        int64_t left_ms = until_ms - now_ms();

        if (!eventually(reap(crew, i, WNOHANG), left_ms > 0 ? left_ms : 0))
            return false;
    }
    return true;
}

unsigned crew_failures(const struct crew *crew)
{
    unsigned failures = 0;

    for (unsigned i = 0; i < crew->count; i++)
        if (crew->pids[i] == 0 && crew->statuses[i] != 0)
            failures++;
    return failures;
}

void crew_end(struct crew *crew)
{
    if (!crew->control)
        return;
    for (unsigned i = 0; i < crew->count; i++)
        crew_signal(crew, i, SIGKILL);
    for (unsigned i = 0; i < crew->count; i++)
        reap(crew, i, 0);
    munmap(crew->control, crew->size);
    free(crew->pids);
    free(crew->statuses);
    *crew = (struct crew){0};
}

void crew_ready(struct crew *crew)
{
    atomic_fetch_add(&crew->control->ready, 1);
    while (!atomic_load(&crew->control->go))
        sleep_us(500);
}

void crew_go(struct crew *crew)
{
    if (!eventually(atomic_load(&crew->control->ready) >= crew->count, READY_LIMIT_MS))
        give_up("%u of %u workers are ready", atomic_load(&crew->control->ready), crew->count);
    atomic_store(&crew->control->go, 1);
}

void crew_stop(struct crew *crew)
{
    atomic_store(&crew->control->stop, 1);
}
