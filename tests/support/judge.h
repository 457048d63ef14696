/* SPDX-License-Identifier: MIT */
/*
 * Texts for programs, judged by parsers that are not ours (judge.py), and OpenMetrics text read. A
 * process that judges once has a process of Debian's Python until it ends.
 */
#ifndef LENDIS_TESTS_JUDGE_H
#define LENDIS_TESTS_JUDGE_H

#include <stdbool.h>

/*
 * Whether `text` is OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/), made
 * of gauges, counters and histograms that all have a HELP. Results: NULL; what is wrong, in static
 * storage.
 */
const char *openmetrics_problem(const char *text);

/* The value of the series that is written exactly so, labels and all; NAN: there is none. */
double openmetrics_value(const char *text, const char *series);

/* Whether a sample has this name, whatever its labels. */
bool openmetrics_has(const char *text, const char *name);

/* Whether `text` is one JSON value, without exponents in its numbers. If not, why is printed to
 * stderr. */
bool json_is_valid(const char *text);

#endif
