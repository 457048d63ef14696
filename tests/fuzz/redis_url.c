/* SPDX-License-Identifier: MIT */
/*
 * Addresses (shared/redis_url.h). Whatever the text is: it is refused with a sentence that is
 * printable and quotes nothing of a text with a user or a password in it; or it is accepted, has
 * either a host or a path, and written out in full it is the same address again.
 */
#include "libclient/shared/redis_url.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "tests/fuzz/fuzz.h"

static bool is_printable(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    return true;
}

/* In full, with a zone as a URL has it. */
static void write_out(const struct redis_url *url, char *text, size_t size)
{
    const char *zone = url->host ? strchr(url->host, '%') : NULL;
    const char *scheme = url->tls ? "rediss" : "redis";

    if (url->path)
        snprintf(text, size, "unix://%s?db=%u", url->path, url->db);
    else if (zone)
        snprintf(text, size, "%s://[%.*s%%25%s]:%u/%u", scheme, (int)(zone - url->host), url->host,
                 zone + 1, url->port, url->db);
    else if (strchr(url->host, ':'))
        snprintf(text, size, "%s://[%s]:%u/%u", scheme, url->host, url->port, url->db);
    else
        snprintf(text, size, "%s://%s:%u/%u", scheme, url->host, url->port, url->db);
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_refusal(const char *text, const char *why)
{
    const char *at = strstr(text, "://");

    REQUIRE(why[0] && strlen(why) < REDIS_URL_WHY_SIZE && is_printable(why));
    if (at && strchr(at, '@'))
        REQUIRE(strcmp(why, "no user or password is allowed in the URL; use username and "
                            "password_file") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[512], full[512], why[REDIS_URL_WHY_SIZE];
    struct redis_url url, again;
    int result;

    if (size >= sizeof text || memchr(data, '\0', size))
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    result = redis_url_parse(text, &url, why);
    REQUIRE(result == 0 || result == -EINVAL);
    if (result != 0) {
        REQUIRE(!url.host && !url.path);
        check_refusal(text, why);
        return 0;
    }
    REQUIRE(!url.host != !url.path && url.db <= REDIS_URL_DB_MAX && url.port > 0);
    REQUIRE(!strchr(text, '@') || url.path);
    REQUIRE(!url.host || (url.host[0] && !strpbrk(url.host, " \t\r\n/[]@?\"'\\")));
    write_out(&url, full, sizeof full);
    if (strlen(full) <= REDIS_URL_MAX) {
        REQUIRE(redis_url_parse(full, &again, why) == 0);
        REQUIRE(same(url.host, again.host) && same(url.path, again.path));
        REQUIRE(url.port == again.port && url.db == again.db && url.tls == again.tls);
        redis_url_free(&again);
    }
    redis_url_free(&url);
    return 0;
}
