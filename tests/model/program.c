/* SPDX-License-Identifier: MIT */
/* Exploring scenarios and saying what was covered: see program.h. */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "explorer.h"

/* More than the largest one needs; 24 bytes each while the table grows. */
#define STATES_MAX UINT64_C(1000000000)

struct sum {
    uint64_t states;
    uint64_t transitions;
    double seconds;
    uint32_t wrong;
    uint32_t explored;
};

/* Explores the scenario that was chosen. Results as explore(). */
static int explore_one(const struct listing *which, bool quiet, struct sum *sum)
{
    struct exploration done;
    int result;

    printf("%s: %s\n", which->name, which->text);
    fflush(stdout);
    result = explore(STATES_MAX, quiet, &done);
    printf("  %-8s %10llu states %10llu transitions %5llu ends, longest path %3u, "
           "%7llu kills at %2u places, %6.2f s\n",
           result == 0   ? "ok"
           : result == 1 ? "WRONG"
                         : "NOT DONE",
           (unsigned long long)done.states, (unsigned long long)done.transitions,
           (unsigned long long)done.ends, done.longest, (unsigned long long)done.crashes,
           done.sites, done.seconds);
    fflush(stdout);
    sum->states += done.states;
    sum->transitions += done.transitions;
    sum->seconds += done.seconds;
    sum->explored++;
    sum->wrong += result != 0;
    return result;
}

static bool is_wanted(const struct program *program, const struct listing *which, int argc,
                      char **argv)
{
    bool named = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--long") == 0 || strcmp(argv[i], which->name) == 0)
            return true;
        named = named || strcmp(argv[i], "--trace") != 0;
    }
    if (program->mistake != 0)
        return !named && strcmp(which->name, program->shown_by) == 0;
    return !named && !which->long_only;
}

/* A broken variant says how it failed only if asked. */
static bool is_quiet(const struct program *program, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--trace") == 0)
            return false;
    return program->mistake != 0;
}

int program_run(const struct program *program, int argc, char **argv)
{
    struct sum sum = {0};

    for (uint32_t i = 0; i < program->count; i++) {
        struct listing which = program->choose(i);
        int result;

        if (!is_wanted(program, &which, argc, argv))
            continue;
        result = explore_one(&which, is_quiet(program, argc, argv), &sum);
        if (program->mistake != 0 && result == 1)
            return EXIT_SUCCESS;
    }
    if (program->mistake != 0) {
        printf("mistake %d was not found\n", program->mistake);
        return EXIT_FAILURE;
    }
    printf("%u scenarios, %u wrong or not done: %llu states, %llu transitions, %.1f s\n",
           sum.explored, sum.wrong, (unsigned long long)sum.states,
           (unsigned long long)sum.transitions, sum.seconds);
    return sum.explored > 0 && sum.wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
