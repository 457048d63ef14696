/* SPDX-License-Identifier: MIT */
/*
 * Explores a scenario: every interleaving of its processes' shared-memory steps, every choice, and
 * every kill that it allows, each state once.
 */
#ifndef MODEL_EXPLORER_H
#define MODEL_EXPLORER_H

#include <stdbool.h>
#include <stdint.h>

struct exploration {
    uint64_t states;
    uint64_t transitions;
    uint64_t ends;    /* states in which nothing has to happen any more */
    uint64_t crashes; /* kills tried */
    uint32_t longest; /* path */
    uint32_t sites;   /* different places in the source before which a process was killed */
    double seconds;   /* of the processor */
};

/*
 * Explores `scenario`, at most `states_max` states. Results: 0, all is well; 1, something is wrong,
 * and unless `quiet` was printed with a shortest way to it; -ENOMEM, -E2BIG, not explored to the
 * end.
 */
int explore(uint64_t states_max, bool quiet, struct exploration *exploration);

#endif
