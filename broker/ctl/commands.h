/* SPDX-License-Identifier: MIT */
/*
 * The commands of lendisctl, each described once: the command line, the help, completions and the
 * manual (deploy/generate.sh) go by this table. What a command does is elsewhere: show.h, top.h,
 * control.h.
 */
#ifndef LENDIS_CTL_COMMANDS_H
#define LENDIS_CTL_COMMANDS_H

#include <stdio.h>
#include "broker/ctl/show.h"
#include "lendis/wire.h"

enum command_kind {
    COMMAND_SHOW, /* reads shared memory, and prints */
    COMMAND_TOP,  /* likewise, again and again */
    COMMAND_ASK   /* asks the broker */
};

struct command {
    const char *name;      /* "pause", "show pools" */
    const char *arguments; /* as in the help; "": none */
    const char *text;      /* for help and manual */
    const char *more;      /* what the manual says beyond that, in its markup */
    enum command_kind kind;
    int least, most;                      /* words behind the name */
    int (*show)(const struct show *show); /* COMMAND_SHOW */
    enum wire_verb verb;                  /* COMMAND_ASK */
};

/* The command that the words (one at least) begin with, and how many of them it takes. NULL: there
 * is none. */
const struct command *command_find(int count, char **words, int *taken);

/* What can be shown, separated by commas. */
const char *command_shown(void);

/* All of them, for the help: what they do is from `column` on. */
void command_print_help(size_t column, FILE *out);

/* A line for each, tab-separated: name, arguments, text, more text. */
void command_list(FILE *out);

#endif
