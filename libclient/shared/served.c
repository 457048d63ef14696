/* SPDX-License-Identifier: MIT */
/* Lists of addresses: see served.h. */
#include "libclient/shared/served.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BETWEEN " \t,"

int served_next(const char **at, struct redis_url *url, char why[REDIS_URL_WHY_SIZE])
{
    const char *start = *at + strspn(*at, BETWEEN);
    size_t size = strcspn(start, BETWEEN);
    char text[REDIS_URL_MAX + 1];
    const char *scheme = "";
    int result;

    if (size == 0)
        return 0;
    *at = start + size;
    if (start[0] == '/')
        scheme = "unix://";
    else if (!memmem(start, size, "://", 3))
        scheme = "redis://";
    if (strlen(scheme) + size >= sizeof text) {
        snprintf(why, REDIS_URL_WHY_SIZE, "\"%.80s...\" is too long; %u characters are allowed",
                 start, REDIS_URL_MAX);
        return -EINVAL;
    }
    snprintf(text, sizeof text, "%s%.*s", scheme, (int)size, start);
    result = redis_url_parse(text, url, why);
    if (result != 0)
        return result;
    if (url->tls) {
        redis_url_free(url);
        snprintf(why, REDIS_URL_WHY_SIZE,
                 "\"%.*s\": programs that speak TLS themselves cannot be served; write the address "
                 "at which they connect without it",
                 (int)size, start);
        return -EINVAL;
    }
    if (url->db != 0) {
        redis_url_free(url);
        snprintf(why, REDIS_URL_WHY_SIZE,
                 "\"%.*s\" names a database; programs choose it by SELECT, and redis says which "
                 "one the pool has",
                 (int)size, start);
        return -EINVAL;
    }
    return 1;
}
