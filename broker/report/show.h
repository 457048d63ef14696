/* SPDX-License-Identifier: MIT */
/* What compare prints. */
#ifndef LENDIS_REPORT_SHOW_H
#define LENDIS_REPORT_SHOW_H

#include "broker/report/compare.h"

/* For people: what was compared, where the memory is, a worker, the servers, the machine. Results:
 * 0; -errno. */
int show_comparison(const struct options *options, const struct comparison *comparison);

/* Its targets. Results: how many were missed. */
unsigned show_targets(const struct options *options, const struct comparison *comparison);

/* All of them as JSON or CSV: a row for each figure. Results: 0; -errno. */
int show_rows(const struct options *options, const struct comparison *comparisons, size_t count);

#endif
