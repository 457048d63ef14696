/* SPDX-License-Identifier: MIT */
/* Sets of workers: see worker_set.h. */
#include "broker/pool/worker_set.h"

#include <errno.h>
#include <stdlib.h>

int worker_set_new(struct worker_set *set, uint32_t room)
{
    *set = (struct worker_set){.bits = calloc((room + 63) / 64, sizeof *set->bits), .room = room};
    return set->bits ? 0 : -ENOMEM;
}

void worker_set_free(struct worker_set *set)
{
    free(set->bits);
    *set = (struct worker_set){0};
}

bool worker_set_has(const struct worker_set *set, uint32_t worker)
{
    return worker < set->room && (set->bits[worker / 64] >> (worker % 64) & 1);
}

void worker_set_put(struct worker_set *set, uint32_t worker, bool in)
{
    if (worker_set_has(set, worker) == in)
        return;
    set->bits[worker / 64] ^= UINT64_C(1) << (worker % 64);
    set->count = in ? set->count + 1 : set->count - 1;
}
