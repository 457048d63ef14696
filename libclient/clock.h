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

/* What is left until `deadline_ns`, in milliseconds for poll(2): rounded up, so that it is not over
 * before; 0 when it is past; -1 for INT64_MAX, which never comes. */
static inline int clock_left_ms(int64_t deadline_ns)
{
    int64_t left_ns;

    if (deadline_ns == INT64_MAX)
        return -1;
    left_ns = deadline_ns - clock_now_ns();
    if (left_ns <= 0)
        return 0;
    return left_ns > INT64_C(1000000) * INT32_MAX ? INT32_MAX : (int)((left_ns + 999999) / 1000000);
}

#endif
