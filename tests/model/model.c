/* SPDX-License-Identifier: MIT */
/*
 * The scenarios and the program: `model` explores the short ones, `model --long` all of them, `model NAME...` those
 * named. Exit status 0: all of them explored to the end, and nothing wrong found.
 *
 * Memory model: every shared step of queue.c, waiter.c and word.h is sequentially consistent, so
 * interleavings of whole steps are all there is. Weaker orders are not explored; none are used there.
 *
 * Built with MODEL_BREAK it is a broken variant (broken.c): it explores the scenario that has to show the
 * mistake, and its exit status is 0 if that does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "explorer.h"
#include "model.h"

#ifndef MODEL_BREAK
#define MODEL_BREAK 0
#endif

/* More than the largest one needs; 24 bytes each while the table grows. */
#define STATES_MAX UINT64_C(1000000000)

static const struct scenario scenarios[] = {
    {
        .name = "pair",
        .text = "two workers, one connection, twice each; nobody looks by itself",
        .connections = 1,
        .cells = 4,
        .workers = 2,
        .rounds = {2, 2},
        .in_order = true,
    },
    {
        .name = "trio",
        .text = "three workers, one connection; nobody looks by itself",
        .connections = 1,
        .cells = 4,
        .workers = 3,
        .rounds = {1, 1, 1},
        .in_order = true,
    },
    {
        .name = "three-on-two",
        .text = "three workers, two connections; nobody looks by itself",
        .connections = 2,
        .cells = 4,
        .workers = 3,
        .rounds = {1, 1, 1},
        .in_order = true,
    },
    {
        .name = "handers",
        .text = "two give back, two wait; nobody looks by itself",
        .connections = 2,
        .cells = 4,
        .workers = 4,
        .holders = 0x3,
        .rounds = {0, 0, 1, 1},
        .keepers = 0xc,
        .in_order = true,
        .long_only = true,
    },
    {
        .name = "impatient",
        .text = "three workers, one gives up at any time; nobody looks by itself",
        .connections = 1,
        .cells = 4,
        .workers = 3,
        .rounds = {1, 1, 1},
        .impatient = 0x4,
        .give_ups = 1,
        .in_order = true,
    },
    {
        .name = "impatient-four",
        .text = "two give back, two wait, one of them gives up",
        .connections = 2,
        .cells = 4,
        .workers = 4,
        .holders = 0x3,
        .rounds = {0, 0, 1, 1},
        .keepers = 0xc,
        .impatient = 0x8,
        .give_ups = 1,
        .in_order = true,
        .long_only = true,
    },
    {
        .name = "late-hint",
        .text = "one gets its connection on giving up, waits again, and is told late",
        .connections = 2,
        .cells = 4,
        .workers = 3,
        .holders = 0x3,
        .rounds = {0, 0, 2},
        .keepers = 0x4,
        .unclean = 0x4,
        .impatient = 0x4,
        .give_ups = 1,
        .in_order = true,
    },
    {
        .name = "pair-looks",
        .text = "as pair, and each looks by itself once at any time",
        .connections = 1,
        .cells = 4,
        .workers = 2,
        .rounds = {2, 2},
        .early_looks = 1,
        .timed_looks = true,
        .in_order = true,
    },
    {
        .name = "handers-looks",
        .text = "two give back, one waits twice and looks by itself at any time",
        .connections = 2,
        .cells = 4,
        .workers = 3,
        .holders = 0x3,
        .rounds = {0, 0, 2},
        .early_looks = 1,
        .timed_looks = true,
        .in_order = true,
    },
    {
        .name = "handers-looks-four",
        .text = "two give back, two wait and look by themselves",
        .connections = 2,
        .cells = 4,
        .workers = 4,
        .holders = 0x3,
        .rounds = {0, 0, 1, 1},
        .keepers = 0xc,
        .early_looks = 1,
        .timed_looks = true,
        .in_order = true,
        .long_only = true,
    },
    {
        .name = "threads",
        .text = "three threads of one worker",
        .connections = 1,
        .cells = 4,
        .workers = 3,
        .rounds = {1, 1, 1},
        .threads = true,
    },
    {
        .name = "pair-crash",
        .text = "as pair, one is killed anywhere, the broker repairs",
        .connections = 1,
        .cells = 4,
        .workers = 2,
        .rounds = {2, 2},
        .crashes = 1,
        .broker = true,
        .timed_looks = true,
    },
    {
        .name = "pair-crash-alone",
        .text = "the same without a broker",
        .connections = 1,
        .cells = 4,
        .workers = 2,
        .rounds = {2, 2},
        .early_looks = 1,
        .crashes = 1,
        .timed_looks = true,
    },
    {
        .name = "waiter-crash",
        .text = "one gives back, two wait, one of these is killed anywhere",
        .connections = 1,
        .cells = 4,
        .workers = 3,
        .holders = 0x1,
        .rounds = {0, 1, 1},
        .keepers = 0x4,
        .crashes = 1,
        .mortal = 0x2,
        .broker = true,
        .timed_looks = true,
    },
    {
        .name = "hander-crash",
        .text = "two give back, one waits; one that gives back is killed anywhere",
        .connections = 2,
        .cells = 4,
        .workers = 3,
        .holders = 0x3,
        .rounds = {0, 0, 1},
        .keepers = 0x4,
        .crashes = 1,
        .mortal = 0x2,
        .broker = true,
        .timed_looks = true,
    },
    {
        .name = "handed-crash",
        .text = "two give back, one waits and is killed anywhere",
        .connections = 2,
        .cells = 4,
        .workers = 3,
        .holders = 0x3,
        .rounds = {0, 0, 1},
        .keepers = 0x4,
        .crashes = 1,
        .mortal = 0x4,
        .broker = true,
        .timed_looks = true,
    },
    {
        .name = "trio-crash",
        .text = "one gives back, two wait, any is killed anywhere",
        .connections = 1,
        .cells = 4,
        .workers = 3,
        .holders = 0x1,
        .rounds = {0, 1, 1},
        .crashes = 1,
        .broker = true,
        .timed_looks = true,
        .long_only = true,
    },
    {
        .name = "handers-crash",
        .text = "two give back, one waits, any is killed anywhere",
        .connections = 2,
        .cells = 4,
        .workers = 3,
        .holders = 0x3,
        .rounds = {0, 0, 1},
        .early_looks = 1,
        .crashes = 1,
        .broker = true,
        .timed_looks = true,
        .long_only = true,
    },
    {
        .name = "threads-crash",
        .text = "three threads of one worker, which is killed anywhere",
        .connections = 1,
        .cells = 4,
        .workers = 3,
        .rounds = {1, 1, 1},
        .crashes = 1,
        .broker = true,
        .timed_looks = true,
        .threads = true,
    },
    {
        .name = "two-crashes",
        .text = "one gives back, one waits, both may be killed",
        .connections = 1,
        .cells = 4,
        .workers = 2,
        .holders = 0x1,
        .rounds = {1, 1},
        .crashes = 2,
        .broker = true,
        .timed_looks = true,
    },
    {
        .name = "two-crashes-three",
        .text = "one gives back, two wait, two may be killed",
        .connections = 1,
        .cells = 4,
        .workers = 3,
        .holders = 0x1,
        .rounds = {0, 1, 1},
        .crashes = 2,
        .broker = true,
        .timed_looks = true,
        .long_only = true,
    },
    {
        .name = "two-crashes-alone",
        .text = "one gives back, two wait, two may be killed; no broker",
        .connections = 1,
        .cells = 4,
        .workers = 3,
        .holders = 0x1,
        .rounds = {0, 1, 1},
        .crashes = 2,
        .timed_looks = true,
    },
    {
        .name = "unclean",
        .text = "one returns unclean, the broker replaces, the other waits",
        .connections = 1,
        .cells = 4,
        .workers = 2,
        .rounds = {2, 1},
        .unclean = 0x1,
        .broker = true,
        .timed_looks = true,
    },
    {
        .name = "unclean-crash",
        .text = "one returns unclean, any is killed anywhere",
        .connections = 1,
        .cells = 4,
        .workers = 2,
        .rounds = {1, 1},
        .unclean = 0x1,
        .crashes = 1,
        .broker = true,
        .timed_looks = true,
    },
    {
        .name = "broker-crash",
        .text = "one returns unclean, two are killed, the broker may be one",
        .connections = 1,
        .cells = 4,
        .workers = 2,
        .rounds = {1, 1},
        .unclean = 0x1,
        .crashes = 2,
        .broker = true,
        .broker_mortal = true,
        .timed_looks = true,
    },
    {
        .name = "lost",
        .text = "Redis closes the connection, whoever has it",
        .connections = 1,
        .cells = 4,
        .workers = 2,
        .rounds = {1, 1},
        .losses = 1,
        .broker = true,
        .timed_looks = true,
    },
    {
        .name = "lost-crash",
        .text = "Redis closes the connection, and any is killed anywhere",
        .connections = 1,
        .cells = 4,
        .workers = 2,
        .rounds = {1, 1},
        .crashes = 1,
        .losses = 1,
        .broker = true,
        .timed_looks = true,
    },
    {
        .name = "lost-twice",
        .text = "Redis closes the connection twice",
        .connections = 1,
        .cells = 4,
        .workers = 2,
        .rounds = {1, 1},
        .losses = 2,
        .broker = true,
        .timed_looks = true,
        .long_only = true,
    },
    {
        .name = "revoked",
        .text = "the broker takes a lease from a living worker",
        .connections = 1,
        .cells = 4,
        .workers = 2,
        .rounds = {2, 1},
        .revokes = 1,
        .broker = true,
        .timed_looks = true,
    },
    {
        .name = "checked",
        .text = "the broker takes the idle connection for a check, twice",
        .connections = 1,
        .cells = 4,
        .workers = 2,
        .rounds = {1, 1},
        .checks = 2,
        .broker = true,
        .timed_looks = true,
        .in_order = true,
    },
    {
        .name = "reborn",
        .text = "one that waits is killed, a new worker gets its index and slot",
        .connections = 1,
        .cells = 4,
        .workers = 2,
        .holders = 0x1,
        .rounds = {0, 1},
        .keepers = 0x2,
        .crashes = 1,
        .mortal = 0x2,
        .births = 1,
        .broker = true,
        .timed_looks = true,
    },
};
#define SCENARIOS (sizeof scenarios / sizeof *scenarios)

/* Which scenario shows the mistake of variant MODEL_BREAK. */
static const char *const shown_by[] = {
    [0] = NULL,           [1] = "pair",          [2] = "pair",
    [3] = "three-on-two", [4] = "late-hint",     [5] = "pair",
    [6] = "pair",         [7] = "pair",          [8] = "impatient",
    [9] = "impatient",    [10] = "handed-crash", [11] = "two-crashes",
    [12] = "pair-crash",  [13] = "three-on-two", [14] = "trio",
    [15] = "late-hint",   [16] = "waiter-crash", [17] = "pair",
    [18] = "pair",        [19] = "late-hint",
};
_Static_assert(MODEL_BREAK < sizeof shown_by / sizeof *shown_by, "there is no such variant");

struct sum {
    uint64_t states;
    uint64_t transitions;
    double seconds;
    uint32_t wrong;
    uint32_t explored;
};

/* Explores `which`. Results as explore(). */
static int explore_one(const struct scenario *which, struct sum *sum)
{
    struct exploration done;
    int result;

    scenario = which;
    printf("%s: %s\n", scenario->name, scenario->text);
    fflush(stdout);
    result = explore(STATES_MAX, MODEL_BREAK != 0, &done);
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

static bool is_wanted(const struct scenario *which, int argc, char **argv)
{
    bool named = false;

    if (shown_by[MODEL_BREAK] && argc == 1)
        return strcmp(which->name, shown_by[MODEL_BREAK]) == 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--long") == 0 || strcmp(argv[i], which->name) == 0)
            return true;
        named = true;
    }
    return !named && !which->long_only;
}

int main(int argc, char **argv)
{
    struct sum sum = {0};

    for (uint32_t i = 0; i < SCENARIOS; i++) {
        int result;

        if (!is_wanted(&scenarios[i], argc, argv))
            continue;
        result = explore_one(&scenarios[i], &sum);
        if (MODEL_BREAK != 0 && result == 1)
            return EXIT_SUCCESS;
    }
    if (MODEL_BREAK != 0) {
        printf("mistake %d was not found\n", MODEL_BREAK);
        return EXIT_FAILURE;
    }
    printf("%u scenarios, %u wrong or not done: %llu states, %llu transitions, %.1f s\n",
           sum.explored, sum.wrong, (unsigned long long)sum.states,
           (unsigned long long)sum.transitions, sum.seconds);
    return sum.explored > 0 && sum.wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
