/* SPDX-License-Identifier: MIT */
/* Measured times and their percentiles. All-zero is an empty set. */
#ifndef LENDIS_TESTS_CRASH_SAMPLES_H
#define LENDIS_TESTS_CRASH_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct samples {
    int64_t *ns;
    size_t count;
    size_t room;
    bool sorted;
};

void samples_add(struct samples *samples, int64_t ns);

/* In milliseconds; 0 of an empty set. samples_ms(&set, 1.0) is the largest. */
double samples_ms(struct samples *samples, double quantile);

size_t samples_above(const struct samples *samples, int64_t ns);

/* Prints "# NAME: p50 ... of ... " and returns true unless more than `percent` of them are above
 * the promise. */
bool samples_report(struct samples *samples, const char *name, int64_t promise_ns, double percent);

void samples_free(struct samples *samples);

#endif
