/* SPDX-License-Identifier: MIT */
/* Threads of the broker besides the one of its event loop: detached, with all signals blocked. */
#ifndef LENDIS_BROKER_THREAD_H
#define LENDIS_BROKER_THREAD_H

#include <stddef.h>

/* Results: 0, `run` runs with `argument`; -errno. */
int thread_start(void *(*run)(void *argument), void *argument, size_t stack_size);

#endif
