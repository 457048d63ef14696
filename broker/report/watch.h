/* SPDX-License-Identifier: MIT */
/* The same figures of what runs here, and what the pool saves now. */
#ifndef LENDIS_REPORT_WATCH_H
#define LENDIS_REPORT_WATCH_H

#include "broker/report/options.h"

/* Runs `lendis-report watch`; its exit status. */
int watch_run(const struct options *options);

#endif
