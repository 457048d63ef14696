/* SPDX-License-Identifier: MIT */
/* Threads of the broker besides the one of its event loop, with all signals blocked. */
#ifndef LENDIS_BROKER_THREAD_H
#define LENDIS_BROKER_THREAD_H

#include <pthread.h>
#include <stddef.h>

/*
 * `joined`: where it is put for pthread_join(3); NULL: it is detached. Results: 0, `run` runs with
 * `argument`; -errno.
 */
int thread_start(void *(*run)(void *argument), void *argument, size_t stack_size,
                 pthread_t *joined);

#endif
