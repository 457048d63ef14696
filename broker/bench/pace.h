/* SPDX-License-Identifier: MIT */
/*
 * When a worker's commands begin, and what counts of them. No clock is read here, so that it can be
 * tested with any.
 *
 * Closed loop: a command begins a pause after the last one's end. Open loop: commands are meant to
 * begin at instants that were drawn beforehand, whatever becomes of those before them; latency
 * counts from there, so a stall is seen by all the commands that it held up and not by one alone
 * ("coordinated omission", Gil Tene).
 */
#ifndef LENDIS_BENCH_PACE_H
#define LENDIS_BENCH_PACE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include "broker/bench/histogram.h"

enum pace_kind { PACE_EXPONENTIAL, PACE_FIXED };

struct pace {
    enum pace_kind kind;
    bool open;
    double mean_ns;  /* of the pauses; open: between the instants */
    int64_t next_ns; /* open: the next instant */
};

struct window {
    int64_t from_ns;
    int64_t until_ns;
};

struct tally {
    struct histogram latencies; /* of commands that were to begin in the window */
    uint64_t ops;               /* commands that ended in it */
    uint64_t unserved;          /* open: due in it, and not begun when it ended */
};

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators". */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static inline double next_fraction(uint64_t *state)
{
    return (double)(next_random(state) >> 11) * 0x1p-53;
}

/*
 * Exponential by default: independent clients are a Poisson process, while fixed pauses make
 * workers march in step. At most ten times the mean, so that a short round sees everyone.
 */
static inline int64_t pace_draw(const struct pace *pace, uint64_t *random)
{
    double drawn;

    if (pace->kind == PACE_FIXED)
        return (int64_t)pace->mean_ns;
    drawn = -log(1.0 - next_fraction(random));
    return (int64_t)(pace->mean_ns * (drawn < 10 ? drawn : 10));
}

/* Before the first command. Fixed instants of several workers lie anywhere between each other. */
static inline void pace_start(struct pace *pace, int64_t start_ns, uint64_t *random)
{
    pace->next_ns =
        start_ns + (pace->kind == PACE_FIXED ? (int64_t)(pace->mean_ns * next_fraction(random))
                                             : pace_draw(pace, random));
}

/* When the next command is to begin, if the last one ended at end_ns. */
static inline int64_t pace_next(struct pace *pace, int64_t end_ns, uint64_t *random)
{
    int64_t at_ns = pace->next_ns;

    if (!pace->open)
        return pace->mean_ns > 0 ? end_ns + pace_draw(pace, random) : end_ns;
    pace->next_ns += pace_draw(pace, random);
    return at_ns;
}

/* A command was to begin at begin_ns and ended at end_ns. */
static inline void tally_add(struct tally *tally, const struct window *window, int64_t begin_ns,
                             int64_t end_ns)
{
    if (begin_ns >= window->from_ns)
        histogram_add(&tally->latencies, (uint64_t)(end_ns - begin_ns));
    if (end_ns >= window->from_ns && end_ns <= window->until_ns)
        tally->ops++;
}

/*
 * The window is over, and the command that was to begin at begin_ns, and all due after it, never
 * will: each has waited until now_ns at least, and counts as that.
 */
static inline void tally_rest(struct tally *tally, const struct window *window, struct pace *pace,
                              int64_t begin_ns, int64_t now_ns, uint64_t *random)
{
    while (begin_ns < window->until_ns) {
        if (begin_ns >= window->from_ns) {
            histogram_add(&tally->latencies, (uint64_t)(now_ns - begin_ns));
            tally->unserved++;
        }
        begin_ns = pace_next(pace, now_ns, random);
    }
}

#endif
