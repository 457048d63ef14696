/* SPDX-License-Identifier: MIT */
/*
 * A terminal as a whole: its other screen, keys as they are pressed, lines that are drawn anew each
 * time. Plain control sequences (ECMA-48, xterm's alternate screen), which every terminal of today
 * has. There is one, for there is one terminal.
 *
 * However the process ends, but for SIGKILL, the terminal is as it was before; likewise while it is
 * stopped.
 */
#ifndef LENDIS_CTL_SCREEN_H
#define LENDIS_CTL_SCREEN_H

#include <stdbool.h>

enum {
    KEY_NONE = 0, /* none came in time, or the size changed: draw again */
    KEY_END = -1, /* the terminal is gone */
    KEY_ENTER = '\r',
    KEY_ESCAPE = 27,
    KEY_BACKSPACE = 127,
    KEY_UP = 256,
    KEY_DOWN,
    KEY_PAGE_UP,
    KEY_PAGE_DOWN,
};

/* Results: 0; -ENOTTY, standard input or output is no terminal; -errno. */
int screen_open(void);
void screen_close(void);

void screen_size(int *columns, int *lines);

/* A key, waited for up to timeout_ms. */
int screen_key(int timeout_ms);

/* Draws: begin, lines from the top, end. Lines are cut to the width, to printable ASCII. */
void screen_begin(void);
void screen_line(bool inverse, const char *text);
int screen_end(void); /* 0; -errno */

#endif
