/* SPDX-License-Identifier: MIT */
/* How far it is: one line on standard error, if that is a terminal. */
#ifndef LENDIS_REPORT_PROGRESS_H
#define LENDIS_REPORT_PROGRESS_H

/* What is being done now; kept for the next calls of progress_show(). NULL: nothing any more, the
 * line goes. */
void progress_begin(const char *what);

/* A bar of `done` in `all`. */
void progress_show(unsigned done, unsigned all);

/* Words instead of a bar. */
void progress_say(const char *text);

#endif
