/* SPDX-License-Identifier: MIT */
/* What figures were measured on: a sentence that belongs beside them. */
#ifndef LENDIS_BENCH_MACHINE_H
#define LENDIS_BENCH_MACHINE_H

#include "broker/testbed/testbed.h"

void machine_describe(const struct redis_server *redis, char *text, size_t size);

/* The model of the first processor, from the text of /proc/cpuinfo. False: none is named. */
bool machine_parse_model(const char *cpuinfo, char *model, size_t size);

#endif
