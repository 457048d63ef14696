/* SPDX-License-Identifier: MIT */
/*
 * The program of a model: without arguments it explores the short scenarios, with --long all of
 * them, else those that are named. Exit status 0: all of them explored to the end, and nothing
 * wrong found. A broken variant explores the scenario that has to show its mistake, and its exit
 * status is 0 if that does; with --trace it prints a shortest way there.
 */
#ifndef MODEL_PROGRAM_H
#define MODEL_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

struct listing {
    const char *name;
    const char *text;
    bool long_only; /* not in the short run */
};

struct program {
    uint32_t count;                           /* of scenarios */
    struct listing (*choose)(uint32_t index); /* makes this scenario the one that is explored */
    int mistake;                              /* which broken variant it is; 0: none */
    const char *shown_by;                     /* the scenario that shows the mistake */
};

int program_run(const struct program *program, int argc, char **argv);

#endif
