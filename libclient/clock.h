/* SPDX-License-Identifier: MIT */
/* Time as this library counts it: nanoseconds of CLOCK_MONOTONIC. */
#ifndef LENDIS_CLOCK_H
#define LENDIS_CLOCK_H

#include <stdint.h>

int64_t clock_now_ns(void);
/* CLOCK_MONOTONIC_COARSE: a few nanoseconds to read, right to a timer tick. */
int64_t clock_coarse_ns(void);
/* The absolute time for a limit of timeout_ms from now; INT64_MAX for -1. */
int64_t clock_deadline_ns(int64_t timeout_ms);

#endif
