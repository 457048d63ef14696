/* SPDX-License-Identifier: MIT */
/*
 * What becomes of a virtual connection in each function of the C library that takes a descriptor:
 * decided for every one of them, none left to chance. The preloaded library stands before those of
 * the first two kinds; the others act on the private socket that is behind the descriptor
 * (libclient/preload/virtual.h). tests/system/preload/functions.sh holds this against the C library
 * and against what the preloaded library exports.
 */
#ifndef LENDIS_RUN_FUNCTIONS_H
#define LENDIS_RUN_FUNCTIONS_H

#include <stdio.h>

enum function_kind {
    FUNCTION_FOLLOWED, /* as on a connection of its own; the library follows it */
    FUNCTION_REAL,     /* the connection becomes a real one first */
    FUNCTION_SAFE,     /* the private socket answers */
};

/* The kind of a function; -1: it takes no descriptor. */
int function_kind_of(const char *name, size_t size);

/* A line for each: its name, the kind's, and why. */
void functions_print(FILE *out);

#endif
