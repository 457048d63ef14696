/* SPDX-License-Identifier: MIT */
/*
 * Kill points. The crash flavour of liblendis calls lendis_step() before every shared-memory access
 * and before every system call that another process can see (lendis/shm.h). A process arms a plan,
 * and at the n-th step that its thread takes from then on, the plan's action happens: whatever can
 * happen to a process between any two instructions. Steps are counted, never listed, so a step that
 * is added to the library is covered by the next run.
 */
#ifndef LENDIS_TESTS_CRASH_STEPS_H
#define LENDIS_TESTS_CRASH_STEPS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "lendis.h"

enum step_action {
    STEP_KILL,        /* SIGKILL */
    STEP_STOP,        /* SIGSTOP, the others go on, SIGCONT */
    STEP_STOP_KILL,   /* SIGSTOP, the others go on, SIGKILL */
    STEP_FORK_EXIT,   /* another thread forks; the child ends at once */
    STEP_FORK_USE,    /* the child uses the handle */
    STEP_FORK_DETACH, /* the child detaches */
    STEP_FORK_KILL,   /* the child idles, with all descriptors, and its parent is SIGKILLed */
    STEP_EXEC,        /* execve(2) of a program that goes on for a while */
    STEP_EXPEL,       /* its socket to the broker ends, and the broker expels it; it lives on */
    STEP_ACTIONS
};

/* Shared with the process that watches. */
struct step_report {
    atomic_uint steps; /* taken so far */
    atomic_bool reached;
    atomic_int child;       /* forked by the action; 0: none */
    char where[32];         /* the name of the step at which the action happened */
    _Atomic uintptr_t site; /* and its place in the program's code, from its start */
    char text[256];         /* what failed, for people */
};

struct step_plan {
    enum step_action action;
    unsigned target; /* the step; 0: only count */
    struct step_report *report;
    struct lendis_pool *const *pool; /* the handle that a forked child uses */
};

const char *step_action_name(enum step_action action);

/* From here on the calling thread counts. */
void steps_arm(const struct step_plan *plan);
void steps_disarm(void);

#endif
