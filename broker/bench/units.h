/* SPDX-License-Identifier: MIT */
/* Numbers as people write them on a command line. */
#ifndef LENDIS_BENCH_UNITS_H
#define LENDIS_BENCH_UNITS_H

#include <stdbool.h>
#include <stddef.h>

/* 5ms, 500us, 1.5s, or plain microseconds. False: it is no such thing, or negative. */
bool units_parse_us(const char *text, double *us);

/* 1KiB, 2MiB, 64B or plain bytes. */
bool units_parse_bytes(const char *text, double *bytes);

bool units_parse_number(const char *text, double *number);

/* "12,345": an unsigned number for people. Static storage, the last eight of them are kept. */
const char *units_grouped(double number);

/* "1.25 ms", of microseconds. Static storage likewise. */
const char *units_time(double us);

#endif
