/* SPDX-License-Identifier: MIT */
/* Time as this library counts it: nanoseconds of CLOCK_MONOTONIC. */
#ifndef LENDIS_CLOCK_H
#define LENDIS_CLOCK_H

#include <stdint.h>
#include <time.h>

#ifdef LENDIS_MODEL /* the explorer's */
int64_t clock_now_ns(void);
int64_t clock_coarse_ns(void);
int64_t clock_deadline_ns(int64_t timeout_ms);
#else

static inline int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static inline int64_t clock_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* CLOCK_MONOTONIC_COARSE: a few nanoseconds to read, right to a timer tick. */
static inline int64_t clock_coarse_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC_COARSE);
}

/* The absolute time for a limit of timeout_ms from now; INT64_MAX for -1. */
static inline int64_t clock_deadline_ns(int64_t timeout_ms)
{
    return timeout_ms < 0 ? INT64_MAX : clock_now_ns() + timeout_ms * 1000000;
}

#endif
#endif
