/* SPDX-License-Identifier: MIT */
/* What lendis is to reach, and whether it did. */
#ifndef LENDIS_REPORT_TARGETS_H
#define LENDIS_REPORT_TARGETS_H

#include <stdbool.h>
#include <stddef.h>
#include "broker/report/compare.h"

struct target {
    char text[128];
    double measured;
    double limit;
    bool at_least; /* else: below it */
    const char *unit;
};

static inline bool target_reached(const struct target *target)
{
    return target->at_least ? target->measured >= target->limit : target->measured < target->limit;
}

#define TARGETS_MAX 3

/* Those that are set for this setup, in `targets`: their number. A smaller one says nothing about
 * them. */
size_t targets_of(const struct options *options, const struct comparison *comparison,
                  struct target targets[TARGETS_MAX]);

#endif
