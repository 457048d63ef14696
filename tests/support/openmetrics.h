/* SPDX-License-Identifier: MIT */
/* OpenMetrics text, checked strictly, and read. */
#ifndef LENDIS_TESTS_OPENMETRICS_H
#define LENDIS_TESTS_OPENMETRICS_H

#include <stdbool.h>

/*
 * Whether `text` is OpenMetrics 1.0 as far as gauges, counters and histograms go
 * (https://prometheus.io/docs/specs/om/open_metrics_spec/): the grammar of its lines, families whose
 * lines stand together, suffixes and units that fit, no series twice, and histograms whose buckets
 * ascend and agree with their count. Results: NULL; what is wrong, with its line, in static storage.
 */
const char *openmetrics_problem(const char *text);

/* The value of the series that is written exactly so, labels and all; NAN: there is none. */
double openmetrics_value(const char *text, const char *series);

/* Whether a sample has this name, whatever its labels. */
bool openmetrics_has(const char *text, const char *name);

#endif
