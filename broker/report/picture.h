/* SPDX-License-Identifier: MIT */
/* Pictures of comparisons. */
#ifndef LENDIS_REPORT_PICTURE_H
#define LENDIS_REPORT_PICTURE_H

#include "broker/report/compare.h"

/* One: bars of where the memory is; several: curves over the number of workers. Results: 0; -1, and
 * why not in `problem`. */
int picture_write(const struct options *options, const struct comparison *comparisons, size_t count,
                  char *problem, size_t size);

#endif
