/* SPDX-License-Identifier: MIT */
/* What a call found out beyond its result, for lendis_pool_error(). Of the calling thread, as errno
 * is. */
#ifndef LENDIS_ERROR_H
#define LENDIS_ERROR_H

/* What lendis_pool_error() gives. */
extern _Thread_local int last_result;

/* A call begins: nothing is known of it yet. */
void error_begin(void);
/* What and where, for callers of lendis_pool_error() about `result`; the last word counts. */
void error_note(int result, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* NULL: nothing was noted for `result`. */
const char *error_text(int result);

#endif
