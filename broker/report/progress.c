/* SPDX-License-Identifier: MIT */
/* The line that shows how far it is: see progress.h. */
#include "broker/report/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BAR_WIDTH 40

/* Back to the beginning of the line, which is cleared (ECMA-48). */
#define CLEAR "\r\x1b[K"

static char doing[64];

void progress_begin(const char *what)
{
    if (!isatty(STDERR_FILENO))
        return;
    snprintf(doing, sizeof doing, "%s", what ? what : "");
    fprintf(stderr, CLEAR "%s", doing);
}

void progress_show(unsigned done, unsigned all)
{
    static const char full[BAR_WIDTH + 1] = "########################################";
    int width = all ? (int)((unsigned long)done * BAR_WIDTH / all) : 0;

    if (isatty(STDERR_FILENO))
        fprintf(stderr, CLEAR "%-32s [%.*s%*s] %u/%u", doing, width, full, BAR_WIDTH - width, "",
                done, all);
}

void progress_say(const char *text)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, CLEAR "%-32s %s", doing, text);
}
