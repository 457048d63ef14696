/* SPDX-License-Identifier: MIT */
/*
 * Parts: what is measured otherwise than by rounds of load. Each puts its figures into the list,
 * prints its table, and says with its file what it is.
 */
#ifndef LENDIS_BENCH_PARTS_H
#define LENDIS_BENCH_PARTS_H

#include "broker/bench/bench.h"

void part_lease(struct bench *bench);   /* row "lease" */
void part_alone(struct bench *bench);   /* row "1" */
void part_memory(struct bench *bench);  /* row "memory" */
void part_idle(struct bench *bench);    /* row "idle" */
void part_storm(struct bench *bench);   /* row "storm" */
void part_restart(struct bench *bench); /* row "restart" */

#endif
