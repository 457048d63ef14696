/* SPDX-License-Identifier: MIT */
/*
 * What the manual is built from (deploy/generate.sh): tab-separated lists of what there is. Each
 * comes from the table that the program itself goes by, so that nothing is written down twice.
 */
#ifndef LENDIS_CTL_LISTS_H
#define LENDIS_CTL_LISTS_H

#include <stdio.h>

/*
 * Counters of a pool, in JSON and in `show stats`: kind (worker, broker, or what a reason is for:
 * close, revoke, dial), name, unit, text.
 */
void list_counters(FILE *out);

#endif
