/* SPDX-License-Identifier: MIT */
/*
 * What the environment says to the preloaded library: lendis-run(1), ENVIRONMENT. Read once, when
 * the library is loaded: a program may clear its environment, as php-fpm does in its workers.
 */
#ifndef LENDIS_PRELOAD_SETTINGS_H
#define LENDIS_PRELOAD_SETTINGS_H

#include <stdbool.h>
#include <sys/un.h>

struct settings {
    bool off;    /* LENDIS_PRELOAD=off: no connection is virtual */
    bool strict; /* LENDIS_PRELOAD_STRICT: an error instead of a real connection */
    int wait_ms; /* LENDIS_PRELOAD_WAIT: for a connection of the pool */
    /* LENDIS_SOCKET, or the default; "": not read yet */
    char socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

extern struct settings settings;

void settings_read(void);

#endif
