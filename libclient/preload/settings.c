/* SPDX-License-Identifier: MIT */
/* The environment: see settings.h. */
#include "libclient/preload/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lendis/wire.h"

/* Longer than anybody keeps a connection who is not stuck, and short for who waits for a page. */
#define WAIT_MS 1000

struct settings settings = {.wait_ms = WAIT_MS};

static bool is_on(const char *value)
{
    return value && *value && strcmp(value, "0") != 0 && strcmp(value, "no") != 0 &&
           strcmp(value, "off") != 0;
}

void settings_read(void)
{
    const char *on = getenv("LENDIS_PRELOAD"), *wait = getenv("LENDIS_PRELOAD_WAIT");
    const char *path = secure_getenv("LENDIS_SOCKET");

    settings.off = on && *on && !is_on(on);
    settings.strict = is_on(getenv("LENDIS_PRELOAD_STRICT"));
    if (wait && *wait >= '0' && *wait <= '9')
        settings.wait_ms = (int)(strtol(wait, NULL, 10) % 60001);
    snprintf(settings.socket_path, sizeof settings.socket_path, "%s",
             path && *path ? path : LENDIS_DEFAULT_SOCKET);
}
