/* SPDX-License-Identifier: MIT */
/*
 * The statistics as text for Prometheus and programs like it: OpenMetrics 1.0
 * (https://prometheus.io/docs/specs/om/open_metrics_spec/), or the text format before it
 * (https://prometheus.io/docs/instrumenting/exposition_formats/). The same for `lendisctl metrics`
 * and for lendisd's listener. Names, units and texts are those of the X-macros in include/lendis/.
 */
#ifndef LENDIS_BROKER_METRICS_H
#define LENDIS_BROKER_METRICS_H

#include <stdio.h>
#include "broker/metrics/statistics.h"

enum metrics_format { METRICS_OPENMETRICS, METRICS_PROMETHEUS };

#define METRICS_OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define METRICS_PROMETHEUS_TYPE  "text/plain; version=0.0.4; charset=utf-8"

/* Results: 0; -ENOMEM; -EIO. */
int metrics_write(const struct statistics_source *source, enum metrics_format format, FILE *out);

/* What metrics there are, tab-separated: the name as in the samples, type, labels, text. */
void metrics_list(FILE *out);

#endif
