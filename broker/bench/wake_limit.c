/* SPDX-License-Identifier: MIT */
/* The limit of wake-ups: see wake_limit.h. */
#include "broker/bench/wake_limit.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "broker/testbed/testbed.h"

#define GROUP_SIZE 32u
/* Of a round of wake-ups; a machine that takes longer is not measured. */
#define ROUND_LIMIT_NS INT64_C(10000000000)

struct word {
    _Alignas(64) _Atomic uint32_t value;
};

struct sleepers {
    struct word awake; /* how many are, of this round */
    struct word end;   /* 1: it is over */
    struct word groups[];
};

static void futex_wait(_Atomic uint32_t *at, uint32_t seen)
{
    struct timespec timeout = {.tv_sec = 1};

    syscall(SYS_futex, at, FUTEX_WAIT, seen, &timeout, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *at)
{
    syscall(SYS_futex, at, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static _Noreturn void sleeper(struct sleepers *sleepers, unsigned number, unsigned workers)
{
    _Atomic uint32_t *group = &sleepers->groups[number / GROUP_SIZE].value;
    uint32_t seen = 0;

    for (;;) {
        if (atomic_fetch_add(&sleepers->awake.value, 1) + 1 == workers)
            futex_wake(&sleepers->awake.value);
        while (atomic_load(group) == seen)
            futex_wait(group, seen);
        seen = atomic_load(group);
        if (atomic_load(&sleepers->end.value))
            _exit(0);
    }
}

/* All of them sleep, or are about to. False: not in time. */
static bool await_all(struct sleepers *sleepers, unsigned workers)
{
    int64_t until_ns = now_ns() + ROUND_LIMIT_NS;
    uint32_t seen;

    while ((seen = atomic_load(&sleepers->awake.value)) != workers) {
        if (now_ns() > until_ns)
            return false;
        futex_wait(&sleepers->awake.value, seen);
    }
    return true;
}

static void wake_all(struct sleepers *sleepers, unsigned workers)
{
    atomic_store(&sleepers->awake.value, 0);
    for (unsigned group = 0; group * GROUP_SIZE < workers; group++) {
        atomic_fetch_add(&sleepers->groups[group].value, 1);
        futex_wake(&sleepers->groups[group].value);
    }
}

static void fork_sleepers(struct sleepers *sleepers, pid_t *pids, unsigned workers)
{
    pid_t parent = getpid();

    fflush(NULL);
    for (unsigned i = 0; i < workers; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            give_up("fork: %s", strerror(errno));
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent)
                _exit(1);
            sleeper(sleepers, i, workers);
        }
    }
}

double wake_limit_measure(unsigned workers, double seconds)
{
    size_t size = sizeof(struct sleepers) + (workers / GROUP_SIZE + 1) * sizeof(struct word);
    struct sleepers *sleepers =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t *pids = calloc(workers, sizeof *pids);
    int64_t from_ns, now;
    uint64_t wakes = 0;

    if (sleepers == MAP_FAILED || !pids)
        give_up("no memory for %u sleepers", workers);
    fork_sleepers(sleepers, pids, workers);
    if (!await_all(sleepers, workers))
        give_up("%u processes did not start", workers);
    from_ns = now = now_ns();
    while ((double)(now - from_ns) < seconds * 1e9) {
        wake_all(sleepers, workers);
        if (!await_all(sleepers, workers))
            give_up("%u processes did not wake", workers);
        wakes += workers;
        now = now_ns();
    }
    atomic_store(&sleepers->end.value, 1);
    wake_all(sleepers, workers);
    for (unsigned i = 0; i < workers; i++)
        waitpid(pids[i], NULL, 0);
    munmap(sleepers, size);
    free(pids);
    return (double)wakes * 1e9 / (double)(now - from_ns);
}
