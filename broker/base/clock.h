/* SPDX-License-Identifier: MIT */
/*
 * The broker's clocks, see clock_gettime(2). What lasts is measured by CLOCK_MONOTONIC, as the
 * timers of the event loop are (timer.h); the time of day is only shown.
 */
#ifndef LENDIS_BROKER_CLOCK_H
#define LENDIS_BROKER_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC. */
uint64_t clock_ms(void);
uint64_t clock_us(void);

/* CLOCK_MONOTONIC_COARSE, the clock of the time stamps in a segment. */
uint64_t clock_coarse_ms(void);

/* CLOCK_REALTIME. */
uint64_t clock_realtime_ms(void);

#endif
