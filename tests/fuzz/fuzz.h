/* SPDX-License-Identifier: MIT */
/*
 * A fuzz target is one function, for libFuzzer (make fuzz) and for replay.c, which runs the corpus
 * through it in every make check. It aborts when something does not hold.
 */
#ifndef LENDIS_TESTS_FUZZ_H
#define LENDIS_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
