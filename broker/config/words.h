/* SPDX-License-Identifier: MIT */
/*
 * A command line, split into words as systemd splits one (systemd.service(5), COMMAND LINES), for
 * no shell sees it: words are separated by blanks; "..." and '...' keep them together; a backslash
 * begins what C knows: \" \' \\ \s (a blank) \n \t \a \b \f \r \v \xHH \OOO. Nothing else has a
 * meaning: no variables, no "%", no "*".
 */
#ifndef LENDIS_BROKER_CONFIG_WORDS_H
#define LENDIS_BROKER_CONFIG_WORDS_H

#include <stddef.h>

/*
 * Splits `text` into at most `most` words. Results: their number, at least 1, and *words, which
 * ends with NULL, is one allocation, the caller's; 0, there is none, or it is not a command line,
 * and *why says so; -ENOMEM.
 */
int words_split(const char *text, size_t most, char ***words, const char **why);

#endif
