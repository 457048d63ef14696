/* SPDX-License-Identifier: MIT */
/*
 * Whether a program can be helped: what it is, by its file. A library is preloaded by the dynamic
 * loader of the C library that it was built for (ld.so(8)); a program without one passes by it, and
 * so does one that makes its system calls itself.
 */
#ifndef LENDIS_RUN_CHECK_H
#define LENDIS_RUN_CHECK_H

#include <stdbool.h>
#include <stdio.h>

/* Finds `name` in PATH, and says what it is on `out`. True: it can be helped. */
bool check_program(const char *name, FILE *out);

#endif
