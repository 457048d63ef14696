/* SPDX-License-Identifier: MIT */
/* What kind of failure the text of a failed dial stands for; for counting alone. */
#ifndef LENDIS_BROKER_DIAL_REASON_H
#define LENDIS_BROKER_DIAL_REASON_H

#include "lendis/reasons.h"

/* `error` is strerror(3)'s, the server's or the dialler's own. Any text is allowed. */
enum dial_reason dial_reason(const char *error);

#endif
