/* SPDX-License-Identifier: MIT */
/*
 * Memory that runs out at a chosen allocation, in another program: failing_malloc.so is preloaded
 * into it (LD_PRELOAD), counts its calls of malloc(3) and kin, and lets those fail that the test
 * names. Test and program share one page, so both can be done at any time while the program runs.
 *
 * Of glibc alone, and of no use beside a sanitizer, which has an allocator of its own.
 */
#ifndef LENDIS_TESTS_FAILING_MALLOC_H
#define LENDIS_TESTS_FAILING_MALLOC_H

#include <stdatomic.h>
#include <stdbool.h>

/* The file that holds the page; inherited by all that the program starts. */
#define FAILING_MALLOC_ENVIRONMENT "LENDIS_FAILING_MALLOC"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define FAILING_MALLOC_WORKS false
#else
#define FAILING_MALLOC_WORKS true
#endif

/* An allocation is one call that asks for memory: all threads' calls are counted together. */
struct failing_malloc {
    atomic_ulong count;  /* since failing_malloc_set() */
    atomic_ulong first;  /* the first one that fails, from 1; 0: none does */
    atomic_ulong last;   /* the last one that does; ULONG_MAX: there is none from then on */
    atomic_ulong failed; /* that did, since failing_malloc_set() */
};

/* ---- the test's side ---- */

/* Makes the page at `path` and maps it; gives up when that cannot be done. */
struct failing_malloc *failing_malloc_new(const char *path);

/* What is started between these two has it. */
void failing_malloc_preload(const char *path);
void failing_malloc_no_preload(void);

/* Counts anew; allocation `number` fails, alone or (`all`) with all that follow. 0: none. */
void failing_malloc_set(struct failing_malloc *control, unsigned long number, bool all);

#endif
