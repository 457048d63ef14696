/* SPDX-License-Identifier: MIT */
/* What the environment says to the preloaded library: lendis-run(1), ENVIRONMENT. Read once. */
#ifndef LENDIS_PRELOAD_SETTINGS_H
#define LENDIS_PRELOAD_SETTINGS_H

#include <stdbool.h>

struct settings {
    bool off;    /* LENDIS_PRELOAD=off: no connection is virtual */
    bool strict; /* LENDIS_PRELOAD_STRICT: an error instead of a real connection */
    int wait_ms; /* LENDIS_PRELOAD_WAIT: for a connection of the pool */
};

extern struct settings settings;

void settings_read(void);

#endif
