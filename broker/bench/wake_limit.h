/* SPDX-License-Identifier: MIT */
/*
 * What no hand-over on one host can be faster than: how many processes that sleep the machine wakes
 * in a second, without Redis. As many as there are workers sleep on futexes, 32 on each, as waiters
 * of a pool do (lendis/queue.h); all are woken, and the last of them wakes the one that does it
 * again. A yardstick, no bound: it waits for all of them each time.
 */
#ifndef LENDIS_BENCH_WAKE_LIMIT_H
#define LENDIS_BENCH_WAKE_LIMIT_H

/* Wake-ups a second. */
double wake_limit_measure(unsigned workers, double seconds);

#endif
