/* SPDX-License-Identifier: MIT */
/* Random numbers that nothing secret depends on: for jitter. */
#ifndef LENDIS_BROKER_RANDOM_H
#define LENDIS_BROKER_RANDOM_H

#include <stdint.h>

/* From 0 up to `most`. */
uint32_t random_up_to(uint32_t most);

#endif
