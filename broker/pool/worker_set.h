/* SPDX-License-Identifier: MIT */
/* A set of workers, by their indices. Any number may be asked for. */
#ifndef LENDIS_BROKER_WORKER_SET_H
#define LENDIS_BROKER_WORKER_SET_H

#include <stdbool.h>
#include <stdint.h>

struct worker_set {
    uint64_t *bits;
    uint32_t room;
    uint32_t count;
};

/* Results: 0, the set is empty, worker_set_free() must follow; -ENOMEM. */
int worker_set_new(struct worker_set *set, uint32_t room);
void worker_set_free(struct worker_set *set);

bool worker_set_has(const struct worker_set *set, uint32_t worker);

/* `worker` < room is in it from now on, or is not. */
void worker_set_put(struct worker_set *set, uint32_t worker, bool in);

#endif
