/* SPDX-License-Identifier: MIT */
/*
 * Addresses of a Redis, as everything of lendis takes them: the broker's `redis`, the library's
 * fallback_url.
 *
 *   redis://HOST[:PORT][/[DB]]      HOST: a name, an IPv4 address, or an IPv6 address in brackets,
 *                                   with a zone as RFC 6874 has it: [fe80::1%25eth0]
 *   rediss://...                    the same, with TLS
 *   unix:///PATH[?db=DB]
 *
 * Without user and password: these are secrets, and a URL gets into messages.
 */
#ifndef LENDIS_REDIS_URL_H
#define LENDIS_REDIS_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REDIS_URL_MAX      191u /* bytes: what the catalog has room for */
#define REDIS_URL_WHY_SIZE 320u
#define REDIS_URL_DB_MAX   65535u
#define REDIS_URL_PORT     6379u

struct redis_url {
    char *host; /* as getaddrinfo(3) takes it, with %ZONE; NULL: `path` */
    char *path;
    uint16_t port;
    uint32_t db;
    bool tls; /* rediss:// */
};

/* Results: 0, and redis_url_free() must follow; -EINVAL, and why it is no address; -ENOMEM. */
int redis_url_parse(const char *text, struct redis_url *url, char why[REDIS_URL_WHY_SIZE]);
void redis_url_free(struct redis_url *url);

#endif
