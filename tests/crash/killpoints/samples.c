/* SPDX-License-Identifier: MIT */
/* Measured times: see samples.h. */
#include "tests/crash/killpoints/samples.h"

#include <stdio.h>
#include <stdlib.h>
#include "tests/support/support.h"

void samples_add(struct samples *samples, int64_t ns)
{
    if (samples->count == samples->room) {
        samples->room = samples->room ? 2 * samples->room : 1024;
        samples->ns = realloc(samples->ns, samples->room * sizeof *samples->ns);
        if (!samples->ns)
            give_up("no memory for %zu samples", samples->room);
    }
    samples->ns[samples->count++] = ns;
    samples->sorted = false;
}

static int compare(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;

    return (a > b) - (a < b);
}

double samples_ms(struct samples *samples, double quantile)
{
    size_t at;

    if (samples->count == 0)
        return 0;
    if (!samples->sorted)
        qsort(samples->ns, samples->count, sizeof *samples->ns, compare);
    samples->sorted = true;
    at = (size_t)(quantile * (double)samples->count);
    return (double)samples->ns[at < samples->count ? at : samples->count - 1] / 1e6;
}

size_t samples_above(const struct samples *samples, int64_t ns)
{
    size_t above = 0;

    for (size_t i = 0; i < samples->count; i++)
        above += samples->ns[i] > ns;
    return above;
}

bool samples_report(struct samples *samples, const char *name, int64_t promise_ns, double percent)
{
    size_t above = samples_above(samples, promise_ns);

    printf("# %s: p50 %.2f ms, p99 %.2f ms, max %.2f ms; %zu of %zu above %.0f ms\n", name,
           samples_ms(samples, 0.5), samples_ms(samples, 0.99), samples_ms(samples, 1.0), above,
           samples->count, (double)promise_ns / 1e6);
    return (double)above * 100 <= percent * (double)samples->count;
}

void samples_free(struct samples *samples)
{
    free(samples->ns);
    *samples = (struct samples){0};
}
