/* SPDX-License-Identifier: MIT */
/*
 * The scenarios and the program. `model` explores the short ones, `model --long` all, `model NAME` one of them;
 * --expect-failure is for the broken variants (broken.c): it succeeds if something wrong is found.
 *
 * Memory model: every shared step of queue.c, waiter.c and word.h is sequentially consistent, so
 * interleavings of single steps are all there is; weaker orders are not explored because none are used.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "explorer.h"
#include "model.h"

#ifndef MODEL_BREAK
#define MODEL_BREAK 0
#endif

static const struct scenario scenarios[] = {
    {
        .name = "late-hint",
        .text = "one gives back, one gives up in time to get it and waits again, one more",
        .connections = 1,
        .workers = 3,
        .holders = 1,
        .keepers = 2,
        .rounds = {0, 2, 1},
        .impatient = 1 << 1,
        .give_ups = 1,
        .cells = 4,
    },
    {
        .name = "trio-crash1",
        .text = "one gives back, two wait, the first is killed, the broker repairs",
        .connections = 1,
        .workers = 3,
        .holders = 1,
        .rounds = {0, 1, 1},
        .crashes = 1,
        .mortal = 1,
        .broker = true,
        .timed_looks = true,
        .cells = 4,
    },
    {
        .name = "trio-crash3",
        .text = "",
        .connections = 1,
        .workers = 3,
        .holders = 1,
        .rounds = {0, 1, 1},
        .keepers = 4,
        .crashes = 1,
        .mortal = 2,
        .broker = true,
        .timed_looks = true,
        .cells = 4,
    },
    {
        .name = "handers-crash1",
        .text = "two give back, one waits, one is killed, the broker repairs",
        .connections = 2,
        .workers = 3,
        .holders = 3,
        .rounds = {0, 0, 1},
        .keepers = 4,
        .crashes = 1,
        .mortal = 1,
        .broker = true,
        .timed_looks = true,
        .cells = 4,
    },
    {
        .name = "handers-crash4",
        .text = "two give back, one waits, one is killed, the broker repairs",
        .connections = 2,
        .workers = 3,
        .holders = 3,
        .rounds = {0, 0, 1},
        .keepers = 4,
        .crashes = 1,
        .mortal = 4,
        .broker = true,
        .timed_looks = true,
        .cells = 4,
    },
    {
        .name = "lost3",
        .text = "Redis closes the connection, whoever has it, and one is killed",
        .connections = 1,
        .workers = 2,
        .rounds = {1, 1},
        .losses = 1,
        .crashes = 1,
        .broker = true,
        .timed_looks = true,
        .cells = 4,
    },
    {
        .name = "revoked",
        .text = "the broker takes leases from living workers",
        .connections = 1,
        .workers = 2,
        .rounds = {2, 1},
        .revokes = 1,
        .broker = true,
        .timed_looks = true,
        .cells = 4,
    },
    {
        .name = "checked",
        .text = "the broker takes idle connections for a check",
        .connections = 1,
        .workers = 2,
        .rounds = {1, 1},
        .checks = 2,
        .broker = true,
        .timed_looks = true,
        .in_order = true,
        .cells = 4,
    },
    {
        .name = "broker-crash",
        .text = "the broker is killed while it replaces, or a worker",
        .connections = 1,
        .workers = 2,
        .rounds = {1, 1},
        .unclean = 1,
        .crashes = 1,
        .broker = true,
        .broker_mortal = true,
        .timed_looks = true,
        .cells = 4,
    },
    {
        .name = "broker-crash2",
        .text = "the broker is killed while it replaces, and a worker",
        .connections = 1,
        .workers = 2,
        .rounds = {1, 1},
        .unclean = 1,
        .crashes = 2,
        .broker = true,
        .broker_mortal = true,
        .timed_looks = true,
        .cells = 4,
    },
    {
        .name = "threads-crash",
        .text = "three threads of one worker, one connection",
        .connections = 1,
        .workers = 3,
        .rounds = {1, 1, 1},
        .threads = true,
        .crashes = 1,
        .broker = true,
        .timed_looks = true,
        .cells = 4,
    },
    {
        .name = "reborn",
        .text = "one is killed, a new worker gets its index",
        .connections = 1,
        .workers = 2,
        .holders = 1,
        .rounds = {1, 1},
        .crashes = 1,
        .births = 1,
        .broker = true,
        .timed_looks = true,
        .cells = 4,
    },
    {
        .name = "reborn2",
        .text = "one is killed, a new worker gets its index",
        .connections = 2,
        .workers = 3,
        .holders = 3,
        .keepers = 4,
        .rounds = {0, 0, 1},
        .crashes = 1,
        .births = 1,
        .broker = true,
        .timed_looks = true,
        .mortal = 4,
        .cells = 4,
    },
    {
        .name = "reborn3",
        .text = "one is killed, a new worker gets its index",
        .connections = 1,
        .workers = 2,
        .holders = 1,
        .rounds = {0, 1},
        .crashes = 2,
        .births = 1,
        .broker = true,
        .timed_looks = true,
        .cells = 4,
    },
};
#define SCENARIOS (sizeof scenarios / sizeof *scenarios)

/* Explores scenarios[number]. Results as explore(). */
static int one(uint32_t number, bool quiet, uint64_t states_max)
{
    struct exploration done;
    int result;

    scenario = &scenarios[number];
    result = explore(states_max, quiet, &done);
    printf("%-12s %s\n", scenario->name, scenario->text);
    printf("             %s: %llu states, %llu transitions, %llu ends, longest path %u, "
           "%llu kills at %u places, %.2f s\n",
           result == 0   ? "ok"
           : result == 1 ? "WRONG"
                         : "NOT EXHAUSTIVE",
           (unsigned long long)done.states, (unsigned long long)done.transitions,
           (unsigned long long)done.ends, done.deepest, (unsigned long long)done.crashes,
           done.sites, done.seconds);
    fflush(stdout);
    return result;
}

int main(int argc, char **argv)
{
    bool all = false, expect_failure = false, quiet = false;
    const char *name = NULL;
    int bad = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--long") == 0)
            all = true;
        else if (strcmp(argv[i], "--expect-failure") == 0)
            expect_failure = quiet = true;
        else
            name = argv[i];
    }
    for (uint32_t i = 0; i < SCENARIOS; i++) {
        int result;

        if (name ? strcmp(name, scenarios[i].name) != 0 : scenarios[i].long_only && !all)
            continue;
        result = one(i, quiet, UINT64_MAX);
        if (result != 0)
            bad++;
        if (result == 1 && expect_failure)
            return EXIT_SUCCESS;
    }
    return bad || expect_failure ? EXIT_FAILURE : EXIT_SUCCESS;
}
