/* SPDX-License-Identifier: MIT */
/*
 * The configuration's file, read by inih.
 *
 * inih splits lines into names and values. What it leaves open is done by the reader function that
 * feeds it: counting lines, noticing each section (inih reports keys alone), refusing lines that
 * are too long for inih's buffer or are no configuration at all. Indented lines are plain lines
 * here, never continuations.
 */
#ifndef LENDIS_BROKER_CONFIG_FILE_H
#define LENDIS_BROKER_CONFIG_FILE_H

#include "broker/config/loader.h"

/* Characters of a line, without its end. */
size_t config_line_max(void);

/* Results: 0, what is wrong in it was reported; -EINVAL, it cannot be read, likewise. */
int config_read_file(struct loader *loader);

#endif
